// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"sync"
)

// stream returns the endless pseudo-random bytes that seed and label stand for.
// The generators of the standard library ignore or blur the readers they are
// given, so keys are made from these bytes by hand.
func stream(seed, label string) io.Reader {
	h := sha3.NewSHAKE256()
	fmt.Fprintf(h, "enarx.dev/enarx/attest/attesttest\x00%d\x00%s\x00%s", len(seed), seed, label)
	return h
}

func fill(r io.Reader, out []byte) {
	if _, err := io.ReadFull(r, out); err != nil {
		panic("attesttest: bug: the stream ended: " + err.Error())
	}
}

// ecKey makes a private key of the curve: the first number of the stream that is one.
func ecKey(seed, label string, curve elliptic.Curve) *ecdsa.PrivateKey {
	r := stream(seed, label)
	raw := make([]byte, (curve.Params().BitSize+7)/8)
	for {
		fill(r, raw)
		if key, err := ecdsa.ParseRawPrivateKey(curve, raw); err == nil {
			return key
		}
	}
}

// rsaKey makes a private key with two primes of bits/2 and exponent 65537.
func rsaKey(seed, label string, bits int) *rsa.PrivateKey {
	r := stream(seed, fmt.Sprintf("%s/%d", label, bits))
	e := big.NewInt(65537)
	p := prime(r, bits/2)
	q := prime(r, bits/2)
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
		D:         new(big.Int).ModInverse(e, phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	return key
}

// smallPrimes are the odd primes below 1<<14, to sieve with.
var smallPrimes = sync.OnceValue(func() []uint64 {
	const limit = 1 << 14
	var primes []uint64
	composite := make([]bool, limit)
	for n := uint64(3); n < limit; n += 2 {
		if composite[n] {
			continue
		}
		primes = append(primes, n)
		for m := n * n; m < limit; m += 2 * n {
			composite[m] = true
		}
	}
	return primes
})

// prime returns the first prime at or after an odd number from r whose two top
// bits are set, and which an exponent of 65537 can go with.
func prime(r io.Reader, bits int) *big.Int {
	raw := make([]byte, bits/8)
	fill(r, raw)
	raw[0] |= 0xc0
	raw[len(raw)-1] |= 1
	start := new(big.Int).SetBytes(raw)
	const window = 1 << 14 // odd numbers looked at; the chance that none is prime is nil
	composite := make([]bool, window)
	m := new(big.Int)
	for _, p := range smallPrimes() {
		// start + 2i = 0 mod p, so i = -start/2 mod p.
		i := (p - m.Mod(start, m.SetUint64(p)).Uint64()) % p
		if i%2 == 1 {
			i += p
		}
		for i /= 2; i < window; i += p {
			composite[i] = true
		}
	}
	e, one := big.NewInt(65537), big.NewInt(1)
	for i := range int64(window) {
		if composite[i] {
			continue
		}
		candidate := new(big.Int).Add(start, big.NewInt(2*i))
		m.Sub(candidate, one)
		if m.Mod(m, e).Sign() != 0 && candidate.ProbablyPrime(0) {
			return candidate
		}
	}
	panic("attesttest: bug: no prime in the window")
}

var (
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSAWithSHA384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidPSS             = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidSHA384          = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
)

// algorithm is the identifier of the one signature algorithm that goes with a
// key: ECDSA with the hash of the curve's size, or RSA-PSS with SHA-384. AMD's
// older certificates spell out the trailer field of PSS, which is its default;
// newer ones and revocation lists leave it out.
func algorithm(key crypto.PublicKey, trailer bool) []byte {
	if _, ok := key.(*rsa.PublicKey); ok {
		return pssIdentifier(trailer)
	}
	if hashFor(key) == crypto.SHA256 {
		return sequence(oid(oidECDSAWithSHA256))
	}
	return sequence(oid(oidECDSAWithSHA384))
}

func hashFor(key crypto.PublicKey) crypto.Hash {
	if k, ok := key.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
		return crypto.SHA256
	}
	return crypto.SHA384
}

func pssIdentifier(trailer bool) []byte {
	sha384 := sequence(oid(oidSHA384), null())
	parameters := [][]byte{
		explicit(0, sha384),
		explicit(1, sequence(oid(oidMGF1), sha384)),
		explicit(2, integer(48)),
	}
	if trailer {
		parameters = append(parameters, explicit(3, integer(1)))
	}
	return sequence(oid(oidPSS), sequence(parameters...))
}

// sign signs message, the same way every time.
func sign(key crypto.Signer, message []byte) []byte {
	hash := hashFor(key.Public())
	h := hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	var signature []byte
	var err error
	if k, ok := key.(*rsa.PrivateKey); ok {
		salt := stream(string(k.D.Bytes()), "salt/"+string(digest))
		signature, err = rsa.SignPSS(salt, k, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = key.Sign(nil, digest, hash) // no randomness: RFC 6979
	}
	if err != nil {
		panic("attesttest: bug: signing: " + err.Error())
	}
	return signature
}

// rawSign is an ECDSA signature as r and s of size bytes each, big-endian.
func rawSign(key *ecdsa.PrivateKey, message []byte) (r, s []byte) {
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sign(key, message), &rs); err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	return rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size))
}

// SPKI returns the DER SubjectPublicKeyInfo of a public key.
func SPKI(key crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	return der
}

// keyID is the identifier of a public key: RFC 7093 section 2, method 1.
func keyID(key crypto.PublicKey) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(SPKI(key), &info); err != nil {
		panic("attesttest: bug: " + err.Error())
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20]
}
