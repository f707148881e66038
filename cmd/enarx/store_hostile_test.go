// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

// hostile starts a store that has eve/app:1.0.0, a folder with main.wasm in it,
// and lies about it in one way. It returns its host.
func hostile(r *rig, kind string) (host string, stop func(), err error) {
	h := &liar{kind: kind}
	h.make()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetCertificate: r.tls.GetCertificate}
	s.StartTLS()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	return "localhost:" + port, s.Close, err
}

// liar is a store that says one thing that is not so.
type liar struct {
	kind     string
	main     []byte
	listing  []byte
	tag      []byte
	rootMeta drawbridge.Meta
}

func (l *liar) make() {
	l.main = append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, 1000)...)
	name := "main.wasm"
	if l.kind == "odd-name" {
		name = "..\\/x"
	}
	d := drawbridge.Directory{name: {Meta: drawbridge.MetaOf(l.main, drawbridge.TypeWasm)}}
	l.listing = d.Canonical()
	l.rootMeta = drawbridge.MetaOf(l.listing, drawbridge.TypeDirectory)
	if l.kind == "huge-listing" {
		l.rootMeta.Length = 1 << 40
	}
	if l.kind == "golden" {
		l.rootMeta = golden()
	}
	l.tag = drawbridge.Entry{Meta: l.rootMeta}.Canonical()
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, drawbridge.Prefix+"/eve/app/_tag/1.0.0")
	switch {
	case l.kind == "control" || l.kind == "long-error":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		text := "nothing \x1b[31mhere\x07\r\n\u202egnp\u009b2J"
		if l.kind == "long-error" {
			text = strings.Repeat("no ", 1<<20)
		}
		_, _ = io.WriteString(w, text)
	case l.kind == "redirect":
		http.Redirect(w, r, "http://"+r.Host+r.URL.Path, http.StatusMovedPermanently)
	case path == "":
		l.entity(w, l.tag, drawbridge.MetaOf(l.tag, drawbridge.TypeEntry))
	case path == "/tree":
		l.entity(w, l.listing, l.rootMeta)
	case path == "/tree/main.wasm":
		l.file(w)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (l *liar) entity(w http.ResponseWriter, body []byte, m drawbridge.Meta) {
	w.Header().Set("Content-Digest", m.Digests.Header())
	w.Header().Set("Content-Type", m.Type)
	w.Header().Set("Content-Length", strconv.FormatInt(m.Length, 10))
	_, _ = w.Write(body)
}

// file answers for main.wasm.
func (l *liar) file(w http.ResponseWriter) {
	m := drawbridge.MetaOf(l.main, drawbridge.TypeWasm)
	body := l.main
	switch l.kind {
	case "wrong-bytes": // the headers are what the listing says
		body = append([]byte{}, body...)
		body[len(body)-1] ^= 1
	case "another-file": // consistent in itself
		body = append([]byte{1}, body...)
		m = drawbridge.MetaOf(body, drawbridge.TypeWasm)
	case "short":
		body = body[:len(body)/2]
	case "no-digest":
		w.Header().Set("Content-Type", m.Type)
		_, _ = w.Write(body)
		return
	case "good":
	}
	l.entity(w, body, m)
}

// golden is the root of the package of upstream's test, spec/drawbridge.md 6.4.
func golden() drawbridge.Meta {
	m := drawbridge.Meta{Length: 707, Type: drawbridge.TypeDirectory}
	for a, text := range map[drawbridge.Algorithm]string{
		drawbridge.SHA224: "ipv22ZRLXTRv4MypL2IVaZypKHb91PgAqWXG6w==",
		drawbridge.SHA256: "Jcdf/Q0urZed/9dKu9IBq/BtWIHcvSGlsrUWkS1Rx+E=",
		drawbridge.SHA384: "f52Mxw0vy4KHhk4MAKzfo3xfvi1sM+YpMhBaQvHMB2vGs378nyAADtEYxPlUnUoI",
		drawbridge.SHA512: "3weINHlihNmslwpckBdzARz4LdTMYsg+L1prU+u1FmwedBnYmpOIEB1Yix4kR3o4G4pbw+JLiSTBftGwLjFrqA==",
	} {
		sum, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			err = m.Digests.Set(a, sum)
		}
		if err != nil {
			panic(err) // a slip of the pen above
		}
	}
	return m
}

// TestGolden: the tag that the golden session is about is upstream's, to the byte.
func TestGolden(t *testing.T) {
	tag := drawbridge.Entry{Meta: golden()}.Canonical()
	sum := sha256.Sum256(tag)
	if got := base64.StdEncoding.EncodeToString(sum[:]); len(tag) != 367 || got != "LTbbCC3o0sBm9EyKzNknp/QF34ogFnDbxlwpSFVKMsY=" {
		t.Errorf("%d bytes, %s: %s", len(tag), got, tag)
	}
}
