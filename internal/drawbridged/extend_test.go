// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/oidctest"
)

const asJSON = "Content-Type: application/json"

// into decodes what a request is answered with.
func into[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

// Parts of a content, for those who ask.
func TestRanges(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	node := tree.nodes["main.wasm"]
	size := len(node.body)
	root, _ := tree.nodes[""].Digests.SHA256()
	for _, path := range []string{"/user/repo/_tag/1.0.0/tree/main.wasm", "/user/repo/_digest/" + hex.EncodeToString(root[:]) + "/main.wasm"} {
		for asked, want := range map[string]string{
			"bytes=0-1": string(node.body[:2]), "bytes=2-": string(node.body[2:]), "bytes=-3": string(node.body[size-3:]), "bytes=1-999": string(node.body[1:]),
		} {
			resp, body := r.ask("GET", v1+path, "", "Range: "+asked)
			if resp.StatusCode != 206 || body != want || resp.Header.Get("Repr-Digest") != node.Digests.Header() || resp.Header.Get("Content-Digest") != "" ||
				resp.Header.Get("Content-Type") != node.Type || !strings.HasSuffix(resp.Header.Get("Content-Range"), fmt.Sprintf("/%d", size)) {
				t.Errorf("%s: %d %q %v", asked, resp.StatusCode, body, resp.Header)
			}
		}
		for _, asked := range []string{"bytes=0-1,3-4", "bytes=x", "lines=1-2"} {
			if resp, body := r.ask("GET", v1+path, "", "Range: "+asked); resp.StatusCode != 200 || body != string(node.body) || resp.Header.Get("Content-Digest") == "" {
				t.Errorf("%s: %d %q", asked, resp.StatusCode, body)
			}
		}
		if resp, _ := r.ask("GET", v1+path, "", "Range: bytes=999-"); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		if resp, _ := r.ask("HEAD", v1+path, "", "Range: bytes=0-1"); resp.StatusCode != 200 {
			t.Errorf("HEAD: %d", resp.StatusCode)
		}
		resp, _ := r.ask("GET", v1+path, "", `If-None-Match: "x"`)
		tag := resp.Header.Get("Etag")
		if resp.StatusCode != 200 || len(tag) != 66 {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		for _, method := range []string{"GET", "HEAD"} {
			if resp, body := r.ask(method, v1+path, "", `If-None-Match: "x", W/`+tag); resp.StatusCode != 304 || body != "" || resp.Header.Get("Etag") != tag {
				t.Errorf("%s: %d %v", method, resp.StatusCode, resp.Header)
			}
		}
		if resp, _ := r.ask("GET", v1+path, "", "Range: bytes=0-1", `If-Range: "other"`); resp.StatusCode != 200 {
			t.Errorf("If-Range: %d", resp.StatusCode)
		}
		if resp, _ := r.ask("GET", v1+path, "", "Range: bytes=0-1", "If-Range: "+tag); resp.StatusCode != 206 {
			t.Errorf("If-Range: %d", resp.StatusCode)
		}
	}
	if resp, _ := r.ask("GET", v1+"/user/private/_tag/1.0.0/tree/main.wasm", "", "If-None-Match: *"); resp.StatusCode != 401 {
		t.Errorf("If-None-Match tells of what is private: %d", resp.StatusCode)
	}
	if resp, _ := r.ask("GET", v1+"/user/private/_tag/1.0.0/tree/main.wasm", "", "If-None-Match: *", bearer(token)); resp.StatusCode != 304 {
		t.Errorf("%d", resp.StatusCode)
	}
}

// A root is found by its digest as long as a tag has it.
func TestByDigest(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	root, _ := tree.nodes[""].Digests.SHA256()
	base := "/_digest/" + hex.EncodeToString(root[:])
	for path, want := range map[string]string{"": string(tree.nodes[""].body), "/": string(tree.nodes[""].body), "/zdir/zsub/file": "nested"} {
		if got := r.want(200, "GET", v1+"/user/repo"+base+path, ""); got != want {
			t.Errorf("%q: %q", path, got)
		}
		r.want(200, "HEAD", v1+"/user/repo"+base+path, "")
		r.want(401, "GET", v1+"/user/private"+base+path, "")
		r.want(200, "GET", v1+"/user/private"+base+path, "", bearer(token))
	}
	r.want(404, "GET", v1+"/user/repo"+base+"/none", "")
	file, _ := tree.nodes["main.wasm"].Digests.SHA256()
	r.want(404, "GET", v1+"/user/repo/_digest/"+hex.EncodeToString(file[:]), "") // is no root
	r.want(200, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"bad"}`, bearer(token), asJSON)
	r.want(410, "GET", v1+"/user/repo"+base, "")
}

// What a yanked tag answers to whom, and back again.
func TestYank(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	auth := bearer(token)
	r.want(404, "GET", v1+"/user/repo/_tag/1.0.0/yank", "")
	r.want(401, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"x"}`, asJSON)
	r.want(404, "PUT", v1+"/user/repo/_tag/9.9.9/yank", `{"reason":"x"}`, auth, asJSON)
	r.want(422, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"x","reasons":[]}`, auth, asJSON)
	r.want(422, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"`+strings.Repeat("x", maxReason+1)+`"}`, auth, asJSON)
	r.want(200, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"it eats data"}`, auth, asJSON)
	gone := []string{"", "/tree", "/tree/main.wasm", "/deployment"}
	for _, path := range gone {
		for _, header := range [][]string{nil, {auth}, {"Drawbridge-Yanked: show"}} {
			if text := r.want(410, "GET", v1+"/user/repo/_tag/1.0.0"+path, "", header...); text != "tag 1.0.0 was yanked: it eats data" {
				t.Errorf("%q", text)
			}
		}
		r.want(200, "GET", v1+"/user/repo/_tag/1.0.0"+path, "", auth, "Drawbridge-Yanked: show")
	}
	if got := r.want(200, "GET", v1+"/user/repo/_tag", ""); got != "[]" {
		t.Errorf("%s", got)
	}
	info := into[drawbridge.RepositoryInfo](t, r.want(200, "GET", v1+"/user/repo/_info", ""))
	if len(info.Tags) != 1 || !info.Tags[0].Yanked || info.Tags[0].Reason != "it eats data" {
		t.Errorf("%+v", info)
	}
	yank := into[drawbridge.Yank](t, r.want(200, "GET", v1+"/user/repo/_tag/1.0.0/yank", ""))
	if yank.Reason != "it eats data" || yank.Time.IsZero() || yank.By != "" {
		t.Errorf("%+v", yank)
	}
	if yank = into[drawbridge.Yank](t, r.want(200, "GET", v1+"/user/repo/_tag/1.0.0/yank", "", auth)); yank.By != "oidc:test|subject" {
		t.Errorf("%+v", yank)
	}
	// The name stays taken, and publishing the same again changes nothing.
	other := drawbridge.Entry{Meta: tree.nodes["main.wasm"].Meta}.Canonical()
	r.want(409, "PUT", v1+"/user/repo/_tag/1.0.0", string(other), auth, "Content-Type: "+drawbridge.TypeEntry, "Content-Digest: "+drawbridge.MetaOf(other, "").Digests.Header())
	r.want(401, "DELETE", v1+"/user/repo/_tag/1.0.0/yank", "")
	r.want(200, "DELETE", v1+"/user/repo/_tag/1.0.0/yank", "", auth)
	for _, path := range gone {
		r.want(200, "GET", v1+"/user/repo/_tag/1.0.0"+path, "")
	}
}

// Contents are sent once, ahead of their tags, and only those that are missing.
func TestNodesAhead(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	auth := bearer(token)
	fresh := []byte("new content")
	m := drawbridge.MetaOf(fresh, drawbridge.TypeBinary)
	ask := func() []int {
		t.Helper()
		raw, err := json.Marshal([]drawbridge.Meta{tree.nodes["main.wasm"].Meta, m})
		if err != nil {
			t.Fatal(err)
		}
		return into[drawbridge.Missing](t, r.want(200, "POST", v1+"/user/repo/_nodes", string(raw), auth, asJSON)).Missing
	}
	if got := ask(); !slices.Equal(got, []int{1}) {
		t.Errorf("missing %v", got)
	}
	r.want(201, "PUT", v1+"/user/repo/_node", string(fresh), auth, "Content-Type: "+m.Type, "Content-Digest: "+m.Digests.Header())
	r.want(200, "PUT", v1+"/user/repo/_node", string(fresh), auth, "Content-Type: "+m.Type, "Content-Digest: "+m.Digests.Header())
	if got := ask(); len(got) != 0 {
		t.Errorf("missing %v", got)
	}
	entry := drawbridge.Entry{Meta: m}.Canonical()
	resp, _ := r.ask("PUT", v1+"/user/repo/_tag/2.0.0", string(entry), auth, "Content-Type: "+drawbridge.TypeEntry, "Content-Digest: "+drawbridge.MetaOf(entry, "").Digests.Header())
	if resp.StatusCode != 201 || resp.Header.Get("Drawbridge-Tag") != "committed" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if got := r.want(200, "GET", v1+"/user/repo/_tag/2.0.0/tree", ""); got != string(fresh) {
		t.Errorf("%q", got)
	}
	// Having heard of a digest is not having the content.
	stolen := drawbridge.Entry{Meta: m}.Canonical()
	r.want(201, "PUT", v1+"/user/private/_tag/2.0.0", string(stolen), auth, "Content-Type: "+drawbridge.TypeEntry, "Content-Digest: "+drawbridge.MetaOf(stolen, "").Digests.Header())
	r.want(404, "GET", v1+"/user/private/_tag/2.0.0/tree", "", auth)
	for _, bad := range []string{"", "{}", "null", "[1]", `[{"digest":{},"length":1,"type":"x/x"}]`} {
		if resp, text := r.ask("POST", v1+"/user/repo/_nodes", bad, auth, asJSON); resp.StatusCode != 400 && resp.StatusCode != 422 {
			t.Errorf("%q: %d %q", bad, resp.StatusCode, text)
		}
	}
	r.want(401, "POST", v1+"/user/repo/_nodes", "[]", asJSON)
}

// An upload in pieces, cut and resumed.
func TestUpload(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	auth := bearer(token)
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	m := drawbridge.MetaOf(content, drawbridge.TypeBinary)
	r.want(401, "POST", v1+"/user/repo/_upload", "")
	up := into[drawbridge.Upload](t, r.want(201, "POST", v1+"/user/repo/_upload", "", auth))
	at := v1 + "/user/repo/_upload/" + up.ID
	patch := func(status int, offset int, part []byte) string {
		t.Helper()
		return r.want(status, "PATCH", at, string(part), auth, fmt.Sprintf("Upload-Offset: %d", offset))
	}
	half := len(content) / 2
	if got := into[drawbridge.Upload](t, patch(200, 0, content[:half])); got.Offset != int64(half) {
		t.Errorf("%+v", got)
	}
	resp, _ := r.ask("PATCH", at, "x", auth, "Upload-Offset: 1")
	if resp.StatusCode != 409 || resp.Header.Get("Upload-Offset") != fmt.Sprint(half) {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, bad := range []string{"", "-1", "x", "99999999999999999999"} {
		r.want(400, "PATCH", at, "x", auth, "Upload-Offset: "+bad)
	}
	r.want(401, "PATCH", at, "x", "Upload-Offset: 0")
	r.want(404, "PATCH", v1+"/user/private/_upload/"+up.ID, "x", auth, "Upload-Offset: 0")
	r.want(404, "GET", v1+"/user/repo/_upload/none", "", auth)
	// The next piece is cut off in the middle: what came is kept or not, and the
	// upload says so.
	conn, err := tls.Dial("tcp", r.addr, r.client)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\n%s\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n%s", at, auth, half, len(content)-half, content[half:half+100])
	conn.Close()
	// Until the server has noticed the cut, the offset may still move.
	for offset, done := half, false; !done; {
		resp, text := r.ask("PATCH", at, string(content[offset:]), auth, fmt.Sprintf("Upload-Offset: %d", offset))
		done = resp.StatusCode == 200
		if done {
			continue
		}
		next, err := strconv.Atoi(resp.Header.Get("Upload-Offset"))
		if resp.StatusCode != 409 || err != nil || next < half || next > half+100 {
			t.Fatalf("%d %q %v", resp.StatusCode, text, resp.Header)
		}
		offset = next
	}
	finish := []string{auth, "Content-Type: " + m.Type, "Content-Digest: " + m.Digests.Header(), fmt.Sprintf("Upload-Length: %d", m.Length)}
	r.want(400, "PUT", at, "", finish[:3]...)
	r.want(400, "PUT", at, "x", finish...)
	r.want(201, "PUT", at, "", finish...)
	r.want(200, "PUT", v1+"/user/repo/_node", string(content), auth, "Content-Type: "+m.Type, "Content-Digest: "+m.Digests.Header())

	up = into[drawbridge.Upload](t, r.want(201, "POST", v1+"/user/repo/_upload", "", auth))
	at = v1 + "/user/repo/_upload/" + up.ID
	patch(200, 0, []byte("other"))
	if text := r.want(400, "PUT", at, "", finish...); text != "Content length mismatch, expected: 65536, got 5" {
		t.Errorf("%q", text)
	}
	up = into[drawbridge.Upload](t, r.want(201, "POST", v1+"/user/repo/_upload", "", auth))
	r.want(200, "DELETE", v1+"/user/repo/_upload/"+up.ID, "", auth)
	r.want(404, "GET", v1+"/user/repo/_upload/"+up.ID, "", auth)
}

// Lists show to each what he may see, and no more.
func TestLists(t *testing.T) {
	r, token, tree := published(t, rigOptions{})
	auth, other := bearer(token), bearer(r.token(oidctest.Claims{"sub": "test|other"}))
	names := func(text string) (names []string) {
		for _, f := range into[drawbridge.RepositoryList](t, text).Repositories {
			names = append(names, f.User+"/"+f.Repository)
		}
		return names
	}
	both, public := []string{"user/private", "user/repo"}, []string{"user/repo"}
	for _, path := range []string{"/_search", "/_search?q=USER", "/user/_repos"} {
		for header, want := range map[string][]string{"X: x": public, other: public, auth: both} {
			if got := names(r.want(200, "GET", v1+path, "", header)); !slices.Equal(got, want) {
				t.Errorf("%s with %.30s: %q, want %q", path, header, got, want)
			}
		}
		r.want(401, "GET", v1+path, "", "Authorization: Bearer bad")
	}
	for query, want := range map[string][]string{"q=repo": public, "q=re+se": public, "q=none": nil, "limit=1": public, "after=user/repo": nil, "after=user/a&limit=5": public} {
		if got := names(r.want(200, "GET", v1+"/_search?"+query, "")); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	r.want(400, "GET", v1+"/_search?limit=0", "")
	first := into[drawbridge.RepositoryList](t, r.want(200, "GET", v1+"/_search?limit=1", "", auth))
	if first.Next != "user/private" || len(first.Repositories) != 1 || first.Repositories[0].Latest != "1.0.0" || first.Repositories[0].Tags != 1 {
		t.Errorf("%+v", first)
	}
	page := into[drawbridge.RepositoryList](t, r.want(200, "GET", v1+"/user/_repos?limit=1", "", auth))
	if len(page.Repositories) != 1 || page.Next != "private" {
		t.Errorf("%+v", page)
	}
	if got := names(r.want(200, "GET", v1+"/user/_repos?limit=1&after="+page.Next, "", auth)); !slices.Equal(got, public) {
		t.Errorf("the second page has %q", got)
	}
	if got := names(r.want(200, "GET", v1+"/nobody/_repos", "")); len(got) > 0 {
		t.Errorf("%q", got)
	}
	info := into[drawbridge.RepositoryInfo](t, r.want(200, "GET", v1+"/user/repo/_info", ""))
	root, _ := tree.nodes[""].Digests.SHA256()
	if !info.Public || len(info.Tags) != 1 || info.Tags[0].Digest != drawbridge.Pin(root) || info.Tags[0].Type != drawbridge.TypeDirectory || info.Tags[0].Created.IsZero() {
		t.Errorf("%+v", info)
	}
	who := into[drawbridge.Whoami](t, r.want(200, "GET", v1+"/_whoami", "", auth))
	if who.Kind != "oidc" || who.Subject != "test|subject" || !slices.Equal(who.Users, []string{"user"}) {
		t.Errorf("%+v", who)
	}
	if who := into[drawbridge.Whoami](t, r.want(200, "GET", v1+"/_whoami", "")); who.Kind != "anonymous" || who.Subject != "" {
		t.Errorf("%+v", who)
	}
	r.want(401, "GET", v1+"/_whoami", "", "Authorization: Bearer bad")
	config := into[drawbridge.Config](t, r.want(200, "GET", v1+"/_config", ""))
	if config.Issuer != r.idp.Issuer() || config.Audience != "testserver" || config.ClientID != "enarx" || !slices.Equal(config.Auth, []string{"jwt"}) || config.MaxNode == 0 {
		t.Errorf("%+v", config)
	}
}

// What a host is told before it starts a Keep, with a signed tag and a policy
// that asks for the signature.
func TestSignedTagsAndDeployment(t *testing.T) {
	r, token, tree := published(t, rigOptions{config: func(c *Config) { c.Steward, c.CertificateLife = "https://attest.example", time.Hour }})
	auth := bearer(token)
	d := into[drawbridge.Deployment](t, r.want(200, "GET", v1+"/user/repo/_tag/1.0.0/deployment", ""))
	root := tree.nodes[""].Meta
	sum, _ := root.Digests.SHA256()
	if d.Digest != drawbridge.Pin(sum) || d.Digests != root.Digests || d.Length != root.Length || d.Type != root.Type || d.Signed || d.Steward != "https://attest.example" || d.CertificateLife != 3600 {
		t.Errorf("%+v", d)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := drawbridge.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	put := func(status int, name string, tag drawbridge.Tag) {
		t.Helper()
		r.want(status, "PUT", v1+"/user/repo/_tag/"+name, string(tag.Raw), auth, "Content-Type: "+tag.Type, "Content-Digest: "+tag.Meta().Digests.Header())
	}
	signed := func(name string, by ed25519.PrivateKey) drawbridge.Tag {
		t.Helper()
		tag, err := drawbridge.SignTag(tree.nodes[""].Entry, "user/repo:"+name, by)
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	first := signed("2.0.0", key)
	put(201, "2.0.0", first)
	if got := r.want(200, "GET", v1+"/user/repo/_tag/2.0.0", ""); got != string(first.Raw) {
		t.Errorf("%q", got)
	}
	policy, err := json.Marshal(drawbridge.Policy{Signers: []string{string(public.JWK())}, Steward: "https://own.example", CertificateLife: 600})
	if err != nil {
		t.Fatal(err)
	}
	r.want(401, "PUT", v1+"/user/repo/_policy", string(policy), asJSON)
	r.want(422, "PUT", v1+"/user/repo/_policy", `{"signers":["x"]}`, auth, asJSON)
	r.want(200, "PUT", v1+"/user/repo/_policy", string(policy), auth, asJSON)
	if got := r.want(200, "GET", v1+"/user/repo/_policy", "", auth); got != string(policy) {
		t.Errorf("%q", got)
	}
	d = into[drawbridge.Deployment](t, r.want(200, "GET", v1+"/user/repo/_tag/2.0.0/deployment", ""))
	if !d.Signed || !slices.Equal(d.Signers, []string{public.Thumbprint()}) || d.Steward != "https://own.example" || d.CertificateLife != 600 {
		t.Errorf("%+v", d)
	}
	_, replaced, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	put(403, "3.0.0", drawbridge.NewTag(tree.nodes[""].Entry)) // not signed
	put(403, "3.0.0", signed("3.0.0", replaced))               // by another key
	put(403, "3.0.0", signed("2.0.0", key))                    // for another tag
	put(201, "3.0.0", signed("3.0.0", key))
	put(200, "2.0.0", first)
}

// Tokens are made, used, listed without their secrets, and revoked.
func TestTokens(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	auth := bearer(token)
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	robot := into[drawbridge.Token](t, r.want(201, "POST", v1+"/user/private/_token", `{"kind":"robot","name":"ci","actions":["read"],"expires":"`+expires+`"}`, auth, asJSON))
	deploy := into[drawbridge.Token](t, r.want(201, "POST", v1+"/user/private/_token", `{"kind":"deployment","tag":"1.0.0","uses":2,"expires":"`+expires+`"}`, auth, asJSON))
	wide := into[drawbridge.Token](t, r.want(201, "POST", v1+"/user/_token", `{"kind":"robot","actions":["publish","read","yank"],"expires":"`+expires+`"}`, auth, asJSON))
	if robot.Secret == "" || robot.Repository != "private" || wide.Repository != "" || deploy.Kind != "deployment" {
		t.Fatalf("%+v %+v %+v", robot, deploy, wide)
	}
	r.want(200, "GET", v1+"/user/private/_tag", "", bearer(robot.Secret))
	r.want(200, "GET", v1+"/user/private/_tag/1.0.0/deployment", "", bearer(deploy.Secret))
	r.want(403, "GET", v1+"/user/private/_tag/1.0.0/tree/main.wasm", "", bearer(deploy.Secret)) // that is for the Keep
	r.want(403, "GET", v1+"/user/private/_tag", "", bearer(deploy.Secret))
	r.want(201, "PUT", v1+"/user/made-by-robot", `{"public":true}`, bearer(wide.Secret), asJSON)
	r.want(403, "PUT", v1+"/user/another", `{"public":true}`, bearer(robot.Secret), asJSON)
	r.want(403, "PUT", v1+"/user/private/_tag/1.0.0/yank", `{"reason":""}`, bearer(robot.Secret), asJSON)
	list := r.want(200, "GET", v1+"/user/private/_token", "", auth)
	tokens := into[[]drawbridge.Token](t, list)
	if len(tokens) != 2 || strings.Contains(list, "secret") || strings.Contains(list, "hash") {
		t.Errorf("%s", list)
	}
	for _, got := range tokens {
		if got.Kind == "deployment" && got.Used != 1 {
			t.Errorf("used %d times", got.Used)
		}
	}
	if all := into[[]drawbridge.Token](t, r.want(200, "GET", v1+"/user/_token", "", auth)); len(all) != 3 {
		t.Errorf("%+v", all)
	}
	for _, bad := range []string{
		`{"kind":"king"}`, `{"kind":"robot"}`, `{"kind":"robot","actions":["read"]}`, `{"kind":"robot","actions":["read"],"expires":"` + expires + `","repository":"repo"}`,
		`{"kind":"robot","actions":["read"],"expires":"` + expires + `","user":"other"}`, `{"kind":"robot","x":1}`, `[]`,
	} {
		r.want(422, "POST", v1+"/user/private/_token", bad, auth, asJSON)
	}
	r.want(401, "POST", v1+"/user/private/_token", `{}`, asJSON)
	r.want(403, "POST", v1+"/user/private/_token", `{}`, bearer(wide.Secret), asJSON)
	r.want(404, "DELETE", v1+"/user/repo/_token/"+robot.ID, "", auth) // it is the other repository's
	r.want(401, "DELETE", v1+"/user/private/_token/"+robot.ID, "")
	r.want(200, "DELETE", v1+"/user/private/_token/"+robot.ID, "", auth)
	r.want(401, "GET", v1+"/user/private/_tag", "", bearer(robot.Secret))
	r.want(404, "DELETE", v1+"/user/private/_token/"+robot.ID, "", auth)
	r.want(200, "DELETE", v1+"/user/_token/"+wide.ID, "", auth)
	r.want(401, "GET", v1+"/user/private/_tag", "", bearer(wide.Secret))
}
