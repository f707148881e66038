// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
)

// What Intel calls its certificates (Intel SGX PCK Certificate and CRL Profile
// Specification): the roles in this hierarchy are told apart by these names.
const (
	cnPCK         = "Intel SGX PCK Certificate"
	cnPlatformCA  = "Intel SGX PCK Platform CA"
	cnProcessorCA = "Intel SGX PCK Processor CA"
	cnTCBSigning  = "Intel SGX TCB Signing"
)

// chain is the PCK certificate chain in a quote.
type chain struct {
	leaf, ca, root *x509.Certificate
	key            *ecdsa.PublicKey // of the leaf
}

// rememberChain reads a PEM chain of exactly leaf, CA and root.
func rememberChain(m *pki.Memo, text []byte) (*chain, error) {
	return pki.Remember(m, "pck chain", func() (*chain, error) { return parseChain(m, text) }, text)
}

const begin = "-----BEGIN CERTIFICATE-----"

// QuoteChain returns the PCK certificate, its CA and the root that a quote of
// any version holds, before anything about them or the quote is verified.
func QuoteChain(m *pki.Memo, quote []byte) ([]*x509.Certificate, error) {
	start := bytes.Index(quote, []byte(begin))
	if start < 0 {
		return nil, errors.New("the quote holds no certificates")
	}
	c, err := rememberChain(m, quote[start:])
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{c.leaf, c.ca, c.root}, nil
}

func parseChain(m *pki.Memo, text []byte) (*chain, error) {
	var certs [3]*x509.Certificate
	// Some quoting services keep the NUL that ends a C string.
	rest := bytes.TrimRight(text, "\x00"+space)
	for i := range certs {
		rest = bytes.TrimLeft(rest, space)
		if !bytes.HasPrefix(rest, []byte(begin)) {
			return nil, fmt.Errorf("certificate %d of 3 is missing", i+1)
		}
		// pem.Decode passes over what it cannot read, and some quoting services
		// leave out the line's end between certificates, so give it one block.
		end := len(rest)
		if next := bytes.Index(rest[len(begin):], []byte("-----BEGIN")); next >= 0 {
			end = len(begin) + next
		}
		block, junk := pem.Decode(rest[:end])
		if block == nil || len(block.Headers) > 0 || len(bytes.TrimLeft(junk, space)) > 0 {
			return nil, fmt.Errorf("certificate %d of 3 is not PEM", i+1)
		}
		rest = rest[end:]
		cert, err := m.Certificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of 3: %w", i+1, err)
		}
		certs[i] = cert
	}
	if len(rest) > 0 {
		return nil, errors.New("more than 3 certificates")
	}
	key, ok := certs[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key of certificate 1 is not on P-256")
	}
	return &chain{certs[0], certs[1], certs[2], key}, nil
}

// anchor returns the trust anchor with the name and key of cert.
func anchor(trusted []*x509.Certificate, cert *x509.Certificate) *x509.Certificate {
	for _, t := range trusted {
		if bytes.Equal(t.Raw, cert.Raw) {
			return t
		}
	}
	for _, t := range trusted {
		if bytes.Equal(t.RawSubject, cert.RawSubject) && bytes.Equal(t.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) {
			return t
		}
	}
	return nil
}

// chainChecks finds the PCK in the quote, and requires it to be Intel's.
func (v *verification) chainChecks() {
	s := v.signature
	if !v.g.Require(s.CertificationType == certificationPCKChain, check.Check{
		Code: v.prefix + ".certification-data", What: "the quote brings the PCK certificate chain",
		Expected: check.Uint(certificationPCKChain), Found: check.Uint(s.CertificationType), Source: quoteSource,
		Fix: "configure the quoting service with the platform's PCK certificate, so that quotes hold the chain",
	}) {
		return
	}
	g := v.g.Sub("PCK certificate")
	c, err := rememberChain(v.in.Memo, s.Certification)
	k := check.Check{
		Code: v.prefix + ".pck.chain", What: "the chain is a PCK certificate, its CA and the root, in PEM",
		Source: profileSource,
	}
	if err != nil {
		k.Found = check.Text(err.Error())
	}
	if !g.Require(err == nil, k) {
		return
	}
	v.chain = c
	v.role(g, &rolePCK, c.leaf)
	v.role(g, &rolePCKCA, c.ca)
	v.extension(g)
	root := anchor(v.in.Roots.Intel, c.root)
	if !g.Require(root != nil, check.Check{
		Code: v.prefix + ".root.trusted", What: "the chain ends in a trusted root",
		Expected: check.Func(func() string { return names(v.in.Roots.Intel).String() }),
		Found:    check.Func(func() string { return c.root.Subject.String() }), Source: "the roots given to the verifier",
		Fix: "none, unless the root is to be trusted",
	}) {
		return
	}
	v.facts.Root = root
	v.validate(g,
		pki.Link{Code: v.prefix + ".pck", Title: "PCK", Cert: c.leaf},
		pki.Link{Code: v.prefix + ".pck-ca", Title: "PCK CA", Cert: c.ca, CRL: true},
		pki.Link{Code: v.prefix + ".root", Title: "Intel SGX Root CA", Cert: root, CRL: true})
}

// validate checks a path and adds what was found out about revocation lists.
func (v *verification) validate(g *check.Group, links ...pki.Link) {
	path := pki.Path{Now: v.in.Now, CRLs: v.in.CRLs, Memo: v.in.Memo}
	lists, _ := path.Validate(g, links...)
	for _, d := range lists {
		if slices.ContainsFunc(v.facts.Collateral, func(have pki.Dated) bool { return have.Code == d.Code }) {
			continue
		}
		d.FetchFix = "fetch " + rootCRL
		if len(links) > 2 && len(v.facts.Collateral) == 0 {
			d.FetchFix = "fetch " + processorCRL
			if links[1].Cert.Subject.CommonName == cnPlatformCA {
				d.FetchFix = "fetch " + platformCRL
			}
		}
		v.facts.Collateral = append(v.facts.Collateral, d)
	}
}

// Where Intel publishes its revocation lists.
const (
	rootCRL      = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	processorCRL = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor&encoding=der"
	platformCRL  = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
)

// A role is what Intel issued a certificate as.
type role struct {
	code, what string
	names      check.List // common names
	ca         bool
}

var (
	rolePCK     = role{".pck.role", "the first certificate is a PCK certificate", check.List{cnPCK}, false}
	rolePCKCA   = role{".pck-ca.role", "the second certificate is of a PCK CA", check.List{cnPlatformCA, cnProcessorCA}, true}
	roleSigning = role{".tcb-signing.role", "the signer is there to sign TCB infos and QE identities", check.List{cnTCBSigning}, false}
)

// role requires c to be what it is used as.
func (v *verification) role(g *check.Group, r *role, c *x509.Certificate) {
	found := c.Subject.CommonName
	ok := slices.Contains(r.names, found)
	switch {
	case !ok:
	case c.IsCA != r.ca || !r.ca && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		ok, found = false, "one with the wrong basic constraints or key usage"
	case !r.ca:
		if unknown := pki.Unhandled(c); unknown != "" {
			ok, found = false, unknown
		}
	}
	g.Require(ok, check.Check{
		Code: v.prefix + r.code, What: r.what, Expected: r.names, Found: check.Text(found), Source: profileSource,
		Fix: "present the certificate that Intel issued for that",
	})
}

// extension reads what the PCK certificate says about the platform.
func (v *verification) extension(g *check.Group) {
	leaf := v.chain.leaf
	pck, err := pki.Remember(v.in.Memo, "pck", func() (*PCK, error) { return ParsePCK(leaf) }, leaf.Raw)
	k := check.Check{
		Code: v.prefix + ".pck.extension", What: "the PCK certificate says which platform it is for",
		Source: profileSource + ", SGX Extensions",
	}
	if err != nil {
		k.Found = check.Text(err.Error())
	} else {
		k.Found = check.Func(func() string { return "FMSPC " + pck.fmspc })
		v.facts.PCK = pck
	}
	g.Require(err == nil, k)
}

func names(certs []*x509.Certificate) check.List {
	list := check.List{}
	for _, c := range certs {
		list = append(list, c.Subject.CommonName)
	}
	return list
}
