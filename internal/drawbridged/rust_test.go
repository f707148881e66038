// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A generation is one of the released Rust clients: spec/drawbridge.md, "Which
// upstream client sends what".
type generation struct {
	name   string
	prefix string
	agent  string
	accept *string // Accept-Encoding of a GET; nil: none
	tls12  bool    // takes TLS 1.2 too
}

func text(s string) *string { return &s }

var generations = []generation{
	{name: "0.6.2", prefix: "/api/v0.2.0", agent: "ureq/2.5.0"},
	{name: "0.6.3", prefix: "/api/v0.1.0", agent: "ureq/2.5.0", accept: text("gzip")},
	{name: "0.6.4", prefix: "/api/v0.1.0", agent: "ureq/2.5.0", accept: text("")},
	{name: "0.7.1", prefix: "/api/v0.1.0", agent: "ureq/2.6.2", accept: text("")},
	{name: "library 0.3", prefix: "/api/v0.1.0", agent: "ureq/2.6.2", accept: text(""), tls12: true},
	{name: "library 0.4", prefix: "/api/v0.1.0", agent: "drawbridge_client/0.4.3", accept: text(""), tls12: true},
}

// A rustClient behaves as the Rust clients do, to the byte and the order of
// writes: ureq 2 over rustls. It writes all of a request before it reads
// anything, keeps one connection, never retries a PUT, and verifies what it
// gets against the three entity headers, all of which it needs.
type rustClient struct {
	t      *testing.T
	gen    generation
	addr   string
	config *tls.Config
	token  string

	conn net.Conn
	in   *bufio.Reader
	seen tls.ConnectionState
}

func (r *rig) rust(gen generation, token string, certs ...*tls.Certificate) *rustClient {
	config := r.client.Clone()
	config.NextProtos = nil // rustls is given none
	config.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384, tls.CurveP256}
	for _, cert := range certs {
		present(config, cert)
	}
	if gen.tls12 {
		config.MinVersion = tls.VersionTLS12
	}
	c := &rustClient{t: r.t, gen: gen, addr: r.addr, config: config, token: token}
	r.t.Cleanup(c.close)
	return c
}

func (c *rustClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// header is what ureq writes before the caller's headers.
func (c *rustClient) header(method, path string, lines ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\n", method, path, c.addr, c.gen.agent)
	if c.token != "" {
		fmt.Fprintf(&b, "authorization: Bearer %s\r\n", c.token)
	}
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// An answer is what a client sees of a response.
type answer struct {
	status int
	header http.Header
	body   []byte
	meta   drawbridge.Meta // of a 200 to a GET
}

// send writes the whole request and only then reads. A request without a body
// is tried once more on a new connection if the kept one was closed.
func (c *rustClient) send(method string, header []byte, body io.Reader) (answer, error) {
	if c.conn == nil {
		conn, err := tls.Dial("tcp", c.addr, c.config)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.in, c.seen = conn, bufio.NewReader(conn), conn.ConnectionState()
	}
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return answer{}, err
	}
	fail := func(err error) (answer, error) {
		c.close()
		return answer{}, err
	}
	if _, err := c.conn.Write(header); err != nil {
		return fail(fmt.Errorf("writing the header: %w", err))
	}
	if body != nil {
		if _, err := io.Copy(c.conn, body); err != nil {
			return fail(fmt.Errorf("writing the body: %w", err))
		}
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return fail(fmt.Errorf("reading the answer: %w", err))
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return fail(fmt.Errorf("reading the answer's body: %w", err))
	}
	if resp.Close {
		c.close()
	}
	return a, nil
}

// get is the client's GET: of 200 it needs the three headers, and of the body
// every byte and digest.
func (c *rustClient) get(path string) (answer, error) {
	var lines []string
	if c.gen.accept != nil {
		lines = append(lines, "accept-encoding: "+*c.gen.accept)
	}
	a, err := c.send("GET", c.header("GET", c.gen.prefix+path, lines...), nil)
	if err != nil {
		return a, err
	}
	if a.status >= 400 {
		return a, fmt.Errorf("GET request failed: request failed with status code `%d`: %s", a.status, a.body)
	}
	if a.status != http.StatusOK {
		return a, fmt.Errorf("unexpected status code %d", a.status)
	}
	if got := a.header.Get("Content-Encoding"); got != "" {
		return a, fmt.Errorf("the answer is compressed with %s", got)
	}
	if a.meta.Digests, err = drawbridge.ParseDigestHeader(a.header.Values("Content-Digest")...); err != nil {
		return a, err
	}
	if strings.ContainsAny(a.header.Get("Content-Digest"), " \t") {
		return a, fmt.Errorf("upstream parses no spaces: %q", a.header.Get("Content-Digest"))
	}
	if a.meta.Length, err = strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err != nil {
		return a, fmt.Errorf("missing content-length: %w", err)
	}
	a.meta.Type = a.header.Get("Content-Type")
	return a, a.meta.Verify(a.body)
}

// put is the client's PUT: 201 is new, 200 was there, the rest are errors.
func (c *rustClient) put(path string, m drawbridge.Meta, body io.Reader) (created bool, a answer, err error) {
	header := c.header("PUT", c.gen.prefix+path,
		"content-digest: "+m.Digests.Header(), "content-type: "+m.Type, "content-length: "+strconv.FormatInt(m.Length, 10))
	a, err = c.send("PUT", header, body)
	switch {
	case err != nil:
		return false, a, err
	case a.status == http.StatusCreated, a.status == http.StatusOK:
		return a.status == http.StatusCreated, a, nil
	case a.status >= 400:
		return false, a, fmt.Errorf("PUT request failed: request failed with status code `%d`: %s", a.status, a.body)
	}
	return false, a, fmt.Errorf("unexpected status code %d", a.status)
}

func (c *rustClient) putBytes(path, mediaType string, body []byte) (bool, answer, error) {
	return c.put(path, drawbridge.MetaOf(body, mediaType), bytes.NewReader(body))
}

// A rustTree is a package as the Rust client sees it: nodes by path, the root
// under "", in the order in which it uploads them.
type rustTree struct {
	paths []string
	nodes map[string]rustNode
}

type rustNode struct {
	drawbridge.Entry
	body []byte
}

// newRustTree makes the tree of files. A name that ends in a slash is an empty
// directory. It has upstream's defect: a directory's listing stops at the first
// path that is not its direct child (spec/drawbridge.md 2.3).
func newRustTree(files map[string]string) *rustTree {
	t := &rustTree{nodes: map[string]rustNode{}}
	dirs := map[string]bool{"": true}
	for name, content := range files {
		path, isDir := strings.CutSuffix(name, "/")
		if isDir {
			dirs[path] = true
		} else {
			t.add(path, drawbridge.TypeByName(path), []byte(content))
		}
		for i := range path {
			if path[i] == '/' {
				dirs[path[:i]] = true
			}
		}
	}
	t.paths = slices.SortedFunc(maps.Keys(t.nodes), byComponents)
	t.paths = append(t.paths, slices.Collect(maps.Keys(dirs))...)
	slices.SortFunc(t.paths, byComponents)
	deepest := slices.Collect(maps.Keys(dirs))
	slices.SortFunc(deepest, func(a, b string) int { return byComponents(b, a) })
	for _, dir := range deepest {
		listing := drawbridge.Directory{}
		at := slices.Index(t.paths, dir)
		for _, path := range t.paths[at+1:] {
			parent, name := "", path
			if i := strings.LastIndexByte(path, '/'); i >= 0 {
				parent, name = path[:i], path[i+1:]
			}
			if parent != dir {
				break // here is the defect
			}
			listing[name] = t.nodes[path].Entry
		}
		t.add(dir, drawbridge.TypeDirectory, listing.Canonical())
	}
	return t
}

func (t *rustTree) add(path, mediaType string, body []byte) {
	t.nodes[path] = rustNode{drawbridge.Entry{Meta: drawbridge.MetaOf(body, mediaType)}, body}
}

func byComponents(a, b string) int {
	if a == "" || b == "" {
		return len(a) - len(b)
	}
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

// nodePath is the URL's path of a node below a tag.
func nodePath(slug, path string) string {
	if path == "" {
		return slug + "/tree"
	}
	return slug + "/tree/" + path
}

// publish does what the Rust client does with a directory: the tag first, then
// every node, and it stops at the first failure.
func (c *rustClient) publish(slug string, t *rustTree) (tagCreated bool, created []string, err error) {
	tagCreated, _, err = c.putBytes(slug, drawbridge.TypeEntry, t.nodes[""].Canonical())
	if err != nil {
		return false, nil, fmt.Errorf("tag: %w", err)
	}
	for _, path := range t.paths {
		new, _, err := c.putBytes(nodePath(slug, path), t.nodes[path].Type, t.nodes[path].body)
		if err != nil {
			return tagCreated, created, fmt.Errorf("node %q: %w", path, err)
		}
		if new {
			created = append(created, path)
		}
	}
	return tagCreated, created, nil
}

// register makes a user and a repository, as the CLI does.
func (c *rustClient) register(user, repo string, public bool) {
	c.t.Helper()
	if _, _, err := c.putBytes("/"+user, drawbridge.TypeJSON, drawbridge.User{Subject: "test|subject"}.Canonical()); err != nil {
		c.t.Fatal(err)
	}
	if _, _, err := c.putBytes("/"+user+"/"+repo, drawbridge.TypeJSON, drawbridge.Repository{Public: public}.Canonical()); err != nil {
		c.t.Fatal(err)
	}
}

// nested is a package whose listing has the defect: what sorts after test-dir is
// in no listing.
var nested = map[string]string{
	"Enarx.toml": "steward = \"https://attest.example\"\n", "main.wasm": "\x00asm\x01\x00\x00\x00",
	"test-dir/inner": "inner", "zz-last": "last",
}

// Every generation publishes, lists and fetches, on one connection, nested
// directories with the listing defect included.
func TestRustClients(t *testing.T) {
	r := newRig(t, rigOptions{})
	token := r.token(nil)
	r.rust(generations[0], token).register("user", "repo", true)
	for i, gen := range generations {
		t.Run(gen.name, func(t *testing.T) {
			c := r.rust(gen, token)
			c.t = t
			slug := fmt.Sprintf("/user/repo/_tag/1.0.%d", i)
			tree := newRustTree(nested)
			if _, listed := mustDirectory(t, tree.nodes[""].body)["zz-last"]; listed {
				t.Fatal("the tree has no defect: this test tests nothing")
			}
			if _, created, err := c.publish(slug, tree); err != nil || len(created) != len(tree.paths) {
				t.Fatalf("created %q: %v", created, err)
			}
			first := c.conn
			if got, err := c.get("/user/repo/_tag"); err != nil || !strings.Contains(string(got.body), fmt.Sprintf(`"1.0.%d"`, i)) {
				t.Errorf("tags %s: %v", got.body, err)
			}
			for _, path := range tree.paths {
				got, err := c.get(nodePath(slug, path))
				if err != nil || got.meta != tree.nodes[path].Meta || !bytes.Equal(got.body, tree.nodes[path].body) {
					t.Errorf("%q: %v, %v", path, got.meta, err)
				}
			}
			if c.conn != first {
				t.Error("the server closed a connection that was to be kept")
			}
			if c.seen.Version != tls.VersionTLS13 || c.seen.NegotiatedProtocol != "" {
				t.Errorf("negotiated %x %q", c.seen.Version, c.seen.NegotiatedProtocol)
			}
			c.again(slug, tree)
		})
	}
}

// again publishes the same once more, which is not an error and makes nothing.
func (c *rustClient) again(slug string, tree *rustTree) {
	c.t.Helper()
	new, created, err := c.publish(slug, tree)
	if err != nil || new || len(created) > 0 {
		c.t.Errorf("publishing again made %v %q: %v", new, created, err)
	}
}

func mustDirectory(t *testing.T, raw []byte) drawbridge.Directory {
	t.Helper()
	d, err := drawbridge.ParseDirectory(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A publication that was cut at any request, in the middle of its body, is
// finished by publishing again, and is invisible until then.
func TestRustResume(t *testing.T) {
	r := newRig(t, rigOptions{})
	token := r.token(nil)
	c := r.rust(generations[3], token)
	c.register("user", "repo", true)
	for cut := range newRustTree(nested).paths {
		slug := fmt.Sprintf("/user/repo/_tag/1.0.%d", cut)
		files := maps.Clone(nested) // of other content each time: the repository has the former
		for name := range files {
			files[name] += fmt.Sprintf(" %d", cut)
		}
		tree := newRustTree(files)
		if _, _, err := c.putBytes(slug, drawbridge.TypeEntry, tree.nodes[""].Canonical()); err != nil {
			t.Fatal(err)
		}
		for i, path := range tree.paths {
			node := tree.nodes[path]
			if i < cut {
				if _, _, err := c.putBytes(nodePath(slug, path), node.Type, node.body); err != nil {
					t.Fatal(err)
				}
				continue
			}
			header := c.header("PUT", c.gen.prefix+nodePath(slug, path), "content-digest: "+node.Digests.Header(), "content-type: "+node.Type,
				"content-length: "+strconv.FormatInt(node.Length, 10))
			if c.conn == nil {
				if _, err := c.get("/user/repo/_tag"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := c.conn.Write(append(header, node.body[:len(node.body)/2]...)); err != nil {
				t.Fatal(err)
			}
			c.close()
			break
		}
		// What comes last is in no listing: the tag does not wait for it.
		visible := tree.paths[cut] == "zz-last"
		if got, err := c.get(slug); (err == nil) != visible {
			t.Errorf("cut at %d: the tag: %d %v", cut, got.status, err)
		}
		if _, _, err := c.publish(slug, tree); err != nil {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if got, err := c.get(slug); err != nil || got.status != 200 {
			t.Errorf("cut at %d: %d, %v", cut, got.status, err)
		}
	}
}
