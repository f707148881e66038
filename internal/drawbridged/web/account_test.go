// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

func TestSignInAndRegister(t *testing.T) {
	r := newRig(t, nil)
	v := r.visitor()
	p := v.signIn("test|carol", "/-/tokens")
	if p.Request.URL.Path != "/-/register" {
		t.Fatalf("somebody new ends at %s:\n%s", p.Request.URL, p.text)
	}
	for name, why := range map[string]string{"": "at least one", "car ol": "letters", "carol_": "letters", "<b>": "letters"} {
		p := v.post("/-/register", url.Values{"name": {name}, "to": {"/-/tokens"}})
		if p.StatusCode != 422 {
			t.Errorf("%q: %s", name, p.Status)
		}
		contains(t, wordsOf(t, p), why)
		contains(t, p.text, `aria-invalid="true"`, `value="`+html.EscapeString(name)+`"`)
	}
	p = v.post("/-/register", url.Values{"name": {"carol"}, "to": {"/-/tokens"}})
	if p.Request.URL.Path != "/-/tokens" {
		t.Errorf("after registering: %s", p.Request.URL)
	}
	contains(t, wordsOf(t, p), "You are carol here.", "Sign out")
	if again := v.want(200, "/-/tokens"); strings.Contains(again.text, "You are carol here") {
		t.Error("the notice is shown twice")
	}

	dave := r.visitor()
	dave.signIn("test|dave", "/")
	if p := dave.post("/-/register", url.Values{"name": {"carol"}}); p.StatusCode != 409 {
		t.Errorf("a taken name: %s", p.Status)
	} else {
		contains(t, wordsOf(t, p), "This name is taken")
	}

	p = v.post("/-/logout", url.Values{})
	contains(t, wordsOf(t, p), "You are signed out", "Sign in")
	v.want(401, "/-/tokens")
	registeredElsewhere(t, r)
}

// registeredElsewhere is for who registers from the command line while signed
// in here: they are not asked again.
func registeredElsewhere(t *testing.T, r *rig) {
	t.Helper()
	erin := r.visitor()
	if p := erin.signIn("test|erin", "/"); p.Request.URL.Path != "/-/register" {
		t.Fatalf("somebody new ends at %s", p.Request.URL)
	}
	q := erin.request("PUT", drawbridge.Prefix+"/erin", `{"subject":"test|erin"}`)
	q.Header.Set("Content-Type", drawbridge.TypeJSON)
	q.Header.Set("Authorization", "Bearer "+r.idp.Mint(oidctest.Claims{"sub": "test|erin"}))
	if p := erin.send(q); p.StatusCode != 201 {
		t.Fatal(p.Status, p.text)
	}
	if p := erin.want(200, "/-/register?to=/erin"); p.Request.URL.Path != "/erin" {
		t.Errorf("after registering elsewhere: %s", p.Request.URL)
	}
}

func TestCreateRepository(t *testing.T) {
	r := newRig(t, nil)
	r.user("carol", "test|carol")
	r.user("dave", "test|dave")
	v, dave := r.visitor(), r.visitor()
	v.signIn("test|carol", "/")
	dave.signIn("test|dave", "/")
	p := v.post("/-/new", url.Values{"user": {"carol"}, "name": {"app"}, "public": {"false"}})
	contains(t, wordsOf(t, p), "The repository is there", "private", "No tag yet")
	if p.Request.URL.Path != "/carol/app" {
		t.Errorf("after making a repository: %s", p.Request.URL)
	}
	r.visitor().want(404, "/carol/app")
	for name, why := range map[string]string{"app": "There is a repository of this name", "a/b": "dashes only", "": "at least one"} {
		p := v.post("/-/new", url.Values{"user": {"carol"}, "name": {name}, "public": {"true"}})
		contains(t, wordsOf(t, p), why)
		contains(t, p.text, "<title>Not done: carol")
		if p.StatusCode != 422 {
			t.Errorf("%q: %s", name, p.Status)
		}
	}
	// Neither may others make one there, nor learn which there are.
	for _, name := range []string{"app", "other"} {
		if p := dave.post("/-/new", url.Values{"user": {"carol"}, "name": {name}}); p.StatusCode != 404 {
			t.Errorf("for another user: %s", p.Status)
		}
	}
}

func TestSignInRefused(t *testing.T) {
	r := newRig(t, nil)
	v := r.visitor()
	form := v.want(200, "/-/login")
	if p := v.answer(form, "x", "deny"); p.StatusCode != 400 {
		t.Errorf("refused by the provider: %s", p.Status)
	}
	state := form.Request.URL.Query().Get("state")
	for why, path := range map[string]string{
		"nothing":           "/-/callback",
		"state of before":   "/-/callback?code=x&state=" + state,
		"no state":          "/-/callback?code=x",
		"of another issuer": "/-/callback?code=x&iss=https%3A%2F%2Fevil.example&state=" + state,
	} {
		if p := v.get(path); p.StatusCode != 400 {
			t.Errorf("%s: %s", why, p.Status)
		}
	}
	// A code that somebody else got cannot be planted: the state is not this browser's.
	stranger := r.visitor()
	theirs := stranger.want(200, "/-/login")
	v.want(200, "/-/login")
	if p := v.get("/-/callback?code=x&state=" + theirs.Request.URL.Query().Get("state")); p.StatusCode != 400 {
		t.Errorf("a foreign state: %s", p.Status)
	}
	if strings.Contains(wordsOf(t, v.want(200, "/")), "Sign out") {
		t.Error("somebody is signed in")
	}
	// A made-up code with the right state goes to the provider, which does not know it.
	mine := v.want(200, "/-/login")
	if p := v.get("/-/callback?code=x&state=" + mine.Request.URL.Query().Get("state")); p.StatusCode != 400 {
		t.Errorf("a made-up code: %s", p.Status)
	}
}

func TestProviderFaults(t *testing.T) {
	now := time.Now()
	r := newRig(t, func(c *Config) { c.Now = func() time.Time { return now } })
	v := r.visitor()
	faults := map[string]oidctest.Fault{
		"down":           {Down: true},
		"500":            {Status: 500},
		"another issuer": {Issuer: "https://evil.example/"},
	}
	const discovery = "/.well-known/openid-configuration"
	for name, fault := range faults {
		r.idp.Misbehave(fault)
		now = now.Add(providerRetry)
		if p := v.get("/-/login"); p.StatusCode != 503 {
			t.Errorf("%s: %s", name, p.Status)
		}
		asked := r.idp.Requests(discovery)
		if p := v.get("/-/login"); p.StatusCode != 503 || r.idp.Requests(discovery) != asked {
			t.Errorf("%s: everybody makes the site ask again", name)
		}
		v.want(200, "/")
	}
	r.idp.Misbehave(oidctest.Fault{})
	now = now.Add(providerRetry)
	for name, fault := range map[string]oidctest.Fault{
		"alg none": {Algorithm: "none"}, "alg HS256": {Algorithm: "HS256"}, "expired": {Expired: true}, "audience": {NoAudience: true},
		"unknown key": {KeyID: "other"},
	} {
		form := v.want(200, "/-/login")
		r.idp.Misbehave(fault)
		if p := v.answer(form, "x", "allow"); p.StatusCode != 503 {
			t.Errorf("ID token with %s: %s", name, p.Status)
		}
		r.idp.Misbehave(oidctest.Fault{})
	}
	if p := v.signIn("test|carol", "/"); p.StatusCode != 200 {
		t.Errorf("after all faults: %s", p.Status)
	}
}

func TestNoOpenRedirect(t *testing.T) {
	r := newRig(t, nil)
	r.user("alice", aliceSub)
	for _, to := range []string{"//evil.example", "https://evil.example/", `/\evil.example`, "/\t/evil.example", "/-/none/../..//evil.example\\"} {
		v := r.visitor()
		if p := v.signIn(aliceSub, to); p.Request.URL.Host != r.host || p.Request.URL.Path != "/" {
			t.Errorf("%q leads to %s", to, p.Request.URL)
		}
	}
}

// Forms count only from pages of the site in the same session.
func TestForgery(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	v.signIn(aliceSub, "/")
	other := r.visitor()
	other.signIn(bobSub, "/")
	mine := csrfField.FindStringSubmatch(v.get("/").text)[1]
	theirs := csrfField.FindStringSubmatch(other.get("/").text)[1]
	kind := "application/x-www-form-urlencoded"
	tests := []struct {
		why, csrf, origin, site, kind string
		status                        int
	}{
		{"good", mine, "https://" + r.host, "same-origin", kind, 200},
		{"an old browser", mine, "https://" + r.host, "", kind, 200},
		{"without a token", "", "https://" + r.host, "same-origin", kind, 403},
		{"another's token", theirs, "https://" + r.host, "same-origin", kind, 403},
		{"from another site", mine, "https://evil.example", "cross-site", kind, 403},
		{"from a subdomain", mine, "https://x.localhost", "same-site", kind, 403},
		{"typed in", mine, "", "none", kind, 403},
		{"old browser, another site", mine, "https://evil.example", "", kind, 403},
		{"old browser, sandboxed", mine, "null", "", kind, 403},
		{"no browser", mine, "", "", kind, 403},
		{"plain text", mine, "https://" + r.host, "same-origin", "text/plain", 415},
		{"JSON", mine, "https://" + r.host, "same-origin", "application/json", 415},
	}
	for _, path := range []string{"/-/new", "/-/register", "/-/tokens", "/-/revoke", "/alice/hello/1.0.0/yank", "/-/logout"} {
		for _, tt := range tests {
			if tt.status == 200 && path != "/-/new" {
				continue
			}
			fields := url.Values{"csrf": {tt.csrf}, "user": {"alice"}, "name": {"n" + strings.ReplaceAll(tt.why, " ", "-")}, "action": {"yank"}, "reason": {"x"}}
			q := v.request("POST", path, fields.Encode())
			for name, value := range map[string]string{"Origin": tt.origin, "Sec-Fetch-Site": tt.site, "Content-Type": tt.kind} {
				if value != "" {
					q.Header.Set(name, value)
				}
			}
			if p := v.send(q); p.StatusCode != tt.status {
				t.Errorf("%s, %s: %s, want %d", path, tt.why, p.Status, tt.status)
			}
		}
	}
	if p := v.want(200, "/alice/hello/1.0.0"); strings.Contains(p.text, "Withdrawn") {
		t.Error("a forged form yanked a tag")
	}
	contains(t, wordsOf(t, v.want(200, "/")), "Sign out")
}

// Nor do they from those who are signed in nowhere, or when they are too large.
func TestFormRefused(t *testing.T) {
	r := newRig(t, nil)
	r.user("alice", aliceSub)
	v := r.visitor()
	v.signIn(aliceSub, "/")
	fields := url.Values{"csrf": csrfField.FindStringSubmatch(v.get("/").text)[1:2], "user": {"alice"}, "name": {"app"}}
	form := func(body string) *http.Request {
		q := v.request("POST", "/-/new", body)
		q.Header.Set("Sec-Fetch-Site", "same-origin")
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return q
	}
	if p := v.sendWithout(form(fields.Encode())); p.StatusCode != 403 {
		t.Errorf("without a session: %s", p.Status)
	}
	if p := v.send(form(fields.Encode() + "&x=" + strings.Repeat("x", maxForm))); p.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: %s", p.Status)
	}
	if p := v.send(form(fields.Encode() + "&%zz")); p.StatusCode != http.StatusBadRequest {
		t.Errorf("a broken form: %s", p.Status)
	}
	v.want(404, "/alice/app")
	if p := v.send(form(fields.Encode())); p.StatusCode != 200 {
		t.Errorf("the form itself: %s", p.Status)
	}
}

// sendWithout sends a request without the visitor's cookies.
func (v *visitor) sendWithout(q *http.Request) page {
	bare := &visitor{v.rig, &http.Client{Transport: v.client.Transport}}
	return bare.send(q)
}

func TestSessionEnds(t *testing.T) {
	now := time.Now()
	r := newRig(t, func(c *Config) { c.Now = func() time.Time { return now } })
	r.user("alice", aliceSub)
	v := r.visitor()
	v.signIn(aliceSub, "/")
	v.want(200, "/-/tokens")
	page := v.want(200, "/alice")
	now = now.Add(time.Hour + time.Second)
	p := v.want(401, "/-/tokens")
	contains(t, p.text, `href="/-/login?to=%2F-%2Ftokens"`)
	fields := url.Values{"csrf": {csrfField.FindStringSubmatch(page.text)[1]}, "user": {"alice"}, "name": {"late"}}
	if p := v.post("/-/new", fields); p.StatusCode != 403 {
		t.Errorf("a form after the end of the session: %s", p.Status)
	}
}

func TestYank(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	alice, bob := r.visitor(), r.visitor()
	alice.signIn(aliceSub, "/")
	bob.signIn(bobSub, "/")
	yank := func(v *visitor, at string, fields url.Values) page { return v.post(at+"/yank", fields) }
	why := url.Values{"action": {"yank"}, "reason": {hostile}}
	if p := yank(bob, "/alice/secret/1.0.0", why); p.StatusCode != 404 {
		t.Errorf("a private one of another: %s", p.Status)
	}
	why.Del("csrf")
	contains(t, wordsOf(t, yank(bob, "/alice/hello/1.0.0", why)), "Not done:")
	contains(t, wordsOf(t, yank(alice, "/alice/hello/1.0.0", url.Values{"action": {"yank"}, "reason": {" "}})), "say why")
	if p := bob.want(200, "/alice/hello/1.0.0"); strings.Contains(p.text, "Withdrawn") {
		t.Fatal("the tag is yanked")
	}
	why.Del("csrf")
	contains(t, wordsOf(t, yank(alice, "/alice/hello/1.0.0", why)), "The tag is yanked.", "Withdrawn by its publisher")
	contains(t, wordsOf(t, bob.want(200, "/alice/hello/1.0.0")), "Withdrawn by its publisher: <script>")
	if p := bob.get(drawbridge.Prefix + "/alice/hello/_tag/1.0.0"); p.StatusCode != 410 {
		t.Errorf("the API: %s", p.Status)
	}
	contains(t, wordsOf(t, yank(alice, "/alice/hello/1.0.0", url.Values{"action": {"unyank"}})), "The tag is served again.")
	bob.want(200, "/alice/hello/1.0.0/file/main.wasm")
}

func TestNoSignIn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.SignIn = nil })
	furnish(t, r)
	v := r.visitor()
	for _, path := range []string{"/", "/alice/hello", "/none"} {
		if p := v.get(path); strings.Contains(p.text, "Sign in</a>") || strings.Contains(p.text, "/-/login") {
			t.Errorf("%s offers to sign in", path)
		}
	}
	for _, path := range []string{"/-/login", "/-/callback", "/-/tokens", "/-/register"} {
		v.want(404, path)
	}
}
