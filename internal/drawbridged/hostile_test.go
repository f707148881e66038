// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/serve"
)

// Who announces a body to the site and never sends it gets an answer, and
// keeps nothing: neither a short page nor one that is longer than buffers.
func TestSiteWaitsForNobody(t *testing.T) {
	for _, size := range []int{0, 10, 100_000} {
		r := newRig(t, rigOptions{
			timeouts: serve.Timeouts{Read: -1}, // as the command has it
			config: func(c *Config) {
				c.Limits.Stall, c.Limits.Grace = 300*time.Millisecond, 300*time.Millisecond
				c.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
			},
		})
		conn, err := tls.Dial("tcp", r.addr, r.client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /-/search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Errorf("%d bytes: %v %v", size, resp, err)
		}
	}
}

// A tag that was pending before the policy asked for signatures is not let in
// by the node that completes it, and is in nobody's way.
func TestPendingAgainstPolicy(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	auth, digest := bearer(token), func(b []byte) string { return "Content-Digest: " + drawbridge.MetaOf(b, "").Digests.Header() }
	content := []byte("late")
	entry := drawbridge.Entry{Meta: drawbridge.MetaOf(content, drawbridge.TypeBinary)}
	raw := entry.Canonical()
	r.want(201, "PUT", v1+"/user/repo/_tag/3.0.0", string(raw), auth, "Content-Type: "+drawbridge.TypeEntry, digest(raw))

	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := drawbridge.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := json.Marshal(drawbridge.Policy{Signers: []string{string(signer.JWK())}})
	if err != nil {
		t.Fatal(err)
	}
	r.want(200, "PUT", v1+"/user/repo/_policy", string(policy), auth, asJSON)
	node := []string{auth, "Content-Type: " + drawbridge.TypeBinary, digest(content)}
	if text := r.want(403, "PUT", v1+"/user/repo/_tag/3.0.0/tree", string(content), node...); !strings.Contains(text, "not signed") {
		t.Errorf("%q", text)
	}
	r.want(404, "GET", v1+"/user/repo/_tag/3.0.0", "")

	signed, err := drawbridge.SignTag(entry, "user/repo:3.0.0", key)
	if err != nil {
		t.Fatal(err)
	}
	r.want(201, "PUT", v1+"/user/repo/_tag/3.0.0", string(signed.Raw), auth, "Content-Type: "+drawbridge.TypeJOSE, digest(signed.Raw))
	if got := r.want(200, "GET", v1+"/user/repo/_tag/3.0.0", ""); got != string(signed.Raw) {
		t.Errorf("%q", got)
	}
}

// One who sends large documents slowly does not take the memory of all.
func TestLargeDocumentsAreUploads(t *testing.T) {
	r, token, _ := published(t, rigOptions{config: func(c *Config) { c.Limits.Uploads = 1 }})
	conn, err := tls.Dial("tcp", r.addr, r.client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s/user/repo/_policy HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n{",
		v1, token, smallJSON+1)
	for deadline := time.Now().Add(10 * time.Second); r.server.uploads.total() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a large document is not counted")
		}
	}
	large := "{" + strings.Repeat(" ", smallJSON) + "}"
	r.want(429, "PUT", v1+"/user/repo/_policy", large, bearer(token), asJSON)
	r.want(200, "PUT", v1+"/user/repo/_policy", "{}", bearer(token), asJSON)
}

// Requests at the same time do not get below a limit together.
func TestLimitsAreExact(t *testing.T) {
	slow, err := store.OpenURL(t.Context(), "file://"+t.TempDir(), store.Options{}) // memory is too fast
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Close() })
	r, token, _ := published(t, rigOptions{bucket: slow, config: func(c *Config) { c.Limits.Users, c.Limits.Tokens = 3, 3 }})
	subject := string(drawbridge.User{Subject: "test|subject"}.Canonical())
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			r.ask("PUT", fmt.Sprintf("%s/user%d", v1, i), subject, bearer(token), asJSON)
			r.ask("POST", v1+"/user/_token", fmt.Sprintf(`{"kind":"robot","actions":["read"],"expires":%q}`, expires), bearer(token), asJSON)
		})
	}
	all.Wait()
	users, err := r.store.Users(t.Context(), "", 0)
	if err != nil || len(users) > 3 {
		t.Errorf("users %q, %v", users, err)
	}
	tokens, err := r.store.Tokens(t.Context(), "user")
	if err != nil || len(tokens) > 3 {
		t.Errorf("tokens %q, %v", tokens, err)
	}
}

// What no quota counts and every list reads is small.
func TestLargeTag(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := drawbridge.SignTag(drawbridge.Entry{Meta: tree.nodes[""].Meta}, "user/repo:4.0.0", key)
	if err != nil {
		t.Fatal(err)
	}
	raw := string(signed.Raw) + strings.Repeat(" ", maxTag)
	text := r.want(400, "PUT", v1+"/user/repo/_tag/4.0.0", raw, bearer(token), "Content-Type: "+drawbridge.TypeJOSE,
		"Content-Digest: "+drawbridge.MetaOf([]byte(raw), "").Digests.Header())
	if !strings.Contains(text, "more than") {
		t.Errorf("%q", text)
	}
}

// Who sends what is refused, slowly, takes no turn from those who are served.
func TestDrainsTakeNoTurn(t *testing.T) {
	const turns = 2
	r := newRig(t, rigOptions{timeouts: serve.Timeouts{Read: -1}, config: func(c *Config) { c.Limits.Requests = turns }})
	for range turns {
		conn, err := tls.Dial("tcp", r.addr, r.client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT %s/user HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", v1)
	}
	for r.server.drains.Load() < turns {
		time.Sleep(time.Millisecond)
	}
	r.want(401, "GET", v1+"/user/repo", "")
}

// A publisher is told that the disk is full, and goes on when it no longer is.
func TestFullStore(t *testing.T) {
	var full atomic.Bool
	bucket, err := disk.Open(t.TempDir(), disk.Options{Before: func(s *disk.Step) error {
		if full.Load() && s.Op == disk.Write {
			return syscall.ENOSPC
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := store.Open(t.Context(), bucket, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = onDisk.Close() })
	r, token, _ := published(t, rigOptions{bucket: onDisk})
	for _, size := range []int{10, 1 << 20} {
		body := strings.Repeat("x", size)
		header := []string{bearer(token), "Content-Type: " + drawbridge.TypeBinary, "Content-Digest: " + drawbridge.MetaOf([]byte(body), "").Digests.Header()}
		full.Store(true)
		if text := r.want(507, "PUT", v1+"/user/repo/_node", body, header...); text != "The store is full" {
			t.Errorf("%d bytes: %q", size, text)
		}
		full.Store(false)
		r.want(201, "PUT", v1+"/user/repo/_node", body, header...)
	}
}
