// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/tdx"
	"enarx.dev/enarx/internal/need"
)

var benchmarks = []struct {
	name, quote, at string
	with            []string
}{
	{"sgx", "quote.icelake", "T2", t2},
	{"tdx-v4", "more/tdx/v4-uptodate-b0c0.quote.bin", "X1", x1},
	{"tdx-v5", "more/tdx/v5-uptodate-90c0.quote.bin", "X2", x2},
}

// bare is a signature of a quote, ready to be verified.
type bare struct {
	key    *ecdsa.PublicKey
	digest [32]byte
	r, s   *big.Int
}

func newBare(tb testing.TB, message, key, signature []byte) *bare {
	tb.Helper()
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, key...))
	if err != nil {
		tb.Fatal(err)
	}
	return &bare{public, sha256.Sum256(message), new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])}
}

func (b *bare) verify() bool { return ecdsa.Verify(b.key, b.digest[:], b.r, b.s) }

// signatures returns the two signatures of a quote: its own and that of the
// quoting enclave's report.
func signatures(tb testing.TB, quote []byte) (own, qe *bare) {
	tb.Helper()
	var signed []byte
	var s *dcap.Signature
	if tdx.IsQuote(quote) {
		q := must(tdx.ParseQuote(quote))
		signed, s = q.Signed, q.Signature
	} else {
		q := must(sgx.ParseQuote(quote))
		signed, s = quote[:432], q.Signature
	}
	return newBare(tb, signed, s.Key, s.Signature), newBare(tb, s.QE.Raw, s.Key, s.QESignature) // by another key: as much work
}

// BenchmarkVerify goes from nothing (cold) over a platform that is known with an
// attestation key that is not (warm) to an attestation key that is known
// (known), which is what a Steward usually sees: a quoting enclave makes its
// key, and has it vouched for, once. Besides, it measures the limit: the two
// signatures of the quote alone (bare), and go-tdx-guest.
func BenchmarkVerify(b *testing.B) {
	folder := need.Vectors(b)
	for _, v := range benchmarks {
		quote, now := read(b, folder, v.quote), at(b, v.at)
		memo := pki.NewMemo(4 << 20)
		c := collateral(b, memo, folder, v.with...)
		own, qe := signatures(b, quote)
		run := func(b *testing.B, m *pki.Memo, c dcap.Collateral) {
			g := check.New("quote")
			if o := verifyAny(g, quote, c, now, m); !o.tcb.Known || !g.OK() {
				b.Fatal(g.Failures())
			}
		}
		b.Run(v.name+"/cold", func(b *testing.B) {
			for b.Loop() {
				run(b, nil, collateral(b, nil, folder, v.with...))
			}
		})
		b.Run(v.name+"/warm", func(b *testing.B) {
			for b.Loop() {
				run(b, memo, c)
				qe.verify() // what the memo saved
			}
		})
		b.Run(v.name+"/known", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				run(b, memo, c)
			}
		})
		b.Run(v.name+"/bare", func(b *testing.B) {
			for b.Loop() {
				if !own.verify() || qe.verify() {
					b.Fatal("bug")
				}
			}
		})
		if v.name == "tdx-v4" {
			b.Run(v.name+"/go-tdx-guest", func(b *testing.B) {
				for b.Loop() {
					if err := tdxGuest(quote, c, roots.Vendors(), now); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
