// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// sharedStores are two stores on what two servers may share: a bucket of S3,
// or a directory.
var sharedStores = map[string]func(t *testing.T) [2]*store.Store{
	"S3": func(t *testing.T) [2]*store.Store {
		server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
		t.Cleanup(server.Close)
		t.Setenv("AWS_ACCESS_KEY_ID", "replicas")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		client := s3.New(s3.Options{
			BaseEndpoint: &server.URL, Region: "us-east-1", UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider("replicas", "not-a-secret", ""),
		})
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("shared")}); err != nil {
			t.Fatal(err)
		}
		return openTwice(t, "s3://shared?use_path_style=true&region=us-east-1&endpoint="+server.URL)
	},
	"directory": func(t *testing.T) [2]*store.Store { return openTwice(t, "file://"+t.TempDir()) },
}

func openTwice(t *testing.T, url string) (stores [2]*store.Store) {
	t.Helper()
	for i := range stores {
		s, err := store.OpenURL(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		stores[i] = s
	}
	return stores
}

// A pair is two servers on one store, and a publisher's client for each.
type pair struct {
	rigs    [2]*rig
	clients [2]*rustClient
}

func newPair(t *testing.T, stores [2]*store.Store) *pair {
	t.Helper()
	p := new(pair)
	for i := range p.rigs {
		p.rigs[i] = newRig(t, rigOptions{bucket: stores[i]})
		p.clients[i] = p.client(i)
	}
	p.clients[0].register("user", "repo", true)
	return p
}

// client is a new connection to one of the servers.
func (p *pair) client(i int) *rustClient {
	return p.rigs[i].rust(generations[3], p.rigs[i].token(nil))
}

// balanced publishes as a Rust client does through a balancer that sends each
// request to the other server.
func (p *pair) balanced(slug string, tree *rustTree) (last answer, err error) {
	_, last, err = p.clients[0].putBytes(slug, drawbridge.TypeEntry, tree.nodes[""].Canonical())
	for i, path := range tree.paths {
		if err != nil {
			return last, err
		}
		if _, err := p.clients[i%2].get(slug); err == nil {
			return last, fmt.Errorf("the tag is seen before %q was sent", path)
		}
		n := tree.nodes[path]
		_, last, err = p.clients[(i+1)%2].putBytes(nodePath(slug, path), n.Type, n.body)
	}
	return last, err
}

// seen checks that a server shows a tag with all its nodes.
func (p *pair) seen(t *testing.T, i int, slug string, tree *rustTree) {
	t.Helper()
	for _, path := range tree.paths {
		got, err := p.clients[i].get(nodePath(slug, path))
		if err != nil || !bytes.Equal(got.body, tree.nodes[path].body) {
			t.Errorf("server %d: %s: %q: %v", i, slug, path, err)
		}
	}
}

// clean checks the store, and that both servers list the same.
func (p *pair) clean(t *testing.T) {
	t.Helper()
	report, err := p.rigs[0].store.Fsck(context.WithoutCancel(t.Context()), store.FsckOptions{})
	if err != nil || !report.Clean() {
		t.Errorf("%v\n%v", err, report)
	}
	a, err := p.clients[0].get("/user/repo/_tag")
	if err != nil {
		t.Error(err)
	}
	b, err := p.clients[1].get("/user/repo/_tag")
	if err != nil || !bytes.Equal(a.body, b.body) {
		t.Errorf("%s and %s: %v", a.body, b.body, err)
	}
}

// plain is a small package of no subdirectories, whose tag is complete with
// its last node.
func plain(content string) *rustTree {
	return newRustTree(map[string]string{"Enarx.toml": "same = true\n", "main.wasm": content})
}

func TestServersShareStore(t *testing.T) {
	for name, stores := range sharedStores {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, stores(t))
			const slug = "/user/repo/_tag/1.0.0"
			last, err := p.balanced(slug, plain("one"))
			if err != nil || last.header.Get("Drawbridge-Tag") != "committed" {
				t.Errorf("%v: %v", last.header, err)
			}
			p.seen(t, 0, slug, plain("one"))
			p.seen(t, 1, slug, plain("one"))
			p.yank(t)
			p.race(t)
			p.fail(t)
			p.edit(t)
			p.clean(t)
		})
	}
}

// yank takes a tag back on one server: the other one shows it no more.
func (p *pair) yank(t *testing.T) {
	t.Helper()
	const path = "/api/v0.4.0/user/repo/_tag/1.0.0/yank"
	if resp, text := p.rigs[0].ask("PUT", path, `{"reason":"broken"}`, bearer(p.rigs[0].token(nil)), "Content-Type: application/json"); resp.StatusCode >= 300 {
		t.Fatalf("yank: %d %s", resp.StatusCode, text)
	}
	if a, _ := p.clients[1].get("/user/repo/_tag/1.0.0"); a.status != http.StatusGone || !strings.Contains(string(a.body), "broken") {
		t.Errorf("a yanked tag: %d %s", a.status, a.body)
	}
	if resp, text := p.rigs[1].ask("DELETE", path, "", bearer(p.rigs[1].token(nil))); resp.StatusCode >= 300 {
		t.Fatalf("un-yank: %d %s", resp.StatusCode, text)
	}
	if _, err := p.clients[0].get("/user/repo/_tag/1.0.0"); err != nil {
		t.Errorf("after the un-yank: %v", err)
	}
}

// race publishes under the same names on both servers at once: the same
// content under one, different ones under the other.
func (p *pair) race(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	const each = 3
	var errs [2 * each]error
	for i := range errs {
		c := p.client(i % 2)
		wg.Go(func() {
			if _, _, err := c.publish("/user/repo/_tag/2.0.0", plain("same")); err != nil {
				t.Errorf("the same content: %v", err)
			}
			_, _, errs[i] = c.publish("/user/repo/_tag/2.1.0", plain(fmt.Sprint("different ", i)))
		})
	}
	wg.Wait()
	p.seen(t, 0, "/user/repo/_tag/2.0.0", plain("same"))
	p.seen(t, 1, "/user/repo/_tag/2.0.0", plain("same"))
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			p.seen(t, 0, "/user/repo/_tag/2.1.0", plain(fmt.Sprint("different ", i)))
			p.seen(t, 1, "/user/repo/_tag/2.1.0", plain(fmt.Sprint("different ", i)))
		case !strings.Contains(err.Error(), "`409`"):
			t.Errorf("a loser: %v", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}

// fail publishes half on a server that then goes away, and again on the other.
func (p *pair) fail(t *testing.T) {
	t.Helper()
	const slug = "/user/repo/_tag/3.0.0"
	tree := plain("three")
	c := p.client(0)
	if _, _, err := c.putBytes(slug, drawbridge.TypeEntry, tree.nodes[""].Canonical()); err != nil {
		t.Fatal(err)
	}
	header := c.header("PUT", c.gen.prefix+nodePath(slug, "main.wasm"), "content-digest: "+tree.nodes["main.wasm"].Digests.Header(),
		"content-type: application/wasm", "content-length: 5")
	if _, err := c.conn.Write(append(header, "th"...)); err != nil {
		t.Fatal(err)
	}
	c.close()
	if _, _, err := p.client(1).publish(slug, tree); err != nil {
		t.Errorf("publishing again on the other server: %v", err)
	}
	p.seen(t, 0, slug, tree)
}

// edit publishes something else under a name whose first attempt was given up.
// The second server knows only the first attempt, to which the node that it is
// sent belongs too; but what that node completes is the other one.
func (p *pair) edit(t *testing.T) {
	t.Helper()
	const slug = "/user/repo/_tag/4.0.0"
	before := newRustTree(map[string]string{"Enarx.toml": "typo", "main.wasm": "four"})
	after := newRustTree(map[string]string{"Enarx.toml": "right", "main.wasm": "four"})
	p.send(t, 1, slug, before, "tag", "", "Enarx.toml")
	p.send(t, 0, slug, after, "tag", "", "Enarx.toml")
	p.send(t, 1, slug, after, "main.wasm")
	p.seen(t, 0, slug, after)
	p.seen(t, 1, slug, after)

	// Who goes back to the first attempt means it.
	const back = "/user/repo/_tag/5.0.0"
	before = newRustTree(map[string]string{"Enarx.toml": "typo", "main.wasm": "five"})
	after = newRustTree(map[string]string{"Enarx.toml": "right", "main.wasm": "five"})
	p.send(t, 0, back, before, "tag", "", "Enarx.toml")
	p.send(t, 1, back, after, "tag", "", "Enarx.toml")
	p.send(t, 1, back, before, "tag")
	p.send(t, 0, back, before, "main.wasm")
	p.seen(t, 1, back, before)
}

// send sends some of a package to one of the servers.
func (p *pair) send(t *testing.T, i int, slug string, tree *rustTree, what ...string) {
	t.Helper()
	for _, path := range what {
		at, n := nodePath(slug, path), tree.nodes[path]
		mediaType, body := n.Type, n.body
		if path == "tag" {
			at, mediaType, body = slug, drawbridge.TypeEntry, tree.nodes[""].Canonical()
		}
		if _, _, err := p.clients[i].putBytes(at, mediaType, body); err != nil {
			t.Errorf("server %d: %s: %v", i, at, err)
		}
	}
}
