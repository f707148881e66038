// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"testing"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// BenchmarkVerify compares a whole verification, with and without what is
// remembered from earlier ones, with the one signature that no memory spares.
func BenchmarkVerify(b *testing.B) {
	dir := need.Vectors(b)
	in := Input{
		Report:       load(b, dir, "more/snp/genoa-v3-tsm.report.bin"),
		Certificates: certificates(b, dir, "more/snp/genoa-v3-tsm.vcek.pem"),
		CRLs:         lists(b, dir, genoaCRL4), Roots: roots.Vendors(), Now: m2,
	}
	verify := func(b *testing.B) {
		g := check.New("SEV-SNP")
		if Verify(g, in); !g.OK() {
			b.Fatal(codes(g))
		}
	}
	b.Run("bare signature", func(b *testing.B) {
		e, err := ParseEndorsement(in.Certificates[0])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !verifies(e.Key, in.Report) {
				b.Fatal("bad")
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		in.Memo = pki.NewMemo(1 << 20)
		for b.Loop() {
			verify(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		in.Memo = nil
		for b.Loop() {
			verify(b)
		}
	})
}
