// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// The times that the vectors' INDEX files pin.
var (
	t0 = time.Date(2023, 1, 27, 0, 0, 0, 0, time.UTC)
	m1 = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	m2 = time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC)
)

// load reads a file of the vectors; "x.hcl.bin" means the report in the blob.
func load(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".hcl.bin") {
		return data[32:][:ReportSize]
	}
	return data
}

// certificates reads one or more certificates, DER or PEM.
func certificates(t testing.TB, dir string, names ...string) (certs []*x509.Certificate) {
	t.Helper()
	for _, name := range names {
		data := load(t, dir, name)
		if !bytes.HasPrefix(data, []byte("-----BEGIN")) {
			data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			certs = append(certs, c)
		}
	}
	return certs
}

func lists(t testing.TB, dir string, names ...string) (crls []*pki.CRL) {
	t.Helper()
	for _, name := range names {
		crl, err := pki.ParseCRL(load(t, dir, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		crls = append(crls, crl)
	}
	return crls
}

// only returns the vendor's roots without the lines that are not of product.
func only(product string) *roots.Set {
	s := &roots.Set{Intermediates: roots.Vendors().Intermediates}
	for _, c := range roots.Vendors().AMD {
		if c.Subject.CommonName == "ARK-"+product {
			s.AMD = append(s.AMD, c)
		}
	}
	return s
}

func words(s string) []string { return strings.Fields(s) }

// codes lists what failed.
func codes(g *check.Group) string {
	var list []string
	for _, c := range g.Failures() {
		list = append(list, c.Code)
	}
	return strings.Join(list, " ")
}

const (
	milanCRL0 = "extracted/milan-crl.crl-amd-milan.der"
	genoaCRL0 = "extracted/milan-crl.crl-amd-genoa.der"
	milanCRL6 = "more/amd/crl-ark-milan-6.der"
	genoaCRL4 = "more/amd/crl-ark-genoa-4.der"
)

// vectors are the real reports and what verification, not policy, has to say
// about them at the pinned times.
var vectors = []struct {
	report, certs, crls string
	now                 time.Time
	roots               *roots.Set
	failed              string // codes
	state               string // of the root's list; "" if the path led to no root
	product             string
}{
	{"milan.rprt", "milan.vcek", milanCRL0, t0, nil, "", "fresh", Milan},
	{"milan.rprt", "milan_vcek.pem", milanCRL0, t0, nil, "", "fresh", Milan},
	{"milan.rprt", "enarx-snp-vcek.der", milanCRL0, t0, nil, "", "fresh", Milan},
	{"milan.rprt", "milan_vcek.old.pem milan_vcek2.pem enarx-snp-vcek.der milan.vcek", milanCRL0, t0, nil, "", "fresh", Milan},
	{"milan.rprt", "milan_vcek.old.pem", milanCRL0, t0, nil, "snp.vcek.chip_id snp.vcek.tcb.bootloader snp.vcek.tcb.microcode snp.signature", "fresh", Milan},
	{"milan.rprt", "milan.vcek", "", t0, nil, "", "missing", Milan},
	{"milan.rprt", "", "", t0, nil, "snp.vcek", "", ""},
	{"test2_le.bin", "milan.vcek SEV-Milan.crt", milanCRL0, t0, nil, "", "fresh", Milan},
	{"extracted/milan-crl.report.bin", "extracted/milan-crl.vcek.der", milanCRL0 + " " + genoaCRL0, t0, nil, "", "fresh", Milan},
	{"extracted/milan-crl.report.bin", "extracted/milan-crl.vcek.der", milanCRL0, m1, nil, "", "stale", Milan},
	{"extracted/milan-2022-11-b.report.bin", "extracted/milan-2022-11-b.vcek.der", milanCRL0, t0, nil, "", "fresh", Milan},
	{"more/snp/milan-v3-caci.report.bin", "more/snp/milan-v3-caci.vcek.pem", milanCRL6, m1, nil, "", "fresh", Milan},
	{"more/snp/milan-v3-caci.report.bin", "more/snp/milan-v3-caci.vcek.pem", milanCRL6, m2, nil, "snp.vcek.validity", "fresh", Milan},
	{"more/snp/milan-v3-caci.report.bin", "more/snp/milan-v3-caci.vcek-reissue.pem", milanCRL6, m1, nil, "", "fresh", Milan},
	// The newer issue is not valid yet, the older one of the same key is.
	{"more/snp/milan-v3-caci.report.bin", "more/snp/milan-v3-caci.vcek.pem more/snp/milan-v3-caci.vcek-reissue.pem", milanCRL6, time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), nil, "", "fresh", Milan},
	{"more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem", genoaCRL4, m1, nil, "", "stale", Genoa},
	{"more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem", genoaCRL4, m2, nil, "snp.vcek.validity", "fresh", Genoa},
	{"more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem", "", m1, only(Milan), "snp.ark", "", Genoa},
	{"more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem", "", m1, only(Turin), "snp.ark", "", Genoa},
	{"more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem amd-genoa.pem", genoaCRL4, m1, nil, "", "stale", Genoa},
	{"more/snp/turin-v5-caci.report.bin", "more/snp/turin-v5-caci.vcek.pem", "", m1, nil, "", "missing", Turin},
	{"more/snp/genoa-v3-tsm.report.bin", "more/snp/genoa-v3-tsm.vcek.pem", genoaCRL4, m2, nil, "", "fresh", Genoa},
	{"more/snp/genoa-v3-azure.hcl.bin", "more/snp/genoa-v3-azure.vcek.der", genoaCRL4, m2, nil, "", "fresh", Genoa},
	{"more/snp/milan-v3-azvtpm.report.bin", "more/snp/milan-v3-azvtpm.vcek.der", milanCRL6, m2, nil, "", "fresh", Milan},
	{"more/snp/milan-v4-gce.report.bin", "", milanCRL6, m2, nil, "snp.vcek", "", Milan},
	{"more/snp/milan-v4-gce.report.bin", "more/snp/milan-v3-azvtpm.vcek.der", milanCRL6, m2, nil, "snp.vcek.chip_id snp.vcek.tcb.snp snp.signature", "fresh", Milan},
	{"more/snp/milan-v2-azure.report.bin", "more/snp/milan-v2-azure.vcek.der", milanCRL6, m2, nil, "", "fresh", Milan},
	{"more/snp/milan-v2-azure.report.bin", "more/snp/negative-vcek-hwid-raw.der", milanCRL6, m2, nil,
		"snp.vcek.signature snp.vcek.chip_id snp.vcek.tcb.snp snp.vcek.tcb.microcode snp.signature", "fresh", Milan},
	{"more/snp/milan-v2-azure.report.bin", "more/snp/negative-vcek-hwid-raw.der more/snp/milan-v2-azure.vcek.der", milanCRL6, m2, nil, "", "fresh", Milan},
	{"more/snp/milan-v2-debug.report.bin", "more/snp/milan-v2-debug.vcek.der", milanCRL6, m2, nil, "", "fresh", Milan},
}

func TestVectors(t *testing.T) {
	dir := need.Vectors(t)
	memo := pki.NewMemo(1 << 20)
	for _, v := range vectors {
		t.Run(filepath.Base(v.report)+" "+v.certs+" "+v.now.Format(time.DateOnly), func(t *testing.T) {
			in := Input{
				Report: load(t, dir, v.report), Certificates: certificates(t, dir, words(v.certs)...),
				CRLs: lists(t, dir, words(v.crls)...), Roots: v.roots, Now: v.now,
			}
			if in.Roots == nil {
				in.Roots = roots.Vendors()
			}
			for _, in.Memo = range []*pki.Memo{nil, memo, memo} {
				g := check.New("SEV-SNP")
				c := Verify(g, in)
				if got := codes(g); got != v.failed || g.OK() != (v.failed == "") {
					t.Errorf("failed %q, want %q", got, v.failed)
				}
				state := ""
				if len(c.Collateral) == 1 {
					state = c.Collateral[0].State(v.now)
				}
				if state != v.state || c.Product != v.product {
					t.Errorf("list %q, product %q; want %q, %q", state, c.Product, v.state, v.product)
				}
				if (c.Root != nil) != (v.state != "") {
					t.Errorf("root %v", c.Root)
				}
			}
		})
	}
}

// AMD revoked the ASK 0x20001 of Genoa. No certificate that it issued is at
// hand, so what its list says is looked at by itself.
func TestRevokedIntermediate(t *testing.T) {
	dir := need.Vectors(t)
	chain := certificates(t, dir, "amd-genoa.pem") // ASK 0x20001, ARK
	for _, name := range []string{genoaCRL0, genoaCRL4} {
		g := check.New("")
		pki.Path{Now: m1, CRLs: lists(t, dir, name)}.Validate(g,
			pki.Link{Code: "snp.ask", Title: "ASK", Cert: chain[0]}, pki.Link{Code: "snp.ark", Title: "ARK", Cert: chain[1], CRL: true})
		if got := codes(g); got != "snp.ask.revoked" {
			t.Errorf("%s: failed %q", name, got)
		}
	}
	// With nothing but the revoked one, neither path nor revocation pass.
	set := &roots.Set{AMD: only(Genoa).AMD, Intermediates: chain[:1]}
	g := check.New("")
	Verify(g, Input{
		Report:       load(t, dir, "more/snp/genoa-v3-caci.report.bin"),
		Certificates: certificates(t, dir, "more/snp/genoa-v3-caci.vcek.pem"),
		CRLs:         lists(t, dir, genoaCRL4), Roots: set, Now: m1,
	})
	if got := codes(g); got != "snp.vcek.signature snp.ask.revoked" {
		t.Errorf("failed %q", got)
	}
}

// Whatever bit of what is signed changes, the signature says so; the rest of a
// report is the signature itself.
func TestEveryBitIsSigned(t *testing.T) {
	dir := need.Vectors(t)
	raw := load(t, dir, "more/snp/turin-v5-caci.report.bin")
	e, err := ParseEndorsement(certificates(t, dir, "more/snp/turin-v5-caci.vcek.pem")[0])
	if err != nil || !verifies(e.Key, raw) {
		t.Fatal("the signature is not good", err)
	}
	for i := range ReportSize {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		if verifies(e.Key, bad) && firstNonZero(bad[signedSize:], span{p384Size, scalarSize}, span{scalarSize + p384Size, 2 * scalarSize}, span{2 * scalarSize, ReportSize - signedSize}) < 0 {
			t.Errorf("byte 0x%x may change", i)
		}
	}
}

func TestMissingVCEKNamesItsURL(t *testing.T) {
	dir := need.Vectors(t)
	for _, c := range []struct{ report, want string }{
		{"more/snp/milan-v4-gce.report.bin", "/vcek/v1/Milan/12d937a2e0fa646929a42b83afe5b478"},
		{"more/snp/milan-v4-gce.report.bin", "?blSPL=04&teeSPL=00&snpSPL=25&ucodeSPL=219"},
		{"more/snp/turin-v5-caci.report.bin", "https://kdsintf.amd.com/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"},
		{"more/snp/milan-v2-azure.report.bin", "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115 or https://kdsintf.amd.com/vcek/v1/Genoa/c384"},
	} {
		g := check.New("")
		Verify(g, Input{Report: load(t, dir, c.report), Roots: roots.Vendors(), Now: m1})
		if k := g.Find("snp.vcek"); k == nil || !strings.Contains(k.Fix, c.want) {
			t.Errorf("%s: %+v does not say %s", c.report, k, c.want)
		}
	}
}
