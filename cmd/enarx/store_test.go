// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"enarx.dev/enarx/drawbridge"
)

func TestParseEnd(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"90d": "2027-04-01T12:00:00Z", "1d": "2027-01-02T12:00:00Z", "12h": "2027-01-02T00:00:00Z", "1h30m": "2027-01-01T13:30:00Z",
		"2027-01-31": "2027-01-31T00:00:00Z", "2027-01-31T10:00:00Z": "2027-01-31T10:00:00Z",
		"": "", "0d": "", "-1d": "", "-1h": "", "99999d": "", "1w": "", "2026-12-31": "", "d": "", "1.5d": "",
	} {
		got, err := parseEnd(s, now)
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v, want %q", s, got, err, want)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	var out bytes.Buffer
	wild := "a<b>&\u009b2J \u202egnp é \x1b[31m 😀 \u2028"
	if err := writeJSON(&out, map[string]string{"text": wild}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"text\": \"a<b>&\\u009b2J \\u202egnp é \\u001b[31m 😀 \\u2028\"\n}\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["text"] != wild {
		t.Errorf("%q, %v", back, err)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := table(&out, [][]string{{"A", "B"}, {"long", "x\x1b[2J\n"}, {"\u202e", ""}}); err != nil {
		t.Fatal(err)
	}
	if want := "A       B\nlong    x\\x1b[2J\\n\n\\u202e  \n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestPolicySigners: what is said of keys that come and go.
func TestPolicySigners(t *testing.T) {
	key := func(n byte) (text, thumbprint string) {
		k, err := drawbridge.NewPublicKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)).Public())
		if err != nil {
			t.Fatal(err)
		}
		return string(k.JWK()), k.Thumbprint()
	}
	a, nameA := key(1)
	b, nameB := key(2)
	changes := func(old, new []string) string {
		return strings.Join(policyChanges(drawbridge.Policy{Signers: old}, drawbridge.Policy{Signers: new}), "; ")
	}
	for _, test := range []struct {
		old, new []string
		want     string
	}{
		{nil, nil, ""},
		{[]string{a}, []string{a}, ""},
		{nil, []string{a}, "tags may be signed by the key " + nameA + "; new tags must be signed"},
		{[]string{a}, []string{a, b}, "tags may be signed by the key " + nameB},
		{[]string{a, b}, []string{b}, "the key " + nameA + " signs no new tags any more"},
		{[]string{a}, nil, "the key " + nameA + " signs no new tags any more; new tags need no signature"},
		{[]string{"no key\x1b"}, []string{"no key\x1b"}, ""},
		{[]string{"no key\x1b"}, nil, `the key no key\x1b signs no new tags any more; new tags need no signature`},
	} {
		if got := changes(test.old, test.new); got != test.want {
			t.Errorf("%q → %q: %q, want %q", test.old, test.new, got, test.want)
		}
	}
	text, err := policyTOML(drawbridge.Policy{Signers: []string{a}, CAs: []string{"x"}, CertificateLife: 60})
	if err != nil {
		t.Fatal(err)
	}
	again, err := parsePolicy([]byte(text))
	if err != nil || len(policyChanges(drawbridge.Policy{}, again)) != 4 {
		t.Errorf("%s: %+v, %v", text, again, err)
	}
}

// FuzzPolicy: whatever is in a file, it is an error or a policy, whose TOML is
// the same policy, and what is said of it drives no terminal.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte("tee = [\"snp\"]\nminimum_tier = \"warning\"\nallow_no_hardware = true\n"))
	f.Add([]byte(`{"cas":["a"],"steward":"https://x","certificate_life_seconds":3600}`))
	f.Add([]byte("steward = \"\\u001b[2J\"\ncas = [\"\\u202e\"]"))
	f.Add([]byte("certificate_life_seconds = 9223372036854775807"))
	f.Add([]byte("a.b = 1979-05-27\n[x]\ny = nan"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePolicy(text)
		if err != nil {
			return
		}
		for _, change := range policyChanges(drawbridge.Policy{}, p) {
			if strings.ContainsFunc(change, func(r rune) bool { return !unicode.IsGraphic(r) }) { // as oneLine has it
				t.Errorf("%q", change)
			}
		}
		again, err := policyTOML(p)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		q, err := parsePolicy([]byte(again))
		if err != nil || len(policyChanges(p, q)) > 0 || !slices.Equal(p.Signers, q.Signers) {
			t.Errorf("%+v became %+v, %v", p, q, err)
		}
	})
}

// FuzzSettings: whatever users write into their files, it is an error in one
// line or settings.
func FuzzSettings(f *testing.F) {
	f.Add([]byte("default = \"store.example.org\"\n[stores.\"store.example.org\"]\noidc_domain = \"https://auth.example.org/\"\n"))
	f.Add([]byte("[\"store.example.org/alice/app\"]\nkeys = ['{\"crv\":\"Ed25519\"}']\n"))
	f.Add([]byte("defualt = 1"))
	f.Add([]byte("default = "))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, to := range []any{&stores{}, &knownSigners{}} {
			d := toml.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(to); err != nil {
				if s := tomlError(err).Error(); s == "" || strings.Contains(s, "\n") {
					t.Errorf("%q", s)
				}
			}
		}
	})
}
