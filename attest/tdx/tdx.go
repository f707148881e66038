// SPDX-License-Identifier: Apache-2.0

// Package tdx verifies quotes of Intel TDX trust domains: versions 4 and 5,
// ECDSA with P-256, as Intel's TD quoting enclave makes them. The layouts are
// those of Intel TDX DCAP, Quote Generation Library and Quote Verification
// Library, appendix A; what they share with quotes of enclaves is in package
// dcap.
package tdx

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

const (
	prefix      = "tdx"
	quoteSource = "Intel TDX DCAP Quote Generation Library and Quote Verification Library, appendix A"
)

// Types of bodies in quotes of version 5.
const (
	typeSGX  = 1
	typeTD10 = 2
	typeTD15 = 3
)

// A Quote is what a trust domain is attested with.
type Quote struct {
	Header    dcap.Header
	BodyType  uint16 // 2 for TDX 1.0 and 3 for TDX 1.5; version 4 does not say and is 2
	Body      Body
	Signature *dcap.Signature
	Signed    []byte // header and body, and what describes the body in between
	Raw       []byte // the quote, and zeros that may follow it
}

// IsQuote reports whether b begins like a TDX quote of version 4 or 5.
func IsQuote(b []byte) bool { return dcap.IsQuote(b, dcap.TEETypeTDX, 4, 5) }

// ParseQuote reads a quote. Its fields are views of raw, which must not change
// after. The error is a [*dcap.FormatError].
func ParseQuote(raw []byte) (*Quote, error) {
	q := &Quote{Raw: raw, BodyType: typeTD10}
	if err := q.Header.Parse(prefix, raw, 4, 5); err != nil {
		return nil, err
	}
	start, size := dcap.HeaderSize, sizeTD10
	if q.Header.Version == 5 {
		if len(raw) < dcap.HeaderSize+6 {
			return nil, dcap.LengthError(prefix, "the quote says what its body is")
		}
		q.BodyType = binary.LittleEndian.Uint16(raw[start:])
		length := binary.LittleEndian.Uint32(raw[start+2:])
		start += 6
		if c := q.bodyType(); q.BodyType != typeTD10 && q.BodyType != typeTD15 {
			return nil, &dcap.FormatError{Check: c}
		}
		if q.BodyType == typeTD15 {
			size = sizeTD15
		}
		if c := q.bodySize(size, length); uint64(length) != uint64(size) {
			return nil, &dcap.FormatError{Check: c}
		}
	} else if c := q.Header.TEETypeCheck(prefix); q.Header.TEEType != dcap.TEETypeTDX {
		return nil, &dcap.FormatError{Check: c} // the body of an enclave is another
	}
	end := start + size
	if len(raw) < end {
		return nil, dcap.LengthError(prefix, "the quote has a body")
	}
	q.Body.decode(raw[start:end:end])
	q.Signed = raw[:end:end]
	var err error
	if q.Signature, err = dcap.ParseSignature(prefix, raw[end:], true); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *Quote) bodyType() check.Check {
	return check.Check{
		Code: "tdx.body.type", What: "the body is a TD report of TDX 1.0 or 1.5",
		Expected: check.Text("2 or 3"), Found: check.Uint(q.BodyType), Source: quoteSource,
		Fix: "none: this is a quote of something else, or newer than this verifier",
	}
}

func (q *Quote) bodySize(size int, length uint32) check.Check {
	return check.Check{
		Code: "tdx.body.size", What: "the body has the size of its type",
		Expected: check.Uint(size), Found: check.Uint(length), Source: quoteSource,
		Fix: "none: the quote was altered",
	}
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
// policy to decide: Verify accepts TDs under debug, outdated platforms and
// missing collateral, and reports them here.
type Claims struct {
	Quote      *Quote
	Body       *Body             // the trust domain; within Quote
	PCK        *dcap.PCK         // the platform; nil if the quote does not say
	Root       *x509.Certificate // the trust anchor; nil if the chain ends in none
	TCB        dcap.Status       // Platform, Module, Current and QE together
	Platform   dcap.Status
	Module     dcap.Status // the TDX module, where Intel judges it apart from the platform
	Current    dcap.Status // platform and module, where what runs now is no better than what the TD was started under
	QE         dcap.Status
	TCBInfo    *dcap.TCBInfo    // what Platform and Module are judged by, if there is one
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
	if q.Header.Version == 5 {
		g.Require(true, q.bodyType())
	}
	g.Require(q.Body.Attributes.Unknown() == 0, check.Check{
		Code: "tdx.attributes.reserved", What: "reserved attributes of the trust domain are not set",
		Found: q.Body.Attributes, Source: "Intel TDX Module ABI specification, ATTRIBUTES",
	})
	facts := dcap.Verify(g, dcap.Kind{
		Prefix: prefix, TCBInfo: dcap.IDTDX, QEIdentity: dcap.IDTDQE,
		API: "https://api.trustedservices.intel.com/tdx/certification/v4/",
	}, dcap.Input{Collateral: in.Collateral, Roots: in.Roots, Now: in.Now, Memo: in.Memo}, q.Signed, q.Signature)
	c := &Claims{
		Quote: q, Body: &q.Body, PCK: facts.PCK, Root: facts.Root, QE: facts.QE,
		TCBInfo: facts.TCBInfo, QEIdentity: facts.QEIdentity, Collateral: facts.Collateral,
	}
	c.module(g.Sub("TDX module"))
	if c.TCBInfo != nil {
		platform := g.Sub("Version of the platform")
		c.Platform = c.TCBInfo.PlatformStatus(platform, prefix, c.PCK, &q.Body.TEETCBSVN)
		c.current(platform)
	}
	c.TCB = c.Platform.And(c.Module, c.Current, c.QE)
	return c
}
