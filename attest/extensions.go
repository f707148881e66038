// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// extension is one requested extension.
type extension struct {
	oid      asn1.ObjectIdentifier
	critical bool
	value    []byte
}

// maxExtensions is more than can be good.
const maxExtensions = 16

// attributes reads the attributes, which may hold requested extensions and
// nothing else, and the extensions in them.
func (req *Request) attributes(raw cryptobyte.String, memo *pki.Memo) bool {
	all, err := readAttributes(raw)
	if err != nil {
		return req.refuse("csr.attributes", "the only attribute is a list of requested extensions", stewards,
			"ask for extensions in an extensionRequest attribute (1.2.840.113549.1.9.14), and for nothing else", err)
	}
	for _, e := range all {
		if !req.extension(e, memo) {
			return false
		}
	}
	if req.Evidence == nil {
		return req.refuse("csr.evidence", "the request carries evidence", stewards,
			"put the evidence into an extension: 1.3.6.1.4.1.58270.1.3 for SNP, .2 for SGX, .4 for TDX, .1 for no hardware", nil)
	}
	req.Evidence.Key = req.RawSPKI
	return req.fits()
}

// readAttributes reads SET OF Attribute.
func readAttributes(raw cryptobyte.String) ([]extension, error) {
	r := &reader{String: raw}
	var all []extension
	for r.err == nil && !r.String.Empty() {
		attribute := r.within("attribute", der.SEQUENCE)
		var oid asn1.ObjectIdentifier
		switch {
		case attribute.err != nil:
			return nil, attribute.err
		case !attribute.ReadASN1ObjectIdentifier(&oid):
			return nil, errors.New("attribute: no object identifier")
		case !oid.Equal(oidExtensionRequest):
			return nil, fmt.Errorf("attribute %v", oid)
		}
		values := attribute.within("attribute values", der.SET)
		for values.err == nil && !values.String.Empty() {
			list := values.within("Extensions", der.SEQUENCE)
			for list.err == nil && !list.String.Empty() {
				if len(all) == maxExtensions {
					return nil, fmt.Errorf("more than %d extensions", maxExtensions)
				}
				all = append(all, list.extension())
			}
			list.done(values, "Extensions")
		}
		values.done(attribute, "attribute values")
		attribute.done(r, "attribute")
	}
	return all, r.err
}

func (r *reader) extension() (e extension) {
	s := r.within("Extension", der.SEQUENCE)
	if !s.ReadASN1ObjectIdentifier(&e.oid) {
		s.fail("Extension: no object identifier")
	}
	// DER leaves the default out, but a false that is written down says the same.
	if s.err == nil && s.PeekASN1Tag(der.BOOLEAN) && !s.ReadASN1Boolean(&e.critical) {
		s.fail("Extension: critical is not a boolean")
	}
	value := s.within("extnValue", der.OCTET_STRING)
	e.value = value.String
	s.done(r, "Extension")
	return e
}

// extension takes one requested extension.
func (req *Request) extension(e extension, memo *pki.Memo) bool {
	t, isEvidence := technologyOf(e.oid)
	switch {
	case isEvidence:
		return req.evidence(t, e, memo)
	case e.oid.Equal(oidSAN):
		return req.names(e)
	}
	return req.refuse("csr.extensions", "every requested extension is evidence or URIs", stewards,
		"ask only for the evidence and a subjectAltName with URIs", fmt.Errorf("extension %v", e.oid))
}

func (req *Request) evidence(t Technology, e extension, memo *pki.Memo) bool {
	if req.Evidence != nil {
		return req.refuse("csr.evidence.duplicate", "there is one evidence extension", stewards, "send one extension",
			fmt.Errorf("a second one, %v", e.oid))
	}
	if e.critical {
		return req.refuse("csr.evidence.critical", "the evidence extension is not critical", stewards, "leave critical out", nil)
	}
	if t == None && len(e.value) != 0 {
		return req.refuse("csr.evidence.encoding", "the evidence is in a known shape", stewards, "the extension for no hardware is empty",
			fmt.Errorf("%d bytes", len(e.value)))
	}
	ev, err := ParseEvidence(t, e.value, memo)
	if err != nil {
		return req.refuse("csr.evidence.encoding", "the evidence is in a known shape", "docs/evidence.md, shapes",
			"send the evidence in one of the documented shapes", err)
	}
	req.Evidence = ev
	req.pass("csr.evidence.encoding", "the evidence is in a known shape")
	return true
}

// names reads a subjectAltName of URIs.
func (req *Request) names(e extension) bool {
	const code, what = "csr.san", "the subjectAltName holds URIs that a Steward vouches for"
	const fix = "ask for ni:///sha-256;…, enarx:host/user/repo:tag and urn:enarx:log:… at most once each, or for no subjectAltName"
	if req.sans++; req.sans > 1 {
		return req.refuse(code, what, stewards, fix, errors.New("a second subjectAltName"))
	}
	uris, err := readURIs(e.value)
	if err == nil {
		req.Names, err = ParseURIs(uris)
	}
	if err != nil {
		return req.refuse(code, what, stewards, fix, err)
	}
	req.pass(code, what)
	req.uris = uris
	return true
}

// readURIs reads GeneralNames, of which only uniformResourceIdentifier is taken.
func readURIs(value []byte) ([]string, error) {
	r := &reader{String: value}
	names := r.within("GeneralNames", der.SEQUENCE)
	var all []string
	for names.err == nil && !names.String.Empty() {
		uri := names.within("uniformResourceIdentifier", der.Tag(6).ContextSpecific())
		if len(all) == maxURIs || len(uri.String) > maxURL {
			names.fail("too many URIs, or one of more than %d bytes", maxURL)
		}
		for _, b := range uri.String {
			if b <= ' ' || b >= 0x7f {
				names.fail("a URI with byte 0x%02x", b)
			}
		}
		all = append(all, string(uri.String))
	}
	names.done(r, "GeneralNames")
	r.done(r, "subjectAltName")
	if r.err == nil && len(all) == 0 {
		return nil, errors.New("GeneralNames: empty")
	}
	return all, r.err
}

// fits requires the key to be of the kind that the technology binds.
func (req *Request) fits() bool {
	ev := req.Evidence
	ev.URIs = req.uris
	want := ""
	key, isEC := req.PublicKey.(*ecdsa.PublicKey)
	switch {
	case ev.Technology == SNP && !(isEC && key.Curve == elliptic.P384()):
		want = "a P-384 key"
	case ev.Technology == SGX && !(isEC && key.Curve == elliptic.P256()):
		want = "a P-256 key"
	case ev.Technology == TDX && !isEC:
		want = "a P-256 or P-384 key"
	}
	c := check.Check{
		Code: "csr.key.technology", What: "the key is of the kind that goes with the evidence",
		Source: "spec/steward.md section 2.2: the key's algorithm is the endorsement key's",
	}
	if want != "" {
		c.Expected, c.Found = check.Text(want), check.Text(keyName(req.PublicKey))
		c.Fix = "make the request with " + want
	}
	return req.Checks.Require(want == "", c)
}

func keyName(key any) string {
	if ec, ok := key.(*ecdsa.PublicKey); ok {
		return ec.Curve.Params().Name
	}
	return fmt.Sprintf("%T", key)
}

// ParseRequests splits a bundle, SEQUENCE OF CertificationRequest, into its
// requests, of which there may be limit.
func ParseRequests(data []byte, limit int) ([][]byte, error) {
	if len(data) > maxRequest {
		return nil, fmt.Errorf("%w: bundle: %d bytes, more than %d", ErrRequest, len(data), maxRequest)
	}
	r := &reader{String: data}
	list := r.within("bundle", der.SEQUENCE)
	var all [][]byte
	for list.err == nil && !list.String.Empty() {
		if len(all) == limit {
			list.fail("bundle: more than %d requests", limit)
			break
		}
		all = append(all, list.element("bundle", der.SEQUENCE))
	}
	list.done(r, "bundle")
	r.done(r, "bundle")
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, r.err)
	}
	return all, nil
}
