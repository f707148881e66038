// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// answers is a server that says what it is told to, by path below the tag.
type answers map[string]func(w http.ResponseWriter)

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answer, ok := a[strings.TrimPrefix(r.URL.Path, slug.URLPath())]; ok {
		answer(w)
		return
	}
	http.Error(w, "Not found", http.StatusNotFound)
}

// entity answers with body, and with headers for m.
func entity(m drawbridge.Meta, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Digest", m.Digests.Header())
		w.Header().Set("Content-Length", strconv.FormatInt(m.Length, 10))
		w.Header().Set("Content-Type", m.Type)
		_, _ = w.Write([]byte(body))
	}
}

func right(body, mediaType string) (func(http.ResponseWriter), drawbridge.Meta) {
	m := drawbridge.MetaOf([]byte(body), mediaType)
	return entity(m, body), m
}

// packageOf answers for a package with the one file main.wasm.
func packageOf(body string) (answers, drawbridge.Meta) {
	file, m := right(body, drawbridge.TypeWasm)
	listing := drawbridge.Directory{"main.wasm": {Meta: m}}
	root, rootMeta := right(string(listing.Canonical()), drawbridge.TypeDirectory)
	tag, _ := right(string(drawbridge.NewTag(drawbridge.Entry{Meta: rootMeta}).Raw), drawbridge.TypeEntry)
	return answers{"": tag, "/tree": root, "/tree/main.wasm": file}, m
}

// withoutHeader answers with body, and without one of the headers for m.
func withoutHeader(m drawbridge.Meta, body, name string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for header, value := range map[string]string{
			"Content-Digest": m.Digests.Header(), "Content-Length": strconv.Itoa(len(body)), "Content-Type": m.Type,
		} {
			if header != name {
				w.Header().Set(header, value)
			} else {
				w.Header()[header] = nil // or net/http makes one up
			}
		}
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte(body))
	}
}

// A server that lies, in every way that somebody could notice.
func TestFetchHostile(t *testing.T) {
	const body = "\x00asm and so on"
	m := drawbridge.MetaOf([]byte(body), drawbridge.TypeWasm)
	with := func(name, value string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set(name, value)
			entity(m, body)(w)
		}
	}
	other := drawbridge.MetaOf([]byte("\x00asm and so ON"), drawbridge.TypeWasm)
	fewer := m
	sum, _ := m.Digests.SHA256()
	fewer.Digests = drawbridge.Digests{}
	_ = fewer.Digests.Set(drawbridge.SHA256, sum[:])
	typed := m
	typed.Type = drawbridge.TypeBinary
	dots := func(name string) func(http.ResponseWriter) {
		answer, _ := right(strings.Replace(string(drawbridge.Directory{"main.wasm": {Meta: m}}.Canonical()), "main.wasm", name, 1), drawbridge.TypeDirectory)
		return answer
	}
	tests := []struct {
		name, at string
		answer   func(http.ResponseWriter)
		want     error // nil: any
	}{
		{"no digest", "/tree/main.wasm", withoutHeader(m, body, "Content-Digest"), ErrHeader},
		{"no type", "/tree/main.wasm", withoutHeader(m, body, "Content-Type"), ErrHeader},
		{"no length", "/tree/main.wasm", withoutHeader(m, body, "Content-Length"), ErrHeader},
		{"compressed", "/tree/main.wasm", with("Content-Encoding", "gzip"), ErrHeader},
		{"other bytes", "/tree/main.wasm", entity(m, "\x00asm and so ON"), drawbridge.ErrDigestMismatch},
		{"other bytes and headers", "/tree/main.wasm", entity(other, "\x00asm and so ON"), ErrListing},
		{"fewer digests", "/tree/main.wasm", entity(fewer, body), ErrListing},
		{"other type", "/tree/main.wasm", entity(typed, body), ErrListing},
		{"other listing", "/tree", entity(m, body), ErrListing},
		{"a listing for the tag", "", entity(m, body), drawbridge.ErrTagType},
		{"a page for the tag", "", func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) }, ErrHeader},
		{"a tag without end", "", func(w http.ResponseWriter) {
			huge := drawbridge.Meta{Digests: m.Digests, Length: 1 << 40, Type: drawbridge.TypeEntry}
			entity(huge, "")(w)
		}, ErrTooLarge},
		{"a name that leaves", "/tree", dots(".."), ErrListing}, // as its digest is another one; for the name itself, see TestWalkNames
		{"unexpected status", "/tree/main.wasm", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, nil},
		{"partial without a question", "/tree/main.wasm", func(w http.ResponseWriter) { w.WriteHeader(http.StatusPartialContent) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := packageOf(body)
			a[tt.at] = tt.answer
			parent := t.TempDir()
			_, err := serve(t, a).Fetch(t.Context(), slug, filepath.Join(parent, "into"), FetchOptions{})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if entries, _ := os.ReadDir(parent); len(entries) != 0 {
				t.Errorf("left over: %v", entries)
			}
		})
	}
}

// Walk refuses what would be trouble on a disk, though all digests are right.
func TestWalkHostile(t *testing.T) {
	file := drawbridge.MetaOf([]byte("x"), drawbridge.TypeBinary)
	serveTree := func(listing string) (*Client, drawbridge.Meta) {
		root, m := right(listing, drawbridge.TypeDirectory)
		return serve(t, answers{"/tree": root}), m
	}
	for _, name := range []string{"..", ".", "a/b", "", "a\\u0000", "/etc/passwd", "a\\\\b"} {
		c, m := serveTree(`{"` + name + `":` + string(file.Canonical()) + `}`)
		if nodes, err := c.Walk(t.Context(), slug, m); err == nil {
			t.Errorf("%q is taken: %v", name, nodes)
		}
	}
	for _, listing := range []string{`{`, `[]`, `null`, `{"a":{}}`, `{"a":` + string(file.Canonical()) + `,"a":` + string(file.Canonical()) + `}`} {
		c, m := serveTree(listing)
		if nodes, err := c.Walk(t.Context(), slug, m); err == nil {
			t.Errorf("%s is taken: %v", listing, nodes)
		}
	}
}

// A small package can be huge: each level lists the next one a hundred times.
func TestWalkBomb(t *testing.T) {
	m := drawbridge.MetaOf([]byte("x"), drawbridge.TypeBinary)
	levels := []string{}
	for range 6 {
		d := drawbridge.Directory{}
		for i := range 400 {
			d[fmt.Sprint("d", i)] = drawbridge.Entry{Meta: m}
		}
		levels = append(levels, string(d.Canonical()))
		m.Digests = drawbridge.Digests{}
		all := drawbridge.Sum(d.Canonical())
		sum, _ := all.Get(drawbridge.SHA256) // one is enough, and faster
		_ = m.Digests.Set(drawbridge.SHA256, sum)
		m.Length, m.Type = int64(len(d.Canonical())), drawbridge.TypeDirectory
	}
	asked := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		p, _ := drawbridge.ParsePath(strings.TrimPrefix(r.URL.Path, slug.URLPath()+"/tree"))
		body := levels[len(levels)-1-len(p)]
		all := drawbridge.Sum([]byte(body))
		sum, _ := all.Get(drawbridge.SHA256)
		one := drawbridge.Meta{Length: int64(len(body)), Type: drawbridge.TypeDirectory}
		_ = one.Digests.Set(drawbridge.SHA256, sum)
		entity(one, body)(w)
	})
	if _, err := serve(t, h).walk(t.Context(), slug, m, 3000); !errors.Is(err, ErrTooLarge) || asked < 6 || asked > 9 {
		t.Errorf("after %d listings: %v", asked, err)
	}
}

// A file that breaks off goes on where it was, if the server can.
func TestFetchResumes(t *testing.T) {
	const size = 3<<20 + 17
	files := map[string]string{"main.wasm": random(size), "small": "small"}
	tree := build(t, folder(t, files))
	for _, plain := range []bool{false, true} {
		server := newTiny(plain)
		if _, err := serve(t, server).Publish(t.Context(), slug, tree, PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		f := &faults{Handler: server}
		// More breaks than retries: what counts is those without progress.
		f.add("tree/main.wasm", 1, cutAnswer(0)).add("tree/main.wasm", 1, status(http.StatusServiceUnavailable, ""))
		breaks := 7
		if plain {
			breaks = 2 // it always starts anew, so that is no progress
		}
		f.add("tree/main.wasm", breaks, cutAnswer(300<<10))
		var last Event
		into := filepath.Join(t.TempDir(), "into")
		_, err := serve(t, f).Fetch(t.Context(), slug, into, FetchOptions{Progress: func(e Event) { last = e }})
		if err != nil || f.left() != 0 {
			t.Fatalf("plain %v: %v, %d faults left", plain, err, f.left())
		}
		same(t, contents(t, into), files)
		if last.Done != last.Total || last.Done != size+5 {
			t.Errorf("plain %v: progress ended with %+v", plain, last)
		}
	}
}

// A server whose ranges are wrong is found out.
func TestFetchBadRange(t *testing.T) {
	const size = 600 << 10
	body := random(size)
	for name, rest := range map[string]func(w http.ResponseWriter){
		"other bytes": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 262144, size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte(strings.Repeat("x", size-262144)))
		},
		"more bytes": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 262144, size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte(body[262144:] + "x"))
		},
		"another range": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte(body))
		},
		"not satisfiable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
	} {
		a, _ := packageOf(body)
		f := (&faults{Handler: a}).add("tree/main.wasm", 1, cutAnswer(262144))
		f.add("tree/main.wasm", 100, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Header.Get("Range") != "bytes=262144-" {
				t.Errorf("%s: asked for %q", name, r.Header.Get("Range"))
			}
			rest(w)
		})
		if _, err := serve(t, f).Fetch(t.Context(), slug, filepath.Join(t.TempDir(), "into"), FetchOptions{}); err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

// A server that stops in the middle does not hold us for ever.
func TestStall(t *testing.T) {
	a, m := packageOf("content")
	done := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}
	half := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		entity(m, "cont")(w)
		_ = http.NewResponseController(w).Flush()
		hang(w, r, next)
	}
	f := (&faults{Handler: a}).add("tree/main.wasm", 1, half).add("_tag/1.0.0", 1, hang)
	host := start(t, f)
	t.Cleanup(func() { close(done) })
	c := clientOf(t, host, Config{Stall: 100 * time.Millisecond})
	into := filepath.Join(t.TempDir(), "into")
	if _, err := c.Fetch(t.Context(), slug, into, FetchOptions{}); err != nil || f.left() != 0 {
		t.Errorf("%v, %d faults left", err, f.left())
	}
	f.add("", 1, hang)
	if _, err := clientOf(t, host, Config{Stall: 50 * time.Millisecond, Retries: -1}).Tag(t.Context(), slug); !errors.Is(err, errStalled) {
		t.Errorf("got %v, want %v", err, errStalled)
	}
}

// Names that differ in case alone are two files, or an error, but never one
// file in the other's place.
func TestFetchCase(t *testing.T) {
	c := serve(t, newTiny(false))
	files := map[string]string{"main.wasm": "m", "A": "upper", "a": "lower"}
	dir := folder(t, files)
	if len(contents(t, dir)) != len(files) {
		t.Skip("this disk does not tell a from A")
	}
	if _, err := c.Publish(t.Context(), slug, build(t, dir), PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "into")
	if _, err := c.Fetch(t.Context(), slug, into, FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, contents(t, into), files)
}
