// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// PublicKey is a key that signs tags: Ed25519 or P-256. The zero value verifies
// nothing.
type PublicKey struct {
	ed []byte           // 32 bytes of Ed25519, or nil
	ec *ecdsa.PublicKey // on P-256, or nil
}

// NewPublicKey takes an ed25519.PublicKey or a P-256 *ecdsa.PublicKey.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch key := key.(type) {
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return PublicKey{ed: key}, nil
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			if _, err := key.Bytes(); err != nil {
				return PublicKey{}, errors.New("public key is not a point of P-256")
			}
			return PublicKey{ec: key}, nil
		}
	}
	return PublicKey{}, errors.New("public key is neither Ed25519 nor P-256")
}

// Algorithm returns the name of its signatures in JOSE: EdDSA (RFC 8037) or
// ES256 (RFC 7518).
func (k PublicKey) Algorithm() string {
	switch {
	case k.ed != nil:
		return "EdDSA"
	case k.ec != nil:
		return "ES256"
	}
	return ""
}

// Key returns the ed25519.PublicKey or *ecdsa.PublicKey.
func (k PublicKey) Key() crypto.PublicKey {
	switch {
	case k.ed != nil:
		return ed25519.PublicKey(k.ed)
	case k.ec != nil:
		return k.ec
	}
	return nil
}

// JWK returns the key in the form of RFC 7517 that RFC 7638 hashes: the
// required members only, sorted, without white space.
func (k PublicKey) JWK() []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	switch {
	case k.ed != nil:
		return fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(k.ed))
	case k.ec != nil:
		point, err := k.ec.Bytes() // 4, x, y
		if err != nil {
			return nil // NewPublicKey took it only if this works
		}
		return fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(point[1:33]), b64(point[33:]))
	}
	return nil
}

// Thumbprint returns the name of the key: its SHA-256 thumbprint of RFC 7638 in
// base64url, 43 characters.
func (k PublicKey) Thumbprint() string {
	sum := sha256.Sum256(k.JWK())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PEM returns the key as a PUBLIC KEY block.
func (k PublicKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Key())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// verify checks a JWS signature over message: 64 bytes for both algorithms.
func (k PublicKey) verify(message, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	switch {
	case k.ed != nil:
		return ed25519.Verify(k.ed, message, signature)
	case k.ec != nil:
		sum := sha256.Sum256(message)
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(k.ec, sum[:], r, s)
	}
	return false
}

// ParsePublicKey reads one key: a PEM block PUBLIC KEY or a JWK.
func ParsePublicKey(data []byte) (PublicKey, error) {
	keys, err := ParsePublicKeys(data)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("%d public keys, not one", len(keys))
	}
	if err != nil {
		return PublicKey{}, err
	}
	return keys[0], nil
}

// ParsePublicKeys reads PEM blocks PUBLIC KEY, or a JWK, or a JWK set. A private
// key is an error, as it should not have come here.
func ParsePublicKeys(data []byte) ([]PublicKey, error) {
	if len(data) > maxEntry {
		return nil, fmt.Errorf("public keys of %d bytes, more than %d", len(data), maxEntry)
	}
	if checkJSON(data, maxEntry) == nil {
		return parseJWKs(data)
	}
	var keys []PublicKey
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("PEM block %q is not a PUBLIC KEY", block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		key, err := NewPublicKey(parsed)
		if err != nil {
			return nil, err
		}
		keys, data = append(keys, key), rest
	}
	if len(keys) == 0 {
		return nil, errors.New("public key is neither PEM nor a JWK")
	}
	return keys, nil
}

func parseJWKs(data []byte) ([]PublicKey, error) {
	found, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	list := []json.RawMessage{data}
	if raw, ok := found["keys"]; ok {
		if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
			return nil, errors.New("JWK set: keys is not a list of keys")
		}
	}
	var keys []PublicKey
	for _, raw := range list {
		key, err := parseJWK(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// parseJWK reads one public key from checked JSON.
func parseJWK(data []byte) (PublicKey, error) {
	found, err := members(data)
	if err != nil {
		return PublicKey{}, fmt.Errorf("JWK: %w", err)
	}
	if _, private := found["d"]; private {
		return PublicKey{}, errors.New("JWK: a private key where a public one belongs")
	}
	return jwkPublic(found)
}

func jwkPublic(found map[string]json.RawMessage) (PublicKey, error) {
	kty, _, _ := text(found, "kty")
	crv, _, _ := text(found, "crv")
	x, err := jwkBytes(found, "x")
	switch {
	case kty == "OKP" && crv == "Ed25519":
		if err != nil {
			return PublicKey{}, err
		}
		return NewPublicKey(ed25519.PublicKey(x))
	case kty == "EC" && crv == "P-256":
		y, errY := jwkBytes(found, "y")
		if err := errors.Join(err, errY); err != nil {
			return PublicKey{}, err
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return PublicKey{}, errors.New("JWK: not a point of P-256")
		}
		return NewPublicKey(key)
	}
	return PublicKey{}, fmt.Errorf("JWK: kty %.20q with crv %.20q is neither Ed25519 nor P-256", kty, crv)
}

// jwkBytes returns 32 bytes, the size of all numbers of our two curves.
func jwkBytes(found map[string]json.RawMessage, name string) ([]byte, error) {
	s, _, err := text(found, name)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	b, err := decodeBase64(base64.RawURLEncoding, s)
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("JWK: %s is not the base64url of 32 bytes", name)
	}
	return b, nil
}

// ParsePrivateKey reads a key to sign with: PEM (PKCS #8, or SEC 1 for P-256),
// or a JWK with d.
func ParsePrivateKey(data []byte) (crypto.Signer, error) {
	if len(data) > maxEntry {
		return nil, fmt.Errorf("private key of %d bytes, more than %d", len(data), maxEntry)
	}
	if checkJSON(data, maxEntry) == nil {
		return parsePrivateJWK(data)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("private key is neither PEM nor a JWK")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block %q is not a PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, errors.New("private key: bad DER") // the cause might quote the key
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("private key is neither Ed25519 nor P-256")
	}
	_, err = NewPublicKey(signer.Public())
	return signer, err
}

func parsePrivateJWK(data []byte) (crypto.Signer, error) {
	found, err := members(data)
	if err != nil {
		return nil, fmt.Errorf("JWK: %w", err)
	}
	public, err := jwkPublic(found)
	if err != nil {
		return nil, err
	}
	d, err := jwkBytes(found, "d")
	if err != nil {
		return nil, err
	}
	var signer crypto.Signer = ed25519.NewKeyFromSeed(d)
	if public.ec != nil {
		if signer, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), d); err != nil {
			return nil, errors.New("JWK: d is not a private key of P-256")
		}
	}
	if derived, err := NewPublicKey(signer.Public()); err != nil || derived.Thumbprint() != public.Thumbprint() {
		return nil, errors.New("JWK: d does not belong to the public key")
	}
	return signer, nil
}
