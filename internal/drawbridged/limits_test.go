// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/oidctest"
)

// begin sends the header of an upload and some of its body.
func (r *rig) begin(token string, m drawbridge.Meta, some string) (conn *tls.Conn, in *bufio.Reader) {
	r.t.Helper()
	conn, err := tls.Dial("tcp", r.addr, r.client)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "PUT %s/user/repo/_node HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nContent-Type: %s\r\nContent-Digest: %s\r\n\r\n%s",
		v1, token, m.Length, m.Type, m.Digests.Header(), some)
	return conn, bufio.NewReader(conn)
}

// Whoever sends nothing, or too little, is told so and loses the connection; an
// upload that goes on is not cut, however long it takes in all.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	r, token, _ := published(t, rigOptions{
		timeouts: serve.Timeouts{Read: 300 * time.Millisecond, Write: 300 * time.Millisecond},
		config: func(c *Config) {
			c.Limits.Stall, c.Limits.Grace, c.Limits.MinRate = 800*time.Millisecond, time.Second, 500
		},
	})
	content := strings.Repeat("slow ", 100)
	m := drawbridge.MetaOf([]byte(content), drawbridge.TypeBinary)
	_, in := r.begin(token, m, content[:10])
	if resp, text := readAnswer(t, in, "PUT"); resp.StatusCode != 408 || !resp.Close {
		t.Errorf("stalled: %d %q", resp.StatusCode, text)
	}
	// Now longer than the server's own time-out for a whole request,
	// were it not moved.
	conn, in := r.begin(token, m, "")
	pause := time.NewTicker(60 * time.Millisecond)
	defer pause.Stop()
	for i := 0; i < len(content); i += 50 {
		<-pause.C
		if _, err := io.WriteString(conn, content[i:i+50]); err != nil {
			t.Fatal(err)
		}
	}
	if resp, text := readAnswer(t, in, "PUT"); resp.StatusCode != 201 {
		t.Errorf("slow: %d %q", resp.StatusCode, text)
	}
	// A byte at a time is never a stall, but below the minimum rate.
	conn, in = r.begin(token, m, "")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range content {
			<-pause.C
			if _, err := io.WriteString(conn, content[i:i+1]); err != nil {
				return
			}
		}
	}()
	if resp, text := readAnswer(t, in, "PUT"); resp.StatusCode != 408 {
		t.Errorf("a byte at a time: %d %q", resp.StatusCode, text)
	}
	_ = conn.Close()
	<-done
}

// The arithmetic of the pace, without a clock.
func TestPace(t *testing.T) {
	p := pace{grace: 15 * time.Second, stall: 30 * time.Second, rate: 1000}
	for _, c := range []struct {
		bytes int64
		spent time.Duration
		want  time.Duration
	}{
		{0, 0, 15 * time.Second}, {0, 14 * time.Second, time.Second}, {0, 15 * time.Second, 0}, {1000, 15 * time.Second, time.Second},
		{1e9, time.Second, 30 * time.Second}, {100_000, 110 * time.Second, 5 * time.Second}, {100_000, 120 * time.Second, -5 * time.Second},
	} {
		p.bytes, p.spent = c.bytes, c.spent
		if got := p.left(); got != c.want {
			t.Errorf("%d bytes in %v: %v left, want %v", c.bytes, c.spent, got, c.want)
		}
	}
}

// Whoever does not read an answer does not keep it waiting for ever.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	r, token, _ := published(t, rigOptions{config: func(c *Config) { c.Limits.Stall, c.Limits.Grace = 200*time.Millisecond, 200*time.Millisecond }})
	content := bytes.Repeat([]byte("large"), 2<<20) // more than sockets buffer
	c := r.rust(generations[3], token)
	entry := drawbridge.Entry{Meta: drawbridge.MetaOf(content, drawbridge.TypeBinary)}
	if _, _, err := c.putBytes("/user/repo/_tag/2.0.0", drawbridge.TypeEntry, entry.Canonical()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.put("/user/repo/_tag/2.0.0/tree", entry.Meta, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if a, err := c.get("/user/repo/_tag/2.0.0/tree"); err != nil || !bytes.Equal(a.body, content) {
		t.Fatalf("%d bytes, %v", len(a.body), err)
	}
	under, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := under.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(under, r.client)
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/user/repo/_tag/2.0.0/tree HTTP/1.1\r\nHost: x\r\n\r\n", v1)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "The answer was read too slowly") })
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("read %d bytes to the end", n)
	}
}

// waitFor returns once the condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it does not happen")
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e-6, 3 }})
	for i, want := range []int{404, 404, 404, 429, 429} {
		resp, text := r.ask("GET", "/api/x", "")
		if resp.StatusCode != want || (want == 429) != (resp.Header.Get("Retry-After") == "1") {
			t.Errorf("%d: %d %q %v", i, resp.StatusCode, text, resp.Header)
		}
	}
	r.want(200, "GET", "/health", "") // load balancers come often
}

// A principal is bounded too, from wherever it comes.
func TestTooManyRequestsOfAPrincipal(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) {
		c.Limits.Rate, c.Limits.Burst, c.Proxies = 1e-6, 4, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	token := r.token(nil)
	statuses := map[int]int{}
	for i := range 8 {
		resp, _ := r.ask("GET", v1+"/user", "", bearer(token), fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i))
		statuses[resp.StatusCode]++
	}
	if statuses[429] == 0 || statuses[401] == 0 {
		t.Errorf("%v", statuses)
	}
	if resp, _ := r.ask("GET", v1+"/user", "", bearer(r.token(oidctest.Claims{"sub": "other"})), "X-Forwarded-For: 192.0.2.100"); resp.StatusCode != 401 {
		t.Errorf("another principal: %d", resp.StatusCode)
	}
}

// What is remembered of publications does not grow with their number.
func TestFreshIsBounded(t *testing.T) {
	f := newFresh(1000)
	for i := range 10_000 {
		f.put(route{user: "u", repo: "r", tag: fmt.Sprintf("1.0.%d", i)}, false, store.PutResult{Created: true})
	}
	if n := len(f.young) + len(f.old); n > 2000 {
		t.Errorf("%d publications are remembered", n)
	}
}

func TestTooManyUploads(t *testing.T) {
	r, token, _ := published(t, rigOptions{config: func(c *Config) { c.Limits.Uploads = 1 }})
	content := "content"
	m := drawbridge.MetaOf([]byte(content), drawbridge.TypeBinary)
	conn, in := r.begin(token, m, content[:3])
	waitFor(t, func() bool { return r.server.uploads.total() == 1 })
	if resp, text := r.ask("PUT", v1+"/user/repo/_node", content, bearer(token), "Content-Type: "+m.Type, "Content-Digest: "+m.Digests.Header()); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	if _, err := io.WriteString(conn, content[3:]); err != nil {
		t.Fatal(err)
	}
	if resp, text := readAnswer(t, in, "PUT"); resp.StatusCode != 201 {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	if n := r.server.uploads.total(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// What is held in memory is bounded, whoever sends it.
func TestTooMuchMemory(t *testing.T) {
	r, token, _ := published(t, rigOptions{config: func(c *Config) { c.Limits.Memory = maxJSON }})
	conn, _ := r.begin(token, drawbridge.Meta{Digests: drawbridge.Sum(nil), Length: maxJSON, Type: drawbridge.TypeDirectory}, "{")
	waitFor(t, func() bool { return r.server.uploads.total() == 1 })
	for _, mediaType := range []string{drawbridge.TypeDirectory, drawbridge.TypeJSON} {
		path := map[string]string{drawbridge.TypeDirectory: "/user/repo/_node", drawbridge.TypeJSON: "/user/new"}[mediaType]
		resp, text := r.ask("PUT", v1+path, `{"public":true}`, bearer(token), "Content-Type: "+mediaType, "Content-Digest: "+drawbridge.Sum([]byte(`{"public":true}`)).Header())
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %q", mediaType, resp.StatusCode, text)
		}
	}
	_ = conn.Close()
	waitFor(t, func() bool {
		resp, _ := r.ask("PUT", v1+"/user/new", `{"public":true}`, bearer(token), asJSON)
		return resp.StatusCode == 201
	})
}

func TestQuotas(t *testing.T) {
	r := newRig(t, rigOptions{
		store:  store.Options{Limits: func(string) store.Limits { return store.Limits{Bytes: 10_000, Repos: 1, Tags: 1} }},
		config: func(c *Config) { c.Limits.Users, c.Limits.Tokens, c.Limits.Body = 1, 1, 15_000 },
	})
	token := r.token(nil)
	c := r.rust(generations[3], token)
	c.register("user", "repo", true)
	auth := bearer(token)
	r.want(403, "PUT", v1+"/second", `{"subject":"test|subject"}`, auth, asJSON)
	r.want(200, "PUT", v1+"/user", `{"subject":"test|subject"}`, auth, asJSON)
	r.want(403, "PUT", v1+"/user/second", `{"public":true}`, auth, asJSON)
	r.want(200, "PUT", v1+"/user/repo", `{"public":true}`, auth, asJSON)
	large := bytes.Repeat([]byte("x"), 10_000-4095) // each object counts for 4 KiB more
	if _, a, _ := c.putBytes("/user/repo/_node", drawbridge.TypeBinary, large); a.status != 507 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, a, _ := c.putBytes("/user/repo/_node", drawbridge.TypeBinary, bytes.Repeat(large, 5)); a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	small := []byte("small")
	entry := drawbridge.Entry{Meta: drawbridge.MetaOf(small, drawbridge.TypeBinary)}.Canonical()
	if _, a, err := c.putBytes("/user/repo/_tag/1.0.0", drawbridge.TypeEntry, entry); err != nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, a, _ := c.putBytes("/user/repo/_tag/2.0.0", drawbridge.TypeEntry, entry); a.status != 403 {
		t.Errorf("%d %s", a.status, a.body)
	}
	ask := `{"kind":"robot","actions":["read"],"expires":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
	r.want(201, "POST", v1+"/user/_token", ask, auth, asJSON)
	r.want(403, "POST", v1+"/user/_token", ask, auth, asJSON)
}

// A bug in one request is that request's 500, with nothing of it shown.
func TestPanicIsIsolated(t *testing.T) {
	r := newRig(t, rigOptions{config: func(c *Config) {
		c.Web = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug with a secret") })
	}})
	resp, text := r.ask("GET", "/anything", "")
	if resp.StatusCode != 500 || text != "Internal server error" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	r.want(200, "GET", "/health", "")
	if !strings.Contains(r.log.String(), "a bug with a secret") || r.server.requests.Load() != 0 {
		t.Errorf("%d requests, log %s", r.server.requests.Load(), r.log)
	}
}

// Neither logs nor the audit log have a token, and the latter has who changed
// what, who was refused, and whom a Keep's package went to.
func TestLogsAndAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	r, token, tree := published(t, rigOptions{audit: path})
	other := r.token(oidctest.Claims{"sub": "test|other"})
	r.want(401, "GET", v1+"/user/private/_tag", "", bearer(other))
	r.want(401, "GET", v1+"/user/private/_tag", "")
	r.want(401, "GET", v1+"/user/private/_tag", "", "Authorization: Bearer verysecrettoken")
	r.want(404, "GET", "/api/none?access_token=verysecretquery", "", "Authorization: Bearer verysecrettoken")
	made := into[drawbridge.Token](t, r.want(201, "POST", v1+"/user/private/_token",
		`{"kind":"deployment","tag":"1.0.0","expires":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`, bearer(token), asJSON))
	r.want(200, "GET", v1+"/user/private/_tag/1.0.0/deployment", "", bearer(made.Secret))
	r.want(200, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"x"}`, bearer(token), asJSON)

	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if _, err := ledger.Audit(bytes.NewReader(text), nil, func(r Record) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s/%s:%s %s %d", r.Outcome, r.Principal, r.Action, r.User, r.Repository, r.Tag, r.Path, r.Status)))
		if r.Request == "" || r.Address != "127.0.0.1" || r.ID == "" {
			t.Errorf("%+v", r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	last := tree.paths[len(tree.paths)-1]
	want := []string{
		"done oidc create-user user/: 201", "done oidc create-repo user/repo: 201", "done oidc create-repo user/private: 201",
		"done oidc publish user/repo:1.0.0 201", "done oidc publish user/repo:1.0.0 " + last + " 201",
		"done oidc publish user/private:1.0.0 201", "done oidc publish user/private:1.0.0 " + last + " 201",
		"refused oidc list-tags user/private: 401", "done oidc mint-token user/private: 201",
		"done deployment read-deployment user/private:1.0.0 200", "done oidc yank user/repo:1.0.0 200",
	}
	squeeze := func(lines []string) string { return strings.Join(strings.Fields(strings.Join(lines, "\n")), " ") }
	if squeeze(got) != squeeze(want) {
		t.Errorf("audited:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, secret := range []string{token, other, made.Secret, "verysecret", token[:40]} {
		if strings.Contains(r.log.String(), secret) || bytes.Contains(text, []byte(secret)) {
			t.Errorf("%.20q is in a log", secret)
		}
	}
	if !strings.Contains(r.log.String(), `"route":"tree"`) {
		t.Errorf("no request in the log: %s", r.log)
	}
}

// A change that cannot be audited is not reported as done.
func TestAuditFails(t *testing.T) {
	r, token, _ := published(t, rigOptions{audit: filepath.Join(t.TempDir(), "audit")})
	if err := r.server.cfg.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	if text := r.want(500, "PUT", v1+"/user/repo/_tag/1.0.0/yank", `{"reason":"x"}`, bearer(token), asJSON); text != "Audit log failure" {
		t.Errorf("%q", text)
	}
	r.want(200, "GET", v1+"/user/repo/_info", "")
}

// What operators see.
func TestAdmin(t *testing.T) {
	r, token, _ := published(t, rigOptions{})
	r.want(401, "GET", v1+"/user", "", "Authorization: Bearer bad")
	r.want(200, "GET", v1+"/user", "", bearer(token))
	if _, _, err := r.rust(generations[3], token).publish("/user/repo/_tag/2.0.0", newRustTree(nested)); err != nil { // of which one node comes after the commit
		t.Fatal(err)
	}
	r.server.Collected(store.GCReport{}, errors.New("x"))
	r.server.Reloaded("certificate", nil)
	r.server.Connections(func() int { return 7 }, func() uint64 { return 8 })
	see := func(path string) (int, string) {
		w := httptest.NewRecorder()
		r.server.Admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, text := see("/readyz"); code != 200 {
		t.Errorf("%d %q", code, text)
	}
	_, text := see("/metrics")
	for _, want := range []string{
		`enarx_drawbridge_requests_total{method="GET",route="user",status="401"} 1`, `enarx_drawbridge_authentication_failures_total{reason="invalid_token"} 1`,
		`enarx_drawbridge_tags_committed_total 3`, `enarx_drawbridge_collections_total{result="failed"} 1`, `enarx_drawbridge_connections 7`,
		`enarx_drawbridge_connections_refused_total 8`, `enarx_drawbridge_ready 1`, `enarx_drawbridge_requests_in_flight 0`, `enarx_drawbridge_uploads_in_flight 0`,
		`enarx_drawbridge_reloads_total{result="ok",what="certificate"} 1`, `enarx_drawbridge_received_bytes_total`, `enarx_drawbridge_info{version=`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	r.server.Drain()
	if code, text := see("/readyz"); code != 503 || text != "shutting down\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, _ := see("/healthz"); code != 200 {
		t.Errorf("%d", code)
	}
	if resp, _ := r.ask("GET", "/health", ""); !resp.Close {
		t.Error("a draining server keeps connections")
	}
}

// The site asks for those who signed in there; the network cannot.
func TestWithPrincipal(t *testing.T) {
	r, _, _ := published(t, rigOptions{config: func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e-6, 100 }})
	for range 200 { // are not counted twice: the site's own request was
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", v1+"/user/private/_info", nil)
		r.server.ServeHTTP(w, req.WithContext(WithPrincipal(req.Context(), auth.Session(r.idp.Issuer(), "test|subject"))))
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

func TestNewChecks(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a server without a store")
	}
	l := Limits{Memory: 1}
	l.fill()
	if err := l.check(); err == nil {
		t.Error("less memory than one request may need")
	}
}
