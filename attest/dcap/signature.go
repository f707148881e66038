// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"

	"enarx.dev/enarx/attest/check"
)

// Signature is the part of a quote behind its body: "Quote Signature Data" in
// Intel's documents.
type Signature struct {
	Signature         []byte // by Key, over header and body
	Key               []byte // the attestation key: X and Y
	QE                Report // the quoting enclave, which vouches for Key in its report data
	QESignature       []byte // by the PCK, over QE
	AuthData          []byte // goes into QE's report data beside Key
	CertificationType uint16
	Certification     []byte // where to find the PCK
}

// Types of certification data.
const (
	certificationPCKChain = 5 // PEM: PCK leaf, its CA, root
	certificationQEReport = 6 // the QE's report, its signature, authentication data and further certification data
)

// MaxQuote is the size limit of a quote.
const MaxQuote = 128 << 10

// ParseSignature reads what follows a quote's body: the length of the signature
// data and the signature data, and then nothing but zeros, since quoting
// services give away buffers of a fixed size. In quotes of version 4 and later
// everything after the key is nested in certification data of type 6. Codes
// start with prefix.
func ParseSignature(prefix string, data []byte, nested bool) (*Signature, error) {
	r := reader{rest: data}
	signed := reader{rest: r.take(int(r.uint32()))}
	if r.short {
		return nil, LengthError(prefix, "the quote is as long as the length of its signature data says")
	}
	if !Zero(r.rest) {
		return nil, &FormatError{check.Check{
			Code: prefix + ".quote.trailing", What: "nothing but zeros follows the quote",
			Found: check.Hex(r.rest[:min(len(r.rest), 64)]), Source: quoteSource,
			Fix: "remove what follows the signature data",
		}}
	}
	return signed.signature(prefix, nested)
}

func (r *reader) signature(prefix string, nested bool) (*Signature, error) {
	s := &Signature{Signature: r.take(64), Key: r.take(64)}
	if nested {
		kind, length := r.uint16(), r.uint32()
		if !r.short && kind != certificationQEReport {
			return nil, &FormatError{check.Check{
				Code: prefix + ".certification-data", What: "the certification data holds the quoting enclave's report",
				Expected: check.Uint(certificationQEReport), Found: check.Uint(kind), Source: quoteSource,
				Fix: "none: quotes of that kind of quoting enclave are not understood",
			}}
		}
		r.exactly(length)
	}
	report := r.take(ReportSize)
	s.QESignature = r.take(64)
	s.AuthData = r.take(int(r.uint16()))
	s.CertificationType = r.uint16()
	r.exactly(r.uint32())
	if r.short {
		return nil, LengthError(prefix, "the lengths within the signature data add up to its length")
	}
	s.QE.Decode(report)
	s.Certification = r.rest
	return s, nil
}

// LengthError says that a quote's lengths contradict each other.
func LengthError(prefix, what string) *FormatError {
	return &FormatError{check.Check{
		Code: prefix + ".quote.length", What: what, Source: quoteSource,
		Fix: "none: the quote was cut off or altered",
	}}
}

// reader takes bytes from the front; after the first time that there are too
// few, everything is empty and short is true.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// exactly requires n bytes to be left.
func (r *reader) exactly(n uint32) {
	if uint64(n) != uint64(len(r.rest)) {
		r.short, r.rest = true, nil
	}
}

// verify checks an ECDSA P-256 signature with SHA-256 in Intel's form, r and s
// as 32 bytes each.
func verify(key *ecdsa.PublicKey, message, signature []byte) bool {
	digest := sha256.Sum256(message)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:64])
	return ecdsa.Verify(key, digest[:], r, s)
}
