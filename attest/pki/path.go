// SPDX-License-Identifier: Apache-2.0

// Package pki validates the certificate paths of TEE vendors. crypto/x509
// verifies signatures and parses; this package does what its Verify cannot do
// for these hierarchies: an injected clock for every certificate, serial number
// zero, revocation lists found by issuer and signature, and a named check for
// each rule. It follows RFC 5280 section 6 as far as vendors' paths go: no
// policies, no name constraints, nothing unknown that is critical.
package pki

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"enarx.dev/enarx/attest/check"
)

// A Link is one certificate of a path.
type Link struct {
	Code  string // what the codes of its checks start with, like "snp.vcek"
	Title string // what people call it, like "VCEK"
	Cert  *x509.Certificate
	CRL   bool // as an issuer, it publishes a revocation list
}

// Dated is a piece of collateral that is good for a while. Whether a stale or
// missing one is tolerated is policy, so verification reports it as it is.
type Dated struct {
	Code     string    // of the check on it, like "snp.ark.crl"
	Title    string    // what people call it, like "CRL of ARK-Milan"
	Missing  bool      // there is none; the times are zero
	Issued   time.Time // CRL thisUpdate, TCB info issueDate
	Next     time.Time // CRL nextUpdate, TCB info nextUpdate; zero: none was promised
	Forged   int       // pieces in its name whose signature is bad
	Kind     string    // "crl", "tcb-info" or "qe-identity"
	FetchFix string    // how to get a current one
}

// State of d at now: "fresh", "missing", "stale" or "not yet valid". A list
// that promises no next one is stale: it says nothing about today.
func (d *Dated) State(now time.Time) string {
	switch {
	case d.Missing:
		return "missing"
	case now.Before(d.Issued):
		return "not yet valid"
	case !now.Before(d.Next):
		return "stale"
	}
	return "fresh"
}

// Path holds what validating paths needs.
type Path struct {
	Now  time.Time
	CRLs []*CRL
	Memo *Memo
}

const rfc5280 = "RFC 5280 section "

// Validate checks the path links, leaf first and trust anchor last, and
// reports the revocation list of each issuer that publishes one. The caller
// has established that the last link is a trust anchor.
func (p Path) Validate(g *check.Group, links ...Link) (lists []Dated, ok bool) {
	ok = true
	for i, l := range links {
		ok = p.validity(g, l) && ok
		if i > 0 {
			ok = authority(g, l, i-1) && ok
		}
		if i == len(links)-1 {
			break
		}
		issuer := links[i+1]
		if !p.issued(g, l, issuer) {
			ok = false
			continue
		}
		if issuer.CRL {
			list, good := p.revocation(g, l, issuer)
			lists, ok = append(lists, list), good && ok
		}
	}
	return lists, ok
}

// validity requires the certificate to be of this time.
func (p Path) validity(g *check.Group, l Link) bool {
	c := l.Cert
	return g.Require(!p.Now.Before(c.NotBefore) && !p.Now.After(c.NotAfter), check.Check{
		Code: l.Code + ".validity", What: "the " + l.Title + " certificate is valid at this time",
		Expected: check.Func(func() string { return check.Time(c.NotBefore).String() + " to " + check.Time(c.NotAfter).String() }),
		Found:    check.Time(p.Now), Source: rfc5280 + "6.1.3 (a)(2)",
		Fix: "verify at a time inside the validity, or present a re-issue of the certificate",
	})
}

// issued requires the child's names and signature to lead to the issuer.
func (p Path) issued(g *check.Group, l, issuer Link) bool {
	named := bytes.Equal(l.Cert.RawIssuer, issuer.Cert.RawSubject) &&
		(len(l.Cert.AuthorityKeyId) == 0 || len(issuer.Cert.SubjectKeyId) == 0 || bytes.Equal(l.Cert.AuthorityKeyId, issuer.Cert.SubjectKeyId))
	if !g.Require(named, check.Check{
		Code: l.Code + ".issuer", What: "the " + l.Title + " names the " + issuer.Title + " as its issuer",
		Expected: check.Func(func() string { return issuer.Cert.Subject.String() }),
		Found:    check.Func(func() string { return l.Cert.Issuer.String() }), Source: rfc5280 + "6.1.3 (a)(4)",
		Fix: "present the certificate of that issuer",
	}) {
		return false
	}
	err := p.Memo.SignedBy(l.Cert, issuer.Cert)
	c := check.Check{
		Code: l.Code + ".signature", What: "the " + l.Title + " certificate is signed by the " + issuer.Title,
		Source: rfc5280 + "6.1.3 (a)(1)",
	}
	if err != nil {
		c.Found, c.Fix = check.Text(err.Error()), "none: the certificate was altered or is of another issuer"
	}
	return g.Require(err == nil, c)
}

// SignedBy checks that the key of issuer signed c, and nothing else.
func (m *Memo) SignedBy(c, issuer *x509.Certificate) error {
	_, err := Remember(m, "certificate signature", func() (struct{}, error) {
		return struct{}{}, checkSignature(issuer, c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	}, c.Raw, issuer.RawSubjectPublicKeyInfo)
	return err
}

// maxRSA is the size of the largest RSA key that is used, in bits, as in
// crypto/tls: vendors have 4096, and a stranger's may take seconds.
const maxRSA = 8192

// checkSignature is issuer.CheckSignature for keys of a sensible size.
func checkSignature(issuer *x509.Certificate, algorithm x509.SignatureAlgorithm, signed, signature []byte) error {
	if key, ok := issuer.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return fmt.Errorf("an RSA key of %d bits, more than %d", key.N.BitLen(), maxRSA)
	}
	return issuer.CheckSignature(algorithm, signed, signature)
}

// authority requires l to be allowed to issue certificates with below further
// authorities between it and the leaf.
func authority(g *check.Group, l Link, below int) bool {
	c := l.Cert
	limited := c.MaxPathLen > 0 || c.MaxPathLenZero
	var found string
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		found = "not a CA"
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		found = "its key usage does not allow signing certificates"
	case limited && below > c.MaxPathLen:
		found = fmt.Sprintf("a path length limit of %d", c.MaxPathLen)
	default:
		found = Unhandled(c)
	}
	k := check.Check{Code: l.Code + ".ca", What: "the " + l.Title + " may issue certificates", Source: rfc5280 + "6.1.4 (k) to (o)"}
	if found != "" {
		k.Found = check.Text(found)
	}
	return g.Require(found == "", k)
}

// Unhandled names a critical extension of c that nobody here understands, or "".
func Unhandled(c *x509.Certificate) string {
	if len(c.UnhandledCriticalExtensions) == 0 {
		return ""
	}
	return "unknown critical extension " + asn1.ObjectIdentifier(c.UnhandledCriticalExtensions[0]).String()
}

// revocation looks l up in the lists of its issuer. A list that is out of date
// still revokes.
func (p Path) revocation(g *check.Group, l, issuer Link) (Dated, bool) {
	list := p.Memo.lookUp(p.CRLs, issuer.Cert, l.Cert.SerialNumber, p.Now)
	d := Dated{Code: issuer.Code + ".crl", Title: "CRL of the " + issuer.Title, Kind: "crl", Forged: list.forged}
	if list.newest == nil {
		d.Missing = true
		return d, true
	}
	d.Issued, d.Next = list.newest.ThisUpdate, list.newest.NextUpdate
	c := check.Check{
		Code: l.Code + ".revoked", What: "the " + l.Title + " is not revoked by the " + issuer.Title,
		Source: rfc5280 + "6.1.3 (a)(3)",
	}
	if list.revoked {
		c.Found = check.Func(func() string {
			return fmt.Sprintf("serial number %x revoked since %s", l.Cert.SerialNumber, check.Time(list.since))
		})
		c.Fix = "none for this certificate: a successor has to be issued"
	}
	return d, g.Require(!list.revoked, c)
}
