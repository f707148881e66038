// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

var shown = regexp.MustCompile(`id="token" readonly value="(ed[bd]_[0-9a-z_]+)"`)

func TestTokens(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	v.signIn(aliceSub, "/")

	robot := url.Values{"kind": {"robot"}, "name": {"CI " + hostile}, "for": {"alice/secret"}, "action": {"read"}, "days": {"30"}}
	if len(robot.Get("name")) > 64 {
		robot.Set("name", "CI <b>\"'")
	}
	p := v.post("/-/tokens", robot)
	m := shown.FindStringSubmatch(p.text)
	if p.StatusCode != 200 || m == nil {
		t.Fatalf("no token: %s\n%s", p.Status, p.text)
	}
	if p.Request.Method != "GET" || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the token is shown by %s with Cache-Control %q", p.Request.Method, p.Header.Get("Cache-Control"))
	}
	contains(t, wordsOf(t, p), "CI <b>", "alice/secret", "robot", "read")
	if again := v.want(200, "/-/tokens"); strings.Contains(again.text, m[1]) {
		t.Error("the token is shown twice")
	}

	ask := func(what, token string) int {
		q := r.visitor().request("GET", drawbridge.Prefix+"/alice/secret/_tag/1.0.0/"+what, "")
		q.Header.Set("Authorization", "Bearer "+token)
		return r.visitor().send(q).StatusCode
	}
	read := func(token string) int { return ask("tree/main.wasm", token) }
	if got := read(m[1]); got != 200 {
		t.Errorf("the token reads with %d", got)
	}

	deploy := url.Values{"kind": {"deployment"}, "for": {"alice/secret"}, "package": {"1.0.0"}, "uses": {"1"}, "days": {"1"}}
	d := shown.FindStringSubmatch(v.post("/-/tokens", deploy).text)
	if d == nil || !strings.HasPrefix(d[1], "edd_") {
		t.Fatalf("no deployment token: %q", d)
	}
	if got := ask("deployment", d[1]); got != 200 {
		t.Errorf("the deployment token opens its package with %d", got)
	}
	if got := read(d[1]); got != 403 {
		t.Errorf("the deployment token reads content with %d", got)
	}
	contains(t, wordsOf(t, v.want(200, "/-/tokens")), "alice/secret:1.0.0", "used 1 of 1 times")

	id := m[1][4:20]
	bob := r.visitor()
	bob.signIn(bobSub, "/")
	contains(t, wordsOf(t, bob.post("/-/revoke", url.Values{"user": {"alice"}, "id": {id}})), "Not done:")
	if got := read(m[1]); got != 200 {
		t.Errorf("after somebody else revoked it the token reads with %d", got)
	}
	contains(t, wordsOf(t, v.post("/-/revoke", url.Values{"user": {"alice"}, "id": {id}})), "The token is revoked.")
	if got := read(m[1]); got != 401 {
		t.Errorf("revoked, it reads with %d", got)
	}
	if p := bob.want(200, "/-/tokens"); strings.Contains(p.text, "alice/") {
		t.Error("bob sees alice's tokens")
	}
}

func TestTokensRefused(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	v.signIn(aliceSub, "/")
	for why, fields := range map[string]url.Values{
		"at least one action":   {"kind": {"robot"}, "for": {"alice/"}, "days": {"30"}},
		"needs a life":          {"kind": {"robot"}, "for": {"alice/"}, "action": {"read"}, "days": {"x"}},
		"needs a tag, a digest": {"kind": {"deployment"}, "for": {"alice/secret"}, "days": {"1"}},
		"1 or more":             {"kind": {"deployment"}, "for": {"alice/secret"}, "package": {"1.0.0"}, "uses": {"-3"}, "days": {"1"}},
	} {
		p := v.post("/-/tokens", fields)
		if p.StatusCode != 422 {
			t.Errorf("%s: %s", why, p.Status)
		}
		contains(t, wordsOf(t, p), why)
		contains(t, p.text, `role="alert"`)
	}
	if p := v.post("/-/tokens", url.Values{"kind": {"robot"}, "for": {"bob/"}, "action": {"read"}, "days": {"1"}}); shown.MatchString(p.text) || p.StatusCode < 400 {
		t.Errorf("a token for another user: %s", p.Status)
	}
	if p := v.post("/-/tokens", url.Values{"kind": {"robot"}, "for": {"../x"}, "action": {"read"}, "days": {"1"}}); p.StatusCode != 404 {
		t.Errorf("a token for a path: %s", p.Status)
	}
	contains(t, wordsOf(t, v.want(200, "/-/tokens")), "None yet.")
}
