// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/dcap"
)

// TestStatus is about what Intel says of security versions that are known.
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name, kind      string
		mutate          func(f *forge)
		tcb, qe, module string
	}{
		{"newest", "sgx", func(*forge) {}, "UpToDate", "UpToDate", ""},
		{"newest", "tdx4", func(*forge) {}, "UpToDate", "UpToDate", "UpToDate"},
		{"more than the newest", "sgx", func(f *forge) { f.components = [16]byte{15: 255, 5: 1, 0: 9, 1: 5, 2: 9, 3: 9} }, "UpToDate", "UpToDate", ""},
		{"older component", "sgx", func(f *forge) { f.components[0] = 4 }, "ConfigurationNeeded INTEL-SA-00003", "UpToDate", ""},
		{"higher components do not make up for a lower one", "sgx", func(f *forge) { f.components = [16]byte{4, 255, 255, 255, 255, 1} },
			"ConfigurationNeeded INTEL-SA-00003", "UpToDate", ""},
		{"older PCE", "tdx5", swap(`"pcesvn":13`, `"pcesvn":14`), "ConfigurationNeeded INTEL-SA-00003", "UpToDate", "UpToDate"},
		{"older quoting enclave", "sgx", flipQE(258, 6^5), "OutOfDate INTEL-SA-00001", "OutOfDate INTEL-SA-00001", ""},
		{"older module", "tdx4", flip(48, 5^3), "OutOfDate INTEL-SA-00002", "UpToDate", "OutOfDate INTEL-SA-00002"},
		{"older module on an older platform", "tdx4", func(f *forge) { flip(48, 5^2)(f); f.components[0] = 4 },
			"OutOfDateConfigurationNeeded INTEL-SA-00002 INTEL-SA-00003", "UpToDate", "OutOfDate INTEL-SA-00002"},
		{"older TDX late microcode", "tdx5", flip(54+2, 7^6), "ConfigurationNeeded INTEL-SA-00003", "UpToDate", "UpToDate"},
		// Major version 0 has no identity of its own: all components count.
		{"module without a major version", "tdx4", flip(48+1, 1), "UpToDate", "UpToDate", ""},
		{"older module without a major version", "tdx4", func(f *forge) { flip(48+1, 1)(f); flip(48, 5^2)(f) },
			"ConfigurationNeeded INTEL-SA-00003", "UpToDate", ""},
		{"revoked quoting enclave", "sgx", func(f *forge) { flipQE(258, 6^5)(f); swap(`"OutOfDate"`, `"Revoked"`)(f) },
			"Revoked INTEL-SA-00001", "Revoked INTEL-SA-00001", ""},
		{"no QE identity", "sgx", in(func(c *dcap.Collateral) { c.QEIdentities = nil }), "UpToDate", "", ""},
		{"no TCB info", "tdx5", in(func(c *dcap.Collateral) { c.TCBInfos = nil }), "", "UpToDate", ""},
	} {
		t.Run(c.name+"/"+c.kind, func(t *testing.T) {
			f := newForge(c.kind)
			c.mutate(f)
			g, o := f.verify(t)
			got := []string{describe(o.tcb), describe(o.qe), describe(o.mod)}
			if want := []string{c.tcb, c.qe, c.module}; !g.OK() || !slices.Equal(got, want) {
				t.Errorf("got %q, want %q; failures %v", got, want, g.Failures())
			}
		})
	}
}

// variant is a properly signed TCB info or QE identity with something replaced.
func (f *forge) variant(c *dcap.Collateral, oldnew ...string) {
	r := strings.NewReplacer(oldnew...)
	c.TCBInfos = append(c.TCBInfos, must(dcap.ParseTCBInfo(f.document("tcbInfo", r.Replace(f.info)))))
	c.QEIdentities = append(c.QEIdentities, must(dcap.ParseQEIdentity(f.document("enclaveIdentity", r.Replace(f.identity)))))
}

// TestSelection is about which of several documents is used, and what is said
// when there is none.
func TestSelection(t *testing.T) {
	const number = `"tcbEvaluationDataNumber":17`
	for _, c := range []struct {
		name   string
		mutate func(f *forge, c *dcap.Collateral)
		facts  string // code, state and how many are forged
		number uint32 // of the TCB info that is used
	}{
		{"one", func(*forge, *dcap.Collateral) {}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 17},
		{"none", func(_ *forge, c *dcap.Collateral) { c.TCBInfos, c.QEIdentities = nil, nil },
			"sgx.qe-identity missing 0, sgx.tcb-info missing 0", 0},
		{"a later evaluation", func(f *forge, c *dcap.Collateral) { f.variant(c, number, `"tcbEvaluationDataNumber":18`) },
			"sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 18},
		{"an earlier evaluation of later date", func(f *forge, c *dcap.Collateral) {
			f.variant(c, number, `"tcbEvaluationDataNumber":16`, "2029-12-15", "2029-12-20")
		}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 17},
		{"a later evaluation that is stale", func(f *forge, c *dcap.Collateral) {
			f.variant(c, number, `"tcbEvaluationDataNumber":18`, "2030-01-15", "2029-12-31")
		}, "sgx.qe-identity stale 0, sgx.tcb-info stale 0", 18},
		{"stale and of today", func(f *forge, c *dcap.Collateral) {
			f.variant(c, "2029-12-15", "2029-11-15", "2030-01-15", "2029-12-15")
			slices.Reverse(c.TCBInfos)
		}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 17},
		{"of the future and of today", func(f *forge, c *dcap.Collateral) {
			f.variant(c, number, `"tcbEvaluationDataNumber":18`, "2029-12-15", "2030-01-02")
		}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 17},
		{"of the future only", func(f *forge, c *dcap.Collateral) {
			f.variant(c, number, `"tcbEvaluationDataNumber":18`, "2029-12-15", "2030-01-02")
			c.TCBInfos, c.QEIdentities = c.TCBInfos[1:], c.QEIdentities[1:]
		}, "sgx.qe-identity not yet valid 0, sgx.tcb-info not yet valid 0", 18},
		{"a forged later evaluation", func(f *forge, c *dcap.Collateral) {
			f.variant(c, number, `"tcbEvaluationDataNumber":18`)
			c.TCBInfos[1].Signature[63] ^= 1
		}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 1", 17},
		{"another platform's", func(f *forge, c *dcap.Collateral) {
			f.variant(c, "00606a000000", "00606A000001")
			c.TCBInfos = c.TCBInfos[1:]
		}, "sgx.qe-identity fresh 0, sgx.tcb-info.fmspc missing 0", 0},
		{"the FMSPC in capitals", func(f *forge, c *dcap.Collateral) {
			f.variant(c, "00606a000000", "00606A000000")
			c.TCBInfos = c.TCBInfos[1:]
		}, "sgx.qe-identity fresh 0, sgx.tcb-info fresh 0", 17},
		{"another PCE's", func(f *forge, c *dcap.Collateral) {
			f.variant(c, `"pceId":"0000"`, `"pceId":"0001"`)
			c.TCBInfos = c.TCBInfos[1:]
		}, "sgx.qe-identity fresh 0, sgx.tcb-info.pceid missing 0", 0},
		{"those of trust domains", func(f *forge, c *dcap.Collateral) {
			f.variant(c, `"id":"SGX"`, `"id":"TDX"`, `"id":"QE"`, `"id":"TD_QE"`)
			c.TCBInfos, c.QEIdentities = c.TCBInfos[1:], c.QEIdentities[1:]
		}, "sgx.qe-identity.id missing 0, sgx.tcb-info.id missing 0", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newForge("sgx")
			f.collateral = func(col *dcap.Collateral) { c.mutate(f, col) }
			g, o := f.verify(t)
			if !g.OK() {
				t.Errorf("failures: %v", g.Failures())
			}
			var facts []string
			for i := range o.collateral {
				if d := &o.collateral[i]; d.Kind != "crl" {
					facts = append(facts, d.Code+" "+d.State(f.now)+" "+string(rune('0'+d.Forged)))
				}
			}
			if got := strings.Join(facts, ", "); got != c.facts || o.tcb.EvaluationNumber != c.number {
				t.Errorf("got %s, evaluation %d; want %s, %d", got, o.tcb.EvaluationNumber, c.facts, c.number)
			}
		})
	}
}

// TestRelaunch has a trust domain that was started under an older TDX module
// than the platform has now.
func TestRelaunch(t *testing.T) {
	f := newForge("tdx5")
	flip(54, 5^2)(f)
	g, o := f.verify(t)
	if c := g.Find("tdx.tcb-info.relaunch"); !g.OK() || o.tcb.Name != dcap.OutOfDate || c == nil || c.Expected.String() != dcap.UpToDate {
		t.Errorf("status %s, check %v", o.tcb.Name, c)
	}
	// What runs is older than what the trust domain was started under.
	for at, want := range map[int]string{584: dcap.OutOfDate, 586: dcap.ConfigurationNeeded} {
		f = newForge("tdx5")
		f.signed[54+at] = map[int]byte{584: 2, 586: 6}[at]
		g, o = f.verify(t)
		if !g.OK() || o.tcb.Name != want || len(o.tcb.Advisories) != 1 || g.Find("tdx.tcb-info.relaunch") != nil {
			t.Errorf("older at run time: %+v, want %s; failures %v", o.tcb, want, g.Failures())
		}
	}
	for _, kind := range []string{"tdx4", "tdx5"} {
		f := newForge(kind)
		if g, _ := f.verify(t); g.Find("tdx.tcb-info.relaunch") != nil {
			t.Errorf("%s: a relaunch is advised for nothing", kind)
		}
	}
}

func TestConverge(t *testing.T) {
	// The first part is what Intel's quote verification library does with an
	// outdated quoting enclave or TDX module.
	for _, c := range [][3]string{
		{dcap.UpToDate, dcap.OutOfDate, dcap.OutOfDate},
		{dcap.SWHardeningNeeded, dcap.OutOfDate, dcap.OutOfDate},
		{dcap.ConfigurationNeeded, dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded},
		{dcap.ConfigurationAndSWHardeningNeeded, dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded},
		{dcap.OutOfDate, dcap.OutOfDate, dcap.OutOfDate},
		{dcap.OutOfDateConfigurationNeeded, dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded},
		{dcap.Revoked, dcap.OutOfDate, dcap.Revoked},
		{dcap.UpToDate, dcap.SWHardeningNeeded, dcap.SWHardeningNeeded},
		{dcap.ConfigurationNeeded, dcap.SWHardeningNeeded, dcap.ConfigurationAndSWHardeningNeeded},
		{dcap.UpToDate, dcap.ConfigurationNeeded, dcap.ConfigurationNeeded},
		{dcap.OutOfDate, dcap.ConfigurationAndSWHardeningNeeded, dcap.OutOfDateConfigurationNeeded},
	} {
		if got, back := dcap.Converge(c[0], c[1]), dcap.Converge(c[1], c[0]); got != c[2] || back != c[2] {
			t.Errorf("%s and %s: %s and %s, want %s", c[0], c[1], got, back, c[2])
		}
	}
	for _, s := range dcap.Names {
		if dcap.Converge(s, dcap.UpToDate) != s || dcap.Converge(s, s) != s || dcap.Converge(s, dcap.Revoked) != dcap.Revoked {
			t.Errorf("%s does not converge with itself, %s and %s", s, dcap.UpToDate, dcap.Revoked)
		}
	}
}

func TestAnd(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2030, 1, n, 0, 0, 0, 0, time.UTC) }
	a := dcap.Status{Name: dcap.SWHardeningNeeded, Advisories: []string{"A", "B"}[:1], Date: day(3), EvaluationNumber: 1, Known: true}
	b := dcap.Status{Name: dcap.OutOfDate, Advisories: []string{"C", "A"}, Date: day(2), EvaluationNumber: 2, Known: true}
	got := a.And(dcap.Status{}, b)
	if got.Name != dcap.OutOfDate || strings.Join(got.Advisories, "") != "AC" || !got.Date.Equal(day(2)) || got.EvaluationNumber != 1 {
		t.Errorf("%+v", got)
	}
	if len(a.Advisories) != 1 || a.Advisories[:2][1] != "B" {
		t.Error("And wrote into what it was given")
	}
	if (dcap.Status{}).And(b).Known {
		t.Error("the unknown has become known")
	}
}

// TestManyForged has more candidates than are tried.
func TestManyForged(t *testing.T) {
	f := newForge("sgx")
	f.collateral = func(c *dcap.Collateral) {
		for i := range 50 {
			bad := *c.TCBInfos[0]
			bad.Signature = bytes.Clone(bad.Signature)
			bad.Signature[i%32] ^= 1
			c.TCBInfos = append(c.TCBInfos, &bad)
		}
		slices.Reverse(c.TCBInfos)
	}
	g, o := f.verify(t)
	if g.Find("sgx.tcb-info.signature") == nil || g.OK() {
		t.Error("accepted")
	}
	if d := o.collateral[len(o.collateral)-1]; d.Forged != 16 || !d.Missing {
		t.Errorf("%+v", d)
	}
}
