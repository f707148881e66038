// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"fmt"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// A subject is one request, with all that judging it takes, as bytes.
type subject struct {
	name     string
	csr      []byte
	edits    func(*attesttest.Request)
	shape    string
	world    *attesttest.World
	now      time.Time
	evidence *attest.Evidence // as it came
}

// keep is the size of a Memo that forgets nothing here.
const keep = 64 << 20

func cases(now time.Time) ([]row, error) {
	w := attesttest.New("attestbench", now)
	w.RSABits = 4096 // as AMD's
	subjects := []*subject{
		{name: "SNP, Milan v3", shape: "snp-v2"},
		{name: "SGX v3", shape: "sgx-v3"},
		{name: "TDX v4", shape: "tdx-v1", edits: func(r *attesttest.Request) { r.Version = 4 }},
		{name: "TDX v5", shape: "tdx-v1", edits: func(r *attesttest.Request) { r.Version = 5 }},
	}
	var rows []row
	for _, s := range subjects {
		s.world, s.now = w, now
		if s.edits == nil {
			s.edits = func(*attesttest.Request) {}
		}
		s.csr, _ = w.CSR(s.shape, s.edits)
		request, err := attest.ParseRequest(s.csr, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		s.evidence = request.Evidence
		judged, err := s.judging()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		issued, err := s.issuing()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, row{"appraise " + s.name, judged}, row{"issue " + s.name, issued})
	}
	return rows, nil
}

// roots returns the world's, with Milan alone of AMD's lines: the other keys
// would take seconds to make.
func (s *subject) roots() *roots.Set {
	set := &roots.Set{}
	for _, der := range [][]byte{s.world.AMD.Milan.ARK(), s.world.AMD.Milan.ASK(), s.world.Intel.Root()} {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		set.Add(c)
	}
	return set
}

// collateral is what the verifier holds itself, parsed: all that Intel publishes.
func (s *subject) collateral(memo *pki.Memo) (*attest.Collateral, error) {
	raw := s.world.Intel.Collateral(s.world.Machine())
	c := &attest.Collateral{}
	for _, der := range raw.Certificates {
		cert, err := memo.Certificate(der)
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, cert)
	}
	for _, der := range raw.CRLs {
		crl, err := memo.CRL(der)
		if err != nil {
			return nil, err
		}
		c.CRLs = append(c.CRLs, crl)
	}
	for _, text := range raw.TCBInfos {
		info, err := dcap.RememberTCBInfo(memo, text)
		if err != nil {
			return nil, err
		}
		c.TCBInfos = append(c.TCBInfos, info)
	}
	for _, text := range raw.QEIdentities {
		id, err := dcap.RememberQEIdentity(memo, text)
		if err != nil {
			return nil, err
		}
		c.QEIdentities = append(c.QEIdentities, id)
	}
	return c, nil
}

// judging is what there is to compare for evidence alone: its extension as
// bytes in, a verdict with its tree out.
func (s *subject) judging() ([]*runner, error) {
	bare, err := s.bareEvidence()
	if err != nil {
		return nil, err
	}
	value, err := s.evidence.Marshal()
	if err != nil {
		return nil, err
	}
	set := s.roots()
	judge := func(memo *pki.Memo, collateral *attest.Collateral) error {
		ev, err := attest.ParseEvidence(s.evidence.Technology, value, memo)
		if err != nil {
			return err
		}
		ev.Key = s.evidence.Key
		return attest.Appraise(attest.Verify(ev, &attest.Roots{Set: set, Memo: memo}, collateral, s.now), nil).Err()
	}
	memo := pki.NewMemo(keep)
	own, err := s.collateral(memo)
	if err != nil {
		return nil, err
	}
	runners := []*runner{
		{name: "bare signatures", do: bare},
		{name: "enarx, warm", do: func() error { return judge(memo, own) }},
		{name: "enarx, cold", do: func() error {
			cold := pki.NewMemo(keep) // nothing parsed, no signature known to be good
			own, err := s.collateral(cold)
			if err != nil {
				return err
			}
			return judge(cold, own)
		}},
	}
	other, err := s.otherLibrary()
	if err != nil {
		return nil, err
	}
	return append(runners, other...), nil
}
