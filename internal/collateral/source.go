// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
)

// errMasked is the reason why AMD cannot be asked for some VCEKs.
var errMasked = errors.New("the report does not say which chip it is of: its chip id is masked")

// For asks the vendor of the evidence for what the evidence needs. What came
// in the evidence is not asked for again if it cannot get old; revocation
// lists and TCB levels are, because whoever makes evidence would leave out
// those that speak against it.
func (f *Fetcher) For(ctx context.Context, ev *attest.Evidence) (*attest.Collateral, error) {
	wants, err := f.wants(ev)
	docs, errs := make([]*Document, len(wants)), make([]error, len(wants), len(wants)+1)
	var wg sync.WaitGroup
	now := time.Now()
	for k, items := range wants {
		if d, err, ok := f.known(items[0], now); ok && (d != nil || len(items) == 1) {
			docs[k], errs[k] = d, err
			continue
		}
		if d, err, silent := f.silent(items[0]); silent && len(items) == 1 {
			docs[k], errs[k] = d, err
			continue
		}
		wg.Go(func() { docs[k], errs[k] = f.any(ctx, items) })
	}
	wg.Wait()
	all := &attest.Collateral{}
	for _, d := range docs {
		if d != nil {
			all.Certificates = append(all.Certificates, d.Collateral.Certificates...)
			all.CRLs = append(all.CRLs, d.Collateral.CRLs...)
			all.TCBInfos = append(all.TCBInfos, d.Collateral.TCBInfos...)
			all.QEIdentities = append(all.QEIdentities, d.Collateral.QEIdentities...)
		}
	}
	return all, errors.Join(append(errs, err)...)
}

// any returns the first of the documents that can be had.
func (f *Fetcher) any(ctx context.Context, items []Item) (d *Document, err error) {
	for _, i := range items {
		if d, err = f.Get(ctx, i); err == nil || !errors.Is(err, ErrNoSuch) {
			break
		}
	}
	return d, err
}

// wants returns the documents that evidence needs; any one of each row will do.
func (f *Fetcher) wants(ev *attest.Evidence) (rows [][]Item, err error) {
	switch ev.Technology {
	case attest.SNP:
		return f.wantsSNP(ev)
	case attest.SGX, attest.TDX:
		return f.wantsIntel(ev), nil
	}
	return nil, nil
}

func (f *Fetcher) wantsSNP(ev *attest.Evidence) (rows [][]Item, err error) {
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return nil, nil // the verification says so
	}
	lines, endorsed := f.endorsed(ev, report)
	vlek := report.KeyInfo.SigningKey() == snp.SignedByVLEK
	switch {
	case endorsed || vlek: // AMD lends VLEKs to providers, who hand them out
	case report.ChipID == [64]byte{}:
		err = &Failure{Code: Item{kind: kindVCEK}.code(), What: "VCEK", URL: f.cfg.KDS, Err: errMasked, published: DefaultKDS}
	case len(lines) > 0:
		row := make([]Item, 0, 2)
		for _, line := range lines {
			row = append(row, VCEK(line, report.ChipID, report.ReportedTCB))
		}
		rows = append(rows, row)
	}
	for _, line := range lines {
		rows = append(rows, []Item{AMDCRL(line, vlek)}, []Item{AMDChain(line, vlek)})
	}
	return rows, err
}

// endorsed returns the product lines that the report can be of, and whether
// the evidence has the certificate of the key that signs for it.
func (f *Fetcher) endorsed(ev *attest.Evidence, r *snp.Report) (lines []string, ok bool) {
	for _, c := range ev.Collateral.Certificates {
		e, err := pki.Remember(f.cfg.Memo, "collateral endorsement", func() (*snp.Endorsement, error) { return snp.ParseEndorsement(c) }, c.Raw)
		if err != nil || e.TCB != r.ReportedTCB.Decode(e.Product) {
			continue
		}
		if e.Kind == snp.SignedByVLEK || bytes.Equal(e.HWID, r.ChipID[:len(e.HWID)]) {
			return []string{e.Product}, true
		}
	}
	return r.ProductLines(), false
}

// platform is what a PCK certificate says that Intel is asked by.
type platform struct {
	fmspc [6]byte
	ca    string
}

var errNoPCK = errors.New("no PCK certificate of an Intel root")

func (f *Fetcher) wantsIntel(ev *attest.Evidence) [][]Item {
	tdx := ev.Technology == attest.TDX
	rows := [][]Item{{RootCRL()}, {QEIdentity(tdx)}}
	chain, err := dcap.QuoteChain(f.cfg.Memo, ev.Report)
	if err != nil {
		return rows
	}
	p, err := pki.Remember(f.cfg.Memo, "collateral platform", func() (platform, error) { return f.platform(chain) }, chain[0].Raw, chain[1].Raw)
	if err != nil {
		return rows
	}
	return append(rows, []Item{PCKCRL(p.ca)}, []Item{TCBInfo(p.fmspc, tdx)})
}

// platform reads the chain of a quote. Only what leads to an Intel root is
// asked about: a stranger who makes up platforms is not worth a question.
func (f *Fetcher) platform(certs []*x509.Certificate) (platform, error) {
	for _, c := range certs {
		pck, err := dcap.ParsePCK(c)
		if err != nil || f.signer(f.intel(certs), c.RawIssuer, signedCert(c)) == nil {
			continue
		}
		ca := "processor"
		if pck.Platform != nil {
			ca = "platform"
		}
		return platform{pck.FMSPC, ca}, nil
	}
	return platform{}, errNoPCK
}
