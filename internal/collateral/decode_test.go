// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
)

func FuzzDecodeEntry(f *testing.F) {
	e := &entry{URL: "https://kds.test/vcek/v1/Milan/crl", Fetched: time.Unix(1e9, 0).UTC(), Chain: "%2D", body: []byte("body\n\n")}
	good, err := e.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(entryMagic + "{}\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEntry(data)
		if err != nil {
			if !errors.Is(err, errNoEntry) {
				t.Errorf("%v is not marked", err)
			}
			return
		}
		again, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		e2, err := decodeEntry(again)
		if err != nil || e2.URL != e.URL || e2.Chain != e.Chain || !e2.Fetched.Equal(e.Fetched) || !bytes.Equal(e2.body, e.body) {
			t.Errorf("%+v is not %+v, %v", e2, e, err)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	w := attesttest.New("chain", time.Unix(1.8e9, 0))
	pem := string(attesttest.PEM(w.Intel.TCBSigning(), w.Intel.Root()))
	f.Add(strings.ReplaceAll(url.QueryEscape(pem), "+", "%20"))
	f.Add(url.PathEscape(pem))
	f.Add("")
	f.Add("%")
	f.Fuzz(func(t *testing.T, header string) {
		certs, err := ParseChain(nil, header)
		if err != nil && (!errors.Is(err, errUnusable) || certs != nil) {
			t.Errorf("%v, %v", certs, err)
		}
		if len(certs) > maxChain {
			t.Errorf("%d certificates", len(certs))
		}
	})
}

func TestParseChain(t *testing.T) {
	w := attesttest.New("chain", time.Unix(1.8e9, 0))
	pem := string(attesttest.PEM(w.Intel.TCBSigning(), w.Intel.Root()))
	for name, header := range map[string]string{
		"all escaped": strings.ReplaceAll(url.QueryEscape(pem), "+", "%20"),
		"plus plain":  strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(pem), "+", "%20"), "%2B", "+"), // Intel's own
	} {
		certs, err := ParseChain(nil, header)
		if err != nil || len(certs) != 2 || !bytes.Equal(certs[1].Raw, w.Intel.Root()) {
			t.Errorf("%s: %v, %v", name, certs, err)
		}
	}
	for name, header := range map[string]string{
		"not escaped well": "%zz",
		"not PEM":          "certificates",
		"another block":    "-----BEGIN%20X-----%0A-----END%20X-----%0A",
		"too many":         url.PathEscape(strings.Repeat(pem, 5)),
		"too long":         strings.Repeat("%20", maxHeaderFields),
		"rest":             url.PathEscape(pem) + "x",
	} {
		if certs, err := ParseChain(nil, header); err == nil {
			t.Errorf("%s: %d certificates", name, len(certs))
		}
	}
}

// TestPrune: the folder does not grow without bound, and the oldest go first.
func TestPrune(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), "[any] name"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for i := range maxEntries {
		name := s.path(strings.Repeat("x", i+1))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if i < maxEntries/2 {
			if err := os.Chtimes(name, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.count = maxEntries
	if err := s.write(&entry{URL: "new", body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	names, err := s.names()
	if err != nil || len(names) != maxEntries+1-(maxEntries+1)/4 {
		t.Errorf("%d files left, %v", len(names), err)
	}
	for _, address := range []string{"new", strings.Repeat("x", maxEntries)} {
		if _, err := os.Stat(s.path(address)); err != nil {
			t.Errorf("a new file went: %v", err)
		}
	}
	if e, err := s.read("new", 100); err != nil || string(e.body) != "body" {
		t.Errorf("%v, %v", e, err)
	}
	if err := os.Rename(s.path("new"), s.path("other")); err != nil {
		t.Fatal(err)
	}
	if e, err := s.read("other", 100); !errors.Is(err, errNoEntry) {
		t.Errorf("the file of another address: %v, %v", e, err)
	}
	if _, err := s.read("other", -entrySlack); !errors.Is(err, errTooBig) {
		t.Errorf("a file over the limit: %v", err)
	}
}
