// SPDX-License-Identifier: Apache-2.0

package oidctest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"enarx.dev/enarx/oidctest"
)

var base64url = base64.RawURLEncoding

// A clock that tests turn.
type clock struct{ seconds atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(2e9+c.seconds.Load(), 0) }
func (c *clock) forward(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// noRedirect shows redirects instead of following them.
var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// post returns the status and the JSON of the answer.
func post(t *testing.T, p *oidctest.Provider, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := noRedirect.PostForm(p.Issuer()+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := map[string]any{}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return resp.StatusCode, answer
}

// subject is who userinfo says holds a token, "" if nobody.
func subject(t *testing.T, p *oidctest.Provider, token string) string {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	if err != nil {
		return ""
	}
	return info.Subject
}

// verify is a careful verifier's judgement of a token for the audience.
func verify(ctx context.Context, p *oidctest.Provider, algorithm, audience, token string) (*oidc.IDToken, error) {
	provider, err := oidc.NewProvider(ctx, p.Issuer())
	if err != nil {
		return nil, err
	}
	return provider.VerifierContext(ctx, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{algorithm}}).Verify(ctx, token)
}

func TestAlgorithmsAndRotation(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			p := oidctest.Start(t, oidctest.Options{Algorithm: algorithm})
			old := p.Mint(nil)
			if token, err := verify(t.Context(), p, algorithm, "testserver", old); err != nil || token.Subject != "test|subject" {
				t.Fatalf("%+v, %v", token, err)
			}
			if err := p.Rotate(true); err != nil {
				t.Fatal(err)
			}
			kept := p.Mint(oidctest.Claims{"sub": "another"})
			for _, token := range []string{old, kept} {
				if _, err := verify(t.Context(), p, algorithm, "testserver", token); err != nil {
					t.Error(err)
				}
			}
			if err := p.Rotate(false); err != nil {
				t.Fatal(err)
			}
			if _, err := verify(t.Context(), p, algorithm, "testserver", kept); err == nil {
				t.Error("a token of a key that has gone is good")
			}
		})
	}
	if p, err := oidctest.New(oidctest.Options{Algorithm: "HS256"}); err == nil {
		p.Close()
		t.Error("HS256 is taken")
	}
}

func TestForgeries(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	for name, f := range map[string]oidctest.Fault{
		"none": {Algorithm: "none"}, "HS256": {Algorithm: "HS256"}, "unknown kid": {KeyID: "nobody"},
		"no audience": {NoAudience: true}, "expired": {Expired: true},
	} {
		if _, err := verify(t.Context(), p, "RS256", "testserver", p.Forge(f, nil)); err == nil {
			t.Errorf("%s: a forgery is good", name)
		}
	}
	if token := p.Forge(oidctest.Fault{NoKeyID: true}, nil); strings.Contains(header(t, token), "kid") {
		t.Error("a kid after all")
	}
	if got := subject(t, p, p.Forge(oidctest.Fault{KeyID: "nobody"}, nil)); got != "" {
		t.Error("userinfo takes a forgery")
	}
	if _, err := verify(t.Context(), p, "RS256", "testserver", p.Mint(oidctest.Claims{"iss": "https://other.example/"})); err == nil {
		t.Error("another issuer is good")
	}
}

func header(t *testing.T, token string) string {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	raw, err := base64url.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// signIn goes through the page as a browser would, and returns where it is sent.
func signIn(t *testing.T, address, subject, action string) *url.URL {
	t.Helper()
	resp, err := noRedirect.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, page)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(string(page), -1) {
		form.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	form.Set("subject", subject)
	form.Set("action", action)
	target := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(string(page))[1]
	resp, err = noRedirect.PostForm(target, form)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return to
}

func TestCodeFlow(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: map[string]string{"site": "pa:ss%word"}})
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := &oauth2.Config{
		ClientID: "site", ClientSecret: "pa:ss%word", Endpoint: provider.Endpoint(),
		RedirectURL: "http://localhost:1/callback?x=1", Scopes: []string{"openid", "offline_access", "admin:everything"},
	}
	verifier := oauth2.GenerateVerifier()
	address := func(more ...oauth2.AuthCodeOption) string {
		return config.AuthCodeURL("the state", append(more, oauth2.S256ChallengeOption(verifier), oidc.Nonce("the nonce"))...)
	}
	if to := signIn(t, address(), "alice", "deny"); to.Query().Get("error") != "access_denied" || to.Query().Get("state") != "the state" {
		t.Errorf("refused: %s", to)
	}
	to := signIn(t, address(oauth2.SetAuthURLParam("audience", "https://store.example/")), "alice", "allow")
	if q := to.Query(); q.Get("state") != "the state" || q.Get("x") != "1" {
		t.Fatalf("sent to %s", to)
	}
	code := to.Query().Get("code")
	token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	id, err := verify(t.Context(), p, "RS256", "site", token.Extra("id_token").(string))
	if err != nil || id.Subject != "alice" || id.Nonce != "the nonce" {
		t.Errorf("%+v, %v", id, err)
	}
	access, err := verify(t.Context(), p, "RS256", "https://store.example/", token.AccessToken)
	if err != nil || !slices.Contains(access.Audience, p.Issuer()+"userinfo") {
		t.Errorf("%+v, %v", access, err)
	}
	if scope := token.Extra("scope"); scope != "openid offline_access" {
		t.Errorf("granted %v", scope)
	}
	if subject(t, p, token.AccessToken) != "alice" {
		t.Error("userinfo does not know the token")
	}
	if _, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code twice")
	}
	code = signIn(t, address(), "alice", "allow").Query().Get("code")
	if _, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
		t.Error("another verifier is good")
	}
}

func TestCodeFlowRefusals(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: map[string]string{"site": ""}, Redirects: []string{"https://site.example/cb"}})
	good := url.Values{
		"response_type": {"code"}, "client_id": {"site"}, "redirect_uri": {"https://site.example/cb"}, "state": {"s"},
		"code_challenge_method": {"S256"}, "code_challenge": {strings.Repeat("a", 43)},
	}
	for name, tt := range map[string]struct {
		change url.Values
		status int
	}{
		"good":             {nil, http.StatusOK},
		"unknown client":   {url.Values{"client_id": {"x"}}, http.StatusBadRequest},
		"other redirect":   {url.Values{"redirect_uri": {"https://site.example/cb2"}}, http.StatusBadRequest},
		"no PKCE":          {url.Values{"code_challenge": {""}}, http.StatusSeeOther},
		"plain PKCE":       {url.Values{"code_challenge_method": {"plain"}}, http.StatusSeeOther},
		"implicit":         {url.Values{"response_type": {"token"}}, http.StatusSeeOther},
		"loopback instead": {url.Values{"redirect_uri": {"http://127.0.0.1/cb"}}, http.StatusBadRequest},
	} {
		q := maps.Clone(good)
		maps.Copy(q, tt.change)
		resp, err := noRedirect.Get(p.Issuer() + "authorize?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

func TestDeviceFlow(t *testing.T) {
	var c clock
	p := oidctest.Start(t, oidctest.Options{Now: c.Now, Interval: 2})
	begin := func() (device, user string) {
		_, answer := post(t, p, "oauth/device/code", url.Values{"client_id": {"cli"}, "audience": {"https://store.example/"}, "scope": {"openid manage:drawbridge_tags"}})
		return answer["device_code"].(string), answer["user_code"].(string)
	}
	poll := func(device string) (string, map[string]any) {
		_, answer := post(t, p, "oauth/token", url.Values{
			"client_id": {"cli"}, "device_code": {device}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
		})
		code, _ := answer["error"].(string)
		return code, answer
	}
	expect := func(device, want string) map[string]any {
		t.Helper()
		got, answer := poll(device)
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		return answer
	}
	device, user := begin()
	expect(device, "authorization_pending")
	expect(device, "slow_down") // too early, and the interval is 7 s from now on
	c.forward(3 * time.Second)
	expect(device, "slow_down") // 12 s
	c.forward(12 * time.Second)
	expect(device, "authorization_pending")
	if err := p.Approve(user, "bob"); err != nil {
		t.Fatal(err)
	}
	c.forward(12 * time.Second)
	if token := expect(device, "")["access_token"].(string); subject(t, p, token) != "bob" || strings.Count(token, ".") != 2 {
		t.Errorf("token %s", token)
	}
	expect(device, "invalid_grant")

	device, user = begin()
	if err := p.Deny(user); err != nil {
		t.Fatal(err)
	}
	expect(device, "access_denied")
	device, user = begin()
	if status, _ := post(t, p, "activate", url.Values{"user_code": {user}, "subject": {"carol"}, "action": {"allow"}}); status != http.StatusOK {
		t.Errorf("the page answers %d", status)
	}
	p.Misbehave(oidctest.Fault{SlowDown: 1})
	expect(device, "slow_down")
	c.forward(7 * time.Second)
	expect(device, "")
	device, _ = begin()
	c.forward(11 * time.Minute)
	expect(device, "expired_token")
	if err := p.Approve("nobody's", "x"); err == nil {
		t.Error("a code that no device shows is approved")
	}
}

func TestDeviceApprovedAtOnce(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Approve: func(string) string { return "dave" }})
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := &oauth2.Config{ClientID: "cli", Endpoint: provider.Endpoint(), Scopes: []string{"openid"}}
	_, answer := post(t, p, "oauth/device/code", url.Values{"client_id": {"cli"}})
	if !strings.HasPrefix(answer["verification_uri_complete"].(string), p.Issuer()+"activate?user_code=") || config.Endpoint.DeviceAuthURL != p.Issuer()+"oauth/device/code" {
		t.Errorf("%v, %v", answer, config.Endpoint)
	}
	_, answer = post(t, p, "oauth/token", url.Values{
		"client_id": {"cli"}, "device_code": {answer["device_code"].(string)}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
	if token, _ := answer["access_token"].(string); subject(t, p, token) != "dave" || strings.Contains(token, ".") {
		t.Errorf("%v", answer)
	}
}

func TestClientsAndRefresh(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: map[string]string{"bot": "secret", "public": ""}})
	for name, tt := range map[string]struct {
		form url.Values
		want string
	}{
		"good":         {url.Values{"client_id": {"bot"}, "client_secret": {"secret"}}, ""},
		"wrong secret": {url.Values{"client_id": {"bot"}, "client_secret": {"x"}}, "invalid_client"},
		"unknown":      {url.Values{"client_id": {"x"}}, "invalid_client"},
		"public":       {url.Values{"client_id": {"public"}}, "unauthorized_client"},
		"other grant":  {url.Values{"client_id": {"bot"}, "client_secret": {"secret"}, "grant_type": {"password"}}, "unsupported_grant_type"},
	} {
		form := url.Values{"grant_type": {"client_credentials"}, "audience": {"https://store.example/"}}
		maps.Copy(form, tt.form)
		_, answer := post(t, p, "oauth/token", form)
		if got, _ := answer["error"].(string); got != tt.want {
			t.Errorf("%s: %v", name, answer)
		}
		if tt.want == "" {
			token, err := verify(t.Context(), p, "RS256", "https://store.example/", answer["access_token"].(string))
			if err != nil || token.Subject != "bot@clients" || !strings.HasPrefix(answer["scope"].(string), "manage:") {
				t.Errorf("%v, %v", answer, err)
			}
		}
	}
	_, answer := post(t, p, "oauth/device/code", url.Values{"client_id": {"public"}, "scope": {"offline_access"}})
	if err := p.Approve(answer["user_code"].(string), "erin"); err != nil {
		t.Fatal(err)
	}
	_, answer = post(t, p, "oauth/token", url.Values{
		"client_id": {"public"}, "device_code": {answer["device_code"].(string)}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
	first := answer["refresh_token"].(string)
	refresh := func(token string) map[string]any {
		_, answer := post(t, p, "oauth/token", url.Values{"client_id": {"public"}, "grant_type": {"refresh_token"}, "refresh_token": {token}})
		return answer
	}
	answer = refresh(first)
	second, _ := answer["refresh_token"].(string)
	if second == "" || second == first || subject(t, p, answer["access_token"].(string)) != "erin" {
		t.Fatalf("%v", answer)
	}
	if answer := refresh(first); answer["error"] != "invalid_grant" {
		t.Errorf("a refresh token twice: %v", answer)
	}
	post(t, p, "oauth/revoke", url.Values{"token": {second}})
	if answer := refresh(second); answer["error"] != "invalid_grant" {
		t.Errorf("a revoked refresh token: %v", answer)
	}
}

func TestUserinfo(t *testing.T) {
	var c clock
	p := oidctest.Start(t, oidctest.Options{Now: c.Now})
	p.Opaque("test-token", "frank")
	if got := subject(t, p, "test-token"); got != "frank" {
		t.Errorf("got %q", got)
	}
	if got := p.Requests("/userinfo"); got != 1 {
		t.Errorf("%d requests were counted", got)
	}
	token := p.Mint(oidctest.Claims{"exp": c.Now().Add(time.Minute).Unix()})
	c.forward(2 * time.Minute)
	if got := subject(t, p, token); got != "" {
		t.Errorf("expired, and yet %q", got)
	}
	p.Revoke("test-token")
	if got := subject(t, p, "test-token"); got != "" {
		t.Errorf("revoked, and yet %q", got)
	}
}

func TestMisbehaviour(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	keys := p.Issuer() + ".well-known/jwks.json"
	get := func(client *http.Client, address string) (status int, body string, err error) {
		resp, err := client.Get(address)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	tests := []struct {
		name  string
		fault oidctest.Fault
		bad   func(status int, body string, err error) bool
	}{
		{"down", oidctest.Fault{Down: true}, func(_ int, _ string, err error) bool { return err != nil }},
		{"status", oidctest.Fault{Status: 503}, func(s int, _ string, _ error) bool { return s == 503 }},
		{"redirect", oidctest.Fault{Redirect: "http://other.example/"}, func(s int, _ string, _ error) bool { return s == http.StatusTemporaryRedirect }},
		{"garbage", oidctest.Fault{JWKS: []byte("garbage")}, func(_ int, b string, _ error) bool { return b == "garbage" }},
		{"huge", oidctest.Fault{Padding: 2 << 20}, func(_ int, b string, _ error) bool { return len(b) > 2<<20 }},
		{"none", oidctest.Fault{}, func(s int, b string, err error) bool { return s == 200 && json.Valid([]byte(b)) && err == nil }},
	}
	for _, tt := range tests {
		p.Misbehave(tt.fault)
		if status, body, err := get(noRedirect, keys); !tt.bad(status, body, err) {
			t.Errorf("%s: %d %.100q %v", tt.name, status, body, err)
		}
	}
	p.Misbehave(oidctest.Fault{Issuer: "https://other.example/"})
	if _, err := oidc.NewProvider(t.Context(), p.Issuer()); err == nil {
		t.Error("another issuer in discovery is good")
	}
	p.Misbehave(oidctest.Fault{Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := noRedirect.Do(r); err == nil {
		resp.Body.Close()
		t.Error("an answer within the hour")
	}
}

func TestTLS(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{TLS: true})
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.CAPEM()) || !strings.HasPrefix(p.Issuer(), "https://") {
		t.Fatal("no CA")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	if _, err := verify(oidc.ClientContext(t.Context(), client), p, "RS256", "testserver", p.Mint(nil)); err != nil {
		t.Error(err)
	}
	if _, err := oidc.NewProvider(t.Context(), p.Issuer()); err == nil {
		t.Error("an unknown CA is trusted")
	}
}
