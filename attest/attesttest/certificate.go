// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"time"
)

// A Name is a distinguished name: one attribute per component, in order.
type Name []Attribute

// An Attribute is one component of a Name.
type Attribute struct {
	Type  asn1.ObjectIdentifier
	Value string
}

var (
	oidCommonName         = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidCountry            = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidLocality           = asn1.ObjectIdentifier{2, 5, 4, 7}
	oidState              = asn1.ObjectIdentifier{2, 5, 4, 8}
	oidOrganization       = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOrganizationalUnit = asn1.ObjectIdentifier{2, 5, 4, 11}
)

// CommonName is the name of nothing but a common name.
func CommonName(cn string) Name { return Name{{oidCommonName, cn}} }

// DER encodes n. As both vendors do, all is UTF-8 but the country.
func (n Name) DER() []byte {
	var parts [][]byte
	for _, a := range n {
		value := utf8(a.Value)
		if a.Type.Equal(oidCountry) {
			value = printable(a.Value)
		}
		parts = append(parts, set(sequence(oid(a.Type), value)))
	}
	return sequence(parts...)
}

// A Certificate is an X.509 certificate, before it is encoded. Every field can
// be changed; what DER returns is properly signed all the same.
type Certificate struct {
	Serial              *big.Int
	Issuer, Subject     Name
	NotBefore, NotAfter time.Time
	PublicKey           crypto.PublicKey
	Extensions          []pkix.Extension
	Signer              crypto.Signer
	Trailer             bool // spell out the default trailer field of RSA-PSS
}

// DER encodes and signs c.
func (c *Certificate) DER() []byte {
	parts := [][]byte{
		explicit(0, integer(2)), bigInteger(c.Serial), algorithm(c.Signer.Public(), c.Trailer), c.Issuer.DER(),
		sequence(instant(c.NotBefore), instant(c.NotAfter)), c.Subject.DER(), SPKI(c.PublicKey),
	}
	if len(c.Extensions) > 0 {
		parts = append(parts, explicit(3, extensions(c.Extensions)))
	}
	return signed(c.Signer, sequence(parts...), c.Trailer)
}

// signed is the outer form that certificates, revocation lists and requests share.
func signed(key crypto.Signer, tbs []byte, trailer bool) []byte {
	return sequence(tbs, algorithm(key.Public(), trailer), bits(sign(key, tbs)))
}

// Extension returns the extension of c with that identifier, or nil.
func (c *Certificate) Extension(id asn1.ObjectIdentifier) *pkix.Extension {
	for i := range c.Extensions {
		if c.Extensions[i].Id.Equal(id) {
			return &c.Extensions[i]
		}
	}
	return nil
}

// Set puts an extension in the place of the one with its identifier, or at the end.
func (c *Certificate) Set(e pkix.Extension) {
	if old := c.Extension(e.Id); old != nil {
		*old = e
		return
	}
	c.Extensions = append(c.Extensions, e)
}

// Remove takes the extension with that identifier out.
func (c *Certificate) Remove(id asn1.ObjectIdentifier) {
	c.Extensions = slices.DeleteFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
}

func extensions(list []pkix.Extension) []byte {
	var parts [][]byte
	for _, e := range list {
		fields := [][]byte{oid(e.Id)}
		if e.Critical {
			fields = append(fields, boolean(true))
		}
		parts = append(parts, sequence(append(fields, octets(e.Value))...))
	}
	return sequence(parts...)
}

// Identifiers of the extensions that both vendors use.
var (
	OIDSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	OIDKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	OIDSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	OIDBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	OIDCRLNumber        = asn1.ObjectIdentifier{2, 5, 29, 20}
	OIDCRLPoints        = asn1.ObjectIdentifier{2, 5, 29, 31}
	OIDAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// SubjectKeyID identifies the key of a certificate.
func SubjectKeyID(key crypto.PublicKey) pkix.Extension {
	return pkix.Extension{Id: OIDSubjectKeyID, Value: octets(keyID(key))}
}

// AuthorityKeyID identifies the key that signed.
func AuthorityKeyID(key crypto.PublicKey) pkix.Extension {
	return pkix.Extension{Id: OIDAuthorityKeyID, Value: sequence(contextOctets(0, keyID(key)))}
}

// contextOctets is an implicitly tagged octet string.
func contextOctets(tag byte, value []byte) []byte {
	return append([]byte{0x80 | tag}, octets(value)[1:]...)
}

// CRLPoint says where revocation lists are published.
func CRLPoint(url string) pkix.Extension {
	return pkix.Extension{Id: OIDCRLPoints, Value: sequence(sequence(explicit(0, explicit(0, contextOctets(6, []byte(url))))))}
}

// KeyUsage allows some uses of a key, of those that crypto/x509 knows below 1<<8.
func KeyUsage(usage x509.KeyUsage) pkix.Extension {
	var b, unused byte
	for i := range 8 {
		if usage&(1<<i) != 0 {
			b |= 0x80 >> i
			unused = byte(7 - i)
		}
	}
	der := bits([]byte{b})
	der[2] = unused
	return pkix.Extension{Id: OIDKeyUsage, Critical: true, Value: der}
}

// BasicConstraints of a CA, with a limit to the path below it unless that is
// negative, or of something that is no CA.
func BasicConstraints(ca bool, below int) pkix.Extension {
	var parts [][]byte
	if ca {
		parts = append(parts, boolean(true))
		if below >= 0 {
			parts = append(parts, integer(int64(below)))
		}
	}
	return pkix.Extension{Id: OIDBasicConstraints, Critical: true, Value: sequence(parts...)}
}

// A CRL is a certificate revocation list, before it is encoded.
type CRL struct {
	Issuer                 Name
	ThisUpdate, NextUpdate time.Time // no promise of a next one if that is zero
	Revoked                []Revoked
	Extensions             []pkix.Extension
	Signer                 crypto.Signer
}

// Revoked is one entry of a CRL.
type Revoked struct {
	Serial *big.Int
	Since  time.Time
}

// DER encodes and signs c.
func (c *CRL) DER() []byte {
	parts := [][]byte{integer(1), algorithm(c.Signer.Public(), false), c.Issuer.DER(), instant(c.ThisUpdate)}
	if !c.NextUpdate.IsZero() {
		parts = append(parts, instant(c.NextUpdate))
	}
	var revoked [][]byte
	for _, r := range c.Revoked {
		revoked = append(revoked, sequence(bigInteger(r.Serial), instant(r.Since)))
	}
	if len(revoked) > 0 {
		parts = append(parts, sequence(revoked...))
	}
	if len(c.Extensions) > 0 {
		parts = append(parts, explicit(0, extensions(c.Extensions)))
	}
	return signed(c.Signer, sequence(parts...), false)
}

func crlNumber(n int64) pkix.Extension { return pkix.Extension{Id: OIDCRLNumber, Value: integer(n)} }

// parsed is der as crypto/x509 reads it.
func parsed(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return c
}
