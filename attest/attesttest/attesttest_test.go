// SPDX-License-Identifier: Apache-2.0

package attesttest_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// TestDeterministic makes the same world twice and compares all that it makes.
func TestDeterministic(t *testing.T) {
	all := func(seed string) (sums []string) {
		w := attesttest.New(seed, now)
		add := func(b []byte) {
			s := sha256.Sum256(b)
			sums = append(sums, hex.EncodeToString(s[:]))
		}
		for _, shape := range attesttest.Shapes {
			der, _ := w.CSR(shape)
			add(der)
		}
		c := w.Collateral()
		for _, list := range [][][]byte{c.Certificates, c.CRLs, c.TCBInfos, c.QEIdentities} {
			for _, b := range list {
				add(b)
			}
		}
		return sums
	}
	one, two, three := all("seed"), all("seed"), all("seeds")
	for i := range one {
		if one[i] != two[i] {
			t.Errorf("output %d differs between two worlds of one seed", i)
		}
		if one[i] == three[i] {
			t.Errorf("output %d is the same for another seed", i)
		}
	}
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSelfConsistent has crypto/x509 check what it can.
func TestSelfConsistent(t *testing.T) {
	w := attesttest.New("seed", now)
	signed := func(child, parent []byte) {
		t.Helper()
		c, p := parse(t, child), parse(t, parent)
		if err := p.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			t.Errorf("%s by %s: %v", c.Subject, p.Subject, err)
		}
		if !bytes.Equal(c.RawIssuer, p.RawSubject) {
			t.Errorf("%s: issuer %s, want %s", c.Subject, c.Issuer, p.Subject)
		}
	}
	crl := func(der, issuer []byte) {
		t.Helper()
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.CheckSignatureFrom(parse(t, issuer)); err != nil {
			t.Errorf("CRL of %s: %v", l.Issuer, err)
		}
	}
	for _, p := range w.AMD.Products() {
		signed(p.ARK(), p.ARK())
		signed(p.ASK(), p.ARK())
		signed(p.ASVK(), p.ARK())
		signed(p.Chip("a").Endorsement(p.TCB), p.ASK())
		signed(p.Chip("a").Lent("csp").Endorsement(p.TCB), p.ASVK())
		crl(p.CRL(), p.ARK())
	}
	m := w.Machine()
	signed(w.Intel.Root(), w.Intel.Root())
	signed(w.Intel.TCBSigning(), w.Intel.Root())
	for _, ca := range []string{attesttest.PlatformCA, attesttest.ProcessorCA} {
		m.CA = ca
		signed(w.Intel.CA(ca), w.Intel.Root())
		signed(m.Certificate(), w.Intel.CA(ca))
		crl(w.Intel.PCKCRL(ca), w.Intel.CA(ca))
	}
	crl(w.Intel.RootCRL(), w.Intel.Root())
	for _, shape := range attesttest.Shapes {
		der, _ := w.CSR(shape, func(r *attesttest.Request) { r.URIs = []string{attesttest.WorkloadURI([32]byte{1})} })
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatalf("%s: %v", shape, err)
		}
		if err := csr.CheckSignature(); err != nil {
			t.Errorf("%s: %v", shape, err)
		}
	}
}

func BenchmarkWorld(b *testing.B) {
	for b.Loop() {
		attesttest.New(b.Name(), now).CSR("snp-v2")
	}
}

// TestConcurrent has several goroutines use one world.
func TestConcurrent(t *testing.T) {
	w := attesttest.New("concurrent", now)
	want := attesttest.New("concurrent", now)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, shape := range attesttest.Shapes {
				der, _ := w.CSR(shape)
				if other, _ := want.CSR(shape); !bytes.Equal(der, other) {
					t.Errorf("%s differs", shape)
				}
			}
			w.Roots()
			w.Collateral()
		})
	}
	wg.Wait()
}
