// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/pki"
)

var testTime = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// silicon is the world of this package's tests.
var silicon = attesttest.New("attest", testTime)

// serverCollateral is what a server has of silicon.
func serverCollateral(tb testing.TB, memo *pki.Memo) *Collateral {
	tb.Helper()
	raw := silicon.Collateral()
	b := NewBundle(memo)
	for _, set := range [][][]byte{raw.Certificates, raw.CRLs, raw.TCBInfos, raw.QEIdentities} {
		for _, data := range set {
			if err := b.Add(File{"collateral", data}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return &b.Collateral
}

func benchmarkWarm(b *testing.B, shape string) {
	memo := pki.NewMemo(memoSize)
	r := &Roots{Set: silicon.Roots(), Memo: memo}
	collateral := serverCollateral(b, memo)
	csr, _ := silicon.CSR(shape)
	req, err := ParseRequest(csr, memo)
	if err != nil {
		b.Fatal(err)
	}
	p := DefaultPolicy()
	if r := Appraise(Verify(req.Evidence, r, collateral, testTime), p); !r.Accepted() {
		b.Fatal(r.Err())
	}
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseRequest(csr, memo); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Verify(req.Evidence, r, collateral, testTime)
		}
	})
	cl := Verify(req.Evidence, r, collateral, testTime)
	b.Run("appraise", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !Appraise(cl, p).Accepted() {
				b.Fatal("refused")
			}
		}
	})
	result := Appraise(cl, p)
	b.Run("ear", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			CMW(EARType, result.EAR(testTime, Verifier{}))
		}
	})
}

func BenchmarkSNP(b *testing.B) { benchmarkWarm(b, "snp-v2") }
func BenchmarkSGX(b *testing.B) { benchmarkWarm(b, "sgx-v3") }
func BenchmarkTDX(b *testing.B) { benchmarkWarm(b, "tdx-v1") }

func BenchmarkBare(b *testing.B) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		b.Run(curve.Params().Name, func(b *testing.B) {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			digest := sha512.Sum384([]byte("bare"))
			signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
					b.Fatal("bad")
				}
			}
		})
	}
}
