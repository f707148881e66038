// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"
	"time"

	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// A hierarchy as AMD's, but of P-384 keys, which are quicker to make than RSA
// keys and can be made from a seed, so that fuzzing processes agree on them.
// The real reports are what covers RSA.

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// fixedKey makes the same key from the same seed.
func fixedKey(t testing.TB, curve elliptic.Curve, seed string) *ecdsa.PrivateKey {
	t.Helper()
	sum := sha512.Sum512([]byte(seed))
	scalar := sum[:curve.Params().BitSize/8]
	scalar[0] = 0 // below the order
	key, err := ecdsa.ParseRawPrivateKey(curve, scalar)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// authorityOf makes a certificate authority, a root if by is nil. Its key
// comes from the seed.
func authorityOf(t testing.TB, by *authority, name, seed string, serial int64) *authority {
	t.Helper()
	key := fixedKey(t, elliptic.P384(), seed)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"Advanced Micro Devices"}, CommonName: name},
		NotBefore: m1.AddDate(-5, 0, 0), NotAfter: m1.AddDate(20, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: by != nil, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{template, key}
	if by == nil {
		by = a
	}
	a.cert = sign(t, by, template, key)
	return a
}

func sign(t testing.TB, by *authority, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) list(t testing.TB, serials ...int64) *pki.CRL {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: m1.AddDate(0, -1, 0), NextUpdate: m1.AddDate(1, 0, 0)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: m1.AddDate(0, -1, 0)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := pki.ParseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	return crl
}

// A platform is one chip with everything that vouches for it. Tests change it
// and have it make a certificate and a report.
type platform struct {
	ark, ask *authority
	key      *ecdsa.PrivateKey
	name     string // of the endorsed key
	exts     []extension
	report   []byte // not signed yet
	change   func(*x509.Certificate)
	spoil    func(report []byte) // after it was signed
	more     []*x509.Certificate // beside its certificate
	crls     []*pki.CRL
	omit     bool // its certificate
	now      time.Time
}

type extension struct {
	id    int
	value []byte
}

func integer(n int64) []byte { return must(asn1.Marshal(n)) }
func ia5String(s string) []byte {
	return must(asn1.MarshalWithParams(s, "ia5"))
}
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// newPlatform makes a platform of that product line whose reports are of that
// version and signed by that kind of key.
func newPlatform(t testing.TB, product string, version uint32, kind SigningKey) *platform {
	t.Helper()
	p := &platform{now: m1}
	p.ark = authorityOf(t, nil, "ARK-"+product, "ark "+product, 1)
	hw := bytes.Repeat([]byte{0xc1}, hwidSize)
	cpu := map[string][]byte{Milan: {0x19, 0x01, 1}, Genoa: {0x19, 0xa0, 2}, Turin: {0x1a, 0x02, 1}}[product]
	tcb := []byte{4, 1, 0, 0, 0, 0, 24, 219}
	levels := map[int]int64{extBootloader: 4, extTEE: 1, extSNP: 24, extMicrocode: 219}
	if product == Turin {
		hw = hw[:turinHWID]
		tcb = []byte{2, 4, 1, 24, 0, 0, 0, 219}
		levels[extFMC] = 2
	}
	p.exts = []extension{{extVersion, integer(0)}, {extProduct, ia5String(product)}, {extSpare4 + 1, integer(0)}}
	for _, id := range []int{extBootloader, extTEE, extSNP, extMicrocode, extFMC} {
		if n, ok := levels[id]; ok {
			p.exts = append(p.exts, extension{id, integer(n)})
		}
	}
	r := make([]byte, ReportSize)
	le := binary.LittleEndian
	le.PutUint32(r, version)
	le.PutUint64(r[0x08:], uint64(PolicySMT|PolicyMustBeOne)|1<<8|51)
	le.PutUint32(r[0x34:], 1)
	le.PutUint32(r[0x48:], uint32(kind)<<2)
	for _, at := range []int{0x38, 0x180, 0x1e0, 0x1f0} {
		copy(r[at:], tcb)
	}
	copy(r[0x1e8:], []byte{29, 55, 1, 0, 29, 55, 1})
	if version >= 3 {
		copy(r[0x188:], cpu)
	}
	if version >= 5 {
		r[0x1f8], r[0x200] = 0x3f, 0x3f
	}
	if kind == SignedByVLEK {
		p.name, p.ask = "SEV-VLEK", authorityOf(t, p.ark, "SEV-VLEK-"+product, "asvk "+product, 3)
		p.exts = append(p.exts, extension{extCSPID, ia5String("CN=cloud.example")})
	} else {
		p.name, p.ask = "SEV-VCEK", authorityOf(t, p.ark, "SEV-"+product, "ask "+product, 2)
		p.exts = append(p.exts, extension{extHWID, hw})
		copy(r[0x1a0:], hw)
	}
	p.report = r
	p.key = fixedKey(t, elliptic.P384(), "chip "+product+p.name)
	return p
}

// set replaces the value of an extension.
func (p *platform) set(id int, value []byte) {
	for i := range p.exts {
		if p.exts[i].id == id {
			p.exts[i].value = value
			return
		}
	}
	p.exts = append(p.exts, extension{id, value})
}

func (p *platform) drop(id int) {
	p.exts = slices.DeleteFunc(p.exts, func(x extension) bool { return x.id == id })
}

func (p *platform) certificate(t testing.TB) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: p.name},
		NotBefore: m1.AddDate(-1, 0, 0), NotAfter: m1.AddDate(6, 0, 0),
	}
	for _, x := range p.exts {
		oid := append(asn1.ObjectIdentifier{}, amdOID[:]...)
		if x.id > 0xff {
			oid = append(oid, x.id>>8)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: append(oid, x.id&0xff), Value: x.value})
	}
	if p.change != nil {
		p.change(template)
	}
	return sign(t, p.ask, template, p.key)
}

// signed returns the report, signed.
func (p *platform) signed(t testing.TB) []byte {
	t.Helper()
	report := bytes.Clone(p.report)
	digest := sha512.Sum384(report[:signedSize])
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []*big.Int{r, s} {
		scalar := n.FillBytes(make([]byte, scalarSize))
		slices.Reverse(scalar)
		copy(report[signedSize+i*scalarSize:], scalar)
	}
	if p.spoil != nil {
		p.spoil(report)
	}
	return report
}

func (p *platform) input(t testing.TB) Input {
	t.Helper()
	in := Input{
		Report: p.signed(t), Certificates: slices.Clone(p.more), CRLs: p.crls, Now: p.now,
		Roots: &roots.Set{AMD: []*x509.Certificate{p.ark.cert}, Intermediates: []*x509.Certificate{p.ask.cert}},
	}
	if !p.omit {
		in.Certificates = append(in.Certificates, p.certificate(t))
	}
	return in
}
