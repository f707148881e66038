// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Another implementation reads what we sign, and we read what it signs.
func TestJose(t *testing.T) {
	entry := testEntry(t)
	for _, tt := range []struct {
		key string
		alg jose.SignatureAlgorithm
	}{{rfc8037Private, jose.EdDSA}, {rfc7515Key, jose.ES256}} {
		signer := privateKey(t, tt.key)
		public := publicKey(t, signer)
		tag, err := SignTag(entry, tagName, signer)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSignedJSON(string(tag.Raw), []jose.SignatureAlgorithm{tt.alg})
		if err != nil {
			t.Fatalf("%s: %v", tt.alg, err)
		}
		payload, err := parsed.Verify(signer.Public())
		if err != nil || string(payload) != string(entry.Canonical()) || parsed.Signatures[0].Header.KeyID != public.Thumbprint() {
			t.Errorf("%s: go-jose read %q, %v", tt.alg, payload, err)
		}
		theirs, err := jose.NewSigner(jose.SigningKey{Algorithm: tt.alg, Key: signer}, (&jose.SignerOptions{EmbedJWK: true}).
			WithContentType(TypeEntry).WithHeader("sub", tagName))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := theirs.Sign(entry.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseTag(TypeJOSE, []byte(signed.FullSerialize()))
		if err != nil {
			t.Fatalf("%s: %v in %s", tt.alg, err, signed.FullSerialize())
		}
		if _, err := NewSigners(public).Verify(read, tagName); err != nil || len(read.SelfSigned()) != 1 {
			t.Errorf("%s: %v in %s", tt.alg, err, signed.FullSerialize())
		}
		jwk := jose.JSONWebKey{Key: signer.Public()}
		sum, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil || base64.RawURLEncoding.EncodeToString(sum) != public.Thumbprint() {
			t.Errorf("%s: their thumbprint is %x, %v", tt.alg, sum, err)
		}
	}
}

// A tag may also have a signature of a kind that we do not know.
func TestJoseOtherAlgorithm(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(nil, 2048)
	if err != nil {
		t.Fatal(err)
	}
	entry, signer := testEntry(t), privateKey(t, rfc8037Private)
	header := map[jose.HeaderKey]any{"cty": TypeEntry, "sub": tagName}
	both, err := jose.NewMultiSigner([]jose.SigningKey{{Algorithm: jose.PS256, Key: rsaKey}, {Algorithm: jose.EdDSA, Key: signer}}, &jose.SignerOptions{EmbedJWK: true, ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := both.Sign(entry.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	raw := signed.FullSerialize()
	if !json.Valid([]byte(raw)) {
		t.Fatal(raw)
	}
	tag, err := ParseTag(TypeJOSE, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigners(publicKey(t, signer)).Verify(tag, tagName); err != nil || len(tag.SelfSigned()) != 1 {
		t.Errorf("%v, %d keys", err, len(tag.SelfSigned()))
	}
}
