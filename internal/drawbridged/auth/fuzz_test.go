// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
)

func FuzzBearer(f *testing.F) {
	for _, header := range []string{"", "Bearer", "Bearer abc", "bearer a.b.c", "Bearer a=", "Basic abc", "Bearer {}", "Bearer  x ", "Bearer edb_aaaaaaaaaaaaaaaa_"} {
		f.Add(header)
	}
	a, err := New(Config{Tokens: newMemory()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{header}
		c := a.Caller(r)
		if p, err := c.Authenticate(t.Context()); err == nil {
			t.Errorf("%q is %+v", header, p)
		}
		if c.broken == nil && (len(c.bearer) > maxToken || strings.ContainsAny(c.bearer, " \t\r\n\"{}\x00")) {
			t.Errorf("%q is a token", c.bearer)
		}
	})
}

func FuzzParseText(f *testing.F) {
	f.Add("edb_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 58))
	f.Add("edd_")
	f.Add(never16(make([]byte, secretSize)))
	f.Fuzz(func(t *testing.T, text string) {
		kind, id, secret, err := parseText(text)
		if err != nil {
			return
		}
		prefix := map[Kind]string{Robot: robotPrefix, Deployment: deploymentPrefix}[kind]
		head := prefix + "_" + id + "_"
		if again := head + base32Lower.EncodeToString(checksummed(head, secret)); again != text {
			t.Errorf("%q and %q are one token", text, again)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	now := time.Now()
	for _, ask := range []drawbridge.Token{
		{Kind: "robot", User: "alice", Actions: []string{"read", "publish"}, Expires: now.Add(time.Hour)},
		{Kind: "deployment", User: "alice", Repository: "r", Tag: "1.0.0", Uses: 2, Expires: now.Add(time.Hour)},
	} {
		token, _, err := NewToken(ask, Principal{Kind: OIDC, Subject: "a"}, now)
		if err != nil {
			f.Fatal(err)
		}
		record, err := token.Record()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record)
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		token, err := ParseToken(record)
		if err != nil {
			return
		}
		again, err := token.Record()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseToken(again); err != nil || back.Hash != token.Hash || !slices.Equal(back.Actions, token.Actions) {
			t.Errorf("%s becomes %s: %v", record, again, err)
		}
		if token.Kind == "robot" && token.Tag != "" || token.Expires.IsZero() {
			t.Errorf("taken: %s", record)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"tee":["snp"],"minimum_tier":"warning","steward":"https://s.example","certificate_life_seconds":600}`,
		`{"cas":["a"],"allow_no_hardware":true,"allow_development":false}`, `{"tee":["snp"],"tee":[]}`, `{"Tee":[]}`, `{} {}`,
		`{"signers":["{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		// Whatever it says, it opens nothing that a Steward warns of by itself.
		if p.trusts(&Reader{Status: "contraindicated", TEE: "snp", Roots: "vendor"}) == "" ||
			p.trusts(&Reader{Status: Affirming, TEE: "snp", Roots: "vendor", Debug: true}) == "" ||
			p.trusts(&Reader{Problem: "a problem", NoHardware: true}) == "" {
			t.Errorf("%s trusts too much", text)
		}
		if !bytes.Contains(text, []byte(`"allow_no_hardware"`)) && !bytes.ContainsRune(text, '\\') && p.AllowNoHardware {
			t.Errorf("%s allows what it does not name", text)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	for _, text := range []string{
		`{"keys":[]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","kid":"2","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc"}]}`,
		`{"keys":[{"kty":"RSA","kid":"3","n":"AQAB","e":"AQAB"},null,1,{"kty":"oct","k":"AAAA","kid":"4"}]}`, `[]`, `{"keys":{}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeys(text, algorithms)
		if err != nil {
			return
		}
		for kid, key := range keys {
			if kid == "" || kid != key.KeyID || !key.IsPublic() || !signs(key, algorithms) {
				t.Errorf("%s is taken as %q", text, kid)
			}
		}
	})
}

func FuzzJWT(f *testing.F) {
	for _, text := range []string{"", "..", "a.b.c", "eyJhbGciOiJub25lIn0..", "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AA", "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.e30.AA"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseJWT(text, algorithms)
		if err != nil {
			return
		}
		if token.kid == "" || strings.Count(text, ".") != 2 || !slices.Contains(algorithms, token.signed.Signatures[0].Protected.Algorithm) {
			t.Errorf("%q is taken", text)
		}
	})
}

func FuzzUserinfo(f *testing.F) {
	f.Add("application/json", []byte(`{"sub":"a"}`))
	f.Add("application/json; charset=utf-8", []byte(`{"sub":1}`))
	f.Add("application/jwt", []byte(`a.b.c`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		got := parseUserinfo(kind, body)
		if (got.subject == "") == (got.refused == "") || len(got.subject) > maxSubject {
			t.Errorf("%q, %s: %+v", kind, body, got)
		}
	})
}

func FuzzEAR(f *testing.F) {
	for _, seed := range []string{
		`{"ear_status":"affirming","submods":{"keep":{"ear_status":"affirming","ear_attester_claims":{"tee":"snp"},"ear_verifier_claims":{"roots":"vendor"}}}}`,
		`{"ear_status":"none","submods":{"keep":{"ear_status":"none","ear_attester_claims":{"tee":"none"},"ear_verifier_claims":{"roots":"none"}}}}`,
		`{}`, `null`, `{"submods":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &Reader{}
		r.result(attest.EARType, text)
		if (*Policy)(nil).trusts(r) == "" && (r.Status != Affirming || r.Roots != "vendor" || r.TEE == "none" || r.NoHardware || r.Development || r.Debug) {
			t.Errorf("%s is trusted as %+v", text, r)
		}
	})
}
