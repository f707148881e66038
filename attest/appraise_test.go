// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// judge parses, verifies and appraises a synthetic request.
func judge(t testing.TB, p *Policy, shape string, edit func(*attesttest.Request)) *Result {
	t.Helper()
	memo := pki.NewMemo(memoSize)
	csr, _ := silicon.CSR(shape, or(edit))
	req, err := ParseRequest(csr, memo)
	if err != nil {
		t.Fatal(err)
	}
	return Appraise(Verify(req.Evidence, &Roots{silicon.Roots(), memo}, serverCollateral(t, memo), testTime), p)
}

// TestBinding holds report data and workload digests to what they must be.
func TestBinding(t *testing.T) {
	all := func(edits ...func(*attesttest.Request)) func(*attesttest.Request) {
		return func(r *attesttest.Request) {
			for _, e := range edits {
				e(r)
			}
		}
	}
	named := uris(WorkloadURI(wdig), LogURI("none"))
	kss := func(on bool) func(*attesttest.Request) {
		return sgxQuote(func(q *attesttest.SGXQuote) {
			q.Body.Attributes &^= uint64(dcap.KSS)
			if on {
				q.Body.Attributes |= uint64(dcap.KSS)
			}
		})
	}
	for name, c := range map[string]struct {
		shape string
		edit  func(*attesttest.Request)
		code  string
		bound bool // the workload
	}{
		"snp: another key":             {"snp-v2", snpReport(func(r *attesttest.Report) { r.ReportData[47] ^= 1 }), "binding.key", false},
		"snp: something after":         {"snp-v2", snpReport(func(r *attesttest.Report) { r.ReportData[48] = 1 }), "binding.tail", false},
		"sgx: another key":             {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.ReportData[31] ^= 1 }), "binding.key", false},
		"sgx: something after":         {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.ReportData[32] = 1 }), "binding.tail", false},
		"tdx: another key":             {"tdx-v1", tdxQuote(func(q *attesttest.TDXQuote) { q.ReportData[47] ^= 1 }), "binding.key", false},
		"tdx: something after":         {"tdx-v1", tdxQuote(func(q *attesttest.TDXQuote) { q.ReportData[63] = 1 }), "binding.tail", false},
		"snp: its workload":            {"snp-v2", named, "accepted", true},
		"sgx: its workload":            {"sgx-v3", all(named, kss(true)), "accepted", true},
		"sgx: workload without KSS":    {"sgx-v3", all(named, kss(false)), "accepted", false},
		"tdx: its workload":            {"tdx-v1", named, "accepted", true},
		"snp: another workload":        {"snp-v2", all(named, snpReport(func(r *attesttest.Report) { r.HostData[0]++ })), "binding.workload", false},
		"snp: no workload at launch":   {"snp-v2", all(named, snpReport(func(r *attesttest.Report) { r.HostData = [32]byte{} })), "binding.workload", false},
		"sgx: another workload":        {"sgx-v3", all(named, sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes |= uint64(dcap.KSS); q.Body.ConfigID[0]++ })), "binding.workload", false},
		"sgx: more after the workload": {"sgx-v3", all(named, sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes |= uint64(dcap.KSS); q.Body.ConfigID[32]++ })), "binding.workload", false},
		"tdx: another workload":        {"tdx-v1", all(named, tdxQuote(func(q *attesttest.TDXQuote) { q.MRConfigID[0]++ })), "binding.workload", false},
		"snp: unnamed workload":        {"snp-v2", snpReport(func(r *attesttest.Report) { r.HostData[0] = 1 }), "accepted", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := judge(t, nil, c.shape, c.edit)
			if r.Code() != c.code || r.WorkloadBound != c.bound {
				t.Errorf("got %s, workload bound %v: %v", r.Code(), r.WorkloadBound, r.Err())
			}
		})
	}
}

// TestUnsaid: a rule on what the evidence does not say refuses, and does not
// advise to list nothing.
func TestUnsaid(t *testing.T) {
	for text, code := range map[string]string{
		"[snp]\nallow_vlek = true\nchip_ids = [\"" + strings.Repeat("00", 64) + "\"]":        "snp.chip_id",
		"[snp]\nallow_vlek = true\nchip_ids_denied = [\"" + strings.Repeat("5a", 64) + "\"]": "snp.chip_id.denied",
	} {
		p, err := ParsePolicy("p.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r := judge(t, p, "snp-v2", vlek)
		c := r.Failed()
		if r.Code() != code || !strings.Contains(c.Found.String(), "does not say") || c.Source != "p.toml:3" || strings.Contains(c.Fix, "add the value") {
			t.Errorf("%s: %v, %s, %s", code, c, c.Source, c.Fix)
		}
	}
	// Quotes of version 4 have no place for a service TD.
	if c := judge(t, nil, "tdx-v1", nil).Appraisal.Find("tdx.mrservicetd"); c.Status != check.Skipped {
		t.Errorf("%s: %s", c.Status, c)
	}
}

// TestRevokedFix: no policy can accept what Intel revoked.
func TestRevokedFix(t *testing.T) {
	r := judge(t, nil, "sgx-v3", func(r *attesttest.Request) {
		m := *r.Machine
		m.SVN = [16]uint8{1, 1}
		r.Machine = &m
		r.Evidence = func(e *attesttest.Evidence) { e.TCBInfo.JSON = silicon.Machine().TCBInfo("SGX") }
	})
	if c := r.Failed(); r.Code() != "sgx.tcb.status" || c.Found.String() != dcap.Revoked || strings.Contains(c.Fix, "add the status") {
		t.Errorf("%s: %s", r.Code(), c.Fix)
	}
}

// TestNonce: a verifier's nonce is what follows the hash, if there is one.
func TestNonce(t *testing.T) {
	nonce := []byte("sixteen bytes ab")
	said := snpReport(func(r *attesttest.Report) { copy(r.ReportData[48:], nonce) })
	for name, c := range map[string]struct {
		edit  func(*attesttest.Request)
		nonce []byte
		code  string
	}{
		"none asked, none given": {nil, nil, "accepted"},
		"none asked, one given":  {said, nil, "binding.tail"},
		"asked and given":        {said, nonce, "accepted"},
		"asked, none given":      {nil, nonce, "binding.tail"},
		"asked, another given":   {said, []byte("another sixteen."), "binding.tail"},
		"asked, more given":      {said, nonce[:8], "binding.tail"},
		"no room for it":         {said, make([]byte, 17), "binding.tail"},
	} {
		cl := *judge(t, nil, "snp-v2", c.edit).Claims
		cl.Nonce = c.nonce
		if r := Appraise(&cl, nil); r.Code() != c.code {
			t.Errorf("%s: %s", name, r.Code())
		}
	}
}

// TestInsecure: nothing is accepted unless it is asked for by name, and then
// it says what it is.
func TestInsecure(t *testing.T) {
	r := judge(t, nil, "none", uris(LogURI("host")))
	if r.Code() != "none.accepted" {
		t.Errorf("by default: %s", r.Code())
	}
	p := DefaultPolicy()
	p.Insecure = true
	r = judge(t, p, "none", uris(WorkloadURI(wdig)))
	if !r.Accepted() || r.WorkloadBound || r.Names.Workload == nil || !r.Claims.Debug() {
		t.Errorf("asked for: %v", r.Err())
	}
	if c := r.Verification.Find("none.hardware"); c == nil || c.Status != check.Noted || !strings.Contains(c.What, "INSECURE") {
		t.Errorf("it is not loud: %v", c)
	}
	var out bytes.Buffer
	if err := r.Write(&out, check.Style{}); err != nil || !strings.Contains(out.String(), "WITHOUT HARDWARE") {
		t.Errorf("%v, %s", err, &out)
	}
	if ear := string(r.EAR(testTime, Verifier{})); !strings.Contains(ear, `"ear_status":"none"`) || !strings.Contains(ear, `"roots":"none"`) {
		t.Error(ear)
	}
	bad := &Evidence{Technology: None, Report: []byte{1}}
	if r := Appraise(Verify(bad, nil, nil, testTime), p); r.Code() != "none.report" {
		t.Errorf("with a report: %s", r.Code())
	}
	if r := Appraise(Verify(&Evidence{Technology: "nitro"}, nil, nil, testTime), p); r.Code() != "technology" {
		t.Errorf("unknown technology: %s", r.Code())
	}
}

// TestFreshness moves the clock over the edges of collateral.
func TestFreshness(t *testing.T) {
	ev := evidenceOf(t, "snp-v1")
	parsed, err := ParseEvidence(SNP, ev.DER(), nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Data = parsed.Report[0x50:0x90]
	der := silicon.AMD.Milan.CRL(func(c *attesttest.CRL) { c.ThisUpdate, c.NextUpdate = testTime, testTime.Add(time.Hour) })
	crl, err := pki.ParseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &Collateral{CRLs: []*pki.CRL{crl}}
	r := &Roots{Set: silicon.Roots()}
	for _, step := range []struct {
		after time.Duration
		found string // "" if it is fresh
	}{
		{-time.Second, "not yet valid: 2026-11-19T23:59:59Z"}, {0, ""}, {time.Hour - time.Second, ""}, {time.Hour, "stale: 2026-11-20T01:00:00Z"},
	} {
		result := Appraise(Verify(parsed, r, c, testTime.Add(step.after)), nil)
		switch k := result.Appraisal.Find("snp.ark.crl"); {
		case step.found == "" && !result.Accepted():
			t.Errorf("after %s: %v", step.after, result.Err())
		case step.found != "" && (result.Code() != "snp.ark.crl" || k.Found.String() != step.found || !strings.Contains(k.Fix, "kdsintf.amd.com")):
			t.Errorf("after %s: %s, %v", step.after, result.Code(), k)
		}
	}
}

// TestForgottenCollateral: claims that say nothing of collateral have none.
func TestForgottenCollateral(t *testing.T) {
	for _, shape := range []string{"snp-v2", "sgx-v3", "tdx-v1"} {
		cl := *judge(t, nil, shape, nil).Claims
		for i, d := range cl.Collateral {
			if i > 0 && cl.Collateral[i-1].Kind == d.Kind {
				continue
			}
			cut := cl
			cut.Collateral = slices.DeleteFunc(slices.Clone(cl.Collateral), func(o pki.Dated) bool { return o.Kind == d.Kind })
			if r := Appraise(&cut, nil); r.Code() != "collateral" {
				t.Errorf("%s without %s: %s", shape, d.Kind, r.Code())
			}
		}
	}
}

// TestGenoaRevoked: the intermediate of genoa.pkipath, which upstream still
// trusts, is revoked by AMD's own list.
func TestGenoaRevoked(t *testing.T) {
	root := need.Vectors(t)
	read := func(name string) *Bundle {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := Recognise([]File{{name, data}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	path := read("genoa.pkipath").Collateral.Certificates
	report := read("more/snp/genoa-v3-caci.report.bin").Evidence
	vcek := read("more/snp/genoa-v3-caci.vcek.pem").Collateral
	old := &Roots{Set: &roots.Set{AMD: path[:1], Intermediates: path[1:]}}
	if r := Appraise(Verify(report, old, &vcek, at(t, "M1")), nil); r.Code() != "snp.vcek.signature" {
		t.Errorf("a VCEK of today under the intermediate of then: %s", r.Code())
	}
	g := check.New("path")
	p := pki.Path{Now: at(t, "M2"), CRLs: read("more/amd/crl-ark-genoa-4.der").Collateral.CRLs}
	p.Validate(g, pki.Link{Code: "snp.ask", Title: "ASK", Cert: path[1]}, pki.Link{Code: "snp.ark", Title: "ARK", Cert: path[0], CRL: true})
	if failed := g.Failures(); len(failed) != 1 || failed[0].Code != "snp.ask.revoked" {
		t.Errorf("%v", failed)
	}
}

// TestDevelopment: a result on the word of other roots than the vendors' says so.
func TestDevelopment(t *testing.T) {
	for _, shape := range []string{"snp-v2", "sgx-v3", "tdx-v1"} {
		r := judge(t, nil, shape, nil)
		if !r.Accepted() || !r.Claims.Development() || r.Appraisal.Find("roots.development") == nil || !strings.Contains(r.verdict(), "development") {
			t.Errorf("%s: %v, %s", shape, r.Err(), r.verdict())
		}
		ear := string(r.EAR(testTime, Verifier{}))
		if !strings.Contains(ear, `"roots":"development"`) || !strings.Contains(ear, `"ear_status":"warning"`) {
			t.Error(ear)
		}
	}
}

// TestUntrusted: without the root nothing is accepted, whatever the policy.
func TestUntrusted(t *testing.T) {
	p := DefaultPolicy()
	p.Collateral = CollateralPolicy{}
	p.SNP.AllowDebug, p.SGX.AllowDebug, p.TDX.AllowDebug = true, true, true
	for _, shape := range []string{"snp-v2", "sgx-v3", "tdx-v1"} {
		csr, _ := silicon.CSR(shape)
		req, err := ParseRequest(csr, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]*Roots{"vendors": VendorRoots(), "none": {}, "nil": nil} {
			if r := Appraise(Verify(req.Evidence, r, serverCollateral(t, nil), testTime), p); r.Accepted() {
				t.Errorf("%s with the roots %s is accepted", shape, name)
			}
		}
	}
}

// TestResultForms reads a refusal in all the forms it can have.
func TestResultForms(t *testing.T) {
	r := judge(t, nil, "snp-v2", snpReport(func(r *attesttest.Report) { r.Policy |= attesttest.PolicyDebug }))
	refusal, ok := errors.AsType[*Refusal](r.Err())
	if !ok || refusal.Check.Code != "snp.policy.debug" || !strings.Contains(refusal.Error(), "snp.policy.debug: the host may not debug the guest") {
		t.Fatalf("%v", r.Err())
	}
	var out bytes.Buffer
	if err := r.Write(&out, check.Style{Brief: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"✗ the host may not debug the guest  [snp.policy.debug]", "source    built-in rule, snp.allow_debug", "change    launch the guest", "refused: snp.policy.debug"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Verdict, Code, Technology, Shape, Time string
		EAR                                    map[string]any
		Checks                                 []*check.Group
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Verdict != "refused" || doc.Code != "snp.policy.debug" || doc.Technology != "snp" || doc.Shape != "snp-v2" || doc.Time != "2026-11-20T00:00:00Z" || len(doc.Checks) != 2 || doc.EAR["ear_status"] != "contraindicated" {
		t.Errorf("%s", text)
	}
	if c := doc.Checks[1].Find("snp.policy.debug"); c == nil || c.Status != check.Failed || c.Fix == "" {
		t.Errorf("%s", text)
	}
}

// TestAdvisories: every entry of the table is whole, and applies to what it
// says it applies to.
func TestAdvisories(t *testing.T) {
	all, updated := Advisories()
	if _, err := time.Parse(time.DateOnly, updated); err != nil || len(all) < 5 {
		t.Errorf("%d advisories of %s", len(all), updated)
	}
	for _, a := range all {
		if _, err := time.Parse(time.DateOnly, a.Date); err != nil || a.ID == "" || a.Title == "" || a.Words == "" || !strings.HasPrefix(a.URL, "https://") ||
			a.Kind != "broken" && a.Kind != "advice" || len(a.Technologies) == 0 {
			t.Errorf("%s is not whole", a.ID)
		}
		for _, name := range a.Without {
			if platformBits[name] == 0 {
				t.Errorf("%s: unknown flag %s", a.ID, name)
			}
		}
	}
	refuse := DefaultPolicy()
	refuse.RefuseKnownBroken = true
	chip := func(name string, edit func(*attesttest.Report)) func(*attesttest.Request) {
		return func(r *attesttest.Request) {
			for _, p := range silicon.AMD.Products() {
				if p.Name == name {
					r.Chip = p.Chip("chip")
				}
			}
			r.Report = edit
		}
	}
	noAliasCheck := func(r *attesttest.Report) { r.PlatformInfo &^= 1 << 5 }
	oldGenoa := func(r *attesttest.Report) {
		old := r.ReportedTCB
		old.SNP, old.Microcode = 0x14, 0x48
		r.CurrentTCB, r.ReportedTCB, r.CommittedTCB, r.LaunchTCB = old, old, old, old
	}
	for name, c := range map[string]struct {
		edit    func(*attesttest.Request)
		refused string
		noted   []string
	}{
		"Milan":                     {chip("Milan", nil), "advisory.milan-seed", []string{"advisory.milan-seed", "advisory.interposers"}},
		"Genoa":                     {chip("Genoa", nil), "accepted", []string{"advisory.interposers"}},
		"Genoa without alias check": {chip("Genoa", noAliasCheck), "advisory.amd-sb-3015", []string{"advisory.amd-sb-3015"}},
		"old Genoa":                 {chip("Genoa", oldGenoa), "accepted", []string{"advisory.amd-sb-3019", "advisory.amd-sb-3020"}},
		"Turin without alias check": {chip("Turin", noAliasCheck), "accepted", []string{"advisory.interposers"}},
	} {
		t.Run(name, func(t *testing.T) {
			if r := judge(t, refuse, "snp-v2", c.edit); r.Code() != c.refused {
				t.Errorf("refuse_known_broken: %s, %v", r.Code(), r.Err())
			}
			r := judge(t, nil, "snp-v2", c.edit)
			if !r.Accepted() {
				t.Fatal(r.Err())
			}
			for _, code := range c.noted {
				if k := r.Appraisal.Find(code); k == nil || k.Status != check.Noted {
					t.Errorf("%s is not noted", code)
				}
			}
			if broken := c.refused != "accepted"; broken != (r.Broken != nil) {
				t.Errorf("broken: %v", r.Broken)
			}
		})
	}
}

// TestConcurrent verifies from many goroutines with one Memo, under -race.
func TestConcurrent(t *testing.T) {
	memo := pki.NewMemo(memoSize)
	r := &Roots{silicon.Roots(), memo}
	collateral := serverCollateral(t, memo)
	done := make(chan error)
	const workers = 8
	for i := range workers {
		go func() {
			shape := []string{"snp-v2", "sgx-v3", "tdx-v1", "none"}[i%4]
			p := DefaultPolicy()
			p.Insecure = true
			csr, _ := silicon.CSR(shape)
			var err error
			for range 3 {
				req, e := ParseRequest(csr, memo)
				if e != nil {
					err = e
					break
				}
				result := Appraise(Verify(req.Evidence, r, collateral, testTime), p)
				result.EAR(testTime, Verifier{})
				err = errors.Join(err, result.Err())
			}
			done <- err
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestKeysOfEvidence: what a request is bound to is its key, byte for byte.
func TestKeysOfEvidence(t *testing.T) {
	csr, key := silicon.CSR("tdx-v1", withKey("keys", elliptic.P256()))
	req, err := ParseRequest(csr, nil)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil || !slices.Equal(spki, req.Evidence.Key) {
		t.Error("not the key of the request")
	}
}
