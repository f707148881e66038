// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/oidctest"
)

// An authRig is two servers on one store, one with each model of tokens, on
// which alice has a public and a private repository.
type authRig struct {
	t        *testing.T
	jwt      *rig
	userinfo *rig
	foreign  *testCA
	root     [32]byte // of 1.0.0
	other    [32]byte // of 2.0.0
	serial   int
}

// content is what a package of the matrix is.
type content struct {
	root, wasm []byte
	tag        drawbridge.Tag
}

func newContent(t *testing.T, text string) content {
	t.Helper()
	c := content{wasm: []byte(text)}
	entry := drawbridge.Entry{Meta: drawbridge.MetaOf(c.wasm, drawbridge.TypeWasm)}
	c.root = drawbridge.Directory{"main.wasm": entry}.Canonical()
	c.tag = drawbridge.NewTag(drawbridge.Entry{Meta: drawbridge.MetaOf(c.root, drawbridge.TypeDirectory)})
	return c
}

func (c content) digest(t *testing.T) [32]byte {
	t.Helper()
	sum, ok := c.tag.Entry.Digests.SHA256()
	if !ok {
		t.Fatal("no SHA-256")
	}
	return sum
}

func newAuthRig(t *testing.T) *authRig {
	t.Helper()
	plenty := func(c *Config) { c.Limits.Tokens, c.Limits.Users, c.Limits.Rate = -1, -1, -1 }
	m := &authRig{t: t, jwt: newRig(t, rigOptions{jwt: true, config: plenty}), foreign: newTestCA(t, "Foreign")}
	m.userinfo = newRig(t, rigOptions{userinfo: true, bucket: m.jwt.store, config: plenty})
	s, ctx := m.jwt.store, t.Context()
	for user, subject := range map[string]string{"alice": "a", "mallory": "m"} {
		_, err := s.PutUser(ctx, user, store.NewObject(drawbridge.User{Subject: subject}.Canonical(), drawbridge.TypeJSON))
		m.must(err)
	}
	if owner, err := s.ClaimSubject(ctx, m.userinfo.idp.Issuer(), "m", "mallory"); err != nil || owner != "mallory" {
		t.Fatal(owner, err)
	}
	first, second := newContent(t, "first"), newContent(t, "second")
	m.root, m.other = first.digest(t), second.digest(t)
	for _, repo := range []string{"public", "private", "publicx", "privatex", "missingx"} {
		_, err := s.PutRepo(ctx, "alice", repo, store.NewObject(drawbridge.Repository{Public: strings.HasPrefix(repo, "public")}.Canonical(), drawbridge.TypeJSON))
		m.must(err)
		for tag, c := range map[string]content{"1.0.0": first, "2.0.0": second} {
			_, err = s.PutTag(ctx, "alice", repo, tag, store.Object{Body: c.tag.Raw, Meta: c.tag.Meta()})
			m.must(err)
			_, err = s.PutNode(ctx, "alice", repo, tag, nil, drawbridge.MetaOf(c.root, drawbridge.TypeDirectory), bytes.NewReader(c.root))
			m.must(err)
			_, err = s.PutNode(ctx, "alice", repo, tag, drawbridge.Path{"main.wasm"}, drawbridge.MetaOf(c.wasm, drawbridge.TypeWasm), bytes.NewReader(c.wasm))
			m.must(err)
		}
	}
	return m
}

func (m *authRig) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// mint stores a token as its owner has it made, at a time, and returns its text.
func (m *authRig) mint(at time.Time, ask drawbridge.Token) (*auth.Token, string) {
	m.t.Helper()
	ask.Expires = at.Add(time.Hour)
	if ask.User == "" {
		ask.User = "alice"
	}
	t, text, err := auth.NewToken(ask, auth.Session("", "a"), at)
	m.must(err)
	record, err := t.Record()
	m.must(err)
	m.must(m.jwt.store.PutToken(m.t.Context(), t.User, t.ID, record))
	return t, text
}

func (m *authRig) robot(user, repo string, actions ...string) string {
	_, text := m.mint(time.Now(), drawbridge.Token{Kind: "robot", User: user, Repository: repo, Actions: actions})
	return text
}

func (m *authRig) deployment(repo, tag, digest string) string {
	_, text := m.mint(time.Now(), drawbridge.Token{Kind: "deployment", Repository: repo, Tag: tag, Digest: digest})
	return text
}

// ears are attestation results as Stewards put them into certificates.
func ear(status, tee, roots string) pkix.Extension {
	return attest.CMW(attest.EARType, fmt.Appendf(nil,
		`{"ear_status":%q,"submods":{"keep":{"ear_status":%q,"ear_attester_claims":{"tee":%q},"ear_verifier_claims":{"roots":%q}}}}`,
		status, status, tee, roots))
}

// keep is a certificate that says uris, under a CA.
func (m *authRig) keep(under *testCA, uris []string, extensions ...pkix.Extension) *tls.Certificate {
	m.t.Helper()
	template := &x509.Certificate{ExtraExtensions: extensions}
	for _, text := range uris {
		u, err := url.Parse(text)
		m.must(err)
		template.URIs = append(template.URIs, u)
	}
	return under.issue(m.t, template)
}

const everything = "manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"

// bearers are the tokens of rows of the matrix, for a repository.
func (m *authRig) bearers(repo string) map[string]func() string {
	now := time.Now()
	jwt := func(claims oidctest.Claims) func() string {
		return func() string { return m.jwt.idp.Mint(claims) }
	}
	scoped := func(scope string) func() string { return jwt(oidctest.Claims{"sub": "a", "scope": scope}) }
	opaque := func(token, subject string) func() string {
		return func() string {
			if subject != "" {
				m.userinfo.idp.Opaque(token, subject)
			}
			return token
		}
	}
	bearers := map[string]func() string{
		"anonymous":                   func() string { return "" },
		"malformed token":             func() string { return "two words" },
		"JWT: expired":                jwt(oidctest.Claims{"sub": "a", "exp": now.Add(-time.Hour).Unix()}),
		"JWT: other audience":         jwt(oidctest.Claims{"sub": "a", "aud": "https://other.example/"}),
		"JWT: other issuer":           jwt(oidctest.Claims{"sub": "a", "iss": "https://other.example/"}),
		"JWT: altered signature":      func() string { s := m.jwt.idp.Mint(oidctest.Claims{"sub": "a"}); return s[:len(s)-1] },
		"another user":                jwt(oidctest.Claims{"sub": "m", "scope": everything}),
		"owner":                       scoped(everything),
		"owner, read scopes":          scoped(strings.ReplaceAll(everything, "manage", "read")),
		"owner, write scopes":         scoped(strings.ReplaceAll(everything, "manage", "write")),
		"owner, no scopes":            scoped("openid"),
		"owner by userinfo":           opaque("of-alice", "a"),
		"another user by userinfo":    opaque("of-mallory", "m"),
		"unknown subject by userinfo": opaque("of-nobody", "n"),
		"token that userinfo refuses": opaque("refused", ""),
	}
	maps.Copy(bearers, m.ours(repo))
	return bearers
}

// ours are those of them that are tokens of ours.
func (m *authRig) ours(repo string) map[string]func() string {
	all, now := []string{"read", "publish", "yank"}, time.Now()
	return map[string]func() string{
		"robot: read":                        func() string { return m.robot("alice", repo, "read") },
		"robot: publish":                     func() string { return m.robot("alice", repo, "publish") },
		"robot: yank":                        func() string { return m.robot("alice", repo, "yank") },
		"robot of all repositories: publish": func() string { return m.robot("alice", "", "publish") },
		"robot of another repository":        func() string { return m.robot("alice", repo+"x", all...) },
		"robot of another user":              func() string { return m.robot("mallory", "", all...) },
		"robot: expired": func() string {
			_, text := m.mint(now.Add(-2*time.Hour), drawbridge.Token{Kind: "robot", Actions: all})
			return text
		},
		"robot: revoked": func() string {
			t, text := m.mint(now, drawbridge.Token{Kind: "robot", Actions: all})
			m.must(m.jwt.store.DeleteToken(m.t.Context(), t.User, t.ID))
			return text
		},
		"robot: wrong secret":              func() string { return m.wrongSecret(all) },
		"deployment token for the tag":     func() string { return m.deployment(repo, "1.0.0", "") },
		"deployment token for the digest":  func() string { return m.deployment(repo, "", drawbridge.Pin(m.root)) },
		"deployment token for another tag": func() string { return m.deployment(repo, "2.0.0", "") },
		"deployment token: used up": func() string {
			t, text := m.mint(now, drawbridge.Token{Kind: "deployment", Repository: repo, Tag: "1.0.0", Uses: 1})
			_, err := m.jwt.store.ClaimTokenUse(m.t.Context(), t.ID, 1, []byte(`{"time":"2026-01-01T00:00:00Z","peer":"192.0.2.1"}`))
			m.must(err)
			return text
		},
		"deployment token: expired": func() string {
			_, text := m.mint(now.Add(-2*time.Hour), drawbridge.Token{Kind: "deployment", Repository: repo, Tag: "1.0.0"})
			return text
		},
	}
}

// wrongSecret is a token whose record holds another's hash.
func (m *authRig) wrongSecret(actions []string) string {
	ask := drawbridge.Token{Kind: "robot", User: "alice", Actions: actions, Expires: time.Now().Add(time.Hour)}
	t, text, err := auth.NewToken(ask, auth.Session("", "a"), time.Now())
	m.must(err)
	other, _, err := auth.NewToken(ask, auth.Session("", "a"), time.Now())
	m.must(err)
	other.ID = t.ID
	record, err := other.Record()
	m.must(err)
	m.must(m.jwt.store.PutToken(m.t.Context(), "alice", t.ID, record))
	return text
}

// certificates are those of the other rows.
func (m *authRig) certificates(repo string) map[string]func() *tls.Certificate {
	good, ca, host := ear("affirming", "snp", "vendor"), m.jwt.ca, m.jwt.addr
	digest, otherDigest := attest.WorkloadURI(m.root), attest.WorkloadURI(m.other)
	slug := func(host, repo, tag string) string { return attest.SlugURI(host + "/alice/" + repo + ":" + tag) }
	says := func(extension pkix.Extension, uris ...string) func() *tls.Certificate {
		return func() *tls.Certificate { return m.keep(ca, uris, extension) }
	}
	none := pkix.Extension{Id: attest.OIDNone}
	return map[string]func() *tls.Certificate{
		"certificate: the digest":                says(good, digest),
		"certificate: the slug":                  says(good, slug(host, repo, "1.0.0")),
		"certificate: digest and slug":           says(good, digest, slug(host, repo, "1.0.0")),
		"certificate: digest, another slug":      says(good, digest, slug(host, repo+"x", "1.0.0")),
		"certificate: slug, another digest":      says(good, slug(host, repo, "1.0.0"), otherDigest),
		"certificate: another digest":            says(good, otherDigest),
		"certificate: another slug":              says(good, slug(host, repo, "2.0.0")),
		"certificate: slug of another host":      says(good, slug("store.example", repo, "1.0.0")),
		"certificate: names nothing":             says(good),
		"certificate: no hardware":               says(none, digest),
		"certificate: no hardware, allowed":      says(none, digest),
		"certificate: development":               says(ear("warning", "snp", "development"), digest),
		"certificate: development, allowed":      says(ear("warning", "snp", "development"), digest),
		"certificate: warning":                   says(ear("warning", "snp", "vendor"), digest),
		"certificate: warning, allowed":          says(ear("warning", "snp", "vendor"), digest),
		"certificate: TEE not in the policy":     says(good, digest),
		"certificate: Steward not in the policy": says(good, digest),
		"certificate: no attestation result":     func() *tls.Certificate { return m.keep(ca, []string{digest}) },
		"certificate: foreign CA":                func() *tls.Certificate { return m.keep(m.foreign, []string{digest}, good) },
	}
}

// authPolicies are the policies that rows need; the others have none.
var authPolicies = map[string]string{
	"certificate: no hardware, allowed":      `{"allow_no_hardware":true}`,
	"certificate: development, allowed":      `{"allow_development":true,"tee":["snp"]}`,
	"certificate: warning, allowed":          `{"minimum_tier":"warning"}`,
	"certificate: TEE not in the policy":     `{"tee":["sgx","tdx"],"allow_no_hardware":true,"allow_development":true}`,
	"certificate: Steward not in the policy": `{"cas":["another"],"allow_no_hardware":true}`,
}

// An authRoute is a route of the API for one column of the matrix.
type authRoute struct {
	endpoint     endpoint
	column       string
	method, path string // below /api/v0.1.0, with {repo}
	body         []byte
	mediaType    string
	header       []string
	ok           []int // besides 200 and 201: there is nothing to do it to, but it would be done
	once         bool  // it is not about a repository
}

// authRoutes are all routes, once for each method.
func (m *authRig) authRoutes(repo, policy string) []authRoute {
	first := newContent(m.t, "first")
	text := func(s string) []byte { return []byte(s) }
	const tag = "/alice/{repo}/_tag/1.0.0"
	digest := "/alice/{repo}/_digest/" + hex.EncodeToString(m.root[:])
	entry, dir, js := drawbridge.TypeEntry, drawbridge.TypeDirectory, drawbridge.TypeJSON
	robot := text(`{"kind":"robot","actions":["read"],"expires":"2099-01-01T00:00:00Z"}`)
	robot = bytes.Replace(robot, text("2099-01-01T00:00:00Z"), text(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)), 1)
	config := drawbridge.Repository{Public: strings.HasPrefix(repo, "public")}.Canonical()
	gone := []int{http.StatusNotFound}
	newRepo := "{repo}"
	if repo == "missing" {
		m.serial++
		newRepo = fmt.Sprintf("new-%d", m.serial)
	}
	return append(userRoutes(robot), []authRoute{
		{endpoint: epRepo, column: "config", method: "GET", path: "/alice/{repo}"},
		{endpoint: epRepo, column: "config", method: "HEAD", path: "/alice/{repo}"},
		{endpoint: epPolicy, column: "config", method: "GET", path: "/alice/{repo}/_policy"},
		{endpoint: epRepo, column: "create-repo", method: "PUT", path: "/alice/" + newRepo, body: config, mediaType: js},
		{endpoint: epTags, column: "list", method: "GET", path: "/alice/{repo}/_tag"},
		{endpoint: epInfo, column: "list", method: "GET", path: "/alice/{repo}/_info"},
		{endpoint: epYank, column: "list", method: "GET", path: tag + "/yank", ok: gone},
		{endpoint: epTag, column: "content", method: "GET", path: tag},
		{endpoint: epTag, column: "content", method: "HEAD", path: tag},
		{endpoint: epDeployment, column: "deployment", method: "GET", path: tag + "/deployment"},
		{endpoint: epTree, column: "content", method: "GET", path: tag + "/tree"},
		{endpoint: epTree, column: "content", method: "HEAD", path: tag + "/tree"},
		{endpoint: epTree, column: "content", method: "GET", path: tag + "/tree/main.wasm"},
		{endpoint: epDigest, column: "digest", method: "GET", path: digest},
		{endpoint: epDigest, column: "digest", method: "HEAD", path: digest + "/main.wasm"},
		{endpoint: epTag, column: "publish", method: "PUT", path: tag, body: first.tag.Raw, mediaType: entry},
		{endpoint: epTree, column: "publish", method: "PUT", path: tag + "/tree", body: first.root, mediaType: dir},
		{endpoint: epTree, column: "publish", method: "PUT", path: tag + "/tree/main.wasm", body: first.wasm, mediaType: drawbridge.TypeWasm},
		{endpoint: epNodes, column: "publish", method: "POST", path: "/alice/{repo}/_nodes", body: text("[]"), mediaType: js},
		{endpoint: epNode, column: "publish", method: "PUT", path: "/alice/{repo}/_node", body: first.wasm, mediaType: drawbridge.TypeWasm},
		{endpoint: epUploads, column: "publish", method: "POST", path: "/alice/{repo}/_upload", header: []string{"Content-Length: 0"}},
		{endpoint: epUpload, column: "publish", method: "GET", path: "/alice/{repo}/_upload/none", ok: gone},
		{endpoint: epUpload, column: "publish", method: "PATCH", path: "/alice/{repo}/_upload/none", body: text("x"), header: []string{"Upload-Offset: 0"}, ok: gone},
		{endpoint: epUpload, column: "publish", method: "PUT", path: "/alice/{repo}/_upload/none", mediaType: drawbridge.TypeWasm, header: []string{
			"Upload-Length: 5", "Content-Digest: " + drawbridge.Sum(first.wasm).Header(),
		}, ok: gone},
		{endpoint: epUpload, column: "publish", method: "DELETE", path: "/alice/{repo}/_upload/none", ok: gone},
		{endpoint: epYank, column: "yank", method: "PUT", path: "/alice/{repo}/_tag/2.0.0/yank", body: text(`{"reason":"a test"}`), mediaType: js},
		{endpoint: epYank, column: "yank", method: "DELETE", path: "/alice/{repo}/_tag/2.0.0/yank", ok: gone},
		{endpoint: epPolicy, column: "manage", method: "PUT", path: "/alice/{repo}/_policy", body: text(policy), mediaType: js},
		{endpoint: epTokens, column: "manage", method: "GET", path: "/alice/{repo}/_token"},
		{endpoint: epTokens, column: "manage", method: "POST", path: "/alice/{repo}/_token", body: robot, mediaType: js},
		{endpoint: epToken, column: "manage", method: "DELETE", path: "/alice/{repo}/_token/none", ok: gone},
	}...)
}

// userRoutes are those that are about no repository.
func userRoutes(robot []byte) []authRoute {
	js, gone := drawbridge.TypeJSON, []int{http.StatusNotFound}
	return []authRoute{
		{endpoint: epConfig, column: "open", method: "GET", path: "/_config", once: true},
		{endpoint: epWhoami, column: "search", method: "GET", path: "/_whoami", once: true},
		{endpoint: epSearch, column: "search", method: "GET", path: "/_search?q=p", once: true},
		{endpoint: epRepos, column: "search", method: "GET", path: "/alice/_repos", once: true},
		{endpoint: epUser, column: "read-user", method: "GET", path: "/alice", once: true},
		{endpoint: epUser, column: "read-user", method: "HEAD", path: "/alice", once: true},
		{endpoint: epUser, column: "create-user", method: "PUT", path: "/alice", body: []byte(`{"subject":"a"}`), mediaType: js, once: true},
		{endpoint: epUserTokens, column: "manage", method: "GET", path: "/alice/_token", once: true},
		{endpoint: epUserTokens, column: "manage", method: "POST", path: "/alice/_token", body: robot, mediaType: js, once: true},
		{endpoint: epUserToken, column: "manage", method: "DELETE", path: "/alice/_token/none", once: true, ok: gone},
	}
}

// send returns the status of a request, 0 if there is no answer.
func (m *authRig) send(client *http.Client, r *rig, token, repo string, route authRoute) (int, string) {
	m.t.Helper()
	address := "https://" + r.addr + "/api/v0.1.0" + strings.ReplaceAll(route.path, "{repo}", repo)
	req, err := http.NewRequestWithContext(m.t.Context(), route.method, address, bytes.NewReader(route.body))
	m.must(err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if route.mediaType != "" {
		req.Header.Set("Content-Type", route.mediaType)
		req.Header.Set("Content-Digest", drawbridge.Sum(route.body).Header())
	}
	for _, line := range route.header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	m.must(err)
	return resp.StatusCode, string(text)
}

// judge says what an answer means in the matrix.
func judge(status int, ok []int) byte {
	switch {
	case status == http.StatusOK, status == http.StatusCreated:
		return '+'
	case slices.Contains(ok, status):
		return '+'
	}
	return map[int]byte{0: '!', 400: '4', 401: '-', 403: 'x', 404: '0'}[status]
}

var authStates = []string{"public", "private", "missing"}

// TestServerMatrix asks the running server about every pair of a principal and
// a route, in a public, a private and a missing repository.
func TestServerMatrix(t *testing.T) {
	m := newAuthRig(t)
	names, order, rows := readAuthMatrix(t)
	asked, routes, secrets := 0, map[string]bool{}, map[string]bool{}
	for _, row := range order {
		r := m.jwt
		if strings.Contains(row, "userinfo") {
			r = m.userinfo
		}
		for state, repo := range authStates {
			token, cert := "", (*tls.Certificate)(nil)
			if make, ok := m.bearers(repo)[row]; ok {
				token = make()
			} else if make, ok := m.certificates(repo)[row]; ok {
				cert = make()
			} else {
				t.Fatalf("row %q is about nobody", row)
			}
			secrets[token] = len(token) > 20
			policy := authPolicies[row]
			if policy == "" {
				policy = "{}"
			}
			if repo != "missing" {
				m.must(m.jwt.store.PutPolicy(t.Context(), "alice", repo, []byte(policy)))
			}
			client := m.client(r, cert)
			for _, route := range m.authRoutes(repo, policy) {
				if route.once && state != 0 {
					continue
				}
				asked++
				routes[string(route.endpoint)+" "+route.method] = true
				want := rows[row][slices.Index(names, route.column)][state]
				ok := route.ok
				if want == '0' {
					ok = nil
				}
				status, text := m.send(client, r, token, repo, route)
				if got := judge(status, ok); got != want {
					t.Errorf("%s: %s %s, %s: %d %q, want %q", row, route.method, route.path, repo, status, text, want)
				}
			}
			client.CloseIdleConnections()
		}
	}
	for ep, verbs := range table {
		for verb := range verbs {
			if !routes[string(ep)+" "+verb] {
				t.Errorf("%s %s is not in the matrix", verb, ep)
			}
		}
	}
	logs := m.jwt.log.String() + m.userinfo.log.String()
	for secret, is := range secrets {
		if is && strings.Contains(logs, secret) {
			t.Errorf("the log has the token %s", secret)
		}
	}
	t.Logf("%d principals, %d routes, %d requests", len(order), len(routes), asked)
}

// client keeps its connection, and shows its certificate.
func (m *authRig) client(r *rig, cert *tls.Certificate) *http.Client {
	config := r.client.Clone()
	if cert != nil {
		present(config, cert)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableCompression: true}}
}

// TestPrivateLooksMissing compares whole answers: whoever may not see a private
// repository gets the same bytes as for one that is not there.
func TestPrivateLooksMissing(t *testing.T) {
	m := newAuthRig(t)
	for _, row := range []string{"anonymous", "another user", "owner, no scopes", "robot: yank", "robot of another user", "deployment token for another tag", "certificate: another digest", "certificate: no hardware"} {
		var token string
		var cert *tls.Certificate
		if make, ok := m.bearers("private")[row]; ok {
			token = make()
		} else {
			cert = m.certificates("private")[row]()
		}
		client := m.client(m.jwt, cert)
		there, missing := m.authRoutes("private", "{}"), m.authRoutes("private", "{}")
		for i, route := range there {
			if route.once || row == "robot: yank" && strings.Contains(route.path, "yank") {
				continue
			}
			status, text := m.send(client, m.jwt, token, "private", route)
			status2, text2 := m.send(client, m.jwt, token, "missing", missing[i])
			if status != status2 || strings.ReplaceAll(text, "private", "missing") != text2 || status < 400 {
				t.Errorf("%s: %s %s: %d %q when it is there, %d %q when not", row, route.method, route.path, status, text, status2, text2)
			}
		}
		client.CloseIdleConnections()
	}
	for _, path := range []string{"/_search?q=p", "/alice/_repos"} {
		_, text := m.send(m.client(m.jwt, nil), m.jwt, m.bearers("x")["another user"](), "", authRoute{method: "GET", path: path})
		if strings.Contains(text, "private") || !strings.Contains(text, "public") {
			t.Errorf("%s: %s", path, text)
		}
	}
}

// TestYankedForAll is the matrix's other dimension: what was yanked opens to
// nobody, but to the owner who asks for it.
func TestYankedForAll(t *testing.T) {
	m := newAuthRig(t)
	for _, repo := range []string{"public", "private"} {
		m.must(m.jwt.store.Yank(context.Background(), "alice", repo, "1.0.0", drawbridge.Yank{Reason: "it leaks"}))
	}
	show := []string{"Drawbridge-Yanked: show"}
	for _, tt := range []struct {
		row, repo string
		header    []string
		status    int
	}{
		{"anonymous", "public", show, 410}, {"anonymous", "private", show, 401}, {"another user", "public", show, 410},
		{"owner", "public", nil, 410}, {"owner", "private", nil, 410}, {"owner", "public", show, 200}, {"owner", "private", show, 200},
		{"robot: read", "private", show, 410}, {"deployment token for the digest", "private", show, 410},
		{"certificate: the digest", "private", show, 410}, {"certificate: the digest", "public", nil, 410}, {"certificate: another digest", "private", show, 401},
	} {
		var token string
		var cert *tls.Certificate
		if make, ok := m.bearers(tt.repo)[tt.row]; ok {
			token = make()
		} else {
			cert = m.certificates(tt.repo)[tt.row]()
		}
		client := m.client(m.jwt, cert)
		for _, route := range m.authRoutes(tt.repo, "{}") {
			if route.method != "GET" || !slices.Contains([]string{"content", "digest", "deployment"}, route.column) {
				continue
			}
			want := tt.status
			if strings.HasPrefix(tt.row, "deployment token") && route.column != "deployment" {
				want = 403 // yanked or not
			}
			route.header = tt.header
			status, text := m.send(client, m.jwt, token, tt.repo, route)
			if status != want || status == 410 && !strings.Contains(text, "was yanked: it leaks") {
				t.Errorf("%s, %s: %s %q: %d %q, want %d", tt.row, tt.repo, route.path, tt.header, status, text, want)
			}
		}
		client.CloseIdleConnections()
	}
}

// readAuthMatrix reads the table that the auth package holds its rules to.
func readAuthMatrix(t *testing.T) (names, order []string, rows map[string][]string) {
	t.Helper()
	data, err := os.ReadFile("auth/testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string][]string{}
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(line, "|")
		cells := strings.Fields(rest)
		switch {
		case !ok || strings.HasPrefix(line, "#"):
		case names == nil:
			names = cells
		default:
			for i, cell := range cells {
				if len(cell) == 1 {
					cells[i] = strings.Repeat(cell, 3)
				}
			}
			name = strings.TrimSpace(name)
			order, rows[name] = append(order, name), cells
		}
	}
	return names, order, rows
}
