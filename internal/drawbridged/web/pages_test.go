// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/store"
)

const (
	wasm     = "\x00asm\x01\x00\x00\x00"
	simple   = "[[files]]\nkind = \"listen\"\nport = 8443\n\n[log]\nmode = \"none\"\n"
	hostile  = "<script>alert(1)</script>\u202e\"'><img src=x onerror=alert(2)>{{.}}"
	aliceSub = "test|alice"
	bobSub   = "test|bob"
)

func newKey(t testing.TB) (ed25519.PrivateKey, drawbridge.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := drawbridge.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, key
}

// furnish fills a rig with what pages can be about: a public repository with
// signed, unsigned, wrongly signed and yanked tags, a private one and a module.
func furnish(t testing.TB, r *rig) (private drawbridge.PublicKey) {
	t.Helper()
	r.user("alice", aliceSub)
	r.user("bob", bobSub)
	r.repo("alice", "hello", true)
	r.repo("alice", "secret", false)
	r.repo("alice", "module", true)
	mine, public := newKey(t)
	foreign, _ := newKey(t)
	rules, err := json.Marshal(drawbridge.Policy{Signers: []string{string(public.JWK())}})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"main.wasm": wasm, "Enarx.toml": simple, "assets/www/index.html": "<script>document.title='run'</script>"}
	r.publish("alice", "hello", "0.1.0", files)
	r.publish("alice", "hello", "1.0.0", files, mine)
	r.publish("alice", "hello", "1.1.0", files, foreign)
	r.publish("alice", "hello", "2.0.0-rc.1", files, mine)
	r.publish("alice", "hello", "0.9.0", files, mine)
	// Some of the tags are older than the policy, which would not let them in.
	if err := r.store.PutPolicy(t.Context(), "alice", "hello", rules); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Yank(t.Context(), "alice", "hello", "0.9.0", drawbridge.Yank{Reason: hostile, Time: time.Now(), By: "x"}); err != nil {
		t.Fatal(err)
	}
	r.publish("alice", "secret", "1.0.0", map[string]string{"main.wasm": wasm})
	m := r.node("alice", "module", drawbridge.TypeWasm, wasm)
	bare := drawbridge.NewTag(drawbridge.Entry{Meta: m})
	if result, err := r.store.PutTag(t.Context(), "alice", "module", "1.0.0", store.NewObject(bare.Raw, bare.Type)); err != nil || !result.Committed {
		t.Fatal(result, err)
	}
	return public
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestPages(t *testing.T) {
	r := newRig(t, nil)
	key := furnish(t, r)
	v := r.visitor()

	home := wordsOf(t, v.want(200, "/"))
	contains(t, home, "alice/hello", "alice/module", "Publish your first package", "Sign in")
	if strings.Contains(home, "secret") {
		t.Error("the first page names a private repository")
	}

	repo := v.want(200, "/alice/hello")
	contains(t, repo.text, "enarx deploy "+r.host+"/alice/hello:1.0.0\"", "enarx deploy "+r.host+"/alice/hello:1.0.0@sha256:", key.Thumbprint())
	contains(t, wordsOf(t, repo), "5 tags", "port 8443 on every address, TLS; any client", "No output leaves the Keep.", "Listens on",
		"The repository is public", "signed by a foreign key", "unsigned, against the policy", "⟨U+202E⟩")
	doc, err := html.Parse(strings.NewReader(repo.text))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, th := range all(doc, "th") {
		if attr(th, "scope") == "row" {
			order = append(order, words(th))
		}
	}
	if want := []string{"2.0.0-rc.1", "1.1.0", "1.0.0", "0.9.0", "0.1.0"}; !slices.Equal(order, want) {
		t.Errorf("tags are listed as %q, want %q", order, want)
	}

	tag := v.want(200, "/alice/hello/1.0.0")
	contains(t, wordsOf(t, tag), "signed", key.Thumbprint()+" (a key of this repository)", "3 files", "main.wasm", "assets/")
	contains(t, wordsOf(t, v.want(200, "/alice/hello/1.1.0")), "(not a key of this repository)")

	dir := v.want(200, "/alice/hello/1.0.0/tree/assets/www")
	contains(t, wordsOf(t, dir), "files assets www", "index.html", "application/octet-stream", "37")
	file := v.want(200, "/alice/hello/1.0.0/tree/Enarx.toml")
	contains(t, wordsOf(t, file), "sha-224", "sha-256", "sha-384", "sha-512", "application/toml", "In words")
	for _, alg := range drawbridge.All() {
		sum, _ := drawbridge.Sum([]byte(simple)).Get(alg)
		contains(t, file.text, fmt.Sprintf("%x", sum))
	}

	module := v.want(200, "/alice/module/1.0.0")
	contains(t, wordsOf(t, module), "The package is this one file", "it runs with", "1 file")

	for _, path := range []string{
		"/nobody", "/bob", "/alice/none", "/alice/hello/9.9.9", "/alice/hello/1.0.0/tree/none", "/alice/hello/1.0.0/tree/main.wasm/below",
		"/alice/hello/1.0.0/file/none", "/al%69ce", "/alice/hello/v1", "/alice/hello/1.0.0/other", "/-/none", "/alice//hello", "/-/u/../alice",
	} {
		if p := v.get(path); p.StatusCode != 404 {
			t.Errorf("%s: %s", path, p.Status)
		}
	}
	contains(t, wordsOf(t, v.want(200, "/-/search?q=ALICE+mod")), "alice/module")
	contains(t, wordsOf(t, v.want(200, "/-/search?q="+url.QueryEscape(hostile))), "Nothing found", "<script>alert(1)</script>⟨U+202E⟩")
}

// What is private looks like what is not there, byte for byte but for the name.
func TestPrivateLooksMissing(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	below := []string{"", "/1.0.0", "/1.0.0/tree", "/1.0.0/tree/main.wasm", "/1.0.0/file/main.wasm", "/1.0.0/tree/none"}
	same := func(v *visitor) {
		t.Helper()
		for _, rest := range below {
			private, missing := v.want(404, "/alice/secret"+rest), v.want(404, "/alice/nosuch"+rest)
			if a, b := strings.ReplaceAll(private.text, "secret", "nosuch"), missing.text; a != b {
				t.Errorf("%s: a private repository is told from a missing one:\n%s\n%s", rest, a, b)
			}
			for name := range private.Header {
				if name != "X-Request-Id" && name != "Date" && private.Header.Get(name) != missing.Header.Get(name) {
					t.Errorf("%s: header %s tells them apart", rest, name)
				}
			}
		}
		if p := v.get("/-/search?q=secret"); strings.Contains(wordsOf(t, p), "alice/secret") {
			t.Error("the search finds it")
		}
		if p := v.get("/alice"); strings.Contains(p.text, "secret") {
			t.Error("the user's page shows it")
		}
	}
	same(r.visitor())
	bob := r.visitor()
	bob.signIn(bobSub, "/")
	same(bob)

	alice := r.visitor()
	alice.signIn(aliceSub, "/")
	for _, rest := range below[:4] {
		alice.want(200, "/alice/secret"+rest)
	}
	contains(t, wordsOf(t, alice.want(200, "/alice/secret")), "private", "A Keep in any hardware TEE may read")
	if p := alice.want(200, "/alice/secret/1.0.0/file/main.wasm"); p.text != wasm {
		t.Errorf("got %q", p.text)
	}
	contains(t, wordsOf(t, alice.get("/-/search?q=secret")), "alice/secret")
	// What the owner was shown must not be kept for the next one.
	if got := alice.get("/alice/secret").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

func TestDownload(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	p := v.want(200, "/alice/hello/1.0.0/file/assets/www/index.html")
	for name, want := range map[string]string{
		"Content-Disposition": `attachment; filename="index.html"`, "Content-Security-Policy": "sandbox; default-src 'none'",
		"X-Content-Type-Options": "nosniff", "Content-Type": "application/octet-stream", "Content-Length": "37",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := v.want(200, "/alice/module/1.0.0/file").Header.Get("Content-Disposition"); got != `attachment; filename="module-1.0.0.wasm"` {
		t.Errorf("the module is saved as %s", got)
	}
	q := v.request("GET", "/alice/hello/1.0.0/file/main.wasm", "")
	q.Header.Set("Range", "bytes=1-3")
	if p := v.send(q); p.StatusCode != 206 || p.text != "asm" {
		t.Errorf("range: %s %q", p.Status, p.text)
	}
	q = v.request("GET", "/alice/hello/1.0.0/file/main.wasm", "")
	q.Header.Set("Range", "bytes=100-")
	if p := v.send(q); p.StatusCode != 416 || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
		t.Errorf("range outside: %s %s", p.Status, p.Header)
	}
	// The same file from the API must not become a page either.
	api := v.get(drawbridge.Prefix + "/alice/hello/_tag/1.0.0/tree/assets/www/index.html")
	if !strings.Contains(api.Header.Get("Content-Security-Policy"), "sandbox") || api.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the API sends a page: %v", api.Header)
	}
}

func TestYankedIsWithheld(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	p := v.want(200, "/alice/hello/0.9.0")
	contains(t, wordsOf(t, p), "Withdrawn by its publisher: <script>alert(1)</script>", "It is not served any more")
	if strings.Contains(p.text, "enarx deploy") || strings.Contains(p.text, "main.wasm") || strings.Contains(p.text, "<script") {
		t.Error("a yanked tag is offered, or its reason is markup")
	}
	v.want(410, "/alice/hello/0.9.0/file/main.wasm")
	if p := v.want(200, "/alice/hello/0.9.0/tree/main.wasm"); p.Request.URL.Path != "/alice/hello/0.9.0" {
		t.Errorf("the tree is at %s", p.Request.URL)
	}
	alice := r.visitor()
	alice.signIn(aliceSub, "/")
	contains(t, wordsOf(t, alice.want(200, "/alice/hello/0.9.0")), "Bring it back", "main.wasm")
	alice.want(200, "/alice/hello/0.9.0/file/main.wasm")
}

func TestHeaders(t *testing.T) {
	r := newRig(t, nil)
	furnish(t, r)
	v := r.visitor()
	for _, path := range []string{"/", "/alice/hello", "/none", "/-/search", "/-/callback", styleURL} {
		p := v.get(path)
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if cache := p.Header.Get("Cache-Control"); cache == "" || path != styleURL && !strings.Contains(cache, "no-cache") {
			t.Errorf("%s: Cache-Control is %q", path, cache)
		}
	}
	for path, allow := range map[string]string{"/alice": "GET, HEAD", "/-/new": "POST", "/-/search": "GET, HEAD"} {
		method := "POST"
		if allow == "POST" {
			method = "GET"
		}
		if p := v.send(v.request(method, path, "")); p.StatusCode != 405 || p.Header.Get("Allow") != allow {
			t.Errorf("%s %s: %s, Allow %q", method, path, p.Status, p.Header.Get("Allow"))
		}
	}
	if p := v.send(v.request("HEAD", "/alice/hello", "")); p.StatusCode != 200 || p.text != "" || p.ContentLength < 1000 {
		t.Errorf("HEAD: %s, %d bytes of %d", p.Status, len(p.text), p.ContentLength)
	}
	// API clients ask / for anything but HTML, and get what upstream sends.
	q := v.request("GET", "/", "")
	q.Header.Set("Accept", "*/*")
	if p := v.send(q); p.StatusCode != 404 || strings.Contains(p.text, "<html") {
		t.Errorf("/ without text/html: %s", p.Status)
	}
}

// A user whose name the server takes for the API's has a page all the same.
func TestNamesLikeTheServers(t *testing.T) {
	r := newRig(t, nil)
	v := r.visitor()
	for _, name := range []string{"api", "apiary", "health", "login", "tokens", "u"} {
		r.user(name, "test|"+name)
		r.repo(name, "one", true)
		r.publish(name, "one", "1.0.0", map[string]string{"main.wasm": wasm})
		contains(t, wordsOf(t, v.want(200, userURL(name))), name+"/one")
		page := v.want(200, repoURL(name, "one")+"/1.0.0")
		if !strings.Contains(page.text, `href="`+userURL(name)+`/one"`) {
			t.Errorf("%s: the page does not lead to the repository", name)
		}
		v.want(200, place{User: name, Repo: "one", Tag: "1.0.0", Path: drawbridge.Path{"main.wasm"}}.fileURL())
	}
}

// The pages of a repository are as long as any, however many tags it has. With
// ENARX_TEST_LONG=1 they are 10,000.
func TestManyTags(t *testing.T) {
	r := newRig(t, nil)
	r.user("alice", aliceSub)
	r.repo("alice", "hello", true)
	many := 1_000
	if os.Getenv("ENARX_TEST_LONG") == "1" {
		many = 10_000
	}
	root := r.folder("alice", "hello", "", nil, map[string]string{"main.wasm": wasm})
	tag := drawbridge.NewTag(drawbridge.Entry{Meta: root})
	for i := range many {
		name := fmt.Sprintf("0.%d.%d", i/100, i%100)
		if _, err := r.store.PutTag(t.Context(), "alice", "hello", name, store.NewObject(tag.Raw, tag.Type)); err != nil {
			t.Fatal(err)
		}
	}
	v := r.visitor()
	p := v.want(200, "/alice/hello")
	last := many / pageTags
	contains(t, wordsOf(t, p), thousands(many)+" tags", fmt.Sprintf("Page 1 of %d", last), fmt.Sprintf("0.%d.99", many/100-1), fmt.Sprintf("0.%d.50", many/100-1))
	if len(p.text) > 60_000 {
		t.Errorf("a page of tags has %d bytes", len(p.text))
	}
	contains(t, wordsOf(t, v.want(200, fmt.Sprintf("/alice/hello?page=%d", last))), fmt.Sprintf("Page %d of %d", last, last), "0.0.0", "Previous page")
	for _, page := range []string{"0", "-1", fmt.Sprint(last + 1), "x", "99999999999999999999"} {
		contains(t, wordsOf(t, v.want(200, "/alice/hello?page="+page)), fmt.Sprintf("Page 1 of %d", last))
	}
	begin := time.Now()
	v.want(200, fmt.Sprintf("/alice/hello?page=%d", last/2))
	t.Logf("a page of a repository of %d tags took %s", many, time.Since(begin))
}

func TestLongNames(t *testing.T) {
	r := newRig(t, nil)
	user, repo, tag := strings.Repeat("u", 255), strings.Repeat("r", 255), "1.0.0-"+strings.Repeat("t", 200)
	r.user(user, aliceSub)
	r.repo(user, repo, true)
	r.publish(user, repo, tag, map[string]string{strings.Repeat("f", 255): "x", "Enarx.toml": "args = [\"\x1b\"]\n"})
	v := r.visitor()
	at := place{User: user, Repo: repo, Tag: tag}
	for _, path := range []string{"/", userURL(user), at.repoURL(), at.tagURL(), at.treeURL(), at.child(strings.Repeat("f", 255)).fileURL()} {
		v.want(http.StatusOK, path)
	}
}

func TestOrphansAreMarked(t *testing.T) {
	r := newRig(t, nil)
	r.user("alice", aliceSub)
	r.repo("alice", "hello", true)
	// Upstream's clients list nothing behind the first folder with something in it.
	r.publish("alice", "hello", "1.0.0", map[string]string{"assets/a": "a"})
	m := drawbridge.MetaOf([]byte("late"), drawbridge.TypeBinary)
	if _, err := r.store.PutNode(t.Context(), "alice", "hello", "1.0.0", drawbridge.Path{"late"}, m, strings.NewReader("late")); err != nil {
		t.Fatal(err)
	}
	v := r.visitor()
	contains(t, wordsOf(t, v.want(200, "/alice/hello/1.0.0/tree")), "late unlisted", "not part of its digest")
	contains(t, wordsOf(t, v.want(200, "/alice/hello/1.0.0/tree/late")), "Unlisted: this was uploaded")
	if p := v.want(200, "/alice/hello/1.0.0/file/late"); p.text != "late" {
		t.Errorf("got %q", p.text)
	}
	if p := v.want(200, "/alice/hello/1.0.0/tree/assets"); strings.Contains(wordsOf(t, p), "unlisted") {
		t.Error("what is listed is marked")
	}
}
