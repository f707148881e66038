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
		return struct{}{}, issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSRevocationList, c.Signature)
	}, c.Raw, issuer.RawSubjectPublicKeyInfo)
	return err
}

// newest returns the CRL that issuer signed last, found by the issuer's name
// and key, never by where it was published. CRLs in that name with a bad
// signature are counted, not used, as are those of an issuer whose key usage
// does not allow them. A CRL that is not of this time yet is used
// only if there is no other.
func (m *Memo) newest(crls []*CRL, issuer *x509.Certificate, now time.Time) (best *CRL, forged int) {
	for _, c := range crls {
		if !bytes.Equal(c.RawIssuer, issuer.RawSubject) ||
			len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
			continue
		}
		if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 || m.crlSignedBy(c, issuer) != nil {
			forged++
			continue
		}
		if best == nil || best.ThisUpdate.After(now) ||
			c.ThisUpdate.After(best.ThisUpdate) && !c.ThisUpdate.After(now) {
			best = c
		}
	}
	return best, forged
}
