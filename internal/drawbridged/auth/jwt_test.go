// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"enarx.dev/enarx/oidctest"
)

func TestJWT(t *testing.T) {
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			b := newBench(t, oidctest.Options{Algorithm: algorithm}, func(c *Config) { c.Algorithms = []string{algorithm} })
			b.taken(t, "good", b.idp.Mint(nil), "test|subject")
			testClaims(t, b)
			testForgeries(t, b)
		})
	}
	t.Run("not configured", func(t *testing.T) {
		b := newBench(t, oidctest.Options{Algorithm: "ES256"}, nil)
		b.refused(t, "ES256", b.idp.Mint(nil), 401, invalidText, "")
	})
}

func testClaims(t *testing.T, b *bench) {
	at := func(d time.Duration) int64 { return b.clock.Now().Add(d).Unix() }
	tests := []struct {
		name   string
		claims oidctest.Claims
		reason string // "" is good
	}{
		{"other audience of ours", oidctest.Claims{"aud": "https://store.example/"}, ""},
		{"one of several audiences", oidctest.Claims{"aud": []string{"x", "testserver"}}, ""},
		{"other audience", oidctest.Claims{"aud": "invalid"}, "audience"},
		{"other audiences", oidctest.Claims{"aud": []string{"invalid", "testserver/"}}, "audience"},
		{"no audience", oidctest.Claims{"aud": nil}, "audience"},
		{"empty audience", oidctest.Claims{"aud": ""}, "audience"},
		{"strange audience", oidctest.Claims{"aud": 1}, "claims"},
		{"other issuer", oidctest.Claims{"iss": "https://invalid.example/"}, "issuer"},
		{"issuer without the slash", oidctest.Claims{"iss": strings.TrimSuffix(b.idp.Issuer(), "/")}, "issuer"},
		{"no issuer", oidctest.Claims{"iss": nil}, "issuer"},
		{"expired", oidctest.Claims{"iat": at(-2 * time.Hour), "exp": at(-time.Hour)}, "expired"},
		{"expired within the leeway", oidctest.Claims{"exp": at(-50 * time.Second)}, ""},
		{"expired beyond the leeway", oidctest.Claims{"exp": at(-61 * time.Second)}, "expired"},
		{"never expires", oidctest.Claims{"exp": nil}, "never expires"},
		{"strange exp", oidctest.Claims{"exp": "tomorrow"}, "claims"},
		{"not yet", oidctest.Claims{"nbf": at(2 * time.Minute)}, "not valid yet"},
		{"not yet within the leeway", oidctest.Claims{"nbf": at(50 * time.Second)}, ""},
		{"no subject", oidctest.Claims{"sub": nil}, "no subject"},
		{"empty subject", oidctest.Claims{"sub": ""}, "no subject"},
		{"long subject", oidctest.Claims{"sub": strings.Repeat("s", maxSubject+1)}, "no subject"},
		{"no scope", oidctest.Claims{"scope": nil}, "no scope"},
		{"scopes in a list", oidctest.Claims{"scope": []string{"a"}}, "claims"},
	}
	for _, tt := range tests {
		if tt.reason == "" {
			b.taken(t, tt.name, b.idp.Mint(tt.claims), "test|subject")
		} else {
			b.refused(t, tt.name, b.idp.Mint(tt.claims), 401, invalidText, tt.reason)
		}
	}
}

func testForgeries(t *testing.T, b *bench) {
	good := b.idp.Mint(nil)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	_, other, _ := strings.Cut(b.idp.Mint(oidctest.Claims{"sub": "somebody else"}), ".")
	other, _, _ = strings.Cut(other, ".")
	for name, token := range map[string]string{
		"alg none":             b.idp.Forge(oidctest.Fault{Algorithm: "none"}, nil),
		"HS256 of the key":     b.idp.Forge(oidctest.Fault{Algorithm: "HS256"}, nil),
		"unknown kid":          b.idp.Forge(oidctest.Fault{KeyID: "unknown"}, nil),
		"no kid":               b.idp.Forge(oidctest.Fault{NoKeyID: true}, nil),
		"no signature":         header + "." + payload + ".",
		"detached":             header + ".." + signature,
		"short of a character": good[:len(good)-1],
		"other payload":        header + "." + other + "." + signature,
		"two dots more":        good + "..",
		"an encrypted one":     "a.b.c.d.e",
		"dots":                 "..",
	} {
		reason := ""
		if name == "no kid" {
			reason = "no kid in the header"
		}
		b.refused(t, name, token, 401, invalidText, reason)
	}
}

// Of a key set only those are taken that can sign what is taken.
func TestParseKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  jose.JSONWebKey
		algs []string
		want bool
	}{
		{"good", jose.JSONWebKey{Key: ec.Public(), KeyID: "k"}, algorithms, true},
		{"good and explicit", jose.JSONWebKey{Key: ec.Public(), KeyID: "k", Use: "sig", Algorithm: "ES256"}, algorithms, true},
		{"not configured", jose.JSONWebKey{Key: ec.Public(), KeyID: "k"}, []string{"RS256"}, false},
		{"no kid", jose.JSONWebKey{Key: ec.Public()}, algorithms, false},
		{"for encryption", jose.JSONWebKey{Key: ec.Public(), KeyID: "k", Use: "enc"}, algorithms, false},
		{"for another algorithm", jose.JSONWebKey{Key: ec.Public(), KeyID: "k", Algorithm: "ECDH-ES"}, algorithms, false},
		{"another curve", jose.JSONWebKey{Key: p384.Public(), KeyID: "k"}, algorithms, false},
		{"short RSA", jose.JSONWebKey{Key: small.Public(), KeyID: "k"}, algorithms, false},
		{"private", jose.JSONWebKey{Key: ec, KeyID: "k"}, algorithms, false},
		{"symmetric", jose.JSONWebKey{Key: []byte("secret"), KeyID: "k"}, algorithms, false},
	} {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{tt.key}})
		if err != nil {
			t.Fatal(err)
		}
		if keys, err := parseKeys(set, tt.algs); (err == nil) != tt.want || len(keys) == 1 != tt.want {
			t.Errorf("%s: %v, %v", tt.name, keys, err)
		}
	}
}

func TestRotation(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	const keys = "/.well-known/jwks.json"
	old := b.idp.Mint(nil)
	b.taken(t, "first", old, "test|subject")
	if err := b.idp.Rotate(true); err != nil {
		t.Fatal(err)
	}
	b.refused(t, "new key at once", b.idp.Mint(nil), 401, invalidText, "no key")
	if n := b.idp.Requests(keys); n != 1 {
		t.Errorf("the key set was fetched %d times", n)
	}
	b.clock.forward(refreshEvery)
	b.taken(t, "new key", b.idp.Mint(nil), "test|subject")
	b.taken(t, "old key", old, "test|subject")
	if n := b.idp.Requests(keys); n != 2 {
		t.Errorf("the key set was fetched %d times", n)
	}
	// Whoever makes up names of keys does not make us ask more often.
	b.clock.forward(refreshEvery)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			b.refused(t, "flood", b.idp.Forge(oidctest.Fault{KeyID: fmt.Sprint(i)}, nil), 401, invalidText, "no key")
		})
	}
	all.Wait()
	if n := b.idp.Requests(keys); n != 3 {
		t.Errorf("the key set was fetched %d times", n)
	}
	// A key that was taken out of the set goes with the next fetch.
	if err := b.idp.Rotate(false); err != nil {
		t.Fatal(err)
	}
	b.clock.forward(refreshEvery)
	b.taken(t, "newest key", b.idp.Mint(nil), "test|subject")
	b.refused(t, "key that is gone", old, 401, invalidText, "no key")
	// Keys stay good while the provider is down.
	newest := b.idp.Mint(nil)
	b.idp.Misbehave(oidctest.Fault{Down: true})
	b.clock.forward(refreshEvery)
	b.refused(t, "unknown key", b.idp.Forge(oidctest.Fault{KeyID: "x"}, nil), 401, invalidText, "no key")
	b.taken(t, "known key", newest, "test|subject")
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
}

func TestProviderMisbehaves(t *testing.T) {
	tests := []struct {
		name   string
		fault  oidctest.Fault
		reason string
	}{
		{"down", oidctest.Fault{Down: true}, "EOF"},
		{"status", oidctest.Fault{Status: http.StatusBadGateway}, "502"},
		{"other issuer", oidctest.Fault{Issuer: "https://other.example/"}, "did not match"},
		{"redirect", oidctest.Fault{Redirect: "http://other.example/"}, "another host"},
		{"garbage keys", oidctest.Fault{JWKS: []byte("garbage")}, "invalid character"},
		{"no keys", oidctest.Fault{JWKS: []byte(`{"keys":[]}`)}, "none of 0 keys"},
		{"keys for other things", oidctest.Fault{JWKS: []byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"1"},{"kty":"new"},1]}`)}, "none of 3 keys"},
		{"huge keys", oidctest.Fault{Padding: maxAnswer}, "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, oidctest.Options{}, nil)
			token := b.idp.Mint(nil)
			b.idp.Misbehave(tt.fault)
			b.refused(t, tt.name, token, 503, "The identity provider cannot be reached now", tt.reason)
			if err := b.Ready(); err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("ready: %v", err)
			}
			b.idp.Misbehave(oidctest.Fault{})
			asked := b.idp.Requests("/.well-known/openid-configuration")
			b.refused(t, "again at once", token, 503, "The identity provider cannot be reached now", tt.reason)
			if b.idp.Requests("/.well-known/openid-configuration") != asked {
				t.Error("asked again at once")
			}
			b.clock.forward(refreshEvery)
			b.taken(t, "recovered", token, "test|subject")
			if err := b.Ready(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The provider may be down when the server starts; somebody keeps asking.
func TestRun(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	b.idp.Misbehave(oidctest.Fault{Down: true})
	if err := b.Ready(); err == nil {
		t.Error("ready before anything")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	for b.idp.Requests("/.well-known/openid-configuration") == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := b.Ready(); err == nil {
		t.Error("ready without a provider")
	}
	b.idp.Misbehave(oidctest.Fault{})
	for b.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	running.Wait()
}

// A provider that hangs costs those who wait for it, and only until they go.
func TestProviderHangs(t *testing.T) {
	b := newBench(t, oidctest.Options{}, nil)
	token := b.idp.Mint(nil)
	b.idp.Misbehave(oidctest.Fault{Delay: time.Hour})
	b.provider.client.Timeout = 50 * time.Millisecond
	b.refused(t, "hangs", token, 503, "The identity provider cannot be reached now", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.from("", token).Authenticate(ctx); err == nil {
		t.Error("known without asking")
	}
}
