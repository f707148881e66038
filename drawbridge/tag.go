// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Tag is what a tag says: the entry of the root node, signed or not. Raw is what
// has the digests, and is never written anew from the rest.
type Tag struct {
	Raw        []byte
	Type       string // TypeEntry or TypeJOSE
	Entry      Entry
	Signatures []Signature // none for TypeEntry

	encoded string // the payload as it was signed
}

// ErrTagType is returned for a tag of another media type than the two.
var ErrTagType = errors.New("invalid content type of a tag")

// ParseTag reads a tag of at most MaxJSON bytes. The media type must be exactly
// TypeEntry or TypeJOSE. A signed tag holds its entry; one that is detached,
// or signed by nothing ("none"), is refused. Signatures are not verified.
func ParseTag(mediaType string, raw []byte) (Tag, error) {
	t := Tag{Raw: raw, Type: mediaType}
	switch mediaType {
	case TypeEntry:
		var err error
		if t.Entry, err = ParseEntry(raw); err != nil {
			return Tag{}, fmt.Errorf("tag: %w", err)
		}
		return t, nil
	case TypeJOSE:
		j, err := parseJWS(raw)
		if err != nil {
			return Tag{}, fmt.Errorf("tag: %w", err)
		}
		if t.Entry, err = ParseEntry(j.payload); err != nil {
			return Tag{}, fmt.Errorf("tag: JWS payload: %w", err)
		}
		t.Signatures, t.encoded = j.signatures, j.encoded
		return t, nil
	}
	return Tag{}, fmt.Errorf("%w: %.80q", ErrTagType, mediaType)
}

// NewTag returns the unsigned tag of an entry.
func NewTag(e Entry) Tag {
	return Tag{Raw: e.Canonical(), Type: TypeEntry, Entry: e}
}

// Meta returns the Meta of the tag itself, with all four digests.
func (t Tag) Meta() Meta { return MetaOf(t.Raw, t.Type) }

// Signed reports whether the tag is of the signed kind. It says nothing about
// who signed it.
func (t Tag) Signed() bool { return t.Type == TypeJOSE }

// SelfSigned returns the keys that a tag brings along and whose signatures
// hold. Anybody can make one: only a Signers knows whom to trust.
func (t Tag) SelfSigned() []PublicKey {
	var keys []PublicKey
	for _, s := range t.Signatures {
		if s.Key != nil && s.holds(*s.Key, t.encoded) {
			keys = append(keys, *s.Key)
		}
	}
	return keys
}

// SignTag returns the signed tag of an entry: a JWS, flattened for one key and
// general for more, at most MaxSignatures. name is user/repository:tag
// (Slug.Name) and is signed too, so that the store cannot give an old
// package out as a new one. The keys must be Ed25519 or P-256.
func SignTag(e Entry, name string, signers ...crypto.Signer) (Tag, error) {
	if len(signers) == 0 || len(signers) > MaxSignatures {
		return Tag{}, fmt.Errorf("signing a tag: %d keys, not 1 to %d", len(signers), MaxSignatures)
	}
	payload := base64.RawURLEncoding.EncodeToString(e.Canonical())
	parts := make([]string, len(signers))
	for i, signer := range signers {
		key, err := NewPublicKey(signer.Public())
		if err != nil {
			return Tag{}, fmt.Errorf("signing a tag: %w", err)
		}
		header := fmt.Appendf(nil, `{"alg":"%s","cty":"%s","jwk":%s,"kid":"%s","sub":`,
			key.Algorithm(), TypeEntry, key.JWK(), key.Thumbprint())
		header = append(appendString(header, name), `,"typ":"`+TypeJOSE+`"}`...)
		protected := base64.RawURLEncoding.EncodeToString(header)
		signature, err := sign(signer, key, []byte(protected+"."+payload))
		if err != nil {
			return Tag{}, fmt.Errorf("signing a tag: %w", err)
		}
		parts[i] = `"protected":"` + protected + `","signature":"` + base64.RawURLEncoding.EncodeToString(signature) + `"`
	}
	rest := parts[0]
	if len(parts) > 1 {
		rest = `"signatures":[{` + strings.Join(parts, "},{") + `}]`
	}
	return ParseTag(TypeJOSE, []byte(`{"payload":"`+payload+`",`+rest+`}`))
}

// sign returns a JWS signature. It verifies it as well: the key may be in a
// device, and a wrong signature would be seen by others only.
func sign(signer crypto.Signer, key PublicKey, message []byte) ([]byte, error) {
	if key.ec == nil {
		signature, err := signer.Sign(rand.Reader, message, crypto.Hash(0))
		if err == nil && !key.verify(message, signature) {
			err = errors.New("the key made a wrong signature")
		}
		return signature, err
	}
	sum := sha256.Sum256(message)
	der, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(key.ec, sum[:], der) {
		return nil, errors.New("the key made a wrong signature")
	}
	var points struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &points); err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	points.R.FillBytes(signature[:32])
	points.S.FillBytes(signature[32:])
	return signature, nil
}

// Errors of a tag's signatures, for a policy to tell apart.
var (
	ErrUnsigned      = errors.New("the tag is not signed")
	ErrBadSignature  = errors.New("the signature of the tag is wrong")
	ErrUnknownSigner = errors.New("the tag is signed by another key")
	ErrOtherTag      = errors.New("the signature is for another tag")
)

// Signers is a set of keys that are trusted to sign tags, by thumbprint.
type Signers map[string]PublicKey

// NewSigners returns the set of keys.
func NewSigners(keys ...PublicKey) Signers {
	s := Signers{}
	for _, key := range keys {
		s[key.Thumbprint()] = key
	}
	return s
}

// Verify returns the key of the set that signed the tag under this name,
// user/repository:tag (Slug.Name). It returns ErrUnsigned for a tag without
// signatures; ErrBadSignature if one that names a key of the set does not
// hold, whatever the others are; ErrUnknownSigner if none is by a key of the
// set, as when the publisher's key was replaced; ErrOtherTag if what was signed
// has another name.
func (s Signers) Verify(t Tag, name string) (PublicKey, error) {
	if len(t.Signatures) == 0 {
		return PublicKey{}, ErrUnsigned
	}
	var signer PublicKey
	var problem error
	for i := range t.Signatures {
		key, err := s.verify(&t.Signatures[i], t.encoded, name)
		switch {
		case errors.Is(err, ErrUnknownSigner):
			problem = cmp.Or(problem, err)
		case err != nil:
			return PublicKey{}, err
		case signer.Algorithm() == "":
			signer = key
		}
	}
	if signer.Algorithm() == "" {
		return PublicKey{}, problem
	}
	return signer, nil
}

func (s Signers) verify(one *Signature, encoded, name string) (PublicKey, error) {
	key, named := s.named(one)
	if !named {
		for _, thumbprint := range slices.Sorted(maps.Keys(s)) {
			if one.holds(s[thumbprint], encoded) {
				key, named = s[thumbprint], true
				break
			}
		}
	}
	switch {
	case !named:
		return PublicKey{}, fmt.Errorf("%w: %s", ErrUnknownSigner, one.signer())
	case !one.holds(key, encoded), one.Type != TypeEntry:
		return PublicKey{}, fmt.Errorf("%w: it names the key %s", ErrBadSignature, key.Thumbprint())
	case one.Subject != name:
		return PublicKey{}, fmt.Errorf("%w: %.80q, not %.80q", ErrOtherTag, one.Subject, name)
	}
	return key, nil
}

// named returns the key of the set that the signature says it is by. jwk is
// asked first, as it is protected.
func (s Signers) named(one *Signature) (PublicKey, bool) {
	if one.Key != nil {
		key, ok := s[one.Key.Thumbprint()]
		return key, ok
	}
	key, ok := s[one.KeyID]
	return key, ok
}

// signer returns for an error who the signature says it is by.
func (s *Signature) signer() string {
	switch {
	case s.Key != nil:
		return s.Key.Thumbprint()
	case s.KeyID != "":
		return fmt.Sprintf("key ID %.80q", s.KeyID)
	}
	return "no key named"
}
