// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// tiny is a Drawbridge of one repository, in memory and without users. It does
// what upstream's servers do, their weaknesses too, or, with extensions, what
// ours does.
type tiny struct {
	plain bool

	mu       sync.Mutex
	objects  map[string]object          // by URL path
	contents map[drawbridge.Meta][]byte // with extensions
	uploads  map[string][]byte
	next     int
	log      []string         // method and path of every request, below /api/v0.1.0
	received map[string]int64 // bytes of bodies, by path
	forget   func(drawbridge.Meta) bool
}

type object struct {
	meta drawbridge.Meta
	body []byte
}

// serve returns a Client of a real TLS server in front of h.
func serve(t testing.TB, h http.Handler) *Client {
	t.Helper()
	return clientOf(t, start(t, h), Config{})
}

func start(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func clientOf(t testing.TB, s *httptest.Server, cfg Config) *Client {
	t.Helper()
	cfg.Host = strings.TrimPrefix(s.URL, "https://")
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(s.Certificate())
	if cfg.Backoff == 0 {
		cfg.Backoff = time.Millisecond
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newTiny(plain bool) *tiny {
	return &tiny{
		plain: plain, objects: map[string]object{}, contents: map[drawbridge.Meta][]byte{}, uploads: map[string][]byte{}, received: map[string]int64{},
		forget: func(drawbridge.Meta) bool { return false },
	}
}

func (s *tiny) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

func (s *tiny) bytes(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[path]
}

func (s *tiny) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, drawbridge.Prefix)
	_, after, _ := strings.Cut(path, "/_")
	sub, rest, _ := strings.Cut(after, "/")
	s.mu.Lock()
	s.log = append(s.log, r.Method+" "+path)
	s.mu.Unlock()
	switch {
	case sub == "tag" && r.Method == http.MethodPut && s.plain:
		s.putPlain(w, r, path)
	case sub == "tag" && r.Method == http.MethodPut:
		s.putTag(w, r, path)
	case sub == "tag" || sub == "digest" && !s.plain:
		s.get(w, r, path, rest)
	case s.plain:
		http.Error(w, "", http.StatusNotFound)
	case sub == "config":
		s.json(w, drawbridge.Config{Version: drawbridge.APIVersion})
	case sub == "nodes":
		s.nodes(w, r)
	case sub == "node":
		s.putNode(w, r)
	case sub == "upload":
		s.upload(w, r, rest)
	default:
		http.Error(w, "", http.StatusNotFound)
	}
}

func declared(r *http.Request) drawbridge.Meta {
	d, _ := drawbridge.ParseDigestHeader(r.Header["Content-Digest"]...)
	return drawbridge.Meta{Digests: d, Length: r.ContentLength, Type: r.Header.Get("Content-Type")}
}

// read reads a body, or as much of it as comes.
func (s *tiny) read(r *http.Request, path string) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received[path] += int64(len(body))
	return body, err
}

// putPlain is upstream's PUT: whatever comes takes the name for ever.
func (s *tiny) putPlain(w http.ResponseWriter, r *http.Request, path string) {
	m := declared(r)
	s.mu.Lock()
	_, exists := s.objects[path]
	if !exists {
		s.objects[path] = object{meta: m}
	}
	s.mu.Unlock()
	body, err := s.read(r, path)
	if exists {
		http.Error(w, "Already exists", http.StatusConflict)
		return
	}
	s.mu.Lock()
	s.objects[path] = object{meta: m, body: body}
	s.mu.Unlock()
	if err != nil || m.Verify(body) != nil {
		http.Error(w, "Content digest mismatch", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *tiny) putTag(w http.ResponseWriter, r *http.Request, path string) {
	m := declared(r)
	body, err := s.read(r, path)
	tag, tagErr := drawbridge.ParseTag(m.Type, body)
	if err != nil || tagErr != nil || m.Verify(body) != nil {
		http.Error(w, "bad tag", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.objects[path]
	if exists && (old.meta != m || !bytes.Equal(old.body, body)) {
		http.Error(w, "Already exists", http.StatusConflict)
		return
	}
	if !s.whole(tag.Entry.Meta) {
		w.Header().Set("Drawbridge-Tag", "pending")
		w.WriteHeader(http.StatusCreated)
		return
	}
	s.objects[path] = object{meta: m, body: body}
	w.Header().Set("Drawbridge-Tag", "committed")
	if !exists {
		w.WriteHeader(http.StatusCreated)
	}
}

// whole reports whether everything below m is there.
func (s *tiny) whole(m drawbridge.Meta) bool {
	body, ok := s.contents[m]
	if !ok || m.Type != drawbridge.TypeDirectory {
		return ok
	}
	d, err := drawbridge.ParseDirectory(body)
	for _, name := range d.Names() {
		ok = ok && s.whole(d[name].Meta)
	}
	return ok && err == nil
}

// find returns the node at rest: <tag>, <tag>/tree/<path> or <digest>/<path>.
func (s *tiny) find(path, rest string) (object, bool) {
	if o, ok := s.objects[path]; ok || s.plain {
		return o, ok
	}
	first, place, _ := strings.Cut(rest, "/")
	var m drawbridge.Meta
	if base, _, isTag := strings.Cut(path, "/tree"); isTag {
		o, ok := s.objects[base]
		if !ok {
			return object{}, false
		}
		tag, _ := drawbridge.ParseTag(o.meta.Type, o.body)
		m, place = tag.Entry.Meta, strings.TrimPrefix(place, "tree")
	} else {
		for root := range s.contents {
			if sum, _ := root.Digests.SHA256(); drawbridge.Pin(sum) == "sha256:"+first {
				m = root
			}
		}
	}
	names, _ := drawbridge.ParsePath(place)
	for _, name := range names {
		d, _ := drawbridge.ParseDirectory(s.contents[m])
		m = d[name].Meta
	}
	body, ok := s.contents[m]
	return object{m, body}, ok
}

func (s *tiny) get(w http.ResponseWriter, r *http.Request, path, rest string) {
	s.mu.Lock()
	o, ok := s.find(path, rest)
	s.mu.Unlock()
	if !ok {
		http.Error(w, "Not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", o.meta.Type)
	if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !s.plain {
		offset, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(o.body)-1, len(o.body)))
		w.Header().Set("Content-Length", strconv.Itoa(len(o.body)-offset))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.body[offset:])
		return
	}
	w.Header().Set("Content-Digest", o.meta.Digests.Header())
	w.Header().Set("Content-Length", strconv.FormatInt(o.meta.Length, 10))
	_, _ = w.Write(o.body)
}

func (s *tiny) json(w http.ResponseWriter, document any) {
	body, _ := json.Marshal(document)
	m := drawbridge.MetaOf(body, drawbridge.TypeJSON)
	w.Header().Set("Content-Digest", m.Digests.Header())
	w.Header().Set("Content-Type", m.Type)
	_, _ = w.Write(body)
}

func (s *tiny) nodes(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	metas, err := drawbridge.ParseMetas(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer := drawbridge.Missing{Missing: []int{}}
	s.mu.Lock()
	for i, m := range metas {
		if _, ok := s.contents[m]; !ok {
			answer.Missing = append(answer.Missing, i)
		}
	}
	s.mu.Unlock()
	s.json(w, answer)
}

func (s *tiny) putNode(w http.ResponseWriter, r *http.Request) {
	m := declared(r)
	body, err := s.read(r, m.Type)
	if err == nil {
		err = m.Verify(body)
	}
	s.store(w, m, body, err)
}

func (s *tiny) store(w http.ResponseWriter, m drawbridge.Meta, body []byte, err error) {
	if err != nil {
		http.Error(w, "Content digest mismatch", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.forget(m) {
		s.contents[m] = body
	}
	w.WriteHeader(http.StatusCreated)
}

// part is how much of a piece that breaks off is kept.
const part = 4 << 10

func (s *tiny) upload(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	have, ok := s.uploads[id]
	if r.Method == http.MethodPost {
		s.next++
		id, ok = strconv.Itoa(s.next), true
		s.uploads[id] = nil
	}
	s.mu.Unlock()
	if !ok {
		http.Error(w, "No such upload", http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodPost, http.MethodGet:
		s.json(w, drawbridge.Upload{ID: id, Offset: int64(len(have))})
	case http.MethodDelete:
		s.setUpload(id, nil, false)
	case http.MethodPatch:
		if r.Header.Get("Upload-Offset") != strconv.Itoa(len(have)) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Upload-Offset", strconv.Itoa(len(have)))
			http.Error(w, "elsewhere", http.StatusConflict)
			return
		}
		body, err := s.read(r, "upload")
		if err != nil {
			body = body[:len(body)/part*part]
		}
		have = append(slices.Clip(have), body...)
		s.setUpload(id, have, true)
		if err == nil {
			s.json(w, drawbridge.Upload{Offset: int64(len(have))})
		}
	case http.MethodPut:
		m := declared(r)
		m.Length, _ = strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
		s.setUpload(id, nil, false)
		s.store(w, m, have, m.Verify(have))
	}
}

func (s *tiny) setUpload(id string, have []byte, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		s.uploads[id] = have
	} else {
		delete(s.uploads, id)
	}
}

// faults makes things go wrong in front of a handler. Each fault is asked about
// every request until it has struck its number of times.
type faults struct {
	http.Handler
	patched atomic.Int64 // bytes that came with PATCH

	mu   sync.Mutex
	list []*fault
}

type fault struct {
	match  string // method and path contain it
	times  int
	strike func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func (f *faults) add(match string, times int, strike func(http.ResponseWriter, *http.Request, http.Handler)) *faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, &fault{match, times, strike})
	return f
}

// left returns how many strikes are still to come.
func (f *faults) left() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		n += one.times
	}
	return n
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		r.Body = countedBody{r.Body, &f.patched}
	}
	f.mu.Lock()
	var strike func(http.ResponseWriter, *http.Request, http.Handler)
	for _, one := range f.list {
		if one.times > 0 && strings.Contains(r.Method+" "+r.URL.Path, one.match) {
			one.times--
			strike = one.strike
			break
		}
	}
	f.mu.Unlock()
	if strike != nil {
		strike(w, r, f.Handler)
		return
	}
	f.Handler.ServeHTTP(w, r)
}

// status answers with a status after the body was read.
func status(code int, text string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Retry-After", "0")
		http.Error(w, text, code)
	}
}

// cutRequest breaks the connection after n bytes of the body, which the handler
// gets as far as they came.
func cutRequest(n int64) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, n), brokenReader{}))
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("cut") }

// cutAnswer breaks the connection after n bytes of the answer's body. The
// handler has done what was asked.
func cutAnswer(n int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		if n > 0 {
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// sink is a server that keeps nothing: it takes one large file and gives zeros.
type sink struct {
	size   int64
	offset int64
	meta   drawbridge.Meta // of the file
	tag    drawbridge.Meta
	root   string
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	path := strings.TrimPrefix(r.URL.Path, drawbridge.Prefix+"/user/repo/")
	switch {
	case path == "_nodes":
		_, _ = io.WriteString(w, `{"missing":[0,1]}`)
	case path == "_upload":
		_, _ = io.WriteString(w, `{"id":"1"}`)
	case r.Method == http.MethodPatch:
		s.offset += n
		fmt.Fprintf(w, `{"offset":%d}`, s.offset)
	case r.Method == http.MethodPut:
		w.Header().Set("Drawbridge-Tag", "committed")
	case path == "_tag/1.0.0" && s.root != "":
		tag := drawbridge.NewTag(drawbridge.Entry{Meta: s.tag})
		entity(tag.Meta(), string(tag.Raw))(w)
	case path == "_tag/1.0.0/tree":
		entity(s.tag, s.root)(w)
	case path == "_tag/1.0.0/tree/main.wasm":
		entity(s.meta, "")(w)
		_, _ = io.CopyN(w, zeros{}, s.size)
	default:
		http.Error(w, "Not found", http.StatusNotFound)
	}
}

// cutAfter breaks the connection after n bytes of the answer's body, without
// keeping it in memory.
func cutAfter(n int64) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutWriter{ResponseWriter: w, left: n}, r)
		panic(http.ErrAbortHandler)
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		return 0, errors.New("cut")
	}
	return w.ResponseWriter.Write(p)
}
