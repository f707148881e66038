// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// secretContent is in a private repository only.
const secretContent = "the content of a private repository"

// newFuzzServer has a public and a private repository of one user, and returns
// the token of a robot which may do all that robots may.
func newFuzzServer(f *testing.F) (s *Server, token string, log *syncBuffer) {
	f.Helper()
	ctx := context.Background()
	must := func(err error) {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
	}
	limits := func(string) store.Limits { return store.Limits{Bytes: 16 << 20, Repos: 20, Tags: 50} }
	st, err := store.OpenURL(ctx, "mem://", store.Options{Limits: limits})
	must(err)
	f.Cleanup(func() { _ = st.Close() })
	who, err := auth.New(auth.Config{Tokens: st, Subjects: st, Hosts: []string{"x"}})
	must(err)
	log = new(syncBuffer)
	s, err = New(Config{Store: st, Auth: who, Limits: Limits{Rate: -1}, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))})
	must(err)
	_, err = st.PutUser(ctx, "user", store.NewObject(drawbridge.User{Subject: "s"}.Canonical(), drawbridge.TypeJSON))
	must(err)
	for repo, content := range map[string]string{"repo": "public", "private": secretContent} {
		_, err = st.PutRepo(ctx, "user", repo, store.NewObject(drawbridge.Repository{Public: repo == "repo"}.Canonical(), drawbridge.TypeJSON))
		must(err)
		file := drawbridge.Entry{Meta: drawbridge.MetaOf([]byte(content), drawbridge.TypeBinary)}
		listing := drawbridge.Directory{"file": file}.Canonical()
		root := drawbridge.Entry{Meta: drawbridge.MetaOf(listing, drawbridge.TypeDirectory)}
		_, err = st.PutTag(ctx, "user", repo, "1.0.0", store.NewObject(root.Canonical(), drawbridge.TypeEntry))
		must(err)
		_, err = st.PutNode(ctx, "user", repo, "1.0.0", nil, root.Meta, bytes.NewReader(listing))
		must(err)
		_, err = st.PutNode(ctx, "user", repo, "1.0.0", drawbridge.Path{"file"}, file.Meta, strings.NewReader(content))
		must(err)
	}
	ask := drawbridge.Token{Kind: "robot", User: "user", Actions: []string{"read", "publish", "yank"}, Expires: time.Now().Add(24 * time.Hour)}
	t, token, err := auth.NewToken(ask, auth.Session("", "s"), time.Now())
	must(err)
	record, err := t.Record()
	must(err)
	must(st.PutToken(ctx, "user", t.ID, record))
	return s, token, log
}

// statuses are all that the server ever answers to what a client can send.
var statuses = []int{200, 201, 206, 304, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 416, 422, 429, 501, 503, 507}

// Whatever a request is, the answer keeps the rules that clients rely on, the
// server does not panic or fail, and nobody sees private content without a
// token. In the request, $TOKEN, $LENGTH and $DIGEST stand for good ones.
func FuzzRequest(f *testing.F) {
	s, token, log := newFuzzServer(f)
	root := hex.EncodeToString(make([]byte, 32))
	full := "Authorization: Bearer $TOKEN\r\nContent-Length: $LENGTH\r\nContent-Digest: $DIGEST\r\n"
	entry := string(drawbridge.Entry{Meta: drawbridge.MetaOf([]byte("x"), "x/x")}.Canonical())
	for _, seed := range []string{
		"GET /health HTTP/1.1\r\n", "GET /api/v1.1.0/_search HTTP/1.1\r\n", "GET / HTTP/1.1\r\nAccept: text/html\r\n", "GET /api/v0.1.0/_config HTTP/1.1\r\n", "GET /api/v0.1.0/_whoami HTTP/1.1\r\n",
		"GET /api/v0.1.0/_search?q=user&limit=1&after=a HTTP/1.1\r\nAuthorization: Bearer $TOKEN\r\n", "GET /api/v0.1.0/user/_repos HTTP/1.1\r\n",
		"PUT /api/v0.1.0/new HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n{\"subject\":\"s\"}",
		"PUT /api/v0.1.0/user/new HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n{\"public\":true}",
		"PUT /api/v0.1.0/user/repo/_tag/2.0.0 HTTP/1.1\r\n" + full + "Content-Type: " + drawbridge.TypeEntry + "\r\n\r\n" + entry,
		"PUT /api/v0.1.0/user/repo/_tag/3.0.0 HTTP/1.1\r\n" + full + "Content-Type: " + drawbridge.TypeJOSE + "\r\n\r\n{\"payload\":\"e30\",\"signatures\":[{\"protected\":\"e30\",\"signature\":\"AA\"}]}",
		"PUT /api/v0.1.0/user/repo/_tag/2.0.0/tree HTTP/1.1\r\n" + full + "Content-Type: x/x\r\n\r\nx",
		"PUT /api/v0.1.0/user/repo/_node HTTP/1.1\r\n" + full + "Content-Type: " + drawbridge.TypeDirectory + "\r\n\r\n{\"a\":" + entry + "}",
		"POST /api/v0.1.0/user/repo/_nodes HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n[" + entry + "]",
		"POST /api/v0.1.0/user/repo/_upload HTTP/1.1\r\nAuthorization: Bearer $TOKEN\r\n",
		"PATCH /api/v0.1.0/user/repo/_upload/abc HTTP/1.1\r\n" + full + "Upload-Offset: 0\r\n\r\nx",
		"PUT /api/v0.1.0/user/repo/_upload/abc HTTP/1.1\r\n" + full + "Content-Type: x/x\r\nUpload-Length: 1\r\n\r\n",
		"PUT /api/v0.1.0/user/repo/_tag/1.0.0/yank HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n{\"reason\":\"x\"}",
		"DELETE /api/v0.1.0/user/repo/_tag/1.0.0/yank HTTP/1.1\r\nAuthorization: Bearer $TOKEN\r\n",
		"GET /api/v0.1.0/user/repo/_tag/1.0.0/tree/file HTTP/1.1\r\nRange: bytes=1-2\r\nIf-None-Match: \"x\"\r\n",
		"HEAD /api/v0.1.0/user/private/_tag/1.0.0/tree/file HTTP/1.1\r\n", "GET /api/v0.1.0/user/private/_tag/1.0.0/tree/file HTTP/1.1\r\nAuthorization: Bearer $TOKEN\r\n",
		"GET /api/v0.1.0/user/private/_digest/" + root + "/file HTTP/1.1\r\n", "GET /api/v0.1.0/user/repo/_tag/1.0.0/deployment HTTP/1.1\r\nDrawbridge-Yanked: show\r\n",
		"PUT /api/v0.1.0/user/repo/_policy HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n{\"allow_no_hardware\":true}",
		"POST /api/v0.1.0/user/repo/_token HTTP/1.1\r\n" + full + "Content-Type: application/json\r\n\r\n{\"kind\":\"robot\"}",
		"GET /api/v0.1.0/user/repo/_info HTTP/1.1\r\n", "GET /api/v0.1.0/user/repo/_tag HTTP/1.1\r\nAuthorization: Bearer edb_abc_def\r\n",
	} {
		head, body, _ := strings.Cut(seed, "\r\n\r\n")
		f.Add(strings.TrimSuffix(head, "\r\n"), []byte(body))
	}
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		digest := drawbridge.MetaOf(body, "").Digests.Header()
		raw := strings.NewReplacer("$TOKEN", token, "$LENGTH", fmt.Sprint(len(body)), "$DIGEST", digest).Replace(head) + "\r\n\r\n" + string(body)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		checkAnswer(t, r, w)
		if !strings.Contains(r.Header.Get("Authorization"), token) && strings.Contains(w.Body.String(), secretContent) {
			t.Fatalf("%q sees private content", head)
		}
		if text := log.take(); text != "" {
			t.Fatalf("%q made the server fail: %s", head, text)
		}
	})
}

// checkAnswer is what every answer of the server has in common.
func checkAnswer(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	header, body := w.Header(), w.Body.Bytes()
	if !slices.Contains(statuses, w.Code) {
		t.Fatalf("status %d: %s", w.Code, body)
	}
	if r.Method == http.MethodHead {
		if len(body) > 0 {
			t.Fatalf("HEAD with a body: %q", body)
		}
	} else if length := header.Get("Content-Length"); length != "" && length != fmt.Sprint(len(body)) {
		t.Fatalf("%s bytes announced, %d sent", length, len(body))
	}
	if w.Code >= 400 && (header.Get("Content-Type") != "text/plain; charset=utf-8" || r.Method != http.MethodHead && len(body) == 0 || bytes.ContainsAny(body, "\n\r")) {
		t.Fatalf("%d: %v %q", w.Code, header, body)
	}
	if w.Code == 200 && r.Method == http.MethodGet && header.Get("Content-Length") != "0" {
		d, err := drawbridge.ParseDigestHeader(header.Get("Content-Digest"))
		m := drawbridge.Meta{Digests: d, Length: int64(len(body)), Type: header.Get("Content-Type")}
		if err != nil || m.Verify(body) != nil || m.Type == "" {
			t.Fatalf("%v %q: %v", header, body, err)
		}
	}
	if w.Code == 201 && r.Method == http.MethodPut && (len(body) > 0 || header.Get("Content-Type") != "" || header.Get("Content-Digest") != "") {
		t.Fatalf("201 with %v %q", header, body)
	}
}

// No body makes any of the parsers behind the JSON endpoints panic, or take
// what is not of the shape. The bodies' own grammars are fuzzed in drawbridge
// and auth; this is about what the server makes of them.
func FuzzBodies(f *testing.F) {
	s, token, log := newFuzzServer(f)
	paths := []struct{ method, path, mediaType string }{
		{"PUT", "/user/new", drawbridge.TypeJSON}, {"PUT", "/user/repo/_tag/4.0.0", drawbridge.TypeEntry}, {"PUT", "/user/repo/_tag/5.0.0", drawbridge.TypeJOSE},
		{"PUT", "/user/repo/_node", drawbridge.TypeDirectory}, {"POST", "/user/repo/_nodes", drawbridge.TypeJSON}, {"PUT", "/user/repo/_tag/1.0.0/yank", drawbridge.TypeJSON},
	}
	entry := string(drawbridge.Entry{Meta: drawbridge.MetaOf([]byte("x"), "x/x")}.Canonical())
	for i, body := range []string{`{"public":true}`, entry, `{"payload":"e30","protected":"e30","signature":"AA"}`, `{"a":` + entry + `}`, "[" + entry + "]", `{"reason":"x"}`} {
		f.Add(byte(i), []byte(body))
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		p := paths[int(which)%len(paths)]
		r := httptest.NewRequest(p.method, v1+p.path, bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		r.Header.Set("Content-Type", p.mediaType)
		r.Header.Set("Content-Digest", drawbridge.MetaOf(body, "").Digests.Header())
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		checkAnswer(t, r, w)
		if text := log.take(); text != "" {
			t.Fatalf("%s %q made the server fail: %s", p.path, body, text)
		}
	})
}
