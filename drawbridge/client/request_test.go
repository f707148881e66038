// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

func TestStatusError(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"upstream's words", "User with OpenID Connect subject `test|subject` not found", "User with OpenID Connect subject `test|subject` not found"},
		{"line breaks", "one\r\ntwo\n", "one  two"},
		{"terminal", "\x1b]0;x\x07\x1b[31mred\u202e\u0085", "\ufffd]0;x\ufffd\ufffd[31mred\ufffd"},
		{"not UTF-8", "a\xff\xfeb", "a\ufffdb"},
		{"nothing", "", ""},
		{"long", strings.Repeat("x", 1<<20), strings.Repeat("x", maxText)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(tt.text))
			}))
			_, err := c.User(t.Context(), slug)
			e, ok := errors.AsType[*StatusError](err)
			if !ok || e.Status != http.StatusUnauthorized || e.Method != http.MethodGet || e.Text != tt.want {
				t.Errorf("got %.200q, want %.200q", err, tt.want)
			}
			want := "GET request failed: request failed with status code `401`"
			if tt.want != "" {
				want += ": " + tt.want
			}
			if err.Error() != want {
				t.Errorf("got %.200q, want %.200q", err, want)
			}
		})
	}
}

// A target of a redirect never gets the token, and a PUT never gets one.
func TestRedirect(t *testing.T) {
	target, _ := right(`{"subject":"x"}`, drawbridge.TypeJSON)
	hops := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/target":
			if r.Header.Get("Authorization") != "" {
				t.Error("the token went to the target")
			}
			target(w)
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://"+r.Host+"/target", http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/insecure"):
			http.Redirect(w, r, "/plain", http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/endless"):
			hops++
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		default:
			if r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("no token: %q", r.Header)
			}
			http.Redirect(w, r, "/target", http.StatusTemporaryRedirect)
		}
	})
	c := clientOf(t, start(t, h), Config{Token: func(context.Context) (string, error) { return "secret", nil }})
	if u, err := c.User(t.Context(), slug); err != nil || u.Subject != "x" {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := c.PutUser(t.Context(), slug, drawbridge.User{}); !is(err, http.StatusTemporaryRedirect) {
		t.Errorf("a PUT was redirected: %v", err)
	}
	for _, path := range []string{"insecure", "endless"} {
		if _, err := c.User(t.Context(), drawbridge.Slug{User: path}); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if hops != maxRedirects+1 {
		t.Errorf("%d hops", hops)
	}
}

func TestRetry(t *testing.T) {
	user, _ := right(`{"subject":"x"}`, drawbridge.TypeJSON)
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { user(w) })
	for name, tt := range map[string]struct {
		strike  func(http.ResponseWriter, *http.Request, http.Handler)
		retries int
		times   int
		asked   int
	}{
		"passes":         {status(http.StatusServiceUnavailable, ""), 3, 3, 4},
		"does not pass":  {status(http.StatusServiceUnavailable, ""), 3, 9, 4},
		"no retries":     {status(http.StatusServiceUnavailable, ""), -1, 1, 1},
		"broken answer":  {cutAnswer(3), 3, 3, 4},
		"no answer":      {cutAnswer(0), 3, 3, 4},
		"not found":      {status(http.StatusNotFound, ""), 3, 9, 1},
		"internal error": {status(http.StatusInternalServerError, ""), 3, 9, 1},
		"no permission":  {status(http.StatusUnauthorized, ""), 3, 9, 1},
		"digest is wrong": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			m := drawbridge.MetaOf([]byte("x"), "a/b")
			entity(m, "y")(w)
		}, 3, 9, 1},
		"header is absent": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) {}, 3, 9, 1},
	} {
		f := (&faults{Handler: ok}).add("", tt.times, tt.strike)
		_, err := clientOf(t, start(t, f), Config{Retries: tt.retries}).User(t.Context(), slug)
		if asked := tt.times - f.left(); (err == nil) != (tt.asked > tt.times) || asked != min(tt.asked, tt.times) {
			t.Errorf("%s: asked %d times and more, %v", name, asked, err)
		}
	}
}

// What no retry can help is told at once, although waiting would take an hour.
func TestNoRetry(t *testing.T) {
	host := start(t, newTiny(false))
	fails := errors.New("no token today")
	for name, cfg := range map[string]Config{
		"unknown CA": {Host: strings.TrimPrefix(host.URL, "https://"), RootCAs: x509.NewCertPool()},
		"no token":   {Host: strings.TrimPrefix(host.URL, "https://"), Token: func(context.Context) (string, error) { return "", fails }},
		"not TLS":    {Host: strings.TrimPrefix(plainHost(t), "http://")},
	} {
		cfg.Backoff = time.Hour
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.User(t.Context(), slug); err == nil || name == "no token" && !errors.Is(err, fails) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := clientOf(t, host, Config{})
	for _, s := range []drawbridge.Slug{{}, {User: "../x"}, {User: "u", Repository: "../../x"}, {User: "u", Repository: "r", Tag: "../1.0.0"}, {User: "u", Repository: "r"}} {
		if _, err := c.Tag(t.Context(), s); err == nil || is(err, http.StatusNotFound) {
			t.Errorf("%+v was asked for: %v", s, err)
		}
	}
	if _, _, err := c.Open(t.Context(), slug, drawbridge.Path{"a/../b"}, nil); err == nil || is(err, http.StatusNotFound) {
		t.Errorf("a bad path was asked for: %v", err)
	}
	if err := c.RevokeToken(t.Context(), slug, "../x"); err == nil || is(err, http.StatusNotFound) {
		t.Errorf("a bad ID was asked for: %v", err)
	}
	for _, bad := range []string{"", "https://x", "a/b", "x:y", "user@host"} {
		if _, err := New(Config{Host: bad}); err == nil {
			t.Errorf("host %q is taken", bad)
		}
	}
}

func plainHost(t *testing.T) string {
	s := httptest.NewUnstartedServer(newTiny(false))
	s.Config.ErrorLog = discardLog
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// What upstream's server and proxies see of us.
func TestHeaders(t *testing.T) {
	var got *http.Request
	user, _ := right(`{"subject":"x"}`, drawbridge.TypeJSON)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r; user(w) })
	host := start(t, h)
	if _, err := clientOf(t, host, Config{UserAgent: "enarx/1"}).User(t.Context(), slug); err != nil {
		t.Fatal(err)
	}
	if got.Header.Get("User-Agent") != "enarx/1" || got.Header.Get("Accept-Encoding") != "" || got.Header.Get("Authorization") != "" || got.ProtoMajor != 1 {
		t.Errorf("GET has %q", got.Header)
	}
	c := clientOf(t, host, Config{Token: func(context.Context) (string, error) { return "t", nil }, ShowYanked: true})
	if created, err := c.PutUser(t.Context(), slug, drawbridge.User{Subject: "test|subject"}); err != nil || created {
		t.Errorf("200 to a PUT: %v, %v", created, err)
	}
	if got.ContentLength != 26 || got.TransferEncoding != nil || got.Header.Get("Content-Type") != drawbridge.TypeJSON || got.Header.Get("Drawbridge-Yanked") != "show" ||
		got.Header.Get("Content-Digest") != drawbridge.Sum([]byte(`{"subject":"test|subject"}`)).Header() || got.Header.Get("Authorization") != "Bearer t" {
		t.Errorf("PUT has %q, length %d", got.Header, got.ContentLength)
	}
}
