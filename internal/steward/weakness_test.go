// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/steward/authority"
)

// The weaknesses of upstream's Steward, spec/steward.md section 6, one test
// each. W16 is with the CA in authority, parts of W15 with the sockets in serve
// and with the command.

type (
	request = attesttest.Request
	edit    = func(*attesttest.Request)
)

// TestW1: a CA that signed itself changes nothing; without hardware there is a
// certificate only where that was asked for, and it says so.
func TestW1(t *testing.T) {
	strict := newRig(t, withCollateral)
	if c := strict.ca.Certificate; !bytes.Equal(c.RawIssuer, c.RawSubject) {
		t.Fatal("the CA of the test is not self-signed")
	}
	strict.wantCode("no hardware", csr("none"), "none.accepted")
	strict.wantCode("debug guest", csr("snp-v2", debuggable), "snp.policy.debug")
	strict.wantCode("another's evidence", csr("snp-v2", func(r *request) { r.Key = world().Key("another", r.Key.Public().(ecPublic).Curve) }, rebind), "binding.key")

	loose := newRig(t, insecurely)
	leaf := loose.issued(csr("none"))
	marker := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(attest.OIDNone) })
	if marker != 0 || len(leaf.Extensions[0].Value) != 0 || leaf.Subject.OrganizationalUnit[0] != "INSECURE: no hardware" {
		t.Errorf("the certificate hides what it is: %v", leaf.Subject)
	}
	if status := earOf(t, leaf.Extensions).Status; status == "affirming" {
		t.Errorf("its result says %s", status)
	}
	if count(t, loose.log, `"level":"WARN","msg":"issued without any hardware vouching for the key"`) != 1 {
		t.Errorf("the log is not loud: %s", loose.log)
	}
	loose.wantCode("debug guest at an insecure Steward", csr("snp-v2", debuggable), "snp.policy.debug")
}

// rebind leaves the evidence bound to the default key.
func rebind(r *request) {
	key := world().NewRequest(r.Shape).Key.Public()
	r.Report = func(rep *attesttest.Report) { rep.ReportData = attesttest.BindSNP(key) }
}

// with returns a Steward whose own collateral is that of the world with the
// pieces of that kind replaced.
func with(change func(c *attest.Collateral)) func(*Config) {
	c := *collateral()
	change(&c)
	return func(cfg *Config) {
		cfg.Collateral = func(context.Context, *attest.Evidence, *check.Group) *attest.Collateral { return &c }
	}
}

// TestW2: the quoting enclave has to be Intel's.
func TestW2(t *testing.T) {
	r := newRig(t, with(func(c *attest.Collateral) { c.QEIdentities = nil }))
	r.wantCode("no identity", csr("sgx-v3"), "sgx.qe-identity")
	r = newRig(t, withCollateral)
	r.wantCode("another QE", csr("sgx-v3", func(r *request) {
		r.SGX = func(q *attesttest.SGXQuote) { q.QE.MRSigner[0] ^= 1 }
	}), "sgx.qe.mrsigner")
	r.wantCode("a debug QE", csr("sgx-v3", func(r *request) {
		r.SGX = func(q *attesttest.SGXQuote) { q.QE.Attributes |= attesttest.AttributeDebug }
	}), "sgx.qe.attributes")
	r.wantCode("an old QE", csr("sgx-v3", func(r *request) {
		r.SGX = func(q *attesttest.SGXQuote) { q.QE.ISVSVN = 0 }
	}), "sgx.qe.isvsvn")
}

// outdated is a quote of a machine whose firmware is out of date.
func outdated(r *request) {
	old := *world().Machine()
	old.SVN[0]--
	r.Machine = &old
	r.Evidence = func(e *attesttest.Evidence) { e.TCBInfo.JSON = world().Machine().TCBInfo("SGX") }
}

// TestW3: tolerating advisories does not switch the TCB status off.
func TestW3(t *testing.T) {
	text := "[sgx]\nallowed_advisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\", \"INTEL-SA-99999\"]\n"
	r := newRig(t, withCollateral, policy(t, text))
	r.wantCode("out of date", csr("sgx-v3", outdated), "sgx.tcb.status")
	r = newRig(t, withCollateral, policy(t, "[sgx]\nallowed_tcb_statuses = [\"UpToDate\", \"OutOfDate\"]\n"))
	if c := r.issued(csr("sgx-v3", outdated)); !strings.Contains(string(earBytes(t, c.Extensions)), "OutOfDate") {
		t.Error("the certificate does not say what was tolerated")
	}
}

// TestW4: a VCEK is for one chip at one TCB, and a policy can ask for a least
// TCB and for certain chips.
func TestW4(t *testing.T) {
	other := world().AMD.Milan.Chip("other")
	r := newRig(t, withCollateral)
	r.wantCode("chip", csr("snp-v2", func(r *request) {
		r.Report = func(rep *attesttest.Report) { rep.ChipID = other.ID }
	}), "snp.vcek.chip_id")
	r.wantCode("TCB", csr("snp-v2", func(r *request) {
		chip := r.Chip
		r.Evidence = func(e *attesttest.Evidence) {
			tcb := chip.TCB
			tcb.Microcode--
			e.Report = chip.SignReport(func(rep *attesttest.Report) {
				rep.ReportData, rep.Key = attesttest.BindSNP(r.Key.Public()), chip.Key(chip.TCB)
				rep.ReportedTCB = tcb
			})
		}
	}), "snp.vcek.tcb.microcode")
	least := world().Chip().TCB
	minimum := newRig(t, withCollateral, policy(t, "[snp.minimum_tcb]\nmicrocode = "+itoa(int(least.Microcode)+1)+"\n"))
	minimum.wantCode("minimum", csr("snp-v2"), "snp.reported_tcb")
	chips := newRig(t, withCollateral, policy(t, "[snp]\nchip_ids = [\""+check.Hex(other.ID[:]).String()+"\"]\n"))
	chips.wantCode("allow-list", csr("snp-v2"), "snp.chip_id")
}

// TestW5: the silicon of today, and the revoked key of Genoa.
func TestW5(t *testing.T) {
	w := world()
	r := newRig(t, withCollateral)
	for name, chip := range map[string]*attesttest.Chip{"Milan": w.AMD.Milan.Chip("a"), "Genoa": w.AMD.Genoa.Chip("a"), "Turin": w.AMD.Turin.Chip("a")} {
		der := csr("snp-v2", func(r *request) { r.Chip = chip })
		if resp := r.post(der, "Accept", typeProblem); resp.StatusCode != 200 {
			t.Errorf("%s: %s", name, resp.body)
		}
	}
	lent := csr("snp-v2", func(r *request) { r.Chip = w.Chip().Lent("csp") })
	r.wantCode("VLEK", lent, "snp.vlek.allowed")
	vlek := newRig(t, withCollateral, policy(t, "[snp]\nallow_vlek = true\n"))
	vlek.issued(lent)

	// Upstream's Genoa ASK is revoked by AMD's own list.
	root := need.Vectors(t)
	for _, c := range recognise(t, root, []string{"genoa.pkipath"}).Certificates {
		if c.SerialNumber.Cmp(big.NewInt(0x20001)) != 0 {
			continue
		}
		for _, crl := range recognise(t, root, []string{"extracted/milan-crl.crl-amd-genoa.der"}).CRLs {
			if _, revoked := crl.Revoked(c.SerialNumber); !revoked {
				t.Error("the ASK is not revoked by the list: the vector is not what it should be")
			}
		}
	}
	revoked := newRig(t, with(func(c *attest.Collateral) {
		c.CRLs = append(slices.Clone(c.CRLs), mustCRL(t, w.AMD.Milan.CRL(func(crl *attesttest.CRL) {
			crl.ThisUpdate = now
			crl.Revoked = append(crl.Revoked, attesttest.Revoked{Serial: serialOf(t, w.AMD.Milan.ASK()), Since: now})
		})))
	}))
	revoked.wantCode("revoked ASK", csr("snp-v2"), "snp.ask.revoked")
}

// TestW6: revocation lists are found by who signed them, one of each issuer is
// needed, and both of its dates count.
func TestW6(t *testing.T) {
	w := world()
	crls := func(list ...[]byte) func(*Config) {
		return with(func(c *attest.Collateral) {
			c.CRLs = nil
			for _, der := range list {
				c.CRLs = append(c.CRLs, mustCRL(t, der))
			}
		})
	}
	// The list in the request is gone, or named wrongly.
	without := csr("snp-v2", func(r *request) { r.Evidence = func(e *attesttest.Evidence) { e.CRLs = nil } })
	renamed := csr("snp-v2", func(r *request) {
		r.Evidence = func(e *attesttest.Evidence) { e.CRLs[0].URL = "https://example.com/" }
	})
	newRig(t, crls()).wantCode("no list", without, "snp.ark.crl")
	newRig(t, crls()).issued(renamed)
	newRig(t, crls(w.AMD.Milan.CRL())).issued(without)
	newRig(t, crls(w.AMD.Genoa.CRL())).wantCode("another's list", without, "snp.ark.crl")
	stale := w.AMD.Milan.CRL(func(c *attesttest.CRL) { c.NextUpdate = now.Add(-time.Second) })
	newRig(t, crls(stale)).wantCode("stale", without, "snp.ark.crl")
	early := w.AMD.Milan.CRL(func(c *attesttest.CRL) { c.ThisUpdate = now.Add(time.Second) })
	newRig(t, crls(early)).wantCode("of tomorrow", without, "snp.ark.crl")

	// A leaf is revoked by its CA's list whatever the URL in it is.
	pck := w.Intel.PCKCRL(attesttest.PlatformCA, func(c *attesttest.CRL) {
		c.ThisUpdate = now
		c.Revoked = append(c.Revoked, attesttest.Revoked{Serial: serialOf(t, w.Machine().Certificate()), Since: now})
	})
	newRig(t, crls(pck)).wantCode("revoked PCK", csr("sgx-v3"), "sgx.pck.revoked")
	onlyRoot := csr("sgx-v3", func(r *request) {
		r.Evidence = func(e *attesttest.Evidence) { e.CRLs = e.CRLs[:1] }
	})
	newRig(t, crls()).wantCode("one list is missing", onlyRoot, "sgx.pck-ca.crl")
}

// TestW7: every certificate of a path is of this time.
func TestW7(t *testing.T) {
	r := newRig(t, withCollateral)
	expired := func(c *attesttest.Certificate) { c.NotAfter = now.Add(-time.Second) }
	r.wantCode("VCEK", csr("snp-v2", func(r *request) {
		chip := r.Chip
		r.Evidence = func(e *attesttest.Evidence) { e.Endorsement = chip.Endorsement(chip.TCB, expired) }
	}), "snp.vcek.validity")
	signing := world().Intel.TCBSigning(expired)
	r = newRig(t, with(func(c *attest.Collateral) { c.Certificates, c.TCBInfos = nil, nil }))
	r.wantCode("TCB signing", csr("sgx-v3", func(r *request) {
		r.Evidence = func(e *attesttest.Evidence) { e.TCBInfo.Chain[0] = signing }
	}), "sgx.tcb-signing.validity")
}

// TestW8: debugging is refused unless asked for.
func TestW8(t *testing.T) {
	sgx := csr("sgx-v3", func(r *request) {
		r.SGX = func(q *attesttest.SGXQuote) { q.Body.Attributes |= attesttest.AttributeDebug }
	})
	tdx := csr("tdx-v1", func(r *request) {
		r.TDX = func(q *attesttest.TDXQuote) { q.TDAttributes |= attesttest.TDDebug }
	})
	r := newRig(t, withCollateral)
	r.wantCode("SGX", sgx, "sgx.attributes.debug")
	r.wantCode("TDX", tdx, "tdx.attributes.debug")
	// A policy that says nothing of features is upstream's way of letting it in.
	r = newRig(t, withCollateral, policy(t, "[sgx]\nsigner = []\nhash_blacklist = []\n"))
	r.wantCode("SGX with a policy", sgx, "sgx.attributes.debug")
}

// TestW9: what a policy says, counts, and what it does not know, is an error.
func TestW9(t *testing.T) {
	for text, want := range map[string]string{
		"[snp]\nfeatures = []\n":                        "features",
		"[snp]\nplatform_info_flags = [\"NONSENSE\"]\n": "NONSENSE",
		"[sgxx]\n":                    "sgxx",
		"[snp]\nhash = [\"\"]\n":      "hash",
		"[sgx]\nid_key_digest = []\n": "id_key_digest",
		"[snp]\nhash = [\"" + strings.Repeat("0", 94) + "\"]\n": "hash",
	} {
		_, err := attest.ParsePolicy("policy.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "policy.toml:") {
			t.Errorf("%q: %v", text, err)
		}
	}
	r := newRig(t, withCollateral, policy(t, "[snp]\npolicy_flags = []\n"))
	r.wantCode("SMT is not among the flags", csr("snp-v2", func(r *request) {
		r.Report = func(rep *attesttest.Report) { rep.Policy |= attesttest.PolicySMT }
	}), "snp.policy.smt")
	// More bits than those that were asked for are no reason to refuse.
	r = newRig(t, withCollateral, policy(t, "[snp]\nplatform_info_flags = \"TSME\"\n"))
	r.issued(csr("snp-v2", func(r *request) { r.Report = func(rep *attesttest.Report) { rep.PlatformInfo |= 0x27 } }))
	r.wantCode("TSME is off", csr("snp-v2", func(r *request) { r.Report = func(rep *attesttest.Report) { rep.PlatformInfo = 1 } }), "snp.platform_info")
}

// TestW10: evidence can answer a challenge, and a Steward can insist on it, so
// that what was recorded is of no use a while later.
func TestW10(t *testing.T) {
	at := now
	clock := func(cfg *Config) { cfg.Now = func() time.Time { return at } }
	required := func(cfg *Config) { cfg.Challenges.Required = true }
	r := newRig(t, withCollateral, clock)
	strict := newRig(t, withCollateral, clock, required)
	for _, shape := range []string{"snp-v2", "sgx-v3", "tdx-v1"} {
		r.issued(csr(shape)) // as upstream's clients, who know of no challenge
		strict.wantCode(shape+" without", csr(shape), "binding.challenge")
		answer := csr(shape, answering(challengeOf(t, strict)))
		strict.issued(answer)
		r.wantCode(shape+" with another Steward's", answer, "binding.tail")
		at = now.Add(5*time.Minute + time.Second)
		strict.wantCode(shape+" recorded", answer, "binding.challenge")
		at = now
		early := csr(shape, answering(strict.server.cfg.Challenges.at(uint32(now.Unix())+1)))
		strict.wantCode(shape+" of tomorrow", early, "binding.challenge")
	}
	// Replicas that share a key take each other's.
	shared := func(cfg *Config) { cfg.Challenges.Key = []byte("0123456789abcdef0123456789abcdef") }
	a, b := newRig(t, withCollateral, clock, required, shared), newRig(t, withCollateral, clock, required, shared)
	b.issued(csr("snp-v2", answering(challengeOf(t, a))))
	if !bytes.Contains(a.send("GET", wellKnown, nil).body, []byte(`"challenge_required": true`)) {
		t.Error("the description does not say that a challenge is needed")
	}
}

// answering puts the challenge after the key's hash.
func answering(challenge []byte) edit {
	return func(r *request) {
		r.Report = func(rep *attesttest.Report) { copy(rep.ReportData[48:], challenge) }
		r.SGX = func(q *attesttest.SGXQuote) { copy(q.Body.ReportData[32:], challenge) }
		r.TDX = func(q *attesttest.TDXQuote) { copy(q.ReportData[48:], challenge) }
	}
}

func challengeOf(t *testing.T, r *rig) []byte {
	t.Helper()
	resp := r.send("GET", challengePath, nil)
	var c struct{ Challenge []byte }
	if err := json.Unmarshal(resp.body, &c); err != nil || len(c.Challenge) != challengeSize || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%v in %s", err, resp.body)
	}
	return c.Challenge
}

// TestW11: the reason is there for whoever asks, at upstream's status numbers.
func TestW11(t *testing.T) {
	r := newRig(t, withCollateral)
	bad := csr("snp-v2", debuggable)
	silent, told := r.post(bad), r.post(bad, "Accept", typeProblem)
	if silent.StatusCode != told.StatusCode || len(silent.body) != 0 || !bytes.Contains(told.body, []byte(`"code": "snp.policy.debug"`)) {
		t.Errorf("%s %q, %s %s", silent.Status, silent.body, told.Status, told.body)
	}
	// Nothing of ours is in it: no key, no path, no Go value.
	for _, leak := range []string{"PRIVATE", "/root", "0xc0", "goroutine"} {
		if bytes.Contains(told.body, []byte(leak)) {
			t.Errorf("it says %q: %s", leak, told.body)
		}
	}
}

// TestW12: a certificate says what was attested, and nothing that nobody checked.
func TestW12(t *testing.T) {
	digest := [32]byte{1, 2, 3}
	named := func(r *request) {
		r.Subject = attesttest.CommonName("bank.example")
		r.URIs = []string{attesttest.WorkloadURI(digest), "enarx:host/user/repo:1.0.0"}
	}
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Profile.DNSNames = []string{"svc.example"} })
	leaf := r.issued(csr("snp-v2", named))
	if leaf.Subject.CommonName != "" || len(leaf.URIs) != 2 || leaf.URIs[0].String() != attesttest.WorkloadURI(digest) || !slices.Equal(leaf.DNSNames, []string{"svc.example"}) {
		t.Errorf("%v, %v, %v", leaf.Subject, leaf.URIs, leaf.DNSNames)
	}
	ear := string(earBytes(t, leaf.Extensions))
	for _, want := range []string{`"tee":"snp"`, `"measurement":"` + measurement(t), `"debug":false`} {
		if !strings.Contains(ear, want) {
			t.Errorf("the result lacks %s: %s", want, ear)
		}
	}
	r.wantCode("another workload than was launched", csr("snp-v2", named, func(r *request) {
		r.Report = func(rep *attesttest.Report) { rep.HostData[0] ^= 1 }
	}), "binding.workload")
	r.wantCode("a name that nobody checks", csr("snp-v2", func(r *request) { r.URIs = []string{"spiffe://bank.example/x"} }), "csr.san")

	compat := newRig(t, withCollateral, func(cfg *Config) { cfg.Profile = Profile{CopySubject: true, CompatSAN: true} })
	leaf = compat.issued(csr("snp-v2", named))
	if leaf.Subject.CommonName != "bank.example" || !slices.Equal(leaf.DNSNames, []string{upstreamName}) {
		t.Errorf("%v, %v", leaf.Subject, leaf.DNSNames)
	}
}

// TestW13: the life of a certificate is the policy's, and ends with the CA's.
func TestW13(t *testing.T) {
	life := func(r *rig) time.Duration {
		c := r.issued(csr("snp-v2"))
		return c.NotAfter.Sub(c.NotBefore)
	}
	if got := life(newRig(t, withCollateral)); got != 24*time.Hour {
		t.Errorf("default: %v", got)
	}
	if got := life(newRig(t, withCollateral, policy(t, "[certificate]\nlife = \"90m\"\n"))); got != 90*time.Minute {
		t.Errorf("policy: %v", got)
	}
	ends := now.Add(7 * time.Hour)
	ca, err := authority.Generate("x", p256, now.Add(-time.Hour), ends.Sub(now.Add(-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.CA = live.Fixed(ca) })
	if got := life(r); got != 7*time.Hour {
		t.Errorf("before the end of the CA: %v", got)
	}
	// At the CA's end there is nothing to issue.
	r = newRig(t, withCollateral, func(cfg *Config) { cfg.CA, cfg.Now = live.Fixed(ca), func() time.Time { return ends } })
	if resp := r.post(csr("snp-v2")); resp.StatusCode != 500 || r.server.Ready() == nil {
		t.Errorf("after the end of the CA: %s", resp.Status)
	}
}

// TestW14: what made upstream panic is refused, and the server goes on.
func TestW14(t *testing.T) {
	r := newRig(t, withCollateral)
	inEvidence := func(change func(*attesttest.Evidence)) []byte {
		return csr("sgx-v3", func(r *request) { r.Evidence = change })
	}
	fewer := world().Machine().TCBInfo("SGX", func(i *attesttest.TCBInfo) {
		for n := range i.Levels {
			i.Levels[n].TCB.SGX = i.Levels[n].TCB.SGX[:15]
		}
	})
	for name, der := range map[string][]byte{
		"short TCB info": inEvidence(func(e *attesttest.Evidence) { e.TCBInfo.JSON = []byte(`{"tcbInfo":{}}`) }),
		"empty TCB info": inEvidence(func(e *attesttest.Evidence) { e.TCBInfo.JSON = nil }),
		"not UTF-8": inEvidence(func(e *attesttest.Evidence) {
			e.TCBInfo.JSON = bytes.Replace(e.TCBInfo.JSON, []byte("SGX"), []byte("S\xffX"), 1)
		}),
		"fewer components":  inEvidence(func(e *attesttest.Evidence) { e.TCBInfo.JSON = fewer }),
		"no signing chain":  inEvidence(func(e *attesttest.Evidence) { e.TCBInfo.Chain = nil }),
		"no chain in quote": csr("sgx-v3", func(r *request) { r.SGX = func(q *attesttest.SGXQuote) { q.Chain = nil } }),
		"empty quote":       inEvidence(func(e *attesttest.Evidence) { e.Report = nil }),
		"empty chain points": csr("sgx-v3", func(r *request) {
			m := *r.Machine
			point := m.Certificate(func(c *attesttest.Certificate) {
				c.Set(pkix.Extension{Id: attesttest.OIDCRLPoints, Value: []byte{0x30, 0}})
			})
			r.SGX = func(q *attesttest.SGXQuote) {
				q.Chain = attesttest.PEM(append([][]byte{point}, m.Chain()[1:]...)...)
			}
		}),
		"platform byte": csr("snp-v2", func(r *request) { r.Report = func(rep *attesttest.Report) { rep.PlatformInfo = 0xff } }),
	} {
		if resp := r.post(der, "Accept", typeProblem); resp.StatusCode == 500 {
			t.Errorf("%s: %s", name, resp.body)
		}
	}
	if strings.Contains(r.log.String(), "panic") {
		t.Errorf("%s", r.log)
	}
	r.issued(csr("snp-v2"))
	// And if there is a bug after all, it is an answer and a log entry.
	broken := newRig(t, func(cfg *Config) {
		cfg.Collateral = func(context.Context, *attest.Evidence, *check.Group) *attest.Collateral { panic("a bug") }
	})
	if resp := broken.post(csr("snp-v2")); resp.StatusCode != 500 || !strings.Contains(broken.log.String(), "a bug") {
		t.Errorf("%s", resp.Status)
	}
	if broken.server.requests.Load() != 0 || broken.server.held.Load() != 0 || len(broken.server.verifying) != 0 {
		t.Error("the bug kept what the request had taken")
	}
}

// TestW15: metrics, and logs without what clients send in confidence. TLS and
// limits have tests of their own.
func TestW15(t *testing.T) {
	r := newRig(t, withCollateral)
	r.post(csr("snp-v2"), "Authorization", "Bearer sesame", "Cookie", "sesame", "User-Agent", "sesame")
	r.post(csr("snp-v2", debuggable))
	r.send("GET", "/?token=sesame", nil)
	if strings.Contains(r.log.String(), "sesame") {
		t.Errorf("the log repeats headers or queries: %s", r.log)
	}
	text := metricsOf(t, r)
	for _, want := range []string{
		`enarx_steward_requests_total{status="200",verdict="accepted"} 1`,
		`enarx_steward_requests_total{status="400",verdict="snp.policy.debug"} 1`,
		`enarx_steward_certificates_issued_total{technology="snp"} 1`,
		`enarx_steward_request_seconds_count 2`,
		`enarx_steward_requests_in_flight 0`,
		`enarx_steward_collateral_age_seconds{kind="crl"} 172800`,
		`enarx_steward_ready 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// TestW17: a bundle is bounded, and an extension is there once.
func TestW17(t *testing.T) {
	r := newRig(t, withCollateral, func(cfg *Config) { cfg.Limits.Bundle = 3 })
	one := csr("snp-v2")
	if resp := r.bundle([][]byte{one, one, one}); resp.StatusCode != 200 {
		t.Errorf("three: %s", resp.Status)
	}
	if resp := r.bundle([][]byte{one, one, one, one}, "Accept", typeProblem); resp.StatusCode != 400 || !bytes.Contains(resp.body, []byte("bundle.encoding")) {
		t.Errorf("four: %s %s", resp.Status, resp.body)
	}
	r.wantCode("evidence twice", csr("snp-v2", func(r *request) {
		r.Extensions = func(l []pkix.Extension) []pkix.Extension { return append(l, l[0]) }
	}), "csr.evidence.duplicate")
	r.wantCode("of two kinds", csr("snp-v2", func(r *request) {
		r.Extensions = func(l []pkix.Extension) []pkix.Extension {
			return append(l, pkix.Extension{Id: attesttest.OIDEvidenceNone})
		}
	}), "csr.evidence.duplicate")
}

// TestW18: what a request lacks comes from the Steward, and what the Steward
// could not get is said.
func TestW18(t *testing.T) {
	old := csr("sgx-v1") // a quote and nothing else
	newRig(t).wantCode("nobody has anything", old, "sgx.pck-ca.crl")
	newRig(t, withCollateral).issued(old)
	r := newRig(t, func(cfg *Config) {
		cfg.Collateral = func(_ context.Context, ev *attest.Evidence, notes *check.Group) *attest.Collateral {
			if ev.Technology != attest.SGX {
				t.Errorf("asked for the collateral of %s", ev.Technology)
			}
			notes.Note(check.Check{Code: "collateral.crl", What: "Intel did not answer"})
			return nil
		}
	})
	p := r.wantCode("Intel is away", old, "sgx.pck-ca.crl")
	if !bytes.Contains(p.Checks, []byte("Intel did not answer")) {
		t.Errorf("%s", p.Checks)
	}
}

func mustCRL(t *testing.T, der []byte) *pki.CRL {
	t.Helper()
	crl, err := pki.ParseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	return crl
}

// ear is what a test looks at in a result.
type ear struct {
	Status string `json:"ear_status"`
}

// earBytes returns the result in a certificate.
func earBytes(t *testing.T, extensions []pkix.Extension) []byte {
	t.Helper()
	for _, e := range extensions {
		if !e.Id.Equal(attest.OIDCMW) {
			continue
		}
		kind, value, err := attest.ParseCMW(e)
		if err != nil || kind != attest.EARType {
			t.Fatalf("%q, %v", kind, err)
		}
		return value
	}
	t.Fatal("there is no result in the certificate")
	return nil
}

func earOf(t *testing.T, extensions []pkix.Extension) (e ear) {
	t.Helper()
	if err := json.Unmarshal(earBytes(t, extensions), &e); err != nil {
		t.Fatal(err)
	}
	return e
}
