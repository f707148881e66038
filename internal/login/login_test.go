// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/oidctest"
)

const store = "https://store.example/"

// stopped is a clock that goes forward only when somebody waits, and counts.
type stopped struct {
	mu    sync.Mutex // of time, which the provider may go by
	time  time.Time
	waits []time.Duration
	// each, if set, runs after the n-th wait.
	each func(n int)
}

func (s *stopped) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.time
}

func (s *stopped) clock() clock {
	return clock{s.now, func(ctx context.Context, d time.Duration) error {
		s.mu.Lock()
		s.time = s.time.Add(d)
		s.mu.Unlock()
		s.waits = append(s.waits, d)
		if s.each != nil {
			s.each(len(s.waits))
		}
		return ctx.Err()
	}}
}

func discover(t *testing.T, p *oidctest.Provider) (*Provider, *stopped) {
	t.Helper()
	found, err := Discover(t.Context(), http.DefaultTransport, p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	clock := &stopped{time: time.Now()}
	found.clock = clock.clock()
	return found, clock
}

// answering is a provider that says one thing at each path.
func answering(t *testing.T, answers map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		if status, body, coded := strings.Cut(text, " "); coded && len(status) == 3 {
			code := map[string]int{"307": 307, "400": 400, "401": 401, "429": 429, "500": 500}[status]
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			text = body
		} else if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/"
}

func TestDomain(t *testing.T) {
	for s, want := range map[string]string{
		"auth.example": "https://auth.example/", "https://auth.example/realms/x": "https://auth.example/realms/x",
		"https://auth.example:8443/": "https://auth.example:8443/", "http://127.0.0.1:80": "http://127.0.0.1:80/",
		"http://localhost/": "http://localhost/", "http://[::1]:1/": "http://[::1]:1/",
		"http://auth.example/": "", "ftp://auth.example/": "", "": "", "https://u:p@auth.example/": "",
		"https://auth.example/?a": "", "https://auth.example/#a": "", "http://127.0.0.1.example/": "", "https://%": "",
	} {
		u, err := Domain(s)
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: %v, %v, want %q", s, u, err, want)
		}
	}
}

func TestDiscover(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	found, _ := discover(t, p)
	if found.device != p.Issuer()+"oauth/device/code" || found.userinfo != p.Issuer()+"userinfo" || found.revocation != p.Issuer()+"oauth/revoke" {
		t.Errorf("%+v", found)
	}
	// Without its slash the name is still the provider's.
	if _, err := Discover(t.Context(), http.DefaultTransport, strings.TrimSuffix(p.Issuer(), "/")); err != nil {
		t.Error(err)
	}
	p.Misbehave(oidctest.Fault{Issuer: "https://evil.example/"})
	if _, err := Discover(t.Context(), http.DefaultTransport, p.Issuer()); err == nil || !strings.Contains(err.Error(), `it calls itself "https://evil.example/"`) {
		t.Error(err)
	}

	const doc = "/.well-known/openid-configuration"
	for name, test := range map[string]struct{ doc, want string }{
		"not JSON":       {"<html>", "the answer of "},
		"trouble":        {"500 oh no", "request failed with status code `500`: oh no"},
		"a page":         {"500 <html>long", "request failed with status code `500`"},
		"redirected":     {"307 x", "request failed with status code `307`"},
		"too long":       {strings.Repeat(" ", maxAnswer+1), "is over 1048576 bytes"},
		"no issuer":      {"{}", `it calls itself ""`},
		"plain endpoint": {`{"issuer":"ISSUER","token_endpoint":"http://auth.example/token"}`, "http://auth.example/token is not https"},
		"odd endpoint":   {`{"issuer":"ISSUER","userinfo_endpoint":"%"}`, "invalid URL escape"},
	} {
		answers := map[string]string{}
		issuer := answering(t, answers)
		answers[doc] = strings.ReplaceAll(test.doc, "ISSUER", issuer)
		if _, err := Discover(t.Context(), http.DefaultTransport, issuer); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	// The old way: no discovery, and Auth0's paths.
	issuer := answering(t, nil)
	old, err := Discover(t.Context(), http.DefaultTransport, issuer)
	if err != nil || old.authorization != issuer+"authorize" || old.token != issuer+"oauth/token" || old.device != issuer+"oauth/device/code" {
		t.Errorf("%+v, %v", old, err)
	}
	answers := map[string]string{}
	issuer = answering(t, answers)
	answers[doc] = `{"issuer":"` + issuer + `","token_endpoint":"https://t.example/"}`
	old, err = Discover(t.Context(), http.DefaultTransport, issuer)
	if err != nil || old.token != "https://t.example/" || old.device != issuer+"oauth/device/code" {
		t.Errorf("%+v, %v", old, err)
	}
}

func TestUserInfo(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	found, _ := discover(t, p)
	p.Opaque("test-token", "test|subject")
	if sub, err := found.UserInfo(t.Context(), "test-token"); err != nil || sub != "test|subject" {
		t.Errorf("%q, %v", sub, err)
	}
	if _, err := found.UserInfo(t.Context(), "bad-token"); err == nil || !strings.HasPrefix(err.Error(), "failed to make user info request: request failed with status code `401`") || strings.Contains(err.Error(), "bad-token") {
		t.Error(err)
	}
	none, err := Discover(t.Context(), http.DefaultTransport, answering(t, map[string]string{"/userinfo": "{}"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.UserInfo(t.Context(), "x"); err == nil || !strings.HasSuffix(err.Error(), "the answer has no sub") {
		t.Error(err)
	}
}

func TestDevice(t *testing.T) {
	clock := &stopped{time: time.Now()}
	p := oidctest.Start(t, oidctest.Options{Interval: 2, Life: time.Hour, Now: clock.now})
	found, _ := discover(t, p)
	found.clock = clock.clock()
	p.Misbehave(oidctest.Fault{SlowDown: 1})
	var prompts []Prompt
	clock.each = func(n int) {
		if n == 2 {
			if err := p.Approve(prompts[0].Code, "someone"); err != nil {
				t.Error(err)
			}
		}
	}
	s, err := found.Device(t.Context(), Request{ClientID: "cli", Audience: store}, func(p Prompt) { prompts = append(prompts, p) })
	if err != nil {
		t.Fatal(err)
	}
	if len(prompts) != 1 || !strings.HasPrefix(prompts[0].Address, p.Issuer()) || prompts[0].Code == "" {
		t.Errorf("%+v", prompts)
	}
	if len(clock.waits) != 2 || clock.waits[0] != 7*time.Second || clock.waits[1] != 7*time.Second {
		t.Errorf("waited %v", clock.waits)
	}
	if s.Access == "" || s.Refresh == "" || s.Flow != FlowDevice || s.ClientID != "cli" || s.Audience != store || s.Issuer != p.Issuer() {
		t.Errorf("%+v", s)
	}
	if left := s.Expiry.Sub(clock.time); left < 59*time.Minute || left > time.Hour {
		t.Errorf("good for %v", left)
	}
	if sub, err := found.UserInfo(t.Context(), s.Access); err != nil || sub != "someone" {
		t.Errorf("%q, %v", sub, err)
	}
}

func TestDeviceEnds(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	for name, test := range map[string]struct {
		ctx   context.Context
		after func(code string) error // the first wait
		want  string
	}{
		"denied":      {t.Context(), p.Deny, "the identity provider said \"access_denied\""},
		"nobody came": {t.Context(), nil, errTooLate.Error()},
		"control-C":   {ctx, func(string) error { cancel(); return nil }, context.Canceled.Error()},
	} {
		found, clock := discover(t, p)
		var code string
		clock.each = func(n int) {
			if n == 1 && test.after != nil {
				if err := test.after(code); err != nil {
					t.Error(err)
				}
			}
		}
		s, err := found.Device(test.ctx, Request{ClientID: "cli", Audience: store}, func(p Prompt) { code = p.Code })
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v, want %q", name, s, err, test.want)
		}
		if waited := time.Until(clock.time); waited > maxPatience {
			t.Errorf("%s: waited %v", name, waited)
		}
	}
}

// TestDeviceTrouble: the network may fail for a while, and a provider that
// answers nonsense is not asked again.
func TestDeviceTrouble(t *testing.T) {
	code := `{"device_code":"d","user_code":"u","verification_uri":"https://go.example/"}`
	for name, test := range map[string]struct {
		code, token string
		polls       int // of the trouble, before the good answer
		want        string
	}{
		"good":          {code, "", 0, ""},
		"trouble":       {code, "500 oh no", 2, ""},
		"busy":          {code, "429 oh no", 3, ""},
		"misspelt":      {`{"device_code":"d","user_code":"u","verification_url":"https://go.example/"}`, "", 0, ""},
		"no code":       {`{"verification_uri":"https://go.example/"}`, "", 0, "lacks a code"},
		"no address":    {`{"device_code":"d","user_code":"u","verification_uri":"javascript:x"}`, "", 0, "lacks a code"},
		"refused":       {`400 {"error":"unauthorized_client","error_description":"not  this\none"}`, "", 0, `said "unauthorized_client": not this one`},
		"not JSON":      {code, "secret-token", 1, "is not JSON of the expected kind"},
		"no token":      {code, "{}", 1, "not a token"},
		"odd token":     {code, `{"access_token":"a\r\nX: y"}`, 1, "not a token"},
		"odd kind":      {code, `{"access_token":"a","token_type":"mac"}`, 1, `of the type "mac"`},
		"client secret": {code, `401 {"error":"invalid_client"}`, 1, `said "invalid_client"`},
	} {
		answers := map[string]string{"/oauth/device/code": test.code, "/oauth/token": test.token}
		found, err := Discover(t.Context(), http.DefaultTransport, answering(t, answers))
		if err != nil {
			t.Fatal(err)
		}
		clock := &stopped{time: time.Now(), each: func(n int) {
			if n >= test.polls {
				answers["/oauth/token"] = `{"access_token":"good","expires_in":"60"}`
			}
		}}
		found.clock = clock.clock()
		if test.polls == 0 {
			clock.each(0)
		}
		s, err := found.Device(t.Context(), Request{ClientID: "cli"}, func(Prompt) {})
		switch {
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %+v, %v, want %q", name, s, err, test.want)
		case test.want == "" && (err != nil || s.Access != "good" || !s.Expiry.Equal(clock.time.Add(time.Minute).Truncate(time.Second))):
			t.Errorf("%s: %+v, %v", name, s, err)
		case test.want == "" && len(clock.waits) != test.polls:
			t.Errorf("%s: waited %v", name, clock.waits)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: map[string]string{"robot": "s3cret"}})
	found, _ := discover(t, p)
	s, err := found.ClientCredentials(t.Context(), Request{ClientID: "robot", Secret: "s3cret", Audience: store})
	if err != nil || s.Access == "" || s.Flow != FlowClient {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = found.ClientCredentials(t.Context(), Request{ClientID: "robot", Secret: "wr0ng", Audience: store})
	if said, ok := errors.AsType[*Error](err); !ok || said.Code != "invalid_client" || strings.Contains(err.Error(), "wr0ng") {
		t.Error(err)
	}
}

// browse does what a browser does with the provider's page.
func browse(t *testing.T, address, action string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Error(err)
		return ""
	}
	form := u.Query()
	form.Set("subject", "someone")
	form.Set("action", action)
	resp, err := http.PostForm(u.Scheme+"://"+u.Host+u.Path, form)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.Status + " " + string(text)
}

func TestCode(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	for action, want := range map[string]string{"allow": "", "deny": "access_denied"} {
		found, _ := discover(t, p)
		shown := make(chan string, 1)
		s, err := found.Code(t.Context(), Request{ClientID: "cli", Audience: store}, func(address string) {
			go func() {
				u, _ := url.Parse(address)
				if q := u.Query(); q.Get("code_challenge_method") != "S256" || q.Has("code_verifier") || q.Has("client_secret") {
					t.Errorf("%s", address)
				}
				// A page that a stranger sends the browser to changes nothing.
				back := u.Query().Get("redirect_uri")
				for _, stray := range []string{back, back + "?code=x&state=y", strings.Replace(back, "callback", "", 1)} {
					if resp, err := http.Get(stray); err != nil || resp.StatusCode != 404 {
						t.Errorf("%s: %v, %v", stray, resp, err)
					}
				}
				shown <- browse(t, address, action)
			}()
		})
		text := <-shown
		if want == "" {
			if err != nil || s.Access == "" || s.Refresh == "" || s.Flow != FlowCode || !strings.Contains(text, "You are signed in") {
				t.Errorf("%+v, %v, %q", s, err, text)
			}
		} else if said, ok := errors.AsType[*Error](err); !ok || said.Code != want || !strings.Contains(text, "not signed in") {
			t.Errorf("%+v, %v, %q", s, err, text)
		}
	}
}

func TestCodeEnds(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	found, _ := discover(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := found.Code(ctx, Request{ClientID: "cli"}, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for query, want := range map[string]string{
		"code=x&iss=https://evil.example/": `came back from the identity provider "https://evil.example/"`,
		"":                                 "came back without a code",
	} {
		_, err := found.Code(t.Context(), Request{ClientID: "cli"}, func(address string) {
			u, _ := url.Parse(address)
			q := u.Query()
			go func() {
				if resp, err := http.Get(q.Get("redirect_uri") + "?state=" + q.Get("state") + "&" + query); err != nil || resp.StatusCode != 200 {
					t.Errorf("%v, %v", resp, err)
				}
			}()
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestRevoke(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Approve: func(string) string { return "someone" }})
	found, _ := discover(t, p)
	s, err := found.Device(t.Context(), Request{ClientID: "cli"}, func(Prompt) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := found.Revoke(t.Context(), s); err != nil {
		t.Error(err)
	}
	if _, err := found.UserInfo(t.Context(), s.Access); err == nil {
		t.Error("the access token is still good")
	}
	if _, err := found.refresh(t.Context(), s, ""); err == nil {
		t.Error("the refresh token is still good")
	}
	p.Misbehave(oidctest.Fault{Status: 503})
	if err := found.Revoke(t.Context(), s); err == nil || !strings.Contains(err.Error(), "revoking the refresh token") || !strings.Contains(err.Error(), "revoking the access token") {
		t.Error(err)
	}
}

func TestExpiry(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	if got := expiry(p.Mint(oidctest.Claims{"exp": 1_900_000_000})); !got.Equal(time.Unix(1_900_000_000, 0)) {
		t.Error(got)
	}
	for _, token := range []string{"", "opaque", "a.b.c", p.Mint(oidctest.Claims{"exp": nil}), p.Mint(oidctest.Claims{"exp": -1}), p.Mint(oidctest.Claims{"exp": "x"}), "x.e30.y"} {
		if got := expiry(token); !got.IsZero() {
			t.Errorf("%s: %v", token, got)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("a.eyJleHAiOjF9.c")
	f.Add("a.eyJleHAiOjFlOTl9.c")
	f.Add(`{"issuer":"x","flow":"device","access_sha256":"","refresh_token":"r"}`)
	f.Add(`{"access_token":"x","expires_in":"1e99"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if end := expiry(text); !end.IsZero() && end.Before(time.Unix(0, 0)) {
			t.Errorf("%v", end)
		}
		if s, err := parseSession(text); err == nil && s.Refresh != "" && checkToken(s.Refresh) != nil {
			t.Errorf("%+v", s)
		}
		if token, err := CheckToken(text); err == nil && strings.ContainsAny(token, "\r\n ") {
			t.Errorf("%q", token)
		}
		if u, err := Domain(text); err == nil && (u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http") {
			t.Errorf("%v", u)
		}
	})
}
