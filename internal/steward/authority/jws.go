// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// jwsSigner is jose.Signer, named here so that CA has no embedded interface.
type jwsSigner = jose.Signer

// prepareJWS makes the signer of JSON Web Signatures, whose header names the
// key and carries the chain.
func (ca *CA) prepareJWS() error {
	var x5c []string
	for _, c := range ca.Chain() {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	options := (&jose.SignerOptions{}).WithType("eat+jwt").WithHeader("x5c", x5c)
	key := jose.SigningKey{Algorithm: ca.alg(), Key: joseKey{ca}}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return fmt.Errorf("authority: bug: %w", err)
	}
	ca.jws = signer
	return nil
}

func (ca *CA) alg() jose.SignatureAlgorithm {
	if ca.hash.Size() == 48 {
		return jose.ES384
	}
	return jose.ES256
}

// SignJWT returns claims as a compact JSON Web Signature by the CA's key.
func (ca *CA) SignJWT(claims []byte) (string, error) {
	object, err := ca.jws.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("signing the result: %w", err)
	}
	return object.CompactSerialize()
}

// joseKey lets go-jose sign with whatever holds the CA's key.
type joseKey struct{ ca *CA }

func (k joseKey) Public() *jose.JSONWebKey {
	return &jose.JSONWebKey{Key: k.ca.Certificate.PublicKey, KeyID: k.ca.KeyID(), Algorithm: string(k.ca.alg()), Use: "sig"}
}

func (k joseKey) Algs() []jose.SignatureAlgorithm { return []jose.SignatureAlgorithm{k.ca.alg()} }

// SignPayload returns the two halves of the signature at full length, as JWS
// wants them (RFC 7518 section 3.4).
func (k joseKey) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	der, err := k.ca.sign(payload)
	if err != nil {
		return nil, err
	}
	var r, s big.Int
	input := cryptobyte.String(der)
	if !input.ReadASN1(&input, asn1.SEQUENCE) || !input.ReadASN1Integer(&r) || !input.ReadASN1Integer(&s) {
		return nil, fmt.Errorf("%w: it returned no ECDSA signature", ErrKey)
	}
	half := k.ca.hash.Size() // the curves' orders are as long as their hashes
	if r.Sign() <= 0 || s.Sign() <= 0 || r.BitLen() > 8*half || s.BitLen() > 8*half {
		return nil, fmt.Errorf("%w: it returned no ECDSA signature", ErrKey)
	}
	out := make([]byte, 2*half)
	r.FillBytes(out[:half])
	s.FillBytes(out[half:])
	return out, nil
}
