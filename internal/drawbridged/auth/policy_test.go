// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

func signer(t *testing.T) (ed25519.PrivateKey, drawbridge.PublicKey, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := drawbridge.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(key.JWK()))
	if err != nil {
		t.Fatal(err)
	}
	return private, key, string(quoted)
}

func TestParsePolicy(t *testing.T) {
	_, _, jwk := signer(t)
	tests := []struct{ text, want string }{
		{`{}`, ""},
		{`{"tee":["snp","sgx","tdx"],"minimum_tier":"warning","allow_no_hardware":true,"allow_development":true,"cas":["a"],` +
			`"signers":[` + jwk + `],"steward":"https://steward.example/x","certificate_life_seconds":3600}`, ""},
		{``, "not a JSON object"},
		{`[]`, "not a JSON object"},
		{`null`, "not a JSON object"},
		{`{} {}`, "data after"},
		{`{}x`, "data after"},
		{`{"tee":`, "EOF"},
		{`{"teee":["snp"]}`, `unknown name "teee"`},
		{`{"TEE":["snp"]}`, `unknown name "TEE"`},
		{`{"tee":["snp"],"tee":["sgx"]}`, "tee is there twice"},
		{`{"tee":["none"]}`, "allow_no_hardware"},
		{`{"tee":"snp"}`, "cannot unmarshal"},
		{`{"tee":["snp","snp","snp","snp"]}`, "more than"},
		{`{"minimum_tier":"none"}`, "minimum_tier"},
		{`{"cas":[""]}`, "cas"},
		{`{"cas":[` + strings.Repeat(`"a",`, 40) + `"a"]}`, "more than"},
		{`{"signers":["nonsense"]}`, "signers: entry 0"},
		{`{"steward":"http://steward.example"}`, "steward"},
		{`{"steward":"https://user@steward.example"}`, "steward"},
		{`{"steward":"https:///x"}`, "steward"},
		{`{"certificate_life_seconds":59}`, "certificate_life_seconds"},
		{`{"certificate_life_seconds":-1}`, "certificate_life_seconds"},
		{`{"certificate_life_seconds":1e9}`, "certificate_life_seconds"},
		{`{"steward":"` + strings.Repeat("a", MaxPolicy) + `"}`, "bytes, more than"},
	}
	for _, tt := range tests {
		p, err := ParsePolicy([]byte(tt.text))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %v", tt.text, err)
		}
		if err == nil && (p.Life() == time.Hour) != strings.Contains(tt.text, "3600") {
			t.Errorf("%.80s: life %v", tt.text, p.Life())
		}
	}
	if (*Policy)(nil).Life() != 0 {
		t.Error("the default policy has a life")
	}
}

func TestSigners(t *testing.T) {
	private, _, jwk := signer(t)
	stranger, _, _ := signer(t)
	meta := drawbridge.MetaOf([]byte("content"), drawbridge.TypeWasm)
	entry := drawbridge.Entry{Meta: meta}
	signed := func(key ed25519.PrivateKey, name string) drawbridge.Tag {
		t.Helper()
		tag, err := drawbridge.SignTag(entry, name, key)
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	p, err := ParsePolicy([]byte(`{"signers":[` + jwk + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	none, err := ParsePolicy([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	const name = "alice/r:1.0.0"
	tests := []struct {
		what   string
		policy *Policy
		tag    drawbridge.Tag
		want   error
	}{
		{"signed", p, signed(private, name), nil},
		{"unsigned", p, drawbridge.NewTag(entry), drawbridge.ErrUnsigned},
		{"a stranger", p, signed(stranger, name), drawbridge.ErrUnknownSigner},
		{"another tag", p, signed(private, "alice/r:2.0.0"), drawbridge.ErrOtherTag},
		{"unsigned, nobody asks", none, drawbridge.NewTag(entry), nil},
		{"unsigned, no policy", nil, drawbridge.NewTag(entry), nil},
	}
	for _, tt := range tests {
		if err := tt.policy.CheckSigned(tt.tag, name); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}
