// SPDX-License-Identifier: Apache-2.0

package collateral_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/snp"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/fakevendor"
)

// begin is when the world's collateral is two days old.
var begin = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

var (
	world   = sync.OnceValue(func() *attesttest.World { return small("collateral") })
	another = sync.OnceValue(func() *attesttest.World { return small("another") })
)

// small is a world with keys that do not take long to make.
func small(seed string) *attesttest.World {
	w := attesttest.New(seed, begin)
	w.RSABits = 1024
	return w
}

// inTime runs test at begin, in a time of its own.
func inTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		test(t)
	})
}

// fetcher returns one that asks v without a network.
func fetcher(t *testing.T, v *fakevendor.Vendor, change ...func(*collateral.Config)) *collateral.Fetcher {
	t.Helper()
	cfg := collateral.Config{KDS: "https://kds.test", PCS: "https://pcs.test", Certs: "https://certs.test",
		Transport: v, Roots: world().Roots(), Memo: pki.NewMemo(1 << 20)}
	for _, c := range change {
		c(&cfg)
	}
	f, err := collateral.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func report(p *attesttest.Product, edits ...func(*attesttest.Report)) *attest.Evidence {
	return &attest.Evidence{Technology: attest.SNP, Report: p.Chip("chip").SignReport(edits...)}
}

// holds describes collateral by how much there is of each kind.
func holds(c *attest.Collateral) string {
	return fmt.Sprintf("%d certificates, %d CRLs, %d TCB infos, %d QE identities",
		len(c.Certificates), len(c.CRLs), len(c.TCBInfos), len(c.QEIdentities))
}

// TestFor asks for all that evidence needs, over a network.
func TestFor(t *testing.T) {
	w := world()
	vlek := func() *attest.Evidence {
		chip := w.AMD.Genoa.Chip("chip").Lent("cloud")
		return &attest.Evidence{Technology: attest.SNP, Report: chip.SignReport(func(r *attesttest.Report) { r.ChipID = [64]byte{} })}
	}
	milan := report(w.AMD.Milan)
	with := *milan
	vcek, err := (*pki.Memo)(nil).Certificate(w.Chip().Endorsement(w.AMD.Milan.TCB))
	if err != nil {
		t.Fatal(err)
	}
	with.Collateral.Certificates = append(with.Collateral.Certificates, vcek)
	for _, tt := range []struct {
		name  string
		ev    *attest.Evidence
		want  string
		asked []string
	}{
		{"Milan", milan, "2 certificates, 1 CRLs, 0 TCB infos, 0 QE identities", []string{"/vcek/v1/Milan/"}},
		{"Milan with its VCEK", &with, "1 certificates, 1 CRLs, 0 TCB infos, 0 QE identities", []string{"/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"}},
		{"Genoa, version 2", report(w.AMD.Genoa, func(r *attesttest.Report) { r.Version = 2 }),
			"3 certificates, 2 CRLs, 0 TCB infos, 0 QE identities", []string{"/vcek/v1/Milan/", "/vcek/v1/Genoa/"}},
		{"Turin", report(w.AMD.Turin), "2 certificates, 1 CRLs, 0 TCB infos, 0 QE identities", []string{"/vcek/v1/Turin/"}},
		{"VLEK", vlek(), "1 certificates, 1 CRLs, 0 TCB infos, 0 QE identities", []string{"/vlek/v1/Genoa/"}},
		{"SGX", &attest.Evidence{Technology: attest.SGX, Report: w.Machine().QuoteSGX()},
			"6 certificates, 2 CRLs, 1 TCB infos, 1 QE identities", []string{"/sgx/", "/IntelSGXRootCA.der"}},
		{"TDX", &attest.Evidence{Technology: attest.TDX, Report: w.Machine().QuoteTDX(4)},
			"6 certificates, 2 CRLs, 1 TCB infos, 1 QE identities", []string{"/sgx/certification/v4/pckcrl", "/tdx/", "/IntelSGXRootCA.der"}},
		{"no hardware", &attest.Evidence{Technology: attest.None}, "0 certificates, 0 CRLs, 0 TCB infos, 0 QE identities", nil},
		{"no report", &attest.Evidence{Technology: attest.SNP, Report: []byte("x")}, "0 certificates, 0 CRLs, 0 TCB infos, 0 QE identities", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := fakevendor.Of(w)
			server := httptest.NewServer(v)
			defer server.Close()
			f := fetcher(t, v, func(c *collateral.Config) {
				c.Transport, c.KDS, c.PCS, c.Certs = nil, server.URL, server.URL, server.URL
			})
			defer f.Close() // before the server, whose connections it has
			c, err := f.For(t.Context(), tt.ev)
			if err != nil || holds(c) != tt.want {
				t.Fatalf("%v, %v, want %v", holds(c), err, tt.want)
			}
			asked := v.Paths()
			for path, n := range asked {
				if n != 1 || !slices.ContainsFunc(tt.asked, func(p string) bool { return strings.HasPrefix(path, p) }) {
					t.Errorf("asked %d times for %s", n, path)
				}
			}
			again, err := f.For(t.Context(), tt.ev)
			if err != nil || holds(again) != tt.want || len(v.Paths()) != len(asked) {
				t.Errorf("the second time: %v, %v, %v", holds(again), err, v.Paths())
			}
			for i := range c.Certificates {
				if c.Certificates[i] != again.Certificates[i] {
					t.Error("another certificate object for the same certificate")
				}
			}
		})
	}
}

// TestEnough: with what was fetched, bare evidence is accepted.
func TestEnough(t *testing.T) {
	w := world()
	data := make([]byte, 64)
	for name, ev := range map[string]*attest.Evidence{
		"Milan": report(w.AMD.Milan), "Genoa": report(w.AMD.Genoa), "Turin": report(w.AMD.Turin),
		"SGX": {Technology: attest.SGX, Report: w.Machine().QuoteSGX()},
		"TDX": {Technology: attest.TDX, Report: w.Machine().QuoteTDX(5)},
	} {
		ev.Data = data
		inTime(t, func(t *testing.T) {
			memo := pki.NewMemo(1 << 20)
			f := fetcher(t, fakevendor.Of(w), func(c *collateral.Config) { c.Memo = memo })
			c, err := f.For(t.Context(), ev)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r := attest.Appraise(attest.Verify(ev, &attest.Roots{Set: w.Roots(), Memo: memo}, c, begin), nil)
			if !r.Accepted() {
				t.Errorf("%s: %v", name, r.Err())
			}
		})
	}
}

// TestPCCS: one of Intel's caching services has the root's list itself, and
// has it in hexadecimal.
func TestPCCS(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		f := fetcher(t, v, func(c *collateral.Config) { c.Certs = "" })
		d, err := f.Get(t.Context(), collateral.RootCRL())
		if err != nil || len(d.Collateral.CRLs) != 1 || v.Asked("/sgx/certification/v4/rootcacrl") != 1 {
			t.Errorf("%v, %v", err, v.Paths())
		}
	})
}

// TestMasked: AMD cannot be asked for the certificate of a chip that is not
// named, and a stranger's platform is not worth a question.
func TestMasked(t *testing.T) {
	inTime(t, func(t *testing.T) {
		w, v := world(), fakevendor.Of(world())
		f := fetcher(t, v)
		masked := report(w.AMD.Milan, func(r *attesttest.Report) { r.ChipID = [64]byte{} })
		_, err := f.For(t.Context(), masked)
		if all := collateral.Failures(err); len(all) != 1 || all[0].Code != "collateral.vcek" || !strings.Contains(err.Error(), "masked") {
			t.Errorf("%v", err)
		}
		foreign := another().Machine()
		foreign.FMSPC = [6]byte{1, 2, 3, 4, 5, 6}
		c, err := f.For(t.Context(), &attest.Evidence{Technology: attest.SGX, Report: foreign.QuoteSGX()})
		if err != nil || len(c.TCBInfos) != 0 || v.Asked("/sgx/certification/v4/tcb") != 0 {
			t.Errorf("%v, %s, %v", err, holds(c), v.Paths())
		}
	})
}

// TestSources puts what two sources have together.
func TestSources(t *testing.T) {
	inTime(t, func(t *testing.T) {
		w, v := world(), fakevendor.Of(world())
		v.Fail("/vcek/v1/Milan/crl", fakevendor.Fault{Status: 404})
		amd, intel := fetcher(t, v), fetcher(t, fakevendor.New())
		ev := report(w.AMD.Milan)
		c, err := collateral.Sources{amd, intel, amd}.For(t.Context(), ev)
		if holds(c) != "4 certificates, 0 CRLs, 0 TCB infos, 0 QE identities" {
			t.Error(holds(c))
		}
		g := check.New("")
		collateral.Record(g, err)
		var lines []string
		for c := range g.All() {
			lines = append(lines, c.Code+" "+c.Status.String()+" "+c.Found.String())
			if !strings.HasPrefix(c.Source, "https://kdsintf.amd.com/") {
				t.Errorf("it is said which mirror was asked: %s", c.Source)
			}
		}
		slices.Sort(lines)
		want := []string{"collateral.chain noted the vendor has no such document",
			"collateral.crl noted the vendor has no such document", "collateral.crl noted the vendor has no such document",
			"collateral.crl noted the vendor has no such document", "collateral.vcek noted the vendor has no such document"}
		if !slices.Equal(lines, want) {
			t.Errorf("%q", lines)
		}
		if c, err := (collateral.Sources{}).For(t.Context(), ev); c == nil || err != nil {
			t.Errorf("no source: %v, %v", c, err)
		}
	})
}

func TestBadConfig(t *testing.T) {
	if _, err := collateral.New(collateral.Config{KDS: "kds.example"}); err == nil {
		t.Error("an address without a scheme is accepted")
	}
	if _, err := collateral.New(collateral.Config{Cache: "/dev/null/cache"}); err == nil {
		t.Error("a cache that cannot be made is accepted")
	}
}

// TestForeign: whatever a vendor's mirror answers, what no root vouches for
// is not collateral.
func TestForeign(t *testing.T) {
	inTime(t, func(t *testing.T) {
		w := world()
		f := fetcher(t, fakevendor.Of(another()))
		for _, i := range []collateral.Item{
			collateral.AMDCRL("Milan", false), collateral.AMDChain("Genoa", true), collateral.RootCRL(), collateral.PCKCRL("platform"),
			collateral.TCBInfo(w.Machine().FMSPC, false), collateral.TCBInfo(w.Machine().FMSPC, true), collateral.QEIdentity(false), collateral.QEIdentity(true),
		} {
			if d, err := f.Get(t.Context(), i); d != nil || err == nil || !strings.Contains(err.Error(), "no root vouches for it") {
				t.Errorf("%v: %v, %v", i, d, err)
			}
		}
	})
}

// TestMistaken: a document that its vendor signed does not pass for another.
func TestMistaken(t *testing.T) {
	inTime(t, func(t *testing.T) {
		w, v := world(), fakevendor.Of(world())
		f := fetcher(t, v)
		milan := w.AMD.Milan
		one, lower := milan.Chip("one"), milan.TCB
		lower.SNP--
		high, low := snp.TCBVersion{4, 0, 0, 0, 0, 0, 24, 219}, snp.TCBVersion{4, 0, 0, 0, 0, 0, 23, 219}
		v.Set(v.AddChip(one, milan.TCB), fakevendor.Document{Body: milan.Chip("two").Endorsement(milan.TCB)})
		v.Set(v.AddChip(one, lower), fakevendor.Document{Body: one.Endorsement(milan.TCB)})
		v.Set("/vcek/v1/Milan/crl", fakevendor.Document{Body: w.AMD.Genoa.CRL()})
		machine := w.Intel.Machine("other")
		machine.FMSPC = [6]byte{1, 2, 3, 4, 5, 6}
		v.SetTCBInfo(machine, "SGX", w.Machine().TCBInfo("SGX"))
		v.SetTCBInfo(machine, "TDX", machine.TCBInfo("SGX"))
		signers := map[string]string{"SGX-Enclave-Identity-Issuer-Chain": string(attesttest.PEM(w.Intel.TCBSigning(), w.Intel.Root()))}
		v.Set("/sgx/certification/v4/qe/identity", fakevendor.Document{Body: w.Intel.QEIdentity("TD_QE"), Header: signers})
		v.Set("/IntelSGXRootCA.der", fakevendor.Document{Body: w.Intel.PCKCRL(attesttest.PlatformCA)})
		for _, i := range []collateral.Item{
			collateral.VCEK("Milan", one.ID, high), collateral.VCEK("Milan", one.ID, low), collateral.AMDCRL("Milan", false),
			collateral.TCBInfo(machine.FMSPC, false), collateral.TCBInfo(machine.FMSPC, true), collateral.QEIdentity(false), collateral.RootCRL(),
		} {
			time.Sleep(time.Minute) // what one answer was does not count against the next
			if d, err := f.Get(t.Context(), i); d != nil || err == nil || !strings.Contains(err.Error(), "the answer is not that document") {
				t.Errorf("%v: %v, %v", i, d, err)
			}
		}
	})
}

// TestClosed: a Fetcher that is closed answers, and asks nobody.
func TestClosed(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.Of(world())
		f := fetcher(t, v)
		if _, err := f.Get(t.Context(), collateral.RootCRL()); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if _, err := f.Get(t.Context(), collateral.RootCRL()); err != nil {
			t.Errorf("what is known: %v", err)
		}
		if _, err := f.Get(t.Context(), collateral.QEIdentity(true)); !errors.Is(err, context.Canceled) || v.Asked("/tdx") != 0 {
			t.Errorf("%v, %v", err, v.Paths())
		}
	})
}

// BenchmarkFor asks for what is known: what a Steward pays per request.
func BenchmarkFor(b *testing.B) {
	w := attesttest.New("collateral", time.Now())
	w.RSABits = 1024
	for name, ev := range map[string]*attest.Evidence{
		"SNP": report(w.AMD.Milan), "SGX": {Technology: attest.SGX, Report: w.Machine().QuoteSGX()},
	} {
		f, err := collateral.New(collateral.Config{Transport: fakevendor.Of(w), Roots: w.Roots(), Memo: pki.NewMemo(1 << 20)})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.For(b.Context(), ev); err != nil {
					b.Fatal(err)
				}
			}
		})
		f.Close()
	}
}

// TestReasons: a stranger learns why, and nothing of our network.
func TestReasons(t *testing.T) {
	for want, fault := range map[string]fakevendor.Fault{
		"the vendor has no such document":                                {Status: 404},
		"the service answered 503 Service Unavailable":                   {Status: 503},
		"the answer is not that document: x509: malformed tbs crl":       {Garbage: true},
		"the vendor's service could not be reached":                      {Drop: true},
		"the vendor's service did not answer in time":                    {Delay: time.Hour},
		"the service answered 429 Too Many Requests, wait 2m0s":          {Status: 429, RetryAfter: "120"},
		"the vendor's service is left alone for a while after it failed": {Status: 500},
	} {
		inTime(t, func(t *testing.T) {
			v := fakevendor.Of(world())
			v.Fail("/", fault)
			f := fetcher(t, v)
			_, err := f.Get(t.Context(), collateral.RootCRL())
			if strings.Contains(want, "left alone") {
				_, err = f.Get(t.Context(), collateral.RootCRL())
			}
			all := collateral.Failures(fmt.Errorf("while appraising: %w", errors.Join(err, errors.New("something else"))))
			if len(all) != 1 || !strings.HasPrefix(all[0].Reason(), strings.TrimSuffix(want, "x509: malformed tbs crl")) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
	if all := collateral.Failures(nil); all != nil {
		t.Errorf("%v", all)
	}
}

// TestPCK: a platform's certificate, and what passes for one.
func TestPCK(t *testing.T) {
	inTime(t, func(t *testing.T) {
		w, v := world(), fakevendor.Of(world())
		f := fetcher(t, v)
		v.SetPCK(w.Machine(), "aa", "bb", "cc", "dd")
		d, err := f.Get(t.Context(), collateral.PCK("aa", "bb", "cc", "dd"))
		if err != nil || len(d.Collateral.Certificates) != 3 || string(d.Collateral.Certificates[0].Raw) != string(w.Machine().Certificate()) {
			t.Errorf("%v, %v", d, err)
		}
		v.SetPCK(another().Machine(), "00", "bb", "cc", "dd")
		if d, err := f.Get(t.Context(), collateral.PCK("00", "bb", "cc", "dd")); err == nil || d != nil {
			t.Errorf("another Intel's: %v, %v", d, err)
		}
	})
}

func TestRegister(t *testing.T) {
	inTime(t, func(t *testing.T) {
		v := fakevendor.New()
		f := fetcher(t, v)
		if ppid, err := f.Register(t.Context(), []byte("manifest")); err != nil || ppid != "0123456789abcdef" {
			t.Errorf("%q, %v", ppid, err)
		}
		for want, fault := range map[string]fakevendor.Fault{
			"400 Bad Request": {Status: 400}, "reset by peer": {Drop: true}, "deadline exceeded": {Delay: time.Hour},
		} {
			v.Fail("/sgx/registration", fault)
			if _, err := f.Register(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) || len(collateral.Failures(err)) != 1 {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}
