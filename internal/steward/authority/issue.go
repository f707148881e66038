// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// SerialSize is the length of the serial numbers that NewSerial makes.
const SerialSize = 16

// A Template is what a certificate will say.
type Template struct {
	Serial     []byte // big-endian
	NotBefore  time.Time
	NotAfter   time.Time
	Subject    []byte           // DER Name
	PublicKey  []byte           // DER SubjectPublicKeyInfo
	Extensions []pkix.Extension // in this order
}

// EmptyName is the DER of a Name without attributes.
var EmptyName = []byte{0x30, 0}

// NewSerial returns a random serial number that is not zero.
func NewSerial() []byte {
	serial := make([]byte, SerialSize)
	for {
		rand.Read(serial)
		for _, b := range serial {
			if b != 0 {
				return serial
			}
		}
	}
}

var signatureOIDs = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2},
	crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3},
}

// Issue signs a certificate. It is built here and not by x509.CreateCertificate
// because that chooses the extensions' order, criticality and some of the
// extensions themselves, and verifies its own signature each time, which would
// cost as much as verifying a client's.
func (ca *CA) Issue(t *Template) ([]byte, error) {
	size := 512 + len(ca.Certificate.RawSubject) + len(t.Subject) + len(t.PublicKey)
	for _, e := range t.Extensions {
		size += 32 + len(e.Value)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, size))
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { ca.addBody(b, t) })
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("building a certificate: %w", err)
	}
	signature, err := ca.sign(body)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	c := cryptobyte.NewBuilder(make([]byte, 0, size))
	c.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(body)
		ca.addAlgorithm(b)
		b.AddASN1BitString(signature)
	})
	return c.Bytes()
}

func (ca *CA) addBody(b *cryptobyte.Builder, t *Template) {
	b.AddASN1(tag.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) }) // v3
	addUnsigned(b, t.Serial)
	ca.addAlgorithm(b)
	b.AddBytes(ca.Certificate.RawSubject)
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		addTime(b, t.NotBefore)
		addTime(b, t.NotAfter)
	})
	b.AddBytes(t.Subject)
	b.AddBytes(t.PublicKey)
	b.AddASN1(tag.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, e := range t.Extensions {
				addExtension(b, e)
			}
		})
	})
}

// addAlgorithm: the parameters of ECDSA are absent, not NULL (RFC 5758).
func (ca *CA) addAlgorithm(b *cryptobyte.Builder) {
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(signatureOIDs[ca.hash]) })
}

func addUnsigned(b *cryptobyte.Builder, n []byte) {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	b.AddASN1(tag.INTEGER, func(b *cryptobyte.Builder) {
		if n[0] >= 0x80 {
			b.AddUint8(0)
		}
		b.AddBytes(n)
	})
}

// addTime follows RFC 5280 section 4.1.2.5.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

func addExtension(b *cryptobyte.Builder, e pkix.Extension) {
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(e.Id)
		if e.Critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1OctetString(e.Value)
	})
}

var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// KeyUsage says that the key only signs.
var KeyUsage = pkix.Extension{Id: oidKeyUsage, Critical: true, Value: []byte{0x03, 0x02, 0x07, 0x80}}

// NoCA says that the certificate issues no others.
var NoCA = pkix.Extension{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 0}}

// ExtKeyUsage is for both ends of TLS: serverAuth, clientAuth.
var ExtKeyUsage = pkix.Extension{Id: oidExtKeyUsage, Value: []byte{
	0x30, 0x14,
	0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01,
	0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02,
}}

// SubjectAltName returns the extension of DNS names and URIs, which are IA5.
func SubjectAltName(dns, uris []string) (pkix.Extension, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		addNames(b, 2, dns)
		addNames(b, 6, uris)
	})
	value, err := b.Bytes()
	return pkix.Extension{Id: oidSubjectAltName, Value: value}, err
}

func addNames(b *cryptobyte.Builder, number uint8, names []string) {
	for _, name := range names {
		b.AddASN1(tag.Tag(number).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
	}
}

// SubjectKeyID returns the extension that names the key of a DER
// SubjectPublicKeyInfo, by RFC 7093 section 2 (1) as crypto/x509 does.
func SubjectKeyID(spki []byte) (pkix.Extension, error) {
	input := cryptobyte.String(spki)
	var key asn1.BitString
	if !input.ReadASN1(&input, tag.SEQUENCE) || !input.SkipASN1(tag.SEQUENCE) || !input.ReadASN1BitString(&key) {
		return pkix.Extension{}, fmt.Errorf("authority: bug: a request without a public key")
	}
	sum := sha256.Sum256(key.RightAlign())
	var b cryptobyte.Builder
	b.AddASN1OctetString(sum[:20])
	value, err := b.Bytes()
	return pkix.Extension{Id: oidSubjectKeyID, Value: value}, err
}

// AuthorityKeyID returns the extension that names the CA's key, if the CA's
// certificate names it.
func (ca *CA) AuthorityKeyID() (e pkix.Extension, ok bool) {
	if len(ca.Certificate.SubjectKeyId) == 0 {
		return e, false
	}
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(ca.Certificate.SubjectKeyId) })
	})
	return pkix.Extension{Id: oidAuthorityKeyID, Value: b.BytesOrPanic()}, true
}

// keyID is what c calls its key, or what SubjectKeyID would.
func keyID(c *x509.Certificate) []byte {
	if len(c.SubjectKeyId) > 0 {
		return c.SubjectKeyId
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return sum[:20]
}
