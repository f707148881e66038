// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func TestWritesTheSameTwice(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := run([]string{"--seed", "s", "--out", dir, "--time", "2026-11-21T12:00:00Z"}, io.Discard, now); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := filepath.WalkDir(one, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, _ := filepath.Rel(one, path)
		a, err1 := os.ReadFile(path)
		b, err2 := os.ReadFile(filepath.Join(two, rel))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v %v", rel, err1, err2)
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d files, %v", n, err)
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "snp.key"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"--out", dir}, io.Discard, now); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"snp", "sgx", "tdx", "none"} {
		path := filepath.Join(dir, name+".key")
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, mode %v, want 0600", name, err, info.Mode())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		der, err := os.ReadFile(filepath.Join(dir, name+".csr"))
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		if !key.(*ecdsa.PrivateKey).PublicKey.Equal(csr.PublicKey) {
			t.Errorf("%s.key is not of %s.csr", name, name)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--out"}, {"--out", "x", "more"}, {"--unknown"}} {
		if err := run(args, io.Discard, now); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want usage", args, err)
		}
	}
	if err := run([]string{"--out", t.TempDir(), "--time", "noon"}, io.Discard, now); err == nil || errors.Is(err, errUsage) {
		t.Errorf("--time noon: %v", err)
	}
}
