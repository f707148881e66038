// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

const v1 = "/api/v0.1.0"

// raw sends exactly these bytes on a connection of their own and reads one
// answer to a request of that method.
func (r *rig) raw(method, request string) (*http.Response, string) {
	r.t.Helper()
	conn, err := tls.Dial("tcp", r.addr, r.client)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	return readAnswer(r.t, bufio.NewReader(conn), method)
}

func readAnswer(t *testing.T, in *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return resp, string(text)
}

// published is a rig with a package and its owner's token.
func published(t *testing.T, o rigOptions) (*rig, string, *rustTree) {
	t.Helper()
	r := newRig(t, o)
	token := r.token(nil)
	c := r.rust(generations[3], token)
	c.register("user", "repo", true)
	if _, _, err := c.putBytes("/user/private", drawbridge.TypeJSON, drawbridge.Repository{}.Canonical()); err != nil {
		t.Fatal(err)
	}
	tree := newRustTree(map[string]string{"Enarx.toml": "x = 1\n", "main.wasm": "\x00asm\x01\x00\x00\x00", "zdir/zsub/file": "nested", "empty": ""})
	for _, slug := range []string{"/user/repo/_tag/1.0.0", "/user/private/_tag/1.0.0"} {
		if _, _, err := c.publish(slug, tree); err != nil {
			t.Fatal(err)
		}
	}
	return r, token, tree
}

// Every GET has the three headers and nothing that proxies or clients could
// stumble on; HEAD has the same without a body.
func TestHeaders(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	paths := []string{"/user", "/user/repo", "/user/private", "/user/repo/_tag/1.0.0", "/user/private/_tag/1.0.0"}
	for _, path := range tree.paths {
		paths = append(paths, nodePath("/user/repo/_tag/1.0.0", path), nodePath("/user/private/_tag/1.0.0", path))
	}
	for _, path := range append(slices.Clone(paths), "/user/repo/_tag", "/user/private/_tag") {
		// What clients ask with must not matter.
		get, body := r.ask("GET", v1+path, "", bearer(token), "Accept-Encoding: gzip, br", "Accept: text/plain;q=0")
		if get.StatusCode != 200 || get.ContentLength != int64(len(body)) {
			t.Errorf("%s: %d, %d bytes of %d", path, get.StatusCode, len(body), get.ContentLength)
		}
		m := drawbridge.Meta{Length: get.ContentLength, Type: get.Header.Get("Content-Type")}
		var err error
		if m.Digests, err = drawbridge.ParseDigestHeader(get.Header.Get("Content-Digest")); err != nil || m.Verify([]byte(body)) != nil {
			t.Errorf("%s: %v %v", path, get.Header, err)
		}
		for _, name := range []string{"Content-Encoding", "Vary", "Etag", "Transfer-Encoding", "Last-Modified", "Accept-Ranges", "Location", "Www-Authenticate", "Access-Control-Allow-Origin", "Set-Cookie"} {
			if get.Header.Get(name) != "" {
				t.Errorf("%s: %s: %q", path, name, get.Header.Get(name))
			}
		}
		if get.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(get.Header.Get("Content-Security-Policy"), "sandbox") || len(get.Header.Get("X-Request-Id")) != 24 {
			t.Errorf("%s: %v", path, get.Header)
		}
		if !slices.Contains(paths, path) {
			continue // the lists have no HEAD
		}
		head, body := r.ask("HEAD", v1+path, "", bearer(token))
		if head.StatusCode != 200 || body != "" || head.Header.Get("Content-Length") != get.Header.Get("Content-Length") ||
			head.Header.Get("Content-Digest") != get.Header.Get("Content-Digest") || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %v, GET %v", path, head.StatusCode, head.Header, get.Header)
		}
	}
}

// The set of algorithms and the media type come back as they were declared.
func TestDeclaredIsEchoed(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	for i, c := range []struct {
		algorithms      []drawbridge.Algorithm
		sent, mediaType string
	}{
		{[]drawbridge.Algorithm{drawbridge.SHA256}, "text/plain; charset=UTF-8", "text/plain; charset=UTF-8"},
		{[]drawbridge.Algorithm{drawbridge.SHA224}, "Application/X-Foo", "application/x-foo"},
		{[]drawbridge.Algorithm{drawbridge.SHA512, drawbridge.SHA256}, "application/vnd.drawbridge.directory.v1+json; x=1", "application/vnd.drawbridge.directory.v1+json; x=1"},
	} {
		content := fmt.Appendf(nil, "content %d", i)
		m := drawbridge.Meta{Length: int64(len(content)), Type: c.mediaType}
		h := drawbridge.NewHasher(c.algorithms...)
		_, _ = h.Write(content)
		m.Digests = h.Sum()
		tag := fmt.Sprintf("%s/user/repo/_tag/2.0.%d", v1, i)
		entry := drawbridge.Entry{Meta: m}.Canonical()
		r.want(201, "PUT", tag, string(entry), bearer(token), "Content-Digest: "+drawbridge.MetaOf(entry, "x/x").Digests.Header(), "Content-Type: "+drawbridge.TypeEntry)
		r.want(201, "PUT", tag+"/tree", string(content), bearer(token), "Content-Digest: "+m.Digests.Header(), "Content-Type: "+c.sent)
		resp, body := r.ask("GET", tag+"/tree", "")
		if resp.Header.Get("Content-Digest") != m.Digests.Header() || resp.Header.Get("Content-Type") != c.mediaType || body != string(content) {
			t.Errorf("%v %q", resp.Header, body)
		}
	}
	// Without a digest the server declares all four.
	r.want(201, "PUT", v1+"/plain", `{"subject":"test|subject"}`, bearer(token), "Content-Type: application/json; charset=utf-8")
	resp, _ := r.ask("GET", v1+"/plain", "", bearer(token))
	if d, err := drawbridge.ParseDigestHeader(resp.Header.Get("Content-Digest")); err != nil || d.Len() != 4 || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v %v", resp.Header, err)
	}
}

// Everything may be sent again, and nothing may be sent otherwise.
func TestPutAgain(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	c := r.rust(generations[3], token)
	root := tree.nodes[""]
	other := drawbridge.Entry{Meta: drawbridge.MetaOf([]byte("other"), "text/plain")}
	for _, p := range []struct {
		path, mediaType string
		same, different []byte
	}{
		{"/user", drawbridge.TypeJSON, []byte(`{"subject":"test|subject"}`), []byte(`{"subject": "test|subject"}`)},
		{"/user/repo", drawbridge.TypeJSON, []byte(`{"public":true}`), []byte(`{"public":false}`)},
		{"/user/repo/_tag/1.0.0", drawbridge.TypeEntry, root.Canonical(), other.Canonical()},
		{"/user/repo/_tag/1.0.0/tree", drawbridge.TypeDirectory, root.body, []byte("{}")},
		{"/user/repo/_tag/1.0.0/tree/main.wasm", drawbridge.TypeWasm, tree.nodes["main.wasm"].body, []byte("other")},
		{"/user/repo/_tag/1.0.0/tree/zdir/zsub/file", drawbridge.TypeBinary, tree.nodes["zdir/zsub/file"].body, []byte("other")},
	} {
		if created, a, err := c.putBytes(p.path, p.mediaType, p.same); err != nil || created || len(a.body) > 0 || a.header.Get("Content-Digest") != "" {
			t.Errorf("%s again: %d %v %v", p.path, a.status, a.header, err)
		}
		if _, a, _ := c.putBytes(p.path, p.mediaType, p.different); a.status != 409 {
			t.Errorf("%s otherwise: %d %s", p.path, a.status, a.body)
		}
		if _, a, _ := c.putBytes(p.path, "application/x-other+json", p.same); a.status != 409 && a.status != 400 {
			t.Errorf("%s of another type: %d %s", p.path, a.status, a.body)
		}
		if got, err := c.get(p.path); err != nil || !bytes.Equal(got.body, p.same) {
			t.Errorf("%s afterwards: %q %v", p.path, got.body, err)
		}
	}
}

// What is not what it says leaves nothing behind, and the name is free.
func TestMismatchThenRetry(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	c := r.rust(generations[3], token)
	good := []byte("content")
	entry := drawbridge.Entry{Meta: drawbridge.MetaOf(good, drawbridge.TypeBinary)}.Canonical()
	for _, p := range []struct {
		path, mediaType string
		body            []byte
	}{
		{"/newuser", drawbridge.TypeJSON, []byte(`{"subject":"test|subject"}`)},
		{"/user/newrepo", drawbridge.TypeJSON, []byte(`{"public":true}`)},
		{"/user/newrepo/_tag/1.0.0", drawbridge.TypeEntry, entry},
		{"/user/newrepo/_tag/1.0.0/tree", drawbridge.TypeBinary, good},
	} {
		m := drawbridge.MetaOf(p.body, p.mediaType)
		wrong := m
		wrong.Digests = tree.nodes[""].Digests
		if _, a, _ := c.put(p.path, wrong, bytes.NewReader(p.body)); a.status != 400 && a.status != 409 {
			t.Errorf("%s: %d %s", p.path, a.status, a.body)
		}
		half := m // one good digest does not excuse a bad one
		sum, _ := tree.nodes[""].Digests.Get(drawbridge.SHA384)
		if err := half.Digests.Set(drawbridge.SHA384, sum); err != nil {
			t.Fatal(err)
		}
		if _, a, _ := c.put(p.path, half, bytes.NewReader(p.body)); a.status != 400 && a.status != 409 {
			t.Errorf("%s: %d %s", p.path, a.status, a.body)
		}
		tampered := bytes.Clone(p.body)
		tampered[len(tampered)-1] ^= 1
		if _, a, _ := c.put(p.path, m, bytes.NewReader(tampered)); a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d %s", p.path, a.status, a.body)
		}
		if created, a, err := c.put(p.path, m, bytes.NewReader(p.body)); err != nil || !created {
			t.Errorf("%s: %d, %v", p.path, a.status, err)
		}
	}
	m := drawbridge.MetaOf(good, drawbridge.TypeBinary)
	if _, a, _ := c.put("/user/newrepo/_node", m, bytes.NewReader([]byte("c0ntent"))); a.status != 400 || string(a.body) != "Content digest mismatch" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What is refused before anything is stored, with upstream's status, in
// upstream's order: each request has every defect of those below it too.
func TestRefusals(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	auth, digest := bearer(token), "Content-Digest: "+drawbridge.MetaOf(nil, "x/x").Digests.Header()
	malformed := "Content-Digest: sha-256=abc"
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		text                     string // "": any
		header                   []string
	}{
		{"version before name", "GET", "/api/v9.0.0/%41", "", 501, "", nil},
		{"version syntax", "GET", "/api/v9/u", "", 400, "", nil},
		{"path before method", "DELETE", v1 + "/u.u", "", 400, "", nil},
		{"no DELETE", "DELETE", v1 + "/user", "", 405, "", nil},
		{"no POST", "POST", v1 + "/user/repo/_tag/1.0.0/tree/x", "x", 405, "", nil},
		{"no OPTIONS", "OPTIONS", v1 + "/user", "", 405, "", nil},
		{"no HEAD of the list", "HEAD", v1 + "/user/repo/_tag", "", 405, "", nil},
		{"no PUT of the list", "PUT", v1 + "/user/repo/_tag", "", 405, "", nil},
		{"dot", "GET", v1 + "/user/repo/_tag/1.0.0/tree/.", "", 400, "", nil},
		{"dots", "PUT", v1 + "/user/repo/_tag/1.0.0/tree/a/../b", "x", 400, "", []string{auth, digest, "Content-Type: x/x"}},
		{"long name", "PUT", v1 + "/user/repo/_tag/1.0.0/tree/" + strings.Repeat("a", 256), "x", 400, "", []string{auth, digest, "Content-Type: x/x"}},

		{"no token", "PUT", v1 + "/user", "x", 401, "Bearer token header missing", []string{malformed}},
		{"malformed token", "PUT", v1 + "/user", "x", 400, "", []string{"Authorization: Basic dXNlcjpwYXNz", malformed}},
		{"malformed token", "GET", v1 + "/user", "", 400, "", []string{"Authorization: Bearer"}},
		{"malformed token", "GET", v1 + "/user/private/_tag", "", 400, "", []string{"Authorization: Bearer a b"}},
		{"not looked at", "GET", v1 + "/user/repo/_tag", "", 200, "", []string{"Authorization: Bearer a b"}},
		{"bad token", "PUT", v1 + "/user", "x", 401, "Invalid token provided", []string{"Authorization: Bearer abc", malformed}},

		{"user: digest syntax", "PUT", v1 + "/new", "x", 400, "", []string{auth, malformed}},
		{"user: no type", "PUT", v1 + "/new", "x", 400, "", []string{auth}},
		{"user: bad type", "PUT", v1 + "/new", "x", 400, "", []string{auth, "Content-Type: json"}},
		{"user: other type", "PUT", v1 + "/new", "x", 415, "", []string{auth, "Content-Type: text/json"}},
		{"user: no JSON", "PUT", v1 + "/new", "{", 400, "", []string{auth, "Content-Type: application/x+json"}},
		{"user: two values", "PUT", v1 + "/new", "{}{}", 400, "", []string{auth, "Content-Type: application/json"}},
		{"user: shape", "PUT", v1 + "/new", "{}", 422, "", []string{auth, "Content-Type: application/json"}},
		{"user: shape", "PUT", v1 + "/new", `{"subject":1}`, 422, "", []string{auth, "Content-Type: application/json"}},
		{"user: more", "PUT", v1 + "/new", `{"subject":"a","x":1}`, 422, "", []string{auth, "Content-Type: application/json"}},
		{"user: twice", "PUT", v1 + "/new", `{"subject":"a","subject":"a"}`, 422, "", []string{auth, "Content-Type: application/json"}},
		{"user: subject", "PUT", v1 + "/new", `{"subject":"a"}`, 401, "OpenID Connect subject mismatch", []string{auth, "Content-Type: application/json", digest}},
		{"user: mismatch", "PUT", v1 + "/new", `{"subject":"test|subject"}`, 400, "Content digest mismatch", []string{auth, "Content-Type: application/json", digest}},
		{"repo: shape", "PUT", v1 + "/other/new", `{"public":1}`, 422, "", []string{auth, "Content-Type: application/json"}},
		{"repo: owner", "PUT", v1 + "/other/new", `{"public":true}`, 401, "User `other` not found", []string{auth, "Content-Type: application/json", digest}},

		{"tag: no digest", "PUT", v1 + "/user/repo/_tag/3.0.0", "x", 400, "At least one content digest value must be specified", []string{auth, "Content-Type: x"}},
		{"tag: empty digest", "PUT", v1 + "/user/repo/_tag/3.0.0", "x", 400, "", []string{auth, "Content-Digest: "}},
		{"tag: owner", "PUT", v1 + "/other/repo/_tag/3.0.0", "x", 401, "User `other` not found", []string{auth, digest, "Content-Type: x/x"}},
		{"tag: no repository", "PUT", v1 + "/user/none/_tag/3.0.0", "x", 404, "Repository does not exist", []string{auth, digest, "Content-Type: x/x"}},
		{"tag: type", "PUT", v1 + "/user/repo/_tag/3.0.0", "x", 400, "Invalid content type", []string{auth, digest, "Content-Type: application/json"}},
		{"tag: parameters", "PUT", v1 + "/user/repo/_tag/3.0.0", "x", 400, "Invalid content type", []string{auth, digest, "Content-Type: " + drawbridge.TypeEntry + "; a=b"}},
		{"tag: JSON", "PUT", v1 + "/user/repo/_tag/3.0.0", "{}", 400, "", []string{auth, digest, "Content-Type: " + drawbridge.TypeEntry}},
		{"tag: JWS", "PUT", v1 + "/user/repo/_tag/3.0.0", `{"payload":"e30","protected":"bm8ganNvbg","signature":"AA"}`, 400, "", []string{auth, digest, "Content-Type: " + drawbridge.TypeJOSE}},
		{"node: no tag", "PUT", v1 + "/user/repo/_tag/3.0.0/tree", "x", 404, "", []string{auth, digest, "Content-Type: x/x"}},
		{"node: no parent", "PUT", v1 + "/user/repo/_tag/1.0.0/tree/none/x", "x", 404, "", []string{auth, digest, "Content-Type: x/x"}},
		{"node: no repository", "PUT", v1 + "/user/none/_tag/1.0.0/tree", "x", 404, "", []string{auth, digest, "Content-Type: x/x"}},
		{"node: not as listed", "PUT", v1 + "/user/repo/_tag/1.0.0/tree/main.wasm", "x", 409, "", []string{auth, digest, "Content-Type: x/x"}},
		{"node: not listed, no defect", "PUT", v1 + "/user/repo/_tag/1.0.0/tree/aaa", "x", 409, "", []string{auth, "Content-Digest: " + drawbridge.MetaOf([]byte("x"), "").Digests.Header(), "Content-Type: x/x"}},
		{"node: bad directory", "PUT", v1 + "/user/repo/_node", "{", 400, "", []string{auth, "Content-Digest: " + drawbridge.MetaOf([]byte("{"), "").Digests.Header(), "Content-Type: " + drawbridge.TypeDirectory}},
		{"missing repository", "GET", v1 + "/user/none/_tag", "", 404, "Not found", []string{auth}},
		{"missing repository", "GET", v1 + "/user/none", "", 404, "Repository does not exist", []string{auth}},
		{"missing tag", "GET", v1 + "/user/repo/_tag/9.0.0", "", 404, "Repository does not exist", nil},
		{"missing node", "GET", v1 + "/user/repo/_tag/1.0.0/tree/none", "", 404, "Not found", nil},
		{"below a file", "GET", v1 + "/user/repo/_tag/1.0.0/tree/main.wasm/x", "", 404, "Not found", nil},
	} {
		resp, text := r.ask(c.method, c.path, c.body, c.header...)
		if resp.StatusCode != c.status || c.text != "" && text != c.text {
			t.Errorf("%s: %s %s: %d %q, want %d %q", c.what, c.method, c.path, resp.StatusCode, text, c.status, c.text)
		}
		if resp.StatusCode >= 400 && (resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Get("Allow") != "" || resp.Header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: %v", c.what, resp.Header)
		}
		if resp.StatusCode >= 400 && c.method != "HEAD" && (text == "" || strings.Contains(text, "\n")) {
			t.Errorf("%s: text %q", c.what, text)
		}
	}
}

// Who may not see a private repository cannot tell it from a missing one.
func TestNoOracle(t *testing.T) {
	r, _, _ := published(t, rigOptions{})
	other := r.token(oidctest.Claims{"sub": "test|other"})
	for _, path := range []string{
		"", "/_tag", "/_info", "/_tag/1.0.0", "/_tag/1.0.0/tree", "/_tag/1.0.0/tree/main.wasm", "/_tag/1.0.0/deployment", "/_tag/1.0.0/yank", "/_policy", "/_token",
		"/_digest/" + strings.Repeat("0", 64),
	} {
		for who, header := range map[string][]string{"anonymous": nil, "another user": {bearer(other)}} {
			private, a := r.ask("GET", v1+"/user/private"+path, "", header...)
			missing, b := r.ask("GET", v1+"/user/missing"+path, "", header...)
			if private.StatusCode != 401 || missing.StatusCode != 401 || a != b {
				t.Errorf("%s, %s: %d %q and %d %q", who, path, private.StatusCode, a, missing.StatusCode, b)
			}
			ignored := []string{"Date", "X-Request-Id"}
			maps.DeleteFunc(private.Header, func(name string, _ []string) bool { return slices.Contains(ignored, name) })
			maps.DeleteFunc(missing.Header, func(name string, _ []string) bool { return slices.Contains(ignored, name) })
			if fmt.Sprint(private.Header) != fmt.Sprint(missing.Header) {
				t.Errorf("%s, %s: %v and %v", who, path, private.Header, missing.Header)
			}
		}
	}
}

// An absent length is not a length of 0.
func TestContentLength(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	head := fmt.Sprintf("Host: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\nContent-Digest: %s\r\n",
		token, drawbridge.MetaOf(nil, "").Digests.Header())
	for _, c := range []struct {
		what, rest string
		status     int
	}{
		{"absent", "\r\n", 400},
		{"zero", "Content-Length: 0\r\n\r\n", 200},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked with content", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400},
		{"no number", "Content-Length: x\r\n\r\n", 400},
		{"negative", "Content-Length: -1\r\n\r\n", 400},
		{"two", "Content-Length: 0\r\nContent-Length: 1\r\n\r\n", 400},
	} {
		resp, text := r.raw("PUT", "PUT "+v1+"/user/repo/_tag/1.0.0/tree/empty HTTP/1.1\r\n"+head+c.rest)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %q, want %d", c.what, resp.StatusCode, text, c.status)
		}
	}
	if got := tree.nodes["empty"].Length; got != 0 {
		t.Errorf("the empty file has %d bytes", got)
	}
	large := strings.Repeat(" ", maxJSON) + "{}"
	for path, want := range map[string]int{"/big": 413, "/user/big": 413, "/user/repo/_tag/9.0.0": 400, "/user/repo/_node": 413} {
		mediaType := map[string]string{"/user/repo/_tag/9.0.0": drawbridge.TypeEntry, "/user/repo/_node": drawbridge.TypeDirectory}[path]
		if mediaType == "" {
			mediaType = drawbridge.TypeJSON
		}
		_, a, err := r.rust(generations[3], token).putBytes(path, mediaType, []byte(large))
		if a.status != want {
			t.Errorf("%s: %d %s %v, want %d", path, a.status, a.body, err, want)
		}
	}
}

// /health is there for everybody and every method, and its slash is the only
// redirect; what is neither is for the site, if there is one.
func TestHealthAndSite(t *testing.T) {
	site := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, "site "+q.URL.Path+" "+RequestID(q.Context()))
	})
	r := newRig(t, rigOptions{config: func(c *Config) { c.Web = site }})
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"} {
		resp, body := r.ask(method, "/health", "", "Authorization: Bearer x y")
		if resp.StatusCode != 200 || body != "" {
			t.Errorf("%s: %d %q", method, resp.StatusCode, body)
		}
	}
	if resp, _ := r.ask("GET", "/health/", ""); resp.StatusCode != 308 || resp.Header.Get("Location") != "/health" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp, body := r.ask("GET", "/", "", "Accept: text/html,*/*;q=0.8"); resp.StatusCode != 200 || body != "site / "+resp.Header.Get("X-Request-Id") || resp.Header.Get("Vary") != "Accept" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	for _, accept := range []string{"", "*/*", "application/json"} {
		if resp, body := r.ask("GET", "/", "", "Accept: "+accept); resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("Accept %q: %d %q", accept, resp.StatusCode, body)
		}
	}
	if resp, body := r.ask("GET", "/user/repo", ""); resp.StatusCode != 200 || !strings.HasPrefix(body, "site /user/repo") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, body := r.ask("GET", "/api/v0.1.0/user", "", "Accept: text/html"); resp.StatusCode != 401 || strings.HasPrefix(body, "site") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, _ := newRig(t, rigOptions{}).ask("GET", "/", "", "Accept: text/html"); resp.StatusCode != 404 {
		t.Errorf("without a site: %d", resp.StatusCode)
	}
}

// A body of 100 MB that is refused at once is read to its end: whoever writes
// all of it before reading gets the status, not a broken connection.
func TestLateReader(t *testing.T) {
	r, _, _ := published(t, rigOptions{})
	const size = 100 << 20
	m := drawbridge.MetaOf([]byte("never compared"), drawbridge.TypeBinary)
	m.Length = size
	anonymous := r.rust(generations[3], "")
	_, a, err := anonymous.put("/user/repo/_tag/1.0.0/tree/zzz", m, io.LimitReader(zeros{}, size))
	if a.status != 401 || string(a.body) != "Bearer token header missing" {
		t.Errorf("%d %q, %v", a.status, a.body, err)
	}
	if anonymous.conn == nil {
		t.Error("the connection was not kept")
	}
	// Who asks first is told before anything is sent.
	resp, text := r.raw("PUT", "PUT "+v1+"/user/repo/_tag/1.0.0/tree/zzz HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\nExpect: 100-continue\r\n\r\n")
	if resp.StatusCode != 401 {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}

// Beyond a bound the server does not read what it has refused.
func TestDrainIsBounded(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Limits.Drain = 1 << 20 }})
	resp, text := r.raw("PUT", "PUT "+v1+"/user HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n"+strings.Repeat("x", 1<<20))
	if resp.StatusCode != 401 || !resp.Close {
		t.Errorf("%d %q, close: %v", resp.StatusCode, text, resp.Close)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Expect: 100-continue gets its interim answer once the body is wanted.
func TestContinue(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	conn, err := tls.Dial("tcp", r.addr, r.client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s/user/repo/_node HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 3\r\nContent-Type: x/x\r\nContent-Digest: %s\r\nExpect: 100-continue\r\n\r\n",
		v1, token, drawbridge.MetaOf([]byte("foo"), "").Digests.Header())
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "foo")
	if resp, text := readAnswer(t, in, "PUT"); resp.StatusCode != 201 {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}

// Keys of the provider rotate under a running server.
func TestKeysRotate(t *testing.T) {
	var later atomic.Int64
	r := newRig(t, rigOptions{now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	old := r.token(nil)
	r.rust(generations[3], old).register("user", "repo", true)
	if err := r.idp.Rotate(false); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(time.Minute)) // the keys are not asked for with every unknown one
	if a, err := r.rust(generations[3], r.token(nil)).get("/user"); err != nil {
		t.Errorf("with a new key: %d %s %v", a.status, a.body, err)
	}
	if a, err := r.rust(generations[3], old).get("/user"); a.status != 401 {
		t.Errorf("with a key that is gone: %d %v", a.status, err)
	}
}

// The server starts while the provider is down, serves what needs no token,
// says that it is not ready, and recovers by itself.
func TestProviderDown(t *testing.T) {
	var later atomic.Int64
	r := newRig(t, rigOptions{down: true, now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	token := r.token(nil)
	if err := r.server.Ready(); err == nil {
		t.Error("ready without keys")
	}
	resp, text := r.ask("GET", v1+"/user", "", bearer(token))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %q %v", resp.StatusCode, text, resp.Header)
	}
	r.want(200, "GET", v1+"/_config", "")
	r.idp.Misbehave(oidctest.Fault{})
	later.Store(int64(time.Minute))
	r.want(401, "GET", v1+"/user", "", bearer(token))
	if err := r.server.Ready(); err != nil {
		t.Error(err)
	}
}

// Many put one name at once: one of two contents it becomes, and those with the
// other are told that it is taken.
func TestConcurrentPuts(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	root, other := tree.nodes[""].Canonical(), drawbridge.Entry{Meta: tree.nodes["main.wasm"].Meta}.Canonical()
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			body := root // both complete at once: the repository has all nodes
			if i%2 == 1 {
				body = other
			}
			resp, _ := r.ask("PUT", v1+"/user/repo/_tag/5.0.0", string(body), bearer(token), "Content-Type: "+drawbridge.TypeEntry,
				"Content-Digest: "+drawbridge.MetaOf(body, "").Digests.Header())
			mu.Lock()
			defer mu.Unlock()
			statuses[resp.StatusCode]++
		})
	}
	all.Wait()
	if statuses[201] < 1 || statuses[200]+statuses[201] != 8 || statuses[409] != 8 {
		t.Errorf("%v", statuses)
	}
}

// A reader sees nothing of a package before it is complete, and all of it then.
func TestReaderDuringWriter(t *testing.T) {
	r := newRig(t, rigOptions{})
	token := r.token(nil)
	c := r.rust(generations[3], token)
	c.register("user", "repo", true)
	tree := newRustTree(map[string]string{"a": "1", "b": "2", "c": "3"})
	reader := r.rust(generations[3], "")
	seen := func() bool {
		t.Helper()
		a, err := reader.get("/user/repo/_tag/1.0.0")
		if err != nil {
			for _, path := range tree.paths {
				if a, err := reader.get(nodePath("/user/repo/_tag/1.0.0", path)); err == nil {
					t.Errorf("%q is readable before its tag: %d", path, a.status)
				}
			}
			if a, err := reader.get("/user/repo/_tag"); err != nil || string(a.body) != "[]" {
				t.Errorf("%s %v", a.body, err)
			}
			return false
		}
		for _, path := range tree.paths {
			if _, err := reader.get(nodePath("/user/repo/_tag/1.0.0", path)); err != nil {
				t.Errorf("%q: %v", path, err)
			}
		}
		return a.status == 200
	}
	if _, a, err := c.putBytes("/user/repo/_tag/1.0.0", drawbridge.TypeEntry, tree.nodes[""].Canonical()); err != nil || a.header.Get("Drawbridge-Tag") != "pending" {
		t.Fatalf("%v %v", a.header, err)
	}
	for i, path := range tree.paths {
		if seen() {
			t.Fatalf("visible before %q", path)
		}
		_, a, err := c.putBytes(nodePath("/user/repo/_tag/1.0.0", path), tree.nodes[path].Type, tree.nodes[path].body)
		want := map[bool]string{true: "committed", false: "pending"}[i == len(tree.paths)-1]
		if err != nil || a.header.Get("Drawbridge-Tag") != want {
			t.Fatalf("%q: %v %v", path, a.header, err)
		}
	}
	if !seen() {
		t.Error("not visible at last")
	}
}
