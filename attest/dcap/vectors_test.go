// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/attest/sgx"
	"enarx.dev/enarx/attest/tdx"
	"enarx.dev/enarx/internal/need"
)

// The instants of INDEX.md and more/INDEX.md.
var instants = map[string]string{
	"T0": "2023-01-27T00:00:00Z", "T1": "2022-12-20T00:50:04Z", "T2": "2023-01-12T00:00:00Z",
	"X1": "2025-07-01T00:00:00Z", "X2": "2026-02-24T00:00:00Z", "X3": "2024-09-25T00:00:00Z",
	"X4": "2023-07-01T00:00:00Z", "X5": "2022-12-20T00:50:04Z", "now": "2026-11-20T00:00:00Z",
}

func at(t testing.TB, name string) time.Time {
	t.Helper()
	now, err := time.Parse(time.RFC3339, instants[name])
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func read(t testing.TB, folder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// collateral reads files by their kind.
func collateral(t testing.TB, memo *pki.Memo, folder string, files ...string) dcap.Collateral {
	t.Helper()
	var c dcap.Collateral
	for _, name := range files {
		data := read(t, folder, name)
		var err error
		switch {
		case strings.HasSuffix(name, "tcbinfo.json"):
			var info *dcap.TCBInfo
			info, err = dcap.RememberTCBInfo(memo, data)
			c.TCBInfos = append(c.TCBInfos, info)
		case strings.Contains(name, "identity"):
			var id *dcap.QEIdentity
			id, err = dcap.RememberQEIdentity(memo, data)
			c.QEIdentities = append(c.QEIdentities, id)
		case strings.HasSuffix(name, "collateral.json"):
			bundle(t, data, &c)
		case strings.HasSuffix(name, ".pem"):
			for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
				var cert *x509.Certificate
				cert, err = memo.Certificate(block.Bytes)
				c.Certificates = append(c.Certificates, cert)
			}
		default:
			var crl *pki.CRL
			crl, err = memo.CRL(data)
			c.CRLs = append(c.CRLs, crl)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return c
}

// bundle reads dcap-qvl's form of collateral.
func bundle(t testing.TB, data []byte, c *dcap.Collateral) {
	t.Helper()
	var b map[string]string
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	info, err := dcap.ParseTCBInfo([]byte(`{"tcbInfo":` + b["tcb_info"] + `,"signature":"` + b["tcb_info_signature"] + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	id, err := dcap.ParseQEIdentity([]byte(`{"enclaveIdentity":` + b["qe_identity"] + `,"signature":"` + b["qe_identity_signature"] + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	c.TCBInfos, c.QEIdentities = append(c.TCBInfos, info), append(c.QEIdentities, id)
	for _, name := range []string{"root_ca_crl", "pck_crl"} {
		der, err := hex.DecodeString(b[name])
		if err != nil {
			t.Fatal(err)
		}
		crl, err := pki.ParseCRL(der)
		if err != nil {
			t.Fatal(err)
		}
		c.CRLs = append(c.CRLs, crl)
	}
	for block, rest := pem.Decode([]byte(b["tcb_info_issuer_chain"])); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
}

// Sets of files, as the INDEX files name them.
var (
	t2 = []string{
		"more/sgx/v3-xeon-swhardening.tcbinfo.json", "more/sgx/v3-xeon-swhardening.qeidentity.json", "more/sgx/tcb-signing-2018.pem",
		"extracted/i5-crl.crl-intel-root.der", "extracted/i5-crl.crl-intel-pck-platform.der", "extracted/i5-crl.crl-intel-pck-processor.der",
	}
	x5 = t2[:3]
	t0 = []string{
		"extracted/i5-tcb.tcbinfo.json", "extracted/i5-tcb.tcb-issuer-chain.pem", "extracted/i5-tcb.crl-intel-root.der",
		"extracted/i5-tcb.crl-intel-pck-processor.der", "extracted/i5-tcb.crl-intel-pck-platform.der",
	}
	x1 = []string{"more/tdx/v4-uptodate-b0c0.collateral.json"}
	x2 = []string{
		"more/tdx/v5-uptodate-90c0.tcbinfo.json", "more/tdx/tdqe-identity-2026-02.json", "more/tdx/tcb-signing-2025.pem",
		"more/tdx/crl-root-2025-03.der", "more/tdx/crl-pck-platform-2026-02.der",
	}
	x3 = []string{"more/tdx/v4-uptodate-c080.tcbinfo.json", "more/tdx/v4-uptodate-c080.qeidentity.json", "more/sgx/tcb-signing-2018.pem"}
	x4 = []string{
		"more/tdx/5080.tcbinfo.json", "more/tdx/5080.qeidentity.json", "more/sgx/tcb-signing-2018.pem",
		"more/tdx/crl-root-2023-04.der", "more/tdx/crl-pck-platform-2023-06.der",
	}
)

// vectors is what verification says about the real quotes. Facts are the
// collateral that is not fresh, with its state. What is left to policy (debug,
// statuses, freshness) is not a failure here.
var vectors = []struct {
	quote  string
	at     string
	with   []string
	fail   string // the codes of the checks that fail
	facts  string
	tcb    string // status, then advisories
	qe     string
	module string
}{
	// SGX, INDEX.md
	{quote: "quote.icelake", at: "T2", with: t2, tcb: xeon, qe: "UpToDate"},
	{quote: "extracted/xeon-b.quote.bin", at: "T2", with: t2, tcb: xeon, qe: "UpToDate"},
	{quote: "quote.icelake", at: "T1", with: x5, tcb: xeon, qe: "UpToDate", facts: "sgx.pck-ca.crl missing, sgx.root.crl missing"},
	{quote: "quote.icelake", at: "now", with: t2, fail: "sgx.tcb-signing.validity", tcb: xeon, qe: "UpToDate",
		facts: "sgx.pck-ca.crl stale, sgx.root.crl stale, sgx.qe-identity stale, sgx.tcb-info stale"},
	// Four zeros follow the signature: padding like the TD quoting service's, accepted.
	{quote: "quote.unknown", at: "T2", with: t2, qe: "UpToDate", facts: "sgx.tcb-info.fmspc missing"},
	{quote: "extracted/i5-tcb.quote.bin", at: "T0", with: t0, tcb: i5, facts: "sgx.qe-identity missing"},
	{quote: "extracted/i5-crl.quote.bin", at: "T0", with: t2[3:], facts: "sgx.qe-identity missing, sgx.tcb-info missing"},
	{quote: "extracted/i5-crl.quote.bin", at: "T0", facts: "sgx.pck-ca.crl missing, sgx.root.crl missing, sgx.qe-identity missing, sgx.tcb-info missing"},

	// SGX, more/INDEX.md
	{quote: "more/sgx/v3-xeon-swhardening.quote.bin", at: "X5", with: x5, tcb: swHardening, qe: "UpToDate",
		facts: "sgx.pck-ca.crl missing, sgx.root.crl missing"},
	{quote: "more/sgx/v3-xeon-swhardening.quote.bin", at: "T2", with: t2, tcb: swHardening, qe: "UpToDate"},
	{quote: "more/sgx/v3-xeon-swhardening.quote.bin", at: "X5", with: []string{x5[0], x5[1], "more/sgx/tcb-signing-wrong.pem"},
		fail:  "sgx.tcb-signing.role, sgx.tcb-signing.role",
		facts: "sgx.pck-ca.crl missing, sgx.root.crl missing, sgx.qe-identity missing, sgx.tcb-info missing"},
	{quote: "more/sgx/v3-xeon-swhardening.quote.bin", at: "T2", with: append([]string{"more/tdx/tcb-signing-2025.pem", x5[0], x5[1]}, t2[3:]...),
		fail: "sgx.tcb-signing.validity", tcb: swHardening, qe: "UpToDate"},
	{quote: "more/sgx/v3-eppid.quote.bin", at: "T2", with: t2, fail: "sgx.certification-data"},
	{quote: "more/sgx/v3-debug-occlum.quote.bin", at: "X5", with: x5, fail: "sgx.pck.validity", tcb: xeon, qe: "UpToDate",
		facts: "sgx.pck-ca.crl missing, sgx.root.crl missing"},

	// TDX, more/INDEX.md
	{quote: "more/tdx/v4-uptodate-c080.quote.bin", at: "X3", with: x3, tcb: "UpToDate", qe: "UpToDate", module: "UpToDate",
		facts: "tdx.pck-ca.crl missing, tdx.root.crl missing"},
	{quote: "more/tdx/v4-uptodate-c080-zeropad.quote.bin", at: "X3", with: x3, tcb: "UpToDate", qe: "UpToDate", module: "UpToDate",
		facts: "tdx.pck-ca.crl missing, tdx.root.crl missing"},
	{quote: "more/tdx/v4-nolevel-5080.quote.bin", at: "X4", with: x4, fail: "tdx.tcb-info.level", qe: "UpToDate"},
	{quote: "more/tdx/v4-garbage-trailer.quote.bin", at: "X4", with: x4, fail: "tdx.quote.trailing"},
	{quote: "more/tdx/v4-debug-5080.quote.bin", at: "X4", with: x4, tcb: "UpToDate", qe: "UpToDate"},
	{quote: "more/tdx/v4-uptodate-b0c0.quote.bin", at: "X1", with: x1, tcb: "UpToDate", qe: "UpToDate", module: "UpToDate"},
	{quote: "more/tdx/v4-uptodate-b0c0.quote.bin", at: "X1", tcb: "UpToDate", qe: "UpToDate", module: "UpToDate", with: []string{
		"more/tdx/v4-uptodate-b0c0.tcbinfo.json", "more/tdx/v4-uptodate-b0c0.qeidentity.json", "more/tdx/tcb-signing-2025.pem",
		"more/tdx/crl-pck-platform-2025-06.der", "more/tdx/crl-root-2025-03.der"}},
	{quote: "more/tdx/v4-uptodate-b0c0.quote.bin", at: "X2", with: x1, tcb: "UpToDate", qe: "UpToDate", module: "UpToDate",
		facts: "tdx.pck-ca.crl stale, tdx.qe-identity stale, tdx.tcb-info stale"},
	{quote: "more/tdx/v4-uptodate-b0c0.quote.bin", at: "X1", with: x2, qe: "UpToDate",
		facts: "tdx.pck-ca.crl not yet valid, tdx.qe-identity not yet valid, tdx.tcb-info.fmspc missing"},
	{quote: "more/tdx/v5-uptodate-90c0.quote.bin", at: "X2", with: x2, tcb: "UpToDate", qe: "UpToDate", module: "UpToDate"},
	{quote: "more/tdx/v5-servicetd-90c0.quote.bin", at: "X2", with: x2, fail: "tdx.tcb-info.level", qe: "UpToDate",
		module: "OutOfDate INTEL-SA-01036 INTEL-SA-01099"},
	{quote: "more/tdx/v4-gce-zeropad.quote.bin", at: "X2",
		facts: "tdx.pck-ca.crl missing, tdx.root.crl missing, tdx.qe-identity missing, tdx.tcb-info missing"},

	// Not what they were made for.
	{quote: "more/tdx/v4-uptodate-c080.quote.bin", at: "X5", with: x5, fail: "tdx.pck.validity",
		facts: "tdx.pck-ca.crl missing, tdx.root.crl missing, tdx.qe-identity.id missing, tdx.tcb-info.id missing"},
}

const (
	xeon        = "OutOfDate INTEL-SA-00586 INTEL-SA-00614 INTEL-SA-00615 INTEL-SA-00657"
	swHardening = "SWHardeningNeeded INTEL-SA-00615 INTEL-SA-00657"
	i5          = "OutOfDate INTEL-SA-00289 INTEL-SA-00381 INTEL-SA-00389 INTEL-SA-00477 INTEL-SA-00614 INTEL-SA-00615 INTEL-SA-00617 INTEL-SA-00657"
)

type outcome struct {
	claims       bool
	collateral   []pki.Dated
	tcb, qe, mod dcap.Status
}

func verifyAny(g *check.Group, quote []byte, c dcap.Collateral, now time.Time, memo *pki.Memo) (o outcome) {
	if tdx.IsQuote(quote) || !sgx.IsQuote(quote) && len(quote) > 0 && quote[0] > 3 {
		if cl := tdx.Verify(g, tdx.Input{Quote: quote, Collateral: c, Roots: roots.Vendors(), Now: now, Memo: memo}); cl != nil {
			return outcome{true, cl.Collateral, cl.TCB, cl.QE, cl.Module}
		}
		return o
	}
	if cl := sgx.Verify(g, sgx.Input{Quote: quote, Collateral: c, Roots: roots.Vendors(), Now: now, Memo: memo}); cl != nil {
		return outcome{true, cl.Collateral, cl.TCB, cl.QE, dcap.Status{}}
	}
	return o
}

func describe(s dcap.Status) string {
	if !s.Known {
		return ""
	}
	return strings.Join(append([]string{s.Name}, slices.Sorted(slices.Values(s.Advisories))...), " ")
}

func TestVectors(t *testing.T) {
	folder := need.Vectors(t)
	memo := pki.NewMemo(1 << 20)
	for _, v := range vectors {
		t.Run(filepath.Base(v.quote)+"@"+v.at, func(t *testing.T) {
			for _, m := range []*pki.Memo{nil, memo, memo} { // cold, cold or warm, warm
				g := check.New("quote")
				now := at(t, v.at)
				o := verifyAny(g, read(t, folder, v.quote), collateral(t, m, folder, v.with...), now, m)
				var fail, facts []string
				for _, c := range g.Failures() {
					fail = append(fail, c.Code)
				}
				for i := range o.collateral {
					if s := o.collateral[i].State(now); s != "fresh" {
						facts = append(facts, o.collateral[i].Code+" "+s)
					}
				}
				got := []string{strings.Join(fail, ", "), strings.Join(facts, ", "), describe(o.tcb), describe(o.qe), describe(o.mod)}
				want := []string{v.fail, v.facts, v.tcb, v.qe, v.module}
				if !slices.Equal(got, want) {
					t.Errorf("got  %q\nwant %q", got, want)
					var b strings.Builder
					g.Write(&b, check.Style{})
					t.Log(b.String())
				}
			}
		})
	}
}
