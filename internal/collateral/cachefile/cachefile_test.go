// SPDX-License-Identifier: Apache-2.0

package cachefile

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/need"
)

func TestVCEKName(t *testing.T) {
	chip := [64]byte{0: 0xab, 7: 1, 63: 2}
	for product, want := range map[string]string{
		snp.Milan: "vcek-ab00000000000001" + strings.Repeat("00", 55) + "02-04-00-24-219",
		snp.Turin: "vcek-ab00000000000001-09-04-00-24-219",
	} {
		tcb := snp.TCB{FMC: 9, Bootloader: 4, SNP: 24, Microcode: 219, HasFMC: product == snp.Turin}
		if got := VCEKName(product, chip, tcb); got != want {
			t.Errorf("%s: %s", product, got)
		}
	}
}

func TestTCB(t *testing.T) {
	w := attesttest.New("cachefile", time.Unix(1.8e9, 0))
	var chain []*x509.Certificate
	for _, der := range [][]byte{w.Intel.TCBSigning(), w.Intel.Root()} {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	info := w.Machine().TCBInfo("SGX")
	data, err := EncodeTCB(chain, info)
	if err != nil {
		t.Fatal(err)
	}
	got, parsed, err := DecodeTCB(data)
	if err != nil || len(got) != 2 || !got[1].Equal(chain[1]) || parsed.FMSPC != w.Machine().FMSPC {
		t.Errorf("%v, %v, %v", got, parsed, err)
	}
	// It is the third element of the evidence of a Keep, as it is.
	der, _ := w.CSR("sgx-v3")
	if !bytes.Contains(der, data) {
		t.Error("evidence has its TCB info in another form")
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": data[:len(data)-1], "more": append(data[:len(data):len(data)], 0), "not a TCB info": mustEncode(t, chain, []byte("{}")),
		"nine signers": mustEncode(t, append(append(append(append(chain, chain...), chain...), chain...), chain[0]), info),
	} {
		if _, _, err := DecodeTCB(bad); !errors.Is(err, errTCB) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustEncode(t *testing.T, chain []*x509.Certificate, info []byte) []byte {
	data, err := EncodeTCB(chain, info)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzDecodeTCB(f *testing.F) {
	w := attesttest.New("cachefile", time.Unix(1.8e9, 0))
	signer, err := x509.ParseCertificate(w.Intel.TCBSigning())
	if err != nil {
		f.Fatal(err)
	}
	data, err := EncodeTCB([]*x509.Certificate{signer}, w.Machine().TCBInfo("SGX"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("0\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, info, err := DecodeTCB(data)
		if (err == nil) != (info != nil) || len(chain) > 8 {
			t.Errorf("%v, %v, %v", chain, info, err)
		}
	})
}

// TestVectors reads upstream's lists as they were sent to its Steward.
func TestVectors(t *testing.T) {
	vectors := need.Vectors(t)
	var list []attest.CRLEntry
	for _, name := range []string{"milan-crl.crl-amd-genoa.der", "milan-crl.crl-amd-milan.der"} {
		der, err := os.ReadFile(filepath.Join(vectors, "extracted", name))
		if err != nil {
			t.Fatal(err)
		}
		line := "ARK-" + map[bool]string{true: "Genoa", false: "Milan"}[strings.Contains(name, "genoa")]
		list = append(list, attest.CRLEntry{URL: attest.CRLURL(line), DER: der})
	}
	data := attest.MarshalCRLList(list)
	csr, err := os.ReadFile(filepath.Join(vectors, "milan.signed.crl.csr"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(csr, data) {
		t.Error("upstream's evidence has its lists in another form or order")
	}
	path := filepath.Join(t.TempDir(), CRLs)
	if err := Write(t.Context(), path, data); err != nil {
		t.Fatal(err)
	}
	lists, next, err := ReadCRLs(path)
	if err != nil || len(lists) != 2 || next.UTC().Format(time.DateOnly) != "2023-05-09" {
		t.Errorf("%d lists until %v, %v", len(lists), next, err)
	}
}

// TestWrite: writers take turns, readers see whole files, and nothing is left
// behind.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache", "file")
	a, b := bytes.Repeat([]byte("a"), 10000), bytes.Repeat([]byte("b"), 20000)
	if err := Write(t.Context(), path, a); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, data := range [][]byte{a, b} {
		wg.Go(func() {
			for range 5 {
				if err := WriteFile(path, data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 1000 {
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, a) && !bytes.Equal(data, b) {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
	}
	wg.Wait()
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := WriteFile(filepath.Join(path, "below"), a); err == nil {
		t.Error("a file below a file is written")
	}
}

// TestLock: a lock that is let go is waited for, one that is not is named.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	held := func() {
		if err := os.WriteFile(path+".lck", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		held()
		begin := time.Now()
		time.AfterFunc(5*time.Second, func() { os.Remove(path + ".lck") })
		if err := Write(t.Context(), path, []byte("x")); err != nil || time.Since(begin) < 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := os.Stat(path + ".lck"); err == nil {
			t.Error("the lock stays")
		}
		held()
		if err := Write(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "potential stale lock file: "+path+".lck") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Write(ctx, path, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "x" {
			t.Errorf("%q, %v", data, err)
		}
	})
}
