// SPDX-License-Identifier: Apache-2.0

// Package attest decides whether evidence of a trusted execution environment
// (TEE) is genuine and good enough. [Verify] establishes what the vendor's
// signatures prove, [Appraise] holds that against a [Policy], and the [Result]
// says for every rule what was expected, what was found and what to change.
//
// Both are pure: evidence, trust anchors, collateral, time and policy are
// arguments. Nothing here reads a clock, a file or a network.
//
// The parts that know a vendor are attest/snp, attest/sgx and attest/tdx. This
// package reads the forms that evidence travels in: PKCS#10 requests with the
// evidence extensions of Enarx ([ParseRequest], [ParseEvidence]) and files of
// any kind ([Recognise]).
package attest

import (
	"crypto/x509"

	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// Technology is a kind of TEE.
type Technology string

// The technologies.
const (
	SNP  Technology = "snp"  // AMD SEV-SNP
	SGX  Technology = "sgx"  // Intel SGX
	TDX  Technology = "tdx"  // Intel TDX
	None Technology = "none" // no hardware: proves nothing
)

var technologyTitles = map[Technology]string{SNP: "AMD SEV-SNP", SGX: "Intel SGX", TDX: "Intel TDX", None: "no hardware"}

// Title is what people call t.
func (t Technology) Title() string {
	if title, ok := technologyTitles[t]; ok {
		return title
	}
	return "unknown technology"
}

// The shapes that evidence has had in requests, spec/steward.md section 2.3.
const (
	ShapeBare  = ""       // a report or quote by itself
	ShapeNone  = "none"   // the empty extension of a Keep without hardware
	ShapeSNPv1 = "snp-v1" // {vcek, report}: up to Steward 0.2.0-rc2
	ShapeSNPv2 = "snp-v2" // {{vcek, crls}, report}
	ShapeSGXv1 = "sgx-v1" // the quote itself: up to Steward 0.2.0-rc2
	ShapeSGXv2 = "sgx-v2" // {quote, crls}: Steward 0.2.0, Enarx 0.7
	ShapeSGXv3 = "sgx-v3" // {quote, crls, tcb}
	ShapeTDXv1 = "tdx-v1" // {quote, crls, tcb, qe}: ours
)

// Evidence is what a Keep shows for itself. Nothing in it is trusted.
type Evidence struct {
	Technology Technology
	Shape      string
	Report     []byte     // the SNP report or the quote; empty for None
	Collateral Collateral // what came with it

	// What the report data must be, if known: the hash of Key, a DER
	// SubjectPublicKeyInfo, or Data, both followed by zeros. Without either
	// the evidence vouches for nobody.
	Key  []byte
	Data []byte

	URIs []string // what the certificate is to say: see CheckURIs
}

// Collateral is what vendors say about their chips: it proves itself by its
// signatures, so it may come from anywhere.
type Collateral struct {
	Certificates []*x509.Certificate
	CRLs         []*pki.CRL
	TCBInfos     []*dcap.TCBInfo
	QEIdentities []*dcap.QEIdentity
}

// Merge returns the collateral of c and more together and changes neither.
// Either may be nil.
func (c *Collateral) Merge(more *Collateral) *Collateral {
	switch {
	case c == nil && more == nil:
		return &Collateral{}
	case more == nil || c != nil && more.Empty():
		return c
	case c == nil || c.Empty():
		return more
	}
	return &Collateral{
		Certificates: join(c.Certificates, more.Certificates),
		CRLs:         join(c.CRLs, more.CRLs),
		TCBInfos:     join(c.TCBInfos, more.TCBInfos),
		QEIdentities: join(c.QEIdentities, more.QEIdentities),
	}
}

// join is append that never writes into a.
func join[T any](a, b []T) []T {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	return append(a[:len(a):len(a)], b...)
}

// Empty reports whether there is nothing in c.
func (c *Collateral) Empty() bool {
	return len(c.Certificates)+len(c.CRLs)+len(c.TCBInfos)+len(c.QEIdentities) == 0
}

// Roots is what a verification trusts, and what it remembers.
type Roots struct {
	*roots.Set
	Memo *pki.Memo // nil: nothing is remembered from one call to the next
}

// memoSize is enough for a data centre's collateral.
const memoSize = 32 << 20

// VendorRoots returns the vendors' trust anchors with a Memo of its own.
func VendorRoots() *Roots { return &Roots{Set: roots.Vendors(), Memo: pki.NewMemo(memoSize)} }
