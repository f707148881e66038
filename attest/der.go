// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/pki"
)

// What a stranger may send.
const (
	maxEvidence     = 1 << 20 // bytes of one extension
	maxReport       = 64 << 10
	maxCRLs         = 64
	maxCertificates = 16
	maxURL          = 1 << 10
)

// The extensions that carry evidence. TDX is ours: the others are upstream's.
var (
	OIDNone = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 1}
	OIDSGX  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 2}
	OIDSNP  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 3}
	OIDTDX  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 58270, 1, 4}
)

// reader reads DER fields one after the other, and keeps the first error with
// the name of the field it is in.
type reader struct {
	cryptobyte.String
	err  error
	memo *pki.Memo
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// within returns a reader of the contents of the next element, which must have
// that tag, and takes it out of r. Its errors are reported by done.
func (r *reader) within(name string, tag der.Tag) *reader {
	sub := &reader{memo: r.memo, err: r.err}
	before := r.String
	if r.err == nil && !r.ReadASN1(&sub.String, tag) {
		r.fail("%s: %s", name, wanted(before, tag))
		sub.err = r.err
	}
	return sub
}

var tagNames = map[der.Tag]string{
	der.SEQUENCE: "SEQUENCE", der.OCTET_STRING: "OCTET STRING", der.UTF8String: "UTF8String", der.BIT_STRING: "BIT STRING",
	der.INTEGER: "INTEGER", der.SET: "SET", der.OBJECT_IDENTIFIER: "OBJECT IDENTIFIER", der.BOOLEAN: "BOOLEAN", der.PrintableString: "PrintableString",
	der.IA5String: "IA5String", der.NULL: "NULL",
}

func tagName(tag der.Tag) string {
	if name, ok := tagNames[tag]; ok {
		return name
	}
	return fmt.Sprintf("tag 0x%02x", uint8(tag))
}

// wanted says why an element with that tag could not be read from s.
func wanted(s cryptobyte.String, tag der.Tag) string {
	switch {
	case s.Empty():
		return "missing"
	case der.Tag(s[0]) != tag:
		return "expected " + tagName(tag) + ", found " + tagName(der.Tag(s[0]))
	}
	return "bad or truncated DER"
}

// done reports bytes that are left over, and gives r's error to its parent.
func (r *reader) done(parent *reader, name string) {
	if r.err == nil && !r.String.Empty() {
		r.fail("%s: %d bytes too many", name, len(r.String))
	}
	if parent.err == nil {
		parent.err = r.err
	}
}

// element returns the next element with its header.
func (r *reader) element(name string, tag der.Tag) []byte {
	var raw cryptobyte.String
	before := r.String
	if r.err == nil && !r.ReadASN1Element(&raw, tag) {
		r.fail("%s: %s", name, wanted(before, tag))
	}
	return raw
}

// octets returns the contents of the next OCTET STRING of 1 to limit bytes.
func (r *reader) octets(name string, limit int) []byte {
	s := r.within(name, der.OCTET_STRING)
	switch {
	case r.err != nil:
		return nil
	case len(s.String) == 0:
		r.fail("%s: empty", name)
	case len(s.String) > limit:
		r.fail("%s: %d bytes, more than %d", name, len(s.String), limit)
	}
	return s.String
}

func (r *reader) certificate(name string) *x509.Certificate {
	raw := r.element(name, der.SEQUENCE)
	if r.err != nil {
		return nil
	}
	c, err := r.memo.Certificate(raw)
	if err != nil {
		r.fail("%s: %w", name, err)
	}
	return c
}

// certificates reads a SEQUENCE OF Certificate that is not empty.
func (r *reader) certificates(name string) []*x509.Certificate {
	s := r.within(name, der.SEQUENCE)
	if r.err == nil && s.String.Empty() {
		r.fail("%s: empty", name)
	}
	var all []*x509.Certificate
	for s.err == nil && !s.String.Empty() {
		if len(all) == maxCertificates {
			s.fail("%s: more than %d certificates", name, maxCertificates)
			break
		}
		all = append(all, s.certificate(name))
	}
	s.done(r, name)
	return all
}

// A CRLEntry is one element of upstream's list of CRLs, which evidence and the
// cache files of a host have in common.
type CRLEntry struct {
	URL string // where it was published; we find CRLs by issuer, upstream by URL
	DER []byte // one CertificateList
}

var errNoCRL = errors.New("attest: not a list of CRLs")

// crlList reads CrlList ::= SEQUENCE { entries SEQUENCE OF CrlEntry }.
func (r *reader) crlList(name string) []CRLEntry {
	outer := r.within(name, der.SEQUENCE)
	list := outer.within(name, der.SEQUENCE)
	var all []CRLEntry
	for list.err == nil && !list.String.Empty() {
		if len(all) == maxCRLs {
			list.fail("%s: more than %d CRLs", name, maxCRLs)
			break
		}
		entry := list.within(name, der.SEQUENCE)
		url := entry.within(name+" URL", der.UTF8String)
		if len(url.String) > maxURL {
			entry.fail("%s URL: %d bytes, more than %d", name, len(url.String), maxURL)
		}
		if !utf8.Valid(url.String) {
			entry.fail("%s URL: not UTF-8", name)
		}
		raw := entry.element(name+" entry", der.SEQUENCE)
		entry.done(list, name+" entry")
		all = append(all, CRLEntry{string(url.String), raw})
	}
	list.done(outer, name)
	outer.done(r, name)
	return all
}

// crls reads a CrlList and parses what is in it.
func (r *reader) crls(name string) []*pki.CRL {
	entries := r.crlList(name)
	if r.err != nil {
		return nil
	}
	all := make([]*pki.CRL, 0, len(entries))
	for i, e := range entries {
		crl, err := r.memo.CRL(e.DER)
		if err != nil {
			r.fail("%s: entry %d: %w", name, i, err)
			return nil
		}
		all = append(all, crl)
	}
	return all
}

// ParseCRLList reads upstream's list of CRLs.
func ParseCRLList(data []byte) ([]CRLEntry, error) {
	r := &reader{String: data}
	if len(data) > maxEvidence {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", errNoCRL, len(data), maxEvidence)
	}
	all := r.crlList("CRL list")
	if r.err == nil && !r.String.Empty() {
		r.fail("%d bytes too many", len(r.String))
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCRL, r.err)
	}
	return all, nil
}

// MarshalCRLList writes upstream's list of CRLs.
func MarshalCRLList(all []CRLEntry) []byte {
	b := cryptobyte.NewBuilder(nil)
	addCRLList(b, all)
	return b.BytesOrPanic() // only lengths over 4 GiB fail
}

func addCRLList(b *cryptobyte.Builder, all []CRLEntry) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, e := range all {
				b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(der.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.URL)) })
					b.AddBytes(e.DER)
				})
			}
		})
	})
}
