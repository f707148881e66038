// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

// upstreamFiles is the tree of upstream's integration test.
var upstreamFiles = map[string]string{
	"tEst-file..__.foo.42.": "", "test-dir-1/test-file": "text", "test-dir-1/test-file.txt": "text", "test-dir-1/test-subdir-1/": "",
	"test-dir-1/test-subdir-2/test-file": "text", "test-file": "text", "test-file.json": "text", "test-file.txt": "text",
}

// upstreamOrder is the order in which upstream's test sees its nodes created.
var upstreamOrder = []string{
	"", "tEst-file..__.foo.42.", "test-dir-1", "test-dir-1/test-file", "test-dir-1/test-file.txt", "test-dir-1/test-subdir-1",
	"test-dir-1/test-subdir-2", "test-dir-1/test-subdir-2/test-file", "test-file", "test-file.json", "test-file.txt",
}

// A matrix is upstream's integration test, spec/drawbridge.md 6.1, with the
// three kinds of clients, and a raw connection beside each: upstream's clients
// refuse some of the requests themselves, which says nothing about a server.
type matrix struct {
	*rig
	anonymous, cert, token *rustClient
	tree                   *rustTree
	step                   string
}

// everybody is who a step says something about, and what it expects of each:
// an empty string is success, anything else the status.
type everybody struct{ anonymous, cert, token int }

// Each step reproduces a row of the table. Where ours differs on purpose is
// said: a certificate opens what it names, not every private tree of everybody.
func TestUpstreamMatrix(t *testing.T) {
	r := newRig(t, rigOptions{})
	unnamed, gen := r.ca.keep(t), generations[3]
	m := &matrix{
		rig: r, anonymous: r.rust(gen, ""), cert: r.rust(gen, "", unnamed), token: r.rust(gen, r.token(nil)), tree: newRustTree(upstreamFiles),
	}
	if !slices.Equal(m.tree.paths, upstreamOrder) {
		t.Fatalf("the nodes are %q", m.tree.paths)
	}
	user := drawbridge.User{Subject: "test|subject"}.Canonical()
	m.step = "1, user before creation"
	m.get("/testuser", everybody{401, 401, 401}, nil)
	m.badTokens(user)
	m.step = "2, PUT user"
	m.put("/testuser", drawbridge.TypeJSON, user, everybody{401, 401, 201})
	m.put("/testuser2", drawbridge.TypeJSON, user, everybody{401, 401, 201})
	m.step = "3, GET user"
	m.get("/testuser", everybody{401, 401, 200}, user)
	m.step = "4, repositories before creation"
	for _, repo := range []string{"test-repo-private", "test-repo-public"} {
		m.get("/testuser/"+repo, everybody{401, 401, 404}, nil)
		m.get("/testuser/"+repo+"/_tag", everybody{401, 401, 404}, nil)
	}
	m.step = "5, PUT repositories"
	private, public := drawbridge.Repository{}.Canonical(), drawbridge.Repository{Public: true}.Canonical()
	m.put("/testuser/test-repo-private", drawbridge.TypeJSON, private, everybody{401, 401, 201})
	m.put("/testuser/test-repo-public", drawbridge.TypeJSON, public, everybody{401, 401, 201})
	m.step = "6, GET repositories"
	m.get("/testuser/test-repo-private", everybody{401, 401, 200}, private)
	m.get("/testuser/test-repo-public", everybody{401, 401, 200}, public)
	m.step = "7 and 8, empty lists of tags"
	m.get("/testuser/test-repo-private/_tag", everybody{401, 401, 200}, []byte("[]"))
	m.get("/testuser/test-repo-public/_tag", everybody{200, 200, 200}, []byte("[]"))
	m.step = "9, tag before creation"
	m.get("/testuser/test-repo-private/_tag/0.1.0", everybody{401, 401, 404}, nil)
	m.get("/testuser/test-repo-public/_tag/0.1.0", everybody{404, 404, 404}, nil)
	m.step = "10, publish"
	m.publish("/testuser/test-repo-private/_tag/0.1.0")
	m.publish("/testuser/test-repo-public/_tag/0.1.0")
	m.step = "11, lists of tags"
	m.get("/testuser/test-repo-private/_tag", everybody{401, 401, 200}, []byte(`["0.1.0"]`))
	m.get("/testuser/test-repo-public/_tag", everybody{200, 200, 200}, []byte(`["0.1.0"]`))
	m.step = "12, a file that no listing has"
	m.get("/testuser/test-repo-public/_tag/0.1.0/tree/test-file.txt", everybody{200, 200, 200}, []byte("text"))
	m.get("/testuser/test-repo-private/_tag/0.1.0/tree/test-file.txt", everybody{401, 401, 200}, []byte("text"))
	m.certificates()
}

// get is a GET by all three.
func (m *matrix) get(path string, want everybody, body []byte) {
	m.t.Helper()
	for name, who := range m.who(want) {
		a, err := who.client.get(path)
		if a.status != who.want || (err == nil) != (who.want == 200) {
			m.t.Errorf("step %s: %s: GET %s: %d, %v; want %d", m.step, name, path, a.status, err, who.want)
		}
		if who.want == 200 && !bytes.Equal(a.body, body) {
			m.t.Errorf("step %s: %s: GET %s: %q, want %q", m.step, name, path, a.body, body)
		}
		if who.want == 200 && a.meta.Digests.Len() != 4 {
			m.t.Errorf("step %s: %s: GET %s: digests %q", m.step, name, path, a.header.Get("Content-Digest"))
		}
	}
}

// put is a PUT by all three; the last one is to succeed.
func (m *matrix) put(path, mediaType string, body []byte, want everybody) {
	m.t.Helper()
	for _, name := range []string{"anonymous", "cert", "token"} {
		who := m.who(want)[name]
		_, a, err := who.client.putBytes(path, mediaType, body)
		if a.status != who.want {
			m.t.Errorf("step %s: %s: PUT %s: %d, %v; want %d", m.step, name, path, a.status, err, who.want)
		}
		if who.want == 201 && (len(a.body) > 0 || a.header.Get("Content-Type") != "" || a.header.Get("Content-Digest") != "") {
			m.t.Errorf("step %s: 201 with %v %q", m.step, a.header, a.body)
		}
		if who.want == 401 && string(a.body) != "Bearer token header missing" {
			m.t.Errorf("step %s: %s: %q", m.step, name, a.body)
		}
	}
}

type oneOf struct {
	client *rustClient
	want   int
}

func (m *matrix) who(want everybody) map[string]oneOf {
	return map[string]oneOf{"anonymous": {m.anonymous, want.anonymous}, "cert": {m.cert, want.cert}, "token": {m.token, want.token}}
}

// badTokens is the rest of step 2: no bad token makes a user, nor does a good
// one for somebody else.
func (m *matrix) badTokens(user []byte) {
	const manage = "openid manage:drawbridge_repositories manage:drawbridge_tags"
	good := m.rig.token(nil)
	for name, bad := range map[string]struct{ token, text string }{
		"expired":   {m.rig.token(oidctest.Claims{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix()}), "Invalid token provided"},
		"no_scopes": {m.rig.token(oidctest.Claims{"scope": "openid"}), "Token is missing a scope for level write, context drawbridge_users"},
		"missing_manage_user_scope": {
			m.rig.token(oidctest.Claims{"scope": manage + " read:drawbridge_users"}), "Token is missing a scope for level write, context drawbridge_users"},
		"invalid_aud": {m.rig.token(oidctest.Claims{"aud": "other"}), "Invalid token provided"},
		"invalid_iss": {m.rig.token(oidctest.Claims{"iss": "http://other.example/"}), "Invalid token provided"},
		"invalid_sig": {good[:len(good)-1], "Invalid token provided"},
		"other":       {m.rig.token(oidctest.Claims{"sub": "test|other"}), "OpenID Connect subject mismatch"},
	} {
		c := m.rust(generations[3], bad.token)
		if _, a, err := c.putBytes("/testuser", drawbridge.TypeJSON, user); a.status != 401 || string(a.body) != bad.text {
			m.t.Errorf("step 2, token %s: %d %q, %v; want 401 %q", name, a.status, a.body, err, bad.text)
		}
		if a, err := c.get("/testuser"); err == nil {
			m.t.Errorf("step 2, token %s: GET: %d", name, a.status)
		}
	}
}

func (m *matrix) publish(slug string) {
	m.t.Helper()
	for name, c := range map[string]*rustClient{"anonymous": m.anonymous, "cert": m.cert} {
		if _, _, err := c.publish(slug, m.tree); err == nil {
			m.t.Errorf("step %s: %s could", m.step, name)
		}
		for _, path := range upstreamOrder {
			if _, a, _ := c.putBytes(nodePath(slug, path), m.tree.nodes[path].Type, m.tree.nodes[path].body); a.status != 401 {
				m.t.Errorf("step %s: %s: PUT %s: %d", m.step, name, path, a.status)
			}
		}
	}
	tag, created, err := m.token.publish(slug, m.tree)
	if err != nil || !tag || !slices.Equal(created, upstreamOrder) {
		m.t.Errorf("step %s: created %v %q: %v", m.step, tag, created, err)
	}
}

// certificates is what ours has instead of upstream's "both ok" for a
// certificate in step 12: one that names the package, and a policy that allows
// a Keep without hardware, as upstream's Steward certifies.
func (m *matrix) certificates() {
	m.t.Helper()
	const repo = "/testuser/test-repo-private"
	const unlisted, listed = repo + "/_tag/0.1.0/tree/test-file.txt", repo + "/_tag/0.1.0/tree/tEst-file..__.foo.42."
	named := m.ca.keep(m.t, "enarx:"+m.addr+"/testuser/test-repo-private:0.1.0")
	wrong := m.ca.keep(m.t, "enarx:"+m.addr+"/testuser/test-repo-private:0.2.0")
	status := func(cert *tls.Certificate, path string) int {
		resp, _ := m.askAs(cert, "GET", "/api/v0.1.0"+path, "")
		return resp.StatusCode
	}
	if got := status(named, listed); got != 401 && got != 403 {
		m.t.Errorf("without a policy: %d", got)
	}
	m.want(http.StatusOK, "PUT", "/api/v0.1.0"+repo+"/_policy", `{"allow_no_hardware":true}`, bearer(m.token.token), "Content-Type: application/json")
	for _, c := range []struct {
		cert *tls.Certificate
		path string
		ok   bool
	}{
		{named, repo + "/_tag/0.1.0", true}, {named, repo + "/_tag/0.1.0/tree", true}, {named, listed, true}, {named, repo + "/_tag/0.1.0/deployment", true},
		{named, unlisted, false}, // its digest is in no listing: the certificate's name does not cover it
		{named, repo + "/_tag", false}, {named, repo, false}, {named, "/testuser", false},
		{wrong, listed, false}, {wrong, repo + "/_tag/0.1.0", false}, {m.ca.keep(m.t), listed, false},
	} {
		if got := status(c.cert, c.path); (got == 200) != c.ok {
			m.t.Errorf("%s: %d, want success: %v", c.path, got, c.ok)
		}
	}
	stranger := newTestCA(m.t, "Somebody").keep(m.t, "enarx:"+m.addr+"/testuser/test-repo-private:0.1.0")
	config := m.client.Clone()
	present(config, stranger)
	conn, err := tls.Dial("tcp", m.addr, config)
	if err == nil { // with TLS 1.3 the refusal comes with the first read
		defer conn.Close()
		fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			m.t.Errorf("a certificate of nobody's got %d bytes", n)
		}
	}
}

// enarx 0.7.1's own tests run against a server of the 0.2 line, with opaque
// tokens: spec/drawbridge.md 6.3.
func TestEnarxSuite(t *testing.T) {
	r := newRig(t, rigOptions{userinfo: true})
	r.idp.Opaque("test-token", "test|subject")
	c := r.rust(generations[3], "test-token")
	fails := func(what string, err error, text string) {
		t.Helper()
		if err == nil || err.Error() != text {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
	user := drawbridge.User{Subject: "test|subject"}.Canonical()
	_, err := c.get("/testuser")
	fails("user info", err, "GET request failed: request failed with status code `401`: User with OpenID Connect subject `test|subject` not found")
	_, _, err = r.rust(generations[3], "bad-token").putBytes("/testuser", drawbridge.TypeJSON, user)
	if err == nil {
		t.Error("a token that the provider does not know was taken")
	}
	if created, _, err := c.putBytes("/testuser", drawbridge.TypeJSON, user); err != nil || !created {
		t.Errorf("user register: %v", err)
	}
	_, _, err = c.putBytes("/testuser2", drawbridge.TypeJSON, user)
	fails("user register", err, "PUT request failed: request failed with status code `409`: User already associated with OpenID Connect subject `test|subject`")
	if a, err := c.get("/testuser"); err != nil || string(a.body) != `{"subject":"test|subject"}` {
		t.Errorf("user info: %s, %v", a.body, err)
	}
	_, err = c.get("/testuser/testrepo")
	fails("repo info", err, "GET request failed: request failed with status code `404`: Repository does not exist")
	if _, _, err := c.putBytes("/testuser/testrepo", drawbridge.TypeJSON, []byte(`{"public":true}`)); err != nil {
		t.Errorf("repo register: %v", err)
	}
	if a, err := c.get("/testuser/testrepo"); err != nil || string(a.body) != `{"public":true}` {
		t.Errorf("repo info: %s, %v", a.body, err)
	}
	if a, err := c.get("/testuser/testrepo/_tag"); err != nil || string(a.body) != `[]` {
		t.Errorf("repo info: %s, %v", a.body, err)
	}
	_, err = c.get("/testuser/testrepo/_tag/1.0.0")
	fails("package info", err, "GET request failed: request failed with status code `404`: Repository does not exist")
	c.enarxPackages(r)
	r.idp.Opaque("other-token", "test|other")
	other := r.rust(generations[3], "other-token")
	if _, _, err := other.putBytes("/otheruser", drawbridge.TypeJSON, drawbridge.User{Subject: "test|other"}.Canonical()); err != nil {
		t.Error(err)
	}
	_, err = other.get("/testuser")
	fails("another's user info", err,
		"GET request failed: request failed with status code `401`: You are logged in as `otheruser`, please relogin as `testuser` to access the resource")
}

// enarxPackages publishes a lone module and a directory, and looks at both as
// the CLI and a Keep of that time do.
func (c *rustClient) enarxPackages(r *rig) {
	t := c.t
	t.Helper()
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	lone := drawbridge.Entry{Meta: drawbridge.MetaOf(wasm, drawbridge.TypeWasm)}
	if _, _, err := c.putBytes("/testuser/testrepo/_tag/1.0.0", drawbridge.TypeEntry, lone.Canonical()); err != nil {
		t.Error(err)
	}
	if _, _, err := c.put("/testuser/testrepo/_tag/1.0.0/tree", lone.Meta, bytes.NewReader(wasm)); err != nil {
		t.Error(err)
	}
	if a, err := c.get("/testuser/testrepo/_tag"); err != nil || string(a.body) != `["1.0.0"]` {
		t.Errorf("repo info: %s, %v", a.body, err)
	}
	tree := newRustTree(map[string]string{"Enarx.toml": "", "main.wasm": string(wasm)})
	if _, _, err := c.publish("/testuser/testrepo/_tag/2.0.0", tree); err != nil {
		t.Error(err)
	}
	a, err := c.get("/testuser/testrepo/_tag/2.0.0")
	if err != nil || !bytes.Equal(a.body, tree.nodes[""].Canonical()) || a.meta.Type != drawbridge.TypeEntry {
		t.Errorf("package info: %s, %v", a.body, err)
	}
	// A Keep asks for main.wasm whether or not the package is a directory, with
	// a slash too many if its URL ended in one.
	keep := r.rust(generations[3], "")
	for _, path := range []string{"1.0.0/tree/main.wasm", "1.0.0/tree//main.wasm", "2.0.0/tree/main.wasm", "2.0.0/tree//main.wasm"} {
		a, err := keep.get("/testuser/testrepo/_tag/" + path)
		if err != nil || !bytes.Equal(a.body, wasm) || a.meta != lone.Meta {
			t.Errorf("%s: %v, %v", path, a.meta, err)
		}
	}
	if a, err := keep.get("/testuser/testrepo/_tag/1.0.0/tree/Enarx.toml"); a.status != 404 {
		t.Errorf("Enarx.toml of a lone module: %d, %v", a.status, err)
	}
	if _, _, err := c.put("/testuser/testrepo/_tag/1.0.0/tree/main.wasm", lone.Meta, bytes.NewReader(wasm)); err == nil {
		t.Error("the alias was written to")
	}
}

// The alias is for a bare module: neither another file nor a directory is taken
// for main.wasm, and an operator may do without it.
func TestAlias(t *testing.T) {
	for _, off := range []bool{false, true} {
		r := newRig(t, rigOptions{config: func(c *Config) { c.NoAlias = off }})
		c := r.rust(generations[3], r.token(nil))
		c.register("user", "repo", true)
		if _, _, err := c.publish("/user/repo/_tag/1.0.0", newRustTree(map[string]string{"Enarx.toml": ""})); err != nil {
			t.Fatal(err)
		}
		for tag, mediaType := range map[string]string{"2.0.0": drawbridge.TypeBinary, "3.0.0": drawbridge.TypeWasm} {
			entry := drawbridge.Entry{Meta: drawbridge.MetaOf([]byte(tag), mediaType)}
			if _, _, err := c.putBytes("/user/repo/_tag/"+tag, drawbridge.TypeEntry, entry.Canonical()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.put("/user/repo/_tag/"+tag+"/tree", entry.Meta, strings.NewReader(tag)); err != nil {
				t.Fatal(err)
			}
		}
		for tag, there := range map[string]bool{"1.0.0": false, "2.0.0": false, "3.0.0": !off} {
			for _, method := range []string{"GET", "HEAD"} {
				if resp, _ := r.ask(method, v1+"/user/repo/_tag/"+tag+"/tree/main.wasm", ""); (resp.StatusCode == 200) != there {
					t.Errorf("off: %v, %s %s: %d", off, method, tag, resp.StatusCode)
				}
			}
		}
	}
}

// With both modes on, a token that either takes works.
func TestBothModes(t *testing.T) {
	r := newRig(t, rigOptions{userinfo: true, jwt: true})
	r.idp.Opaque("test-token", "test|subject")
	r.rust(generations[3], "test-token").register("user", "repo", false)
	for _, token := range []string{"test-token", r.token(nil)} {
		if a, err := r.rust(generations[3], token).get("/user/repo"); err != nil {
			t.Errorf("%d: %v", a.status, err)
		}
	}
}
