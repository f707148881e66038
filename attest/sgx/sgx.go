// SPDX-License-Identifier: Apache-2.0

// Package sgx verifies quotes of Intel SGX enclaves: version 3, ECDSA with
// P-256, as Intel's quoting enclave QE3 makes them. The layout is that of Intel
// SGX DCAP, ECDSA Quote Library API, appendix A; what it shares with quotes of
// trust domains is in package dcap.
package sgx

import (
	"crypto/x509"
	"errors"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

const (
	prefix  = "sgx"
	version = 3
	signed  = dcap.HeaderSize + dcap.ReportSize // what the attestation key signs
)

// A Quote is what an enclave is attested with.
type Quote struct {
	Header    dcap.Header
	Body      dcap.Report // the enclave
	Signature *dcap.Signature
	Raw       []byte // the quote, and zeros that may follow it
}

// IsQuote reports whether b begins like an SGX quote of version 3.
func IsQuote(b []byte) bool { return dcap.IsQuote(b, dcap.TEETypeSGX, version) }

// ParseQuote reads a quote. Its fields are views of raw, which must not change
// after. The error is a [*dcap.FormatError].
func ParseQuote(raw []byte) (*Quote, error) {
	q := &Quote{Raw: raw}
	if err := q.Header.Parse(prefix, raw, version); err != nil {
		return nil, err
	}
	if len(raw) < signed {
		return nil, dcap.LengthError(prefix, "the quote has a report")
	}
	q.Body.Decode(raw[dcap.HeaderSize:])
	var err error
	if q.Signature, err = dcap.ParseSignature(prefix, raw[signed:], false); err != nil {
		return nil, err
	}
	return q, nil
}

// Input is what there is to verify, and what to verify it with.
type Input struct {
	Quote      []byte
	Collateral dcap.Collateral
	Roots      *roots.Set
	Now        time.Time
	Memo       *pki.Memo
}

// Claims is what a quote says once it is verified. What it is worth is for
// policy to decide: Verify accepts debug enclaves, outdated platforms and
// missing collateral, and reports them here.
type Claims struct {
	Quote      *Quote
	Body       *dcap.Report      // the enclave; within Quote
	PCK        *dcap.PCK         // the platform; nil if the quote does not say
	Root       *x509.Certificate // the trust anchor; nil if the chain ends in none
	TCB        dcap.Status       // Platform and QE together
	Platform   dcap.Status
	QE         dcap.Status
	TCBInfo    *dcap.TCBInfo    // what Platform is judged by, if there is one
	QEIdentity *dcap.QEIdentity // what QE is judged by, if there is one
	Collateral []pki.Dated
}

// Verify checks a quote and records each check in g. It returns nil if the
// quote cannot be read.
func Verify(g *check.Group, in Input) *Claims {
	q, err := ParseQuote(in.Quote)
	if err != nil {
		var format *dcap.FormatError
		errors.As(err, &format)
		g.Fail(format.Check)
		return nil
	}
	q.Header.Check(g, prefix)
	reserved(g, &q.Body)
	facts := dcap.Verify(g, dcap.Kind{
		Prefix: prefix, TCBInfo: dcap.IDSGX, QEIdentity: dcap.IDQE,
		API: "https://api.trustedservices.intel.com/sgx/certification/v4/",
	}, dcap.Input{Collateral: in.Collateral, Roots: in.Roots, Now: in.Now, Memo: in.Memo}, in.Quote[:signed], q.Signature)
	c := &Claims{
		Quote: q, Body: &q.Body, PCK: facts.PCK, Root: facts.Root, QE: facts.QE,
		TCBInfo: facts.TCBInfo, QEIdentity: facts.QEIdentity, Collateral: facts.Collateral,
	}
	if facts.TCBInfo != nil {
		c.Platform = facts.TCBInfo.PlatformStatus(g.Sub("Version of the platform"), prefix, facts.PCK, nil)
	}
	c.TCB = c.Platform.And(c.QE)
	return c
}

// reserved requires what is reserved to be zero: nobody knows what it would
// mean otherwise.
func reserved(g *check.Group, body *dcap.Report) {
	g.Require(body.ReservedZero(), check.Check{
		Code: "sgx.report.reserved", What: "reserved bytes of the enclave's report are zero",
		Source: "Intel SDM volume 3D, REPORT",
	})
	g.Require(body.Attributes.Unknown() == 0, check.Check{
		Code: "sgx.attributes.reserved", What: "reserved attributes of the enclave are not set",
		Found: body.Attributes, Source: "Intel SDM volume 3D, ATTRIBUTES",
	})
}
