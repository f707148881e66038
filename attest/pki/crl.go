// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"
)

// A CRL is a parsed certificate revocation list. Nothing about it is verified
// until a path is.
type CRL struct {
	*x509.RevocationList
	revoked map[string]time.Time // by the serial number's bytes
}

// ParseCRL parses one DER certificate revocation list.
func ParseCRL(der []byte) (*CRL, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if n := len(der) - len(list.Raw); n > 0 { // which crypto/x509 overlooks
		return nil, fmt.Errorf("%d bytes after the list", n)
	}
	for _, e := range list.Extensions {
		if e.Critical { // a delta list, or one for some certificates only: absence from it means nothing
			return nil, fmt.Errorf("unknown critical extension %v", e.Id)
		}
	}
	crl := &CRL{list, make(map[string]time.Time, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, fmt.Errorf("unknown critical extension %v of serial number %x", x.Id, e.SerialNumber)
			}
		}
		crl.revoked[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	return crl, nil
}

// CRL parses one DER certificate revocation list.
func (m *Memo) CRL(der []byte) (*CRL, error) {
	return Remember(m, "crl", func() (*CRL, error) { return ParseCRL(bytes.Clone(der)) }, der)
}

// Revoked returns since when the certificate with that serial number has been
// revoked.
func (c *CRL) Revoked(serial *big.Int) (since time.Time, ok bool) {
	since, ok = c.revoked[string(serial.Bytes())]
	return since, ok
}

// signedBy checks the signature only.
func (m *Memo) crlSignedBy(c *CRL, issuer *x509.Certificate) error {
	_, err := Remember(m, "crl signature", func() (struct{}, error) {
		return struct{}{}, checkSignature(issuer, c.SignatureAlgorithm, c.RawTBSRevocationList, c.Signature)
	}, c.Raw, issuer.RawSubjectPublicKeyInfo)
	return err
}

// A listing is what an issuer's CRLs say about one certificate.
type listing struct {
	newest  *CRL      // nil: there is none
	revoked bool      // by any of them
	since   time.Time // of the revocation
	forged  int       // CRLs in the issuer's name with a bad signature, or that it may not sign
}

// lookUp looks serial up in the CRLs of issuer, found by its name and key,
// never by where they were published. Any of them revokes, an old one too: an
// issuer may publish several, as AMD does for its ASK and its ASVK, and who
// presents evidence chooses what to present with it. A CRL that is not of this
// time yet is the newest only if there is no other.
func (m *Memo) lookUp(crls []*CRL, issuer *x509.Certificate, serial *big.Int, now time.Time) (l listing) {
	for _, c := range crls {
		if !bytes.Equal(c.RawIssuer, issuer.RawSubject) ||
			len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
			continue
		}
		if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 || m.crlSignedBy(c, issuer) != nil {
			l.forged++
			continue
		}
		if since, ok := c.Revoked(serial); ok && !l.revoked {
			l.revoked, l.since = true, since
		}
		if l.newest == nil || l.newest.ThisUpdate.After(now) ||
			c.ThisUpdate.After(l.newest.ThisUpdate) && !c.ThisUpdate.After(now) {
			l.newest = c
		}
	}
	return l
}
