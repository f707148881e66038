// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"encoding/binary"
	"slices"

	"enarx.dev/enarx/attest/check"
)

// HeaderSize is the length of a quote's header.
const HeaderSize = 48

// TEE types.
const (
	TEETypeSGX = 0
	TEETypeTDX = 0x81
)

// Header is the header of a quote of version 3, 4 or 5.
type Header struct {
	Version            uint16
	AttestationKeyType uint16
	TEEType            uint32 // reserved and zero in version 3, which is SGX only
	QESVN              uint16 // version 3; reserved and zero later
	PCESVN             uint16 // version 3; reserved and zero later
	QEVendor           [16]byte
	UserData           [20]byte // begins with an identifier of the platform, made by the quoting enclave
}

// ecdsaP256 is the only type of attestation key that Intel's quoting enclaves
// have: ECDSA with P-256 and SHA-256.
const ecdsaP256 = 2

// intelQE is the QE vendor id of Intel.
var intelQE = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// IsQuote reports whether b begins like a quote of Intel's quoting enclaves for
// that type of TEE.
func IsQuote(b []byte, teeType uint32, versions ...uint16) bool {
	var h Header
	if len(b) < HeaderSize {
		return false
	}
	h.decode(b)
	return slices.Contains(versions, h.Version) && h.TEEType == teeType && h.QEVendor == intelQE
}

func (h *Header) decode(b []byte) {
	h.Version = binary.LittleEndian.Uint16(b)
	h.AttestationKeyType = binary.LittleEndian.Uint16(b[2:])
	h.TEEType = binary.LittleEndian.Uint32(b[4:])
	h.QESVN = binary.LittleEndian.Uint16(b[8:])
	h.PCESVN = binary.LittleEndian.Uint16(b[10:])
	copy(h.QEVendor[:], b[12:])
	copy(h.UserData[:], b[28:])
}

// Parse reads the header of a quote, as far as needed to know that the rest can
// be read: its size, version and type of key. Codes start with prefix.
func (h *Header) Parse(prefix string, quote []byte, versions ...uint16) error {
	switch {
	case len(quote) > MaxQuote:
		return LengthError(prefix, "the quote is not longer than 128 KiB")
	case len(quote) < HeaderSize:
		return LengthError(prefix, "the quote has a header")
	}
	h.decode(quote)
	if c := h.version(prefix); !slices.Contains(versions, h.Version) {
		return &FormatError{c}
	}
	if c := h.keyType(prefix); h.AttestationKeyType != ecdsaP256 {
		return &FormatError{c}
	}
	return nil
}

func (h *Header) version(prefix string) check.Check {
	expected := check.Value(check.Text("4 or 5"))
	if prefix == "sgx" {
		expected = check.Uint(3)
	}
	return check.Check{
		Code: prefix + ".header.version", What: "the version of the quote is known",
		Expected: expected, Found: check.Uint(h.Version), Source: quoteSource,
		Fix: "present a quote of that version",
	}
}

func (h *Header) keyType(prefix string) check.Check {
	return check.Check{
		Code: prefix + ".header.attestation-key-type", What: "the attestation key is ECDSA with P-256",
		Expected: check.Uint(ecdsaP256), Found: check.Uint(h.AttestationKeyType), Source: quoteSource,
		Fix: "present a quote of an ECDSA quoting enclave",
	}
}

// TEETypeCheck is the check that the quote is of a trust domain.
func (h *Header) TEETypeCheck(prefix string) check.Check {
	return check.Check{
		Code: prefix + ".header.tee-type", What: "the quote is of a trust domain",
		Expected: check.Flags(TEETypeTDX), Found: check.Flags(h.TEEType), Source: quoteSource,
		Fix: "none: this is a quote of something else",
	}
}

// Check records the checks of a header that Parse has read.
func (h *Header) Check(g *check.Group, prefix string) {
	g.Require(true, h.version(prefix))
	g.Require(true, h.keyType(prefix))
	reserved := h.TEEType
	if h.Version > 3 {
		reserved = uint32(h.QESVN) | uint32(h.PCESVN)<<16
		g.Require(h.TEEType == TEETypeTDX, h.TEETypeCheck(prefix))
	}
	g.Require(reserved == 0, check.Check{
		Code: prefix + ".header.reserved", What: "reserved bytes of the header are zero",
		Expected: check.Flags(0), Found: check.Flags(reserved), Source: quoteSource,
	})
	g.Require(h.QEVendor == intelQE, check.Check{
		Code: prefix + ".header.qe-vendor", What: "the quoting enclave is Intel's",
		Expected: check.Hex(intelQE[:]), Found: check.Hex(h.QEVendor[:]), Source: quoteSource,
		Fix: "present a quote of Intel's quoting enclave",
	})
}
