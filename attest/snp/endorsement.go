// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest/pki"
)

// An Endorsement is what a VCEK or VLEK certificate says (AMD 57230, VCEK and
// VLEK Certificate Definition). Parsing one verifies nothing.
type Endorsement struct {
	Certificate *x509.Certificate
	Kind        SigningKey // SignedByVCEK or SignedByVLEK
	ProductName string     // like "Milan-B0" or "Genoa"
	Product     string     // its product line
	HWID        []byte     // of a VCEK: 64 bytes, or 8 of a Turin chip
	CSPID       string     // of a VLEK: the cloud provider
	TCB         TCB
	Key         *ecdsa.PublicKey // on P-384
}

// The sizes of hardware ids.
const (
	hwidSize  = 64
	turinHWID = 8
)

// The extensions are numbered under this object identifier.
var amdOID = [...]int{1, 3, 6, 1, 4, 1, 3704, 1}

// Extensions by what follows amdOID: 3.1 is 0x301.
const (
	extVersion    = 1
	extProduct    = 2
	extBootloader = 0x301
	extTEE        = 0x302
	extSNP        = 0x303
	extSpare4     = 0x304 // 4 to 7 are for parts that do not exist yet
	extSpare7     = 0x307
	extMicrocode  = 0x308
	extFMC        = 0x309
	extHWID       = 4
	extCSPID      = 5
)

// ErrNoEndorsement is returned for certificates that are not of a key that
// signs reports.
var ErrNoEndorsement = errors.New("snp: neither a VCEK nor a VLEK certificate")

// endorsementKind tells by its name which kind of key c is of.
func endorsementKind(c *x509.Certificate) (kind SigningKey, ok bool) {
	switch c.Subject.CommonName {
	case "SEV-VCEK":
		return SignedByVCEK, true
	case "SEV-VLEK":
		return SignedByVLEK, true
	}
	return NotSigned, false
}

// ParseEndorsement reads the certificate of a VCEK or VLEK.
func ParseEndorsement(c *x509.Certificate) (*Endorsement, error) {
	kind, ok := endorsementKind(c)
	if !ok {
		return nil, ErrNoEndorsement
	}
	e := &Endorsement{Certificate: c, Kind: kind}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("snp: the key of a %s is not on P-384", kind)
	}
	e.Key = key
	seen := map[int]bool{}
	for _, x := range c.Extensions {
		id, ok := amdExtension(x.Id)
		if !ok {
			continue
		}
		if seen[id] {
			return nil, fmt.Errorf("snp: extension %s is there twice", x.Id)
		}
		seen[id] = true
		if err := e.extension(id, x.Value); err != nil {
			return nil, fmt.Errorf("snp: extension %s: %w", x.Id, err)
		}
	}
	return e, e.complete(seen)
}

// amdExtension returns which of AMD's extensions oid is.
func amdExtension(oid []int) (id int, ok bool) {
	if len(oid) <= len(amdOID) || [len(amdOID)]int(oid) != amdOID {
		return 0, false
	}
	for _, arc := range oid[len(amdOID):] {
		if arc > 0xff || id > 0xff {
			return 0, false
		}
		id = id<<8 | arc
	}
	return id, true
}

func (e *Endorsement) extension(id int, value []byte) (err error) {
	switch id {
	case extVersion:
		// 0 with Milan and Genoa, 1 with Turin. Others may mean other things by the rest.
		var version uint8
		if version, err = level(value); err == nil && version > 1 {
			err = errors.New("unknown structure version " + decimal(version))
		}
	case extProduct:
		e.ProductName, err = ia5(value)
		e.Product = lineOf(e.ProductName)
	case extBootloader:
		e.TCB.Bootloader, err = level(value)
	case extTEE:
		e.TCB.TEE, err = level(value)
	case extSNP:
		e.TCB.SNP, err = level(value)
	case extMicrocode:
		e.TCB.Microcode, err = level(value)
	case extFMC:
		e.TCB.HasFMC = true
		e.TCB.FMC, err = level(value)
	case extHWID:
		e.HWID, err = hwid(value)
	case extCSPID:
		e.CSPID, err = ia5(value)
	default:
		if id < extSpare4 || id > extSpare7 {
			return nil // says nothing that a report could contradict
		}
		// A level of a part that a report has no place for cannot be compared.
		var spare uint8
		if spare, err = level(value); err == nil && spare != 0 {
			err = errors.New("level " + decimal(spare) + " of an unknown part")
		}
	}
	return err
}

// complete requires the extensions that this kind of certificate has on its
// product line, and no others.
func (e *Endorsement) complete(seen map[int]bool) error {
	for _, id := range []int{extVersion, extProduct, extBootloader, extTEE, extSNP, extMicrocode} {
		if !seen[id] {
			return errors.New("snp: extension " + extensionName(id) + " is missing")
		}
	}
	switch {
	case e.Product == "":
		return fmt.Errorf("snp: unknown product %q", e.ProductName)
	case e.TCB.HasFMC != (e.Product == Turin):
		return errors.New("snp: extension " + extensionName(extFMC) + " belongs to Turin and only there")
	case seen[extHWID] != (e.Kind == SignedByVCEK):
		return errors.New("snp: extension " + extensionName(extHWID) + " belongs to a VCEK and only there")
	case seen[extCSPID] != (e.Kind == SignedByVLEK):
		return errors.New("snp: extension " + extensionName(extCSPID) + " belongs to a VLEK and only there")
	case e.Kind == SignedByVCEK && (len(e.HWID) == turinHWID) != (e.Product == Turin):
		return fmt.Errorf("snp: a hardware id of %d bytes is not of %s", len(e.HWID), e.Product)
	}
	return nil
}

func extensionName(id int) string {
	name := "1.3.6.1.4.1.3704.1."
	if id > 0xff {
		name += strconv.Itoa(id>>8) + "."
	}
	return name + strconv.Itoa(id&0xff)
}

// level reads a DER INTEGER of 0 to 255.
func level(der []byte) (uint8, error) {
	s := cryptobyte.String(der)
	var n uint64
	if !s.ReadASN1Integer(&n) || !s.Empty() || n > 0xff {
		return 0, errors.New("not an integer of 0 to 255")
	}
	return uint8(n), nil
}

// ia5 reads a DER IA5String of printable characters.
func ia5(der []byte) (string, error) {
	s := cryptobyte.String(der)
	var text cryptobyte.String
	if !s.ReadASN1(&text, asn1.IA5String) || !s.Empty() || len(text) == 0 || len(text) > 256 {
		return "", errors.New("not a short IA5String")
	}
	for _, c := range text {
		if c < ' ' || c > '~' {
			return "", errors.New("not printable")
		}
	}
	return string(text), nil
}

// hwid reads a hardware id. AMD's certificates hold its bare bytes where AMD
// 57230 promises an OCTET STRING; both are told apart by their length.
func hwid(value []byte) ([]byte, error) {
	switch len(value) {
	case hwidSize, turinHWID:
		return value, nil
	case hwidSize + 2, turinHWID + 2:
		s := cryptobyte.String(value)
		var id cryptobyte.String
		if s.ReadASN1(&id, asn1.OCTET_STRING) && s.Empty() {
			return id, nil
		}
	}
	return nil, fmt.Errorf("%d bytes are not a hardware id", len(value))
}

// endorsement is ParseEndorsement, once for each certificate.
func endorsement(m *pki.Memo, c *x509.Certificate) (*Endorsement, error) {
	return pki.Remember(m, "snp endorsement", func() (*Endorsement, error) { return ParseEndorsement(c) }, c.Raw)
}
