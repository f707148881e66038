// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"enarx.dev/enarx/attest"
)

var errSignature = errors.New("a signature is not good")

// der is an ECDSA signature as crypto/ecdsa wants it.
func der(r, s []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(r))
		b.AddASN1BigInt(new(big.Int).SetBytes(s))
	})
	return b.BytesOrPanic()
}

// bareEvidence returns the verification of the signatures that are new in each
// piece of this evidence, keys and signatures decoded beforehand: nothing that
// judges it can be faster.
func (s *subject) bareEvidence() (func() error, error) {
	raw := s.evidence.Report
	if s.evidence.Technology == attest.SNP {
		key, ok := s.evidence.Collateral.Certificates[0].PublicKey.(*ecdsa.PublicKey)
		if !ok {
			return nil, errors.New("the VCEK is not an EC key")
		}
		r, t := slices.Clone(raw[672:744]), slices.Clone(raw[744:816])
		slices.Reverse(r)
		slices.Reverse(t)
		signature := der(r, t)
		return func() error {
			digest := sha512.Sum384(raw[:672])
			if !ecdsa.VerifyASN1(key, digest[:], signature) {
				return errSignature
			}
			return nil
		}, nil
	}
	return bareQuote(raw)
}

// bareQuote verifies the quote under the attestation key and the QE report
// under the PCK's.
func bareQuote(raw []byte) (func() error, error) {
	end := 48 + 384 // SGX
	switch {
	case raw[0] == 4:
		end = 48 + 584
	case raw[0] == 5:
		end = 48 + 6 + int(binary.LittleEndian.Uint32(raw[50:]))
	}
	rest := raw[end+4:]
	signature, point := der(rest[:32], rest[32:64]), rest[64:128]
	rest = rest[128:]
	if raw[0] != 3 {
		rest = rest[6:] // certification data 6 wraps the QE's report
	}
	report, reportSignature := rest[:384], der(rest[384:416], rest[416:448])
	attestation, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, point...))
	if err != nil {
		return nil, err
	}
	begin := max(bytes.Index(rest, []byte("-----BEGIN")), 0)
	block, _ := pem.Decode(rest[begin:]) // the leaf comes first
	if block == nil {
		return nil, errors.New("the quote holds no PCK certificate")
	}
	pck, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := pck.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the PCK is not an EC key")
	}
	return func() error {
		body, qe := sha256.Sum256(raw[:end]), sha256.Sum256(report)
		if !ecdsa.VerifyASN1(attestation, body[:], signature) || !ecdsa.VerifyASN1(key, qe[:], reportSignature) {
			return errSignature
		}
		return nil
	}, nil
}
