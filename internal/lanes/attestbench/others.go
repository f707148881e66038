// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"

	sevabi "github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/proto/sevsnp"
	sevverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/pcs"
	tdxverify "github.com/google/go-tdx-guest/verify"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
)

// otherLibrary is Google's library for the same evidence, where it reads it.
// Collateral comes from memory, as ours does.
func (s *subject) otherLibrary() ([]*runner, error) {
	switch s.evidence.Technology {
	case attest.SNP:
		return s.sevGuest()
	case attest.TDX:
		if s.evidence.Report[0] == 4 {
			return s.tdxGuest()
		}
	}
	return nil, nil // nothing obtainable verifies SGX v3, or TDX v5
}

type sevPublished map[string][]byte

func (p sevPublished) Get(url string) ([]byte, error) {
	if body, ok := p[url]; ok {
		return body, nil
	}
	return nil, fmt.Errorf("nothing at %s", url)
}

func (s *subject) sevGuest() ([]*runner, error) {
	set := s.roots()
	line := &trust.AMDRootCerts{ProductLine: "Milan", ProductCerts: &trust.ProductCerts{Ark: set.AMD[0], Ask: set.Intermediates[0]}}
	getter := sevPublished{"https://kdsintf.amd.com/vcek/v1/Milan/crl": s.world.AMD.Milan.CRL()}
	report, vcek := s.evidence.Report, s.evidence.Collateral.Certificates[0].Raw
	return []*runner{{name: "go-sev-guest", do: func() error {
		r, err := sevabi.ReportToProto(report)
		if err != nil {
			return err
		}
		return sevverify.SnpAttestation(
			&sevsnp.Attestation{Report: r, CertificateChain: &sevsnp.CertificateChain{VcekCert: vcek}},
			&sevverify.Options{Now: s.now, CheckRevocations: true, DisableCertFetching: true, Getter: getter,
				TrustedRoots: map[string][]*trust.AMDRootCerts{"Milan": {line}}})
	}}}, nil
}

// tdxPublished is Intel's service: a body and the header with its issuers.
type tdxPublished map[string]struct {
	header map[string][]string
	body   []byte
}

func (p tdxPublished) Get(url string) (map[string][]string, []byte, error) {
	if a, ok := p[url]; ok {
		return a.header, a.body, nil
	}
	return nil, nil, fmt.Errorf("nothing at %s", url)
}

func (s *subject) tdxGuest() ([]*runner, error) {
	in, m := s.world.Intel, s.world.Machine()
	getter := tdxPublished{}
	add := func(at, phrase string, body []byte, issuers ...[]byte) {
		getter[at] = struct {
			header map[string][]string
			body   []byte
		}{map[string][]string{phrase: {url.QueryEscape(string(attesttest.PEM(issuers...)))}}, body}
	}
	fmspc := m.PCK().FMSPC
	add(pcs.TcbInfoURL(hex.EncodeToString(fmspc[:])), pcs.TcbInfoIssuerChainPhrase, m.TCBInfo("TDX"), in.TCBSigning(), in.Root())
	add(pcs.QeIdentityURL(), pcs.SgxQeIdentityIssuerChainPhrase, in.QEIdentity("TD_QE"), in.TCBSigning(), in.Root())
	add(pcs.PckCrlURL("platform"), pcs.SgxPckCrlIssuerChainPhrase, in.PCKCRL(attesttest.PlatformCA), in.CA(attesttest.PlatformCA), in.Root())
	for _, c := range in.Published() {
		if bytes.Equal(c.CRL, in.RootCRL()) {
			add(c.URL, "", c.CRL)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.roots().Intel[0])
	quote := s.evidence.Report
	now := s.now
	return []*runner{{name: "go-tdx-guest", do: func() error {
		q, err := abi.QuoteToProto(quote)
		if err != nil {
			return err
		}
		return tdxverify.TdxQuote(q, &tdxverify.Options{GetCollateral: true, CheckRevocations: true, Getter: getter, TrustedRoots: pool,
			Now: &tdxverify.TimeSet{PckCertChain: now, TcbInfo: now, QeIdentity: now, PckCrl: now, RootCaCrl: now}})
	}}}, nil
}
