// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// PCK is what a PCK certificate says about a platform (Intel SGX PCK
// Certificate and CRL Profile Specification, "SGX Extensions").
type PCK struct {
	Cert *x509.Certificate

	PPID       [16]byte  // 1.2.840.113741.1.13.1.1: the platform
	Components [16]uint8 // .2.1 to .2.16: what CPUSVN means
	PCESVN     uint16    // .2.17
	CPUSVN     [16]byte  // .2.18
	PCEID      [2]byte   // .3
	FMSPC      [6]byte   // .4: the family of platforms
	SGXType    SGXType   // .5
	Platform   *Platform // .6 and .7; nil under the PCK Processor CA

	fmspc string // in hexadecimal, as the PCS writes it
}

// SGXType is how a platform's memory is protected.
type SGXType uint8

// The types.
const (
	Standard              SGXType = iota // integrity and replay protection
	Scalable                             // no integrity protection against physical attacks
	ScalableWithIntegrity                // integrity protection
)

func (t SGXType) String() string {
	switch t {
	case Standard:
		return "Standard"
	case Scalable:
		return "Scalable"
	case ScalableWithIntegrity:
		return "ScalableWithIntegrity"
	}
	return fmt.Sprintf("SGXType(%d)", uint8(t))
}

// Platform is what only certificates of multi-package platforms say.
type Platform struct {
	InstanceID      [16]byte // .6
	DynamicPlatform Setting  // .7.1: packages can be added
	CachedKeys      Setting  // .7.2: Intel keeps the platform's root keys
	SMTEnabled      Setting  // .7.3
}

// Setting is a configuration that Intel may not have been told.
type Setting uint8

// The settings.
const (
	Undefined Setting = iota
	False
	True
)

func (s Setting) String() string {
	return [...]string{"undefined", "false", "true"}[min(s, True)]
}

// FMSPCString is the FMSPC in the PCS's spelling, like "00606A000000".
func (p *PCK) FMSPCString() string { return p.fmspc }

var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// sgxArc is the DER encoding of oidSGX without tag and length; the extension's
// own OIDs add one or two numbers below 128, which are one byte each.
var sgxArc = []byte{0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01}

// ParsePCK reads the SGX extension of a PCK certificate.
func ParsePCK(cert *x509.Certificate) (*PCK, error) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSGX) {
			p := &PCK{Cert: cert}
			if err := p.parse(e.Value); err != nil {
				return nil, fmt.Errorf("dcap: SGX extension: %w", err)
			}
			p.fmspc = strings.ToUpper(hex.EncodeToString(p.FMSPC[:]))
			return p, nil
		}
	}
	return nil, errors.New("dcap: no SGX extension")
}

var errDER = errors.New("not DER of the form that is specified")

// each visits the members of a SEQUENCE OF SEQUENCE { OID, value } whose OIDs
// are arc and one more number, which is given with the value. The numbers from
// 1 to last must be there, none may be twice, and others are passed over.
func each(s cryptobyte.String, arc []byte, required uint32, visit func(n uint8, value cryptobyte.String) error) error {
	var list, seen = cryptobyte.String(nil), uint32(0)
	if !s.ReadASN1(&list, der.SEQUENCE) || !s.Empty() {
		return errDER
	}
	for !list.Empty() {
		var member, oid cryptobyte.String
		if !list.ReadASN1(&member, der.SEQUENCE) || !member.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
			return errDER
		}
		last, ok := bytes.CutPrefix(oid, arc)
		if !ok || len(last) != 1 || last[0] > 31 {
			continue
		}
		if seen>>last[0]&1 != 0 {
			return fmt.Errorf("member %d is there twice", last[0])
		}
		seen |= 1 << last[0]
		if err := visit(last[0], member); err != nil {
			return fmt.Errorf("member %d: %w", last[0], err)
		}
	}
	if missing := required &^ seen; missing != 0 {
		return fmt.Errorf("members are missing: bits %#x", missing)
	}
	return nil
}

func (p *PCK) parse(ext []byte) error {
	var platform Platform
	var parts int
	err := each(ext, sgxArc, 0b111110, func(n uint8, v cryptobyte.String) error {
		switch n {
		case 1:
			return octets(v, p.PPID[:])
		case 2:
			return p.parseTCB(v)
		case 3:
			return octets(v, p.PCEID[:])
		case 4:
			return octets(v, p.FMSPC[:])
		case 5:
			var t int
			if !v.ReadASN1Enum(&t) || !v.Empty() || t < 0 || t > int(ScalableWithIntegrity) {
				return errDER
			}
			p.SGXType = SGXType(t)
		case 6:
			parts++
			return octets(v, platform.InstanceID[:])
		case 7:
			parts++
			return platform.parse(v)
		}
		return nil
	})
	if parts > 0 {
		p.Platform = &platform
	}
	return err
}

func (p *PCK) parseTCB(v cryptobyte.String) error {
	return each(v, append(bytes.Clone(sgxArc), 2), 0x7fffe, func(n uint8, v cryptobyte.String) error {
		switch {
		case n >= 1 && n <= 16:
			return number(v, &p.Components[n-1])
		case n == 17:
			return number(v, &p.PCESVN)
		case n == 18:
			return octets(v, p.CPUSVN[:])
		}
		return nil
	})
}

func (c *Platform) parse(v cryptobyte.String) error {
	return each(v, append(bytes.Clone(sgxArc), 7), 0, func(n uint8, v cryptobyte.String) error {
		settings := [...]*Setting{nil, &c.DynamicPlatform, &c.CachedKeys, &c.SMTEnabled}
		if n == 0 || int(n) >= len(settings) {
			return nil
		}
		var on bool
		if !v.ReadASN1Boolean(&on) || !v.Empty() {
			return errDER
		}
		*settings[n] = False
		if on {
			*settings[n] = True
		}
		return nil
	})
}

// octets reads an OCTET STRING of exactly len(out) bytes.
func octets(v cryptobyte.String, out []byte) error {
	var b cryptobyte.String
	if !v.ReadASN1(&b, der.OCTET_STRING) || !v.Empty() || len(b) != len(out) {
		return errDER
	}
	copy(out, b)
	return nil
}

// number reads an INTEGER that fits.
func number[T uint8 | uint16](v cryptobyte.String, out *T) error {
	if !v.ReadASN1Integer(out) || !v.Empty() {
		return errDER
	}
	return nil
}
