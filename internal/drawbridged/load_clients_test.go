// SPDX-License-Identifier: Apache-2.0

package drawbridged_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/need"
)

// world is what the clients of a load test share.
type world struct {
	t       *testing.T
	address string
	pool    *x509.CertPool
	users   []*loadUser
	busy    atomic.Int64 // answers that said to come back later

	mu      sync.Mutex
	tallies map[string]*tallied
	clients []*http.Client
}

type tallied struct{ took []time.Duration }

type loadUser struct{ name, token string }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (w *world) tls() *tls.Config { return &tls.Config{RootCAs: w.pool, ServerName: "localhost"} }

// http returns a client with connections of its own.
func (w *world) http() *http.Client {
	c := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: w.tls(), MaxIdleConnsPerHost: 2, DisableCompression: true},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients = append(w.clients, c)
	return c
}

func (w *world) closeIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		c.CloseIdleConnections()
	}
}

// took notes how long something took.
func (w *world) took(name string, begin time.Time) {
	d := time.Since(begin)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tallies[name] == nil {
		w.tallies[name] = &tallied{}
	}
	w.tallies[name].took = append(w.tallies[name].took, d)
}

// A caller is one client with its connection.
type caller struct {
	*world
	http  *http.Client
	token string
	rng   *rand.Rand
}

// call sends a request, again as long as it is told to come back later, and
// returns an answer that has the wanted status. path is below the API's prefix.
func (c *caller) call(ctx context.Context, name, method, path string, meta *drawbridge.Meta, body []byte, want int, header ...string) (*http.Response, []byte, error) {
	for {
		req, err := http.NewRequestWithContext(ctx, method, "https://"+c.address+drawbridge.Prefix+path, bytes.NewReader(body))
		if err != nil {
			return nil, nil, err
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		if meta != nil {
			req.Header.Set("Content-Digest", meta.Digests.Header())
			req.Header.Set("Content-Type", meta.Type)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		begin := time.Now()
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, nil, err
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s: %s: %w", method, path, resp.Status, err)
		}
		if wait := resp.Header.Get("Retry-After"); resp.StatusCode == http.StatusServiceUnavailable && wait != "" {
			c.busy.Add(1)
			seconds, err := strconv.Atoi(wait)
			if err != nil {
				return nil, nil, fmt.Errorf("Retry-After: %q", wait)
			}
			select {
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			case <-time.After(time.Duration(seconds) * time.Second):
			}
			continue
		}
		c.world.took(name, begin)
		if resp.StatusCode != want {
			return nil, nil, fmt.Errorf("%s %s: %s, want %d: %.200s", method, path, resp.Status, want, got)
		}
		return resp, got, nil
	}
}

// pack is a package of a few files, and bytes that no other has.
type pack struct {
	entry drawbridge.Entry
	dir   []byte
	files map[string][]byte
	metas map[string]drawbridge.Meta
}

func newPack(unique string, size int) *pack {
	p := &pack{files: map[string][]byte{
		"Enarx.toml": []byte("args = [\"" + unique + "\"]\n"),
		"main.wasm":  append([]byte(unique), bytes.Repeat([]byte{7}, size)...),
	}, metas: map[string]drawbridge.Meta{}}
	listing := drawbridge.Directory{}
	for name, data := range p.files {
		m := drawbridge.MetaOf(data, drawbridge.TypeByName(name))
		p.metas[name] = m
		listing[name] = drawbridge.Entry{Meta: m}
	}
	p.dir = listing.Canonical()
	p.entry = drawbridge.Entry{Meta: drawbridge.MetaOf(p.dir, drawbridge.TypeDirectory)}
	return p
}

// publish sends a package as upstream's clients do: the tag, the root, the
// files in their order. want is 201, or 200 for what is there already.
func (c *caller) publish(ctx context.Context, repo, tag string, p *pack, want int) error {
	at := repo + "/_tag/" + tag
	raw := p.entry.Canonical()
	meta := drawbridge.MetaOf(raw, drawbridge.TypeEntry)
	if _, _, err := c.call(ctx, "PUT tag", "PUT", at, &meta, raw, want); err != nil {
		return err
	}
	if _, _, err := c.call(ctx, "PUT root", "PUT", at+"/tree", &p.entry.Meta, p.dir, want); err != nil {
		return err
	}
	var resp *http.Response
	for _, name := range sortedKeys(p.files) {
		m := p.metas[name]
		var err error
		if resp, _, err = c.call(ctx, "PUT file", "PUT", at+"/tree/"+name, &m, p.files[name], want); err != nil {
			return err
		}
	}
	if got := resp.Header.Get("Drawbridge-Tag"); got != "committed" {
		return fmt.Errorf("%s: %q after its last file", at, got)
	}
	return nil
}

// fetch reads a package back and compares.
func (c *caller) fetch(ctx context.Context, repo, tag string, p *pack) error {
	at := repo + "/_tag/" + tag
	_, got, err := c.call(ctx, "GET tag", "GET", at, nil, nil, 200)
	if err != nil || !bytes.Equal(got, p.entry.Canonical()) {
		return fmt.Errorf("%s: %w, %q", at, err, got)
	}
	if _, got, err = c.call(ctx, "GET root", "GET", at+"/tree/", nil, nil, 200); err != nil || !bytes.Equal(got, p.dir) {
		return fmt.Errorf("%s/tree: %w, %q", at, err, got)
	}
	for name, data := range p.files {
		resp, got, err := c.call(ctx, "GET file", "GET", at+"/tree/"+name, nil, nil, 200)
		if err != nil {
			return err
		}
		if m := p.metas[name]; !bytes.Equal(got, data) || resp.Header.Get("Content-Digest") != m.Digests.Header() {
			return fmt.Errorf("%s/%s: %d bytes, want %d, or its digests", at, name, len(got), len(data))
		}
	}
	return nil
}

// basePack is what everybody reads. Its module is large enough for a slow reader
// to be caught with it.
var basePack = sync.OnceValue(func() *pack { return newPack("base", 6<<20) })

// register makes a user with a public and a private repository, and a package
// in both.
func (w *world) register(n int, token string) *loadUser {
	w.t.Helper()
	u := &loadUser{name: fmt.Sprint("user", n), token: token}
	c := &caller{world: w, http: w.http(), token: token}
	put := func(path string, body []byte) {
		meta := drawbridge.MetaOf(body, drawbridge.TypeJSON)
		if _, _, err := c.call(w.t.Context(), "register", "PUT", path, &meta, body, 201); err != nil {
			w.t.Fatal(err)
		}
	}
	put("/"+u.name, drawbridge.User{Subject: fmt.Sprint("load|", n)}.Canonical())
	put("/"+u.name+"/public", drawbridge.Repository{Public: true}.Canonical())
	put("/"+u.name+"/private", drawbridge.Repository{}.Canonical())
	for _, repo := range []string{"/public", "/private"} {
		if err := c.publish(w.t.Context(), "/"+u.name+repo, "1.0.0", basePack(), 201); err != nil {
			w.t.Fatal(err)
		}
	}
	return u
}

// client does what one client does until the time is over: three in five read,
// one in five publishes, one makes mistakes.
func (w *world) client(ctx context.Context, n int) {
	u := w.users[n%len(w.users)]
	c := &caller{world: w, http: w.http(), rng: rand.New(rand.NewPCG(uint64(n), 5))}
	defer c.http.CloseIdleConnections()
	act := c.read
	switch n % 5 {
	case 3:
		c.token, act = u.token, c.write
	case 4:
		act = c.err
	}
	for turn := 0; ctx.Err() == nil; turn++ {
		// What has begun is ended: only then is it known to have been right.
		if err := act(context.WithoutCancel(ctx), u, fmt.Sprintf("1.%d.%d", n+1, turn)); err != nil {
			w.t.Errorf("client %d, turn %d: %v", n, turn, err)
			return
		}
	}
}

func (c *caller) read(ctx context.Context, u *loadUser, _ string) error {
	repo := "/" + u.name + "/public"
	base := basePack()
	file := repo + "/_tag/1.0.0/tree/main.wasm"
	whole := base.files["main.wasm"]
	switch c.rng.IntN(6) {
	case 0:
		_, got, err := c.call(ctx, "GET tags", "GET", repo+"/_tag", nil, nil, 200)
		var tags []string
		if err == nil {
			err = json.Unmarshal(got, &tags)
		}
		if err == nil && !slices.Contains(tags, "1.0.0") {
			err = fmt.Errorf("tags %.100q", got)
		}
		return err
	case 1:
		m := base.metas["main.wasm"]
		resp, _, err := c.call(ctx, "HEAD file", "HEAD", file, nil, nil, 200)
		if err == nil && (resp.ContentLength != m.Length || resp.Header.Get("Content-Digest") != m.Digests.Header()) {
			err = fmt.Errorf("HEAD: %v", resp.Header)
		}
		return err
	case 2:
		from := c.rng.IntN(len(whole) - 70000)
		_, got, err := c.call(ctx, "GET range", "GET", file, nil, nil, 206, "Range", fmt.Sprintf("bytes=%d-%d", from, from+65535))
		if err == nil && !bytes.Equal(got, whole[from:from+65536]) {
			err = fmt.Errorf("range from %d: %d other bytes", from, len(got))
		}
		return err
	case 3:
		_, _, err := c.call(ctx, "GET private, anonymous", "GET", "/"+u.name+"/private/_tag/1.0.0", nil, nil, 401)
		return err
	case 4:
		_, got, err := c.call(ctx, "GET small", "GET", repo+"/_tag/1.0.0/tree/Enarx.toml", nil, nil, 200)
		if err == nil && !bytes.Equal(got, base.files["Enarx.toml"]) {
			err = fmt.Errorf("%q", got)
		}
		return err
	}
	if c.rng.IntN(8) > 0 { // the large one now and then
		_, _, err := c.call(ctx, "GET tag", "GET", repo+"/_tag/1.0.0", nil, nil, 200)
		return err
	}
	_, got, err := c.call(ctx, "GET large", "GET", file, nil, nil, 200)
	if err == nil && !bytes.Equal(got, whole) {
		err = fmt.Errorf("%d other bytes", len(got))
	}
	return err
}

func (c *caller) write(ctx context.Context, u *loadUser, tag string) error {
	repo := "/" + u.name + []string{"/public", "/private"}[c.rng.IntN(2)]
	p := newPack(u.name+tag, c.rng.IntN(200_000))
	if err := c.publish(ctx, repo, tag, p, 201); err != nil {
		return err
	}
	if err := c.fetch(ctx, repo, tag, p); err != nil {
		return err
	}
	if c.rng.IntN(4) == 0 { // the same again
		return c.publish(ctx, repo, tag, p, 200)
	}
	return nil
}

// err makes one of the mistakes that clients make.
func (c *caller) err(ctx context.Context, u *loadUser, tag string) error {
	public := "/" + u.name + "/public"
	body := append([]byte(tag), bytes.Repeat([]byte{1}, c.rng.IntN(100_000))...)
	meta := drawbridge.MetaOf(body, drawbridge.TypeBinary)
	at := public + "/_tag/1.0.0/tree/main.wasm"
	switch c.rng.IntN(6) {
	case 0:
		c.token = ""
		_, _, err := c.call(ctx, "no token", "PUT", at, &meta, body, 401)
		return err
	case 1:
		c.token = "nonsense"
		_, _, err := c.call(ctx, "bad token", "PUT", at, &meta, body, 401)
		return err
	case 2:
		c.token = c.users[(slices.Index(c.users, u)+1)%len(c.users)].token
		_, _, err := c.call(ctx, "another's token", "PUT", at, &meta, body, 401)
		return err
	case 3:
		c.token = u.token
		_, _, err := c.call(ctx, "another content", "PUT", at, &meta, body, 409)
		return err
	case 4:
		c.token = u.token
		wrong := drawbridge.MetaOf([]byte("x"), drawbridge.TypeBinary)
		_, _, err := c.call(ctx, "wrong digest", "PUT", public+"/_node", &wrong, body, 400)
		return err
	}
	return c.abandon(u, body, meta)
}

// abandon sends half of an upload and goes.
func (c *caller) abandon(u *loadUser, body []byte, meta drawbridge.Meta) error {
	defer c.world.took("half an upload", time.Now())
	conn, err := tls.Dial("tcp", c.address, c.tls())
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprint(conn, putHead(u, meta))
	_, err = conn.Write(body[:len(body)/2])
	return err
}

// putHead is the head of a PUT of a node.
func putHead(u *loadUser, meta drawbridge.Meta) string {
	return fmt.Sprintf("PUT %s/%s/public/_node HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Digest: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		drawbridge.Prefix, u.name, u.token, meta.Digests.Header(), meta.Type, meta.Length)
}

// slowKinds is what takes its time.
var slowKinds = [4]string{"handshakes", "headers", "uploads", "downloads"}

// dawdle is a client that keeps a connection busy for as long as it is let,
// which must not be for ever. When it is cut off, it comes again.
func (w *world) dawdle(ctx context.Context, n int, cut *atomic.Int64) {
	for again := true; again; again = ctx.Err() == nil {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			w.t.Errorf("a slow client was not let in: %v", err)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(need.Scale(10 * loadPatience())))
		err = w.linger(conn, w.users[n%len(w.users)], n%len(slowKinds))
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Errorf("slow %s: not cut off: %v", slowKinds[n%len(slowKinds)], err)
		} else {
			cut.Add(1)
		}
		conn.Close()
	}
}

// linger does one of slowKinds until an error says that it is over.
func (w *world) linger(raw net.Conn, u *loadUser, kind int) error {
	const pause = 50 * time.Millisecond
	if kind == 0 {
		_, err := raw.Read(make([]byte, 1))
		return err
	}
	if kind == 3 {
		_ = raw.(*net.TCPConn).SetReadBuffer(256 << 10) // else the kernel takes it all
	}
	conn := tls.Client(raw, w.tls())
	gone := make(chan error, 1)
	drip := func(text string) error {
		go func() {
			_, err := io.Copy(io.Discard, conn) // an answer, and the end
			if err == nil {
				err = io.EOF
			}
			gone <- err
		}()
		for i := 0; ; i++ {
			select {
			case err := <-gone:
				return err
			case <-time.After(pause):
			}
			if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
				raw.Close()
				<-gone
				return err
			}
		}
	}
	if err := conn.Handshake(); err != nil {
		return err
	}
	switch kind {
	case 1:
		fmt.Fprint(conn, "GET /api/v0.1.0/x HTTP/1.1\r\nX: ")
		return drip(strings.Repeat("x", 80))
	case 2:
		fmt.Fprint(conn, putHead(u, drawbridge.MetaOf(make([]byte, 1<<20), drawbridge.TypeBinary)))
		return drip("\x00")
	}
	fmt.Fprintf(conn, "GET %s/%s/public/_tag/1.0.0/tree/main.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n", drawbridge.Prefix, u.name)
	// What the kernels have taken arrives in any case: it was cut off if that
	// is not all.
	pieces := int(loadPatience()/pause) * 5 / 4
	for range pieces {
		if _, err := io.ReadFull(conn, make([]byte, 64)); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	_, err := io.CopyN(io.Discard, conn, basePack().metas["main.wasm"].Length-int64(pieces)*64)
	return err
}
