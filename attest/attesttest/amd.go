// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// AMD is the synthetic vendor AMD, one product line each.
type AMD struct{ Milan, Genoa, Turin *Product }

// Products returns the product lines, oldest first.
func (a *AMD) Products() []*Product { return []*Product{a.Milan, a.Genoa, a.Turin} }

// A Product is a product line with its root key (ARK), the intermediate for the
// keys of chips (ASK) and the one for keys lent to cloud providers (ASVK).
type Product struct {
	Name   string
	Line   int64   // 1 for Milan; serial numbers follow from it
	Report uint32  // version of the reports that its firmware makes
	CPU    [3]byte // CPUID family, model and stepping
	Step   string  // name in certificates
	TCB    TCB     // current firmware

	world *World
}

// A TCB is the security versions of a chip's firmware.
type TCB struct{ FMC, Bootloader, TEE, SNP, Microcode uint8 }

// pack is the layout of TCB_VERSION, which changed with Turin.
func (p *Product) pack(t TCB) [8]byte {
	if p.Name == "Turin" {
		return [8]byte{0: t.FMC, 1: t.Bootloader, 2: t.TEE, 3: t.SNP, 7: t.Microcode}
	}
	return [8]byte{0: t.Bootloader, 1: t.TEE, 6: t.SNP, 7: t.Microcode}
}

func amdName(cn string) Name {
	return Name{
		{oidOrganizationalUnit, "Engineering"}, {oidCountry, "US"}, {oidLocality, "Santa Clara"},
		{oidState, "CA"}, {oidOrganization, "Advanced Micro Devices"}, {oidCommonName, cn},
	}
}

func (p *Product) url(kind string) string {
	return "https://kdsintf.amd.com/" + kind + "/v1/" + p.Name + "/crl"
}

func (p *Product) key(kind string) crypto.Signer { return p.world.RSAKey(p.Name + "/" + kind) }

// made returns what the certificate is with edits made, or without any the one
// that is remembered under name.
func made(w *World, name string, plain func() *Certificate, edits []func(*Certificate)) []byte {
	if len(edits) == 0 {
		return remember(w, "certificate/"+name, func() []byte { return plain().DER() })
	}
	c := plain()
	for _, edit := range edits {
		edit(c)
	}
	return c.DER()
}

// ARK returns the certificate of the root key.
func (p *Product) ARK(edits ...func(*Certificate)) []byte {
	return made(p.world, p.Name+"/ARK", func() *Certificate {
		key, name := p.key("ARK"), amdName("ARK-"+p.Name)
		return &Certificate{
			Serial: big.NewInt(p.Line << 16), Issuer: name, Subject: name, NotBefore: rootsFrom, NotAfter: rootsTo,
			PublicKey: key.Public(), Signer: key, Trailer: true,
			Extensions: []pkix.Extension{
				KeyUsage(certSign | crlSign), SubjectKeyID(key.Public()), BasicConstraints(true, -1), CRLPoint(p.url("vcek")),
			},
		}
	}, edits)
}

// ASK returns the certificate of the intermediate for the keys of chips. Genoa's
// has a successor's number, as AMD's has: its first one is revoked.
func (p *Product) ASK(edits ...func(*Certificate)) []byte {
	serial := p.Line<<16 + 1
	if p.Name == "Genoa" {
		serial++
	}
	return p.intermediate("ASK", "SEV-"+p.Name, "vcek", serial, edits)
}

// ASVK returns the certificate of the intermediate for the keys lent to cloud providers.
func (p *Product) ASVK(edits ...func(*Certificate)) []byte {
	return p.intermediate("ASVK", "SEV-VLEK-"+p.Name, "vlek", p.Line<<16+0x101, edits)
}

func (p *Product) intermediate(kind, name, path string, serial int64, edits []func(*Certificate)) []byte {
	return made(p.world, p.Name+"/"+kind, func() *Certificate {
		key, ark := p.key(kind), p.key("ARK")
		return &Certificate{
			Serial: big.NewInt(serial), Issuer: amdName("ARK-" + p.Name), Subject: amdName(name), NotBefore: rootsFrom, NotAfter: rootsTo,
			PublicKey: key.Public(), Signer: ark, Trailer: true,
			Extensions: []pkix.Extension{
				SubjectKeyID(key.Public()), AuthorityKeyID(ark.Public()), BasicConstraints(true, 0), KeyUsage(certSign), CRLPoint(p.url(path)),
			},
		}
	}, edits)
}

// CRL returns the revocation list of the root key. Genoa's revokes the first ASK.
func (p *Product) CRL(edits ...func(*CRL)) []byte {
	plain := func() *CRL {
		now := p.world.Now
		c := &CRL{
			Issuer: amdName("ARK-" + p.Name), ThisUpdate: now.Add(issued), NextUpdate: now.Add(longLived), Signer: p.key("ARK"),
			Extensions: []pkix.Extension{AuthorityKeyID(p.key("ARK").Public()), crlNumber(3)},
		}
		if p.Name == "Genoa" {
			c.Revoked = []Revoked{{big.NewInt(0x20001), rootsFrom}}
		}
		return c
	}
	return madeCRL(p.world, p.Name, plain, edits)
}

func madeCRL(w *World, name string, plain func() *CRL, edits []func(*CRL)) []byte {
	if len(edits) == 0 {
		return remember(w, "crl/"+name+"/"+w.Now.String(), func() []byte { return plain().DER() })
	}
	c := plain()
	for _, edit := range edits {
		edit(c)
	}
	return c.DER()
}

// A Chip is one processor. Its reports are endorsed by its own key (VCEK), or if
// CSP is set by the key that AMD lent to that cloud provider (VLEK).
type Chip struct {
	*Product
	ID  [64]byte // as in reports; Turin's has 8 bytes and zeroes
	CSP string
}

// Chip returns the chip of that name.
func (p *Product) Chip(name string) *Chip {
	c := &Chip{Product: p}
	p.world.bytes("chip/"+p.Name+"/"+name, c.ID[:p.idSize()])
	return c
}

// Lent returns the chip as a cloud provider uses it that has a key from AMD: it
// hides its own number.
func (c *Chip) Lent(csp string) *Chip { return &Chip{Product: c.Product, CSP: csp} }

func (p *Product) idSize() int {
	if p.Name == "Turin" {
		return 8
	}
	return 64
}

// Key returns the key that the chip signs reports with when its firmware is at tcb.
func (c *Chip) Key(tcb TCB) *ecdsa.PrivateKey {
	return c.world.Key(fmt.Sprintf("%s/%x/%s/%v", c.Name, c.ID, c.CSP, tcb), elliptic.P384())
}

// AMD's certificate extensions: the first two arcs below 1.3.6.1.4.1.3704.1.
func amdOID(arcs ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...)
}

// Identifiers of the extensions in endorsement certificates.
var (
	OIDStructVersion = amdOID(1)
	OIDProductName   = amdOID(2)
	OIDBootloader    = amdOID(3, 1)
	OIDTEE           = amdOID(3, 2)
	OIDSNP           = amdOID(3, 3)
	OIDMicrocode     = amdOID(3, 8)
	OIDFMC           = amdOID(3, 9)
	OIDHWID          = amdOID(4)
	OIDCSPID         = amdOID(5)
)

// Number is an extension that holds an INTEGER, as security versions do.
func Number(id asn1.ObjectIdentifier, value int64) pkix.Extension {
	return pkix.Extension{Id: id, Value: integer(value)}
}

// Text is an extension that holds an IA5String.
func Text(id asn1.ObjectIdentifier, value string) pkix.Extension {
	return pkix.Extension{Id: id, Value: ia5(value)}
}

// Endorsement returns the VCEK or VLEK certificate of the chip at tcb.
func (c *Chip) Endorsement(tcb TCB, edits ...func(*Certificate)) []byte {
	name := fmt.Sprintf("%s/%x/%s/%v", c.Name, c.ID, c.CSP, tcb)
	return made(c.world, name, func() *Certificate {
		issuer, subject, kind := amdName("SEV-"+c.Name), amdName("SEV-VCEK"), "ASK"
		if c.CSP != "" {
			issuer, subject, kind = amdName("SEV-VLEK-"+c.Name), amdName("SEV-VLEK"), "ASVK"
		}
		return &Certificate{
			Serial: new(big.Int), Issuer: issuer, Subject: subject, NotBefore: leavesFrom, NotAfter: leavesTo,
			PublicKey: c.Key(tcb).Public(), Signer: c.key(kind), Extensions: c.extensions(tcb),
		}
	}, edits)
}

// extensions come in the order in which AMD's key server puts them.
func (c *Chip) extensions(t TCB) []pkix.Extension {
	name := c.Step
	if c.CSP != "" { // a lent key is not of one chip
		name = c.Name
	}
	number := func(arc int, svn uint8) pkix.Extension { return Number(amdOID(3, arc), int64(svn)) }
	var list []pkix.Extension
	if c.Name == "Turin" {
		list = []pkix.Extension{
			Number(OIDStructVersion, 1), Text(OIDProductName, name), number(9, t.FMC), number(1, t.Bootloader), number(2, t.TEE),
			number(3, t.SNP), number(5, 0), number(6, 0), number(7, 0), number(8, t.Microcode),
		}
	} else {
		list = []pkix.Extension{
			Number(OIDStructVersion, 0), Text(OIDProductName, name), number(1, t.Bootloader), number(2, t.TEE), number(4, 0),
			number(5, 0), number(6, 0), number(7, 0), number(3, t.SNP), number(8, t.Microcode),
		}
	}
	if c.CSP != "" {
		return append(list, Text(OIDCSPID, c.CSP))
	}
	return append(list, pkix.Extension{Id: OIDHWID, Value: c.ID[:c.idSize()]}) // not wrapped in anything
}
