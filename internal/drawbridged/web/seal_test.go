// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSeal(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	s, err := newSeal(key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	w := httptest.NewRecorder()
	in := session{Issuer: "i", Subject: "s", CSRF: "c", Names: []string{"alice"}}
	if err := setCookie(w, s, cookieSession, in, now, time.Hour); err != nil {
		t.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	if c.Name != "__Host-drawbridge" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 3600 {
		t.Errorf("the cookie is %+v", c)
	}
	if raw, _ := base64.RawURLEncoding.DecodeString(c.Value); bytes.Contains(raw, []byte("alice")) {
		t.Error("the cookie can be read")
	}
	read := func(s seal, name, value string, at time.Time) (session, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: name, Value: value})
		return readCookie[session](r, s, name, at)
	}
	if out, err := read(s, cookieSession, c.Value, now.Add(time.Hour-time.Second)); err != nil || out.Subject != "s" || out.Names[0] != "alice" {
		t.Errorf("got %+v, %v", out, err)
	}
	replica, err := newSeal(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(replica, cookieSession, c.Value, now); err != nil {
		t.Error("a replica with the same key refuses it")
	}
	for _, tt := range tampered(t, s, c.Value, now) {
		if out, err := read(tt.s, tt.name, tt.value, tt.at); err == nil || out.Subject != "" {
			t.Errorf("%s: got %+v", tt.why, out)
		}
	}
	if _, err := newSeal([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
	if err := setCookie(w, s, cookieSession, strings.Repeat("x", 4000), now, time.Hour); err == nil {
		t.Error("a cookie that browsers drop is set")
	}
}

// A forgery is a cookie that must not be believed.
type forgery struct {
	why, name, value string
	s                seal
	at               time.Time
}

// tampered are forgeries made of a good cookie.
func tampered(t *testing.T, s seal, good string, now time.Time) []forgery {
	t.Helper()
	other, err := newSeal(nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []forgery{
		{"expired", cookieSession, good, s, now.Add(time.Hour)},
		{"another key", cookieSession, good, other, now},
		{"another cookie's", cookieLogin, good, s, now},
		{"cut off", cookieSession, good[:len(good)-4], s, now},
		{"empty", cookieSession, "", s, now},
		{"no base64", cookieSession, "?!", s, now},
		{"too long", cookieSession, strings.Repeat("A", maxCookie+1), s, now},
	}
	for i := range len(good) { // every character counts
		swap := "A"
		if good[i] == 'A' {
			swap = "B"
		}
		changed := good[:i] + swap + good[i+1:]
		if !bytes.Equal(mustDecode(t, changed), mustDecode(t, good)) { // the last one has bits to spare
			all = append(all, forgery{"changed", cookieSession, changed, s, now})
		}
	}
	return all
}

func mustDecode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzReadCookie(f *testing.F) {
	s, err := newSeal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	w := httptest.NewRecorder()
	if err := setCookie(w, s, cookieSession, session{Subject: "s"}, now, time.Hour); err != nil {
		f.Fatal(err)
	}
	good := w.Result().Cookies()[0].Value
	f.Add("")
	f.Add(good[:20])
	f.Add(strings.Repeat("A", 100))
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookieSession+"="+value)
		if out, err := readCookie[session](r, s, cookieSession, now); err == nil && out.Subject != "s" {
			t.Fatalf("%q opens as %+v", value, out)
		}
	})
}

func TestHere(t *testing.T) {
	for _, to := range []string{"/", "/alice", "/alice/hello?page=2", "/-/tokens", "/-/u/apiary/x", "/a%20b"} {
		if got := here(to); got != to {
			t.Errorf("%q became %q", to, got)
		}
	}
	for _, to := range []string{
		"", "alice", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "https://evil.example/", "javascript:alert(1)",
		"/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/x\r\nSet-Cookie: a=b", "/\u202ex", "http:/evil.example",
		"/%", "/.//evil.example\\", "//evil.example/%2f..", "/" + strings.Repeat("a", maxTo), "/-/login?to=/", "/-/callback", "/%2d/login",
	} {
		if got := here(to); got != "/" {
			t.Errorf("%q became %q", to, got)
		}
	}
}

func FuzzHere(f *testing.F) {
	for _, seed := range []string{"/", "/a?b#c", "//e", "/\\e", "/%2f/e", "/./../e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, to string) {
		got := here(to)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t") {
			t.Fatalf("%q became %q", to, got)
		}
		if again := here(got); again != got {
			t.Fatalf("%q became %q became %q", to, got, again)
		}
	})
}
