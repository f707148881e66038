// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/hex"
	"fmt"
)

// policies are rules that are not about one technology, and rules that a policy
// can switch off.
func (g *generator) policies() {
	milan, genoa := g.w.AMD.Milan.Chip("conformance"), g.w.AMD.Genoa.Chip("conformance")
	g.accept(g.snpCase("policy", milan))
	under := func(name, change, text string) {
		g.still(name, change, func(m *Mutant) { m.Policy = text })
	}
	refused := func(name, change, code, text string) {
		g.refuse(name, change, code, func(m *Mutant) { m.Policy = text })
	}
	under("technologies", "the policy accepts SNP", `technologies = ["snp", "tdx"]`)
	refused("technologies/other", "the policy accepts SGX only", "policy.technology", `technologies = ["sgx"]`)
	measurement := milan.NewReport().Measurement
	program := func(expected string, digest []byte) string {
		return fmt.Sprintf("expected = [%q]\n[measurements.keep]\nsnp = [\"%s\"]\n[measurements.other]\nsnp = [\"%096x\"]\n", expected, hex.EncodeToString(digest), 7)
	}
	under("expected", "the policy expects this program", program("keep", measurement[:]))
	refused("expected/other", "the policy expects another program", "policy.expected", program("other", measurement[:]))
	refused("broken/milan", "the policy refuses silicon that is known to be broken", "advisory.milan-seed", "refuse_known_broken = true\n")

	g.accept(g.snpCase("policy-snp", genoa))
	broken := "refuse_known_broken = true\n"
	under("broken", "the policy refuses silicon that is known to be broken, which this is not", broken)
	g.refuse("broken/alias_check", "memory was not checked for aliases, and the policy refuses what is known to be broken", "advisory.amd-sb-3015", func(m *Mutant) {
		m.Policy, m.Input = broken, g.signWith(genoa, func(r *Report) { r.PlatformInfo &^= 1 << 5 })
	})
	for _, p := range []struct {
		name, line string
		edit       func(*Report)
	}{
		{"debug", "allow_debug = true", func(r *Report) { r.Policy |= PolicyDebug }},
		{"debug_flag", `policy_flags = ["Debug", "SMT"]`, func(r *Report) { r.Policy |= PolicyDebug }},
		{"migration", "allow_migration = true", func(r *Report) { r.Policy |= PolicyMigrationAgent }},
		{"vmpl", "vmpl = [0, 3]", func(r *Report) { r.VMPL = 3 }},
		{"minimum_tcb", "minimum_tcb = { genoa = { snp = 23 }, milan = { snp = 99 } }", func(*Report) {}},
	} {
		g.still("allow_"+p.name, "the policy allows it", func(m *Mutant) { m.Policy, m.Input = policy("snp", p.line), g.signWith(genoa, p.edit) })
	}
	g.refuse("minimum_tcb/other", "less than the policy wants of this product line", "snp.reported_tcb", func(m *Mutant) {
		m.Policy = policy("snp", "minimum_tcb = { genoa = { snp = 24 } }")
		m.Input = g.signWith(genoa, func(r *Report) { r.CurrentTCB.SNP, r.CommittedTCB.SNP, r.LaunchTCB.SNP = 24, 24, 24 })
	})
	g.intelPolicies()
}

// intelPolicies are the same for SGX and TDX.
func (g *generator) intelPolicies() {
	m := g.w.Machine()
	sgx := &quotes{generator: g, prefix: "sgx", info: "SGX", qe: "QE", m: m}
	sgx.quote = func(m *Machine, edit func(*Quote)) []byte {
		return m.QuoteSGX(func(x *SGXQuote) { x.Body.ReportData = bound(); edit(&x.Quote) })
	}
	sgx.acceptQuote("policy-sgx")
	sgx.relaxed()
	debug := m.QuoteSGX(func(x *SGXQuote) { x.Body.ReportData = bound(); x.Body.Attributes |= AttributeDebug })
	g.still("allow_debug", "an enclave under debug, and the policy allows it", func(c *Mutant) { c.Input, c.Policy = debug, policy("sgx", "allow_debug = true") })
	g.still("allow_debug_feature", "an enclave under debug, and the policy allows it", func(c *Mutant) {
		c.Input, c.Policy = debug, policy("sgx", `features = ["Debug", "KSS"]`)
	})

	tdx := &quotes{generator: g, prefix: "tdx", info: "TDX", qe: "TD_QE", m: m}
	tdx.quote = func(m *Machine, edit func(*Quote)) []byte {
		return m.QuoteTDX(4, func(x *TDXQuote) { x.ReportData = bound(); edit(&x.Quote) })
	}
	tdx.acceptQuote("policy-tdx")
	tdx.relaxed()
	for _, a := range []struct {
		name string
		bit  uint64
	}{{"debug", TDDebug}, {"migration", TDMigratable}} {
		g.still("allow_"+a.name, "a TD that the policy allows", func(c *Mutant) {
			c.Policy = policy("tdx", "allow_"+a.name+" = true")
			c.Input = m.QuoteTDX(4, func(x *TDXQuote) { x.ReportData = bound(); x.TDAttributes |= a.bit })
		})
	}
}

// relaxed are policies that do without collateral.
func (q *quotes) relaxed() {
	for _, r := range []struct{ name, key, file string }{
		{"tcb_info", "require_tcb_info", "tcb-info.json"}, {"qe_identity", "require_qe_identity", "qe-identity.json"},
		{"root_crl", "require_crl", "root.crl"}, {"pck-ca_crl", "require_crl", "pck-ca.crl"},
	} {
		q.still("without_"+r.name, "collateral that is not there, and the policy does not ask for it", func(m *Mutant) {
			m.drop(r.file)
			m.Policy = policy("collateral", r.key+" = false")
		})
	}
	for _, e := range []struct {
		name, change, code string
		edit               func(*EnclaveReport)
	}{
		{"mrsigner", "anybody's enclave as quoting enclave", ".qe.mrsigner", func(r *EnclaveReport) { r.MRSigner[31] ^= 1 }},
		{"isvprodid", "another enclave of Intel's as quoting enclave", ".qe.isvprodid", func(r *EnclaveReport) { r.ISVProdID = 3 }},
		{"attributes", "a quoting enclave that the host may debug", ".qe.attributes", func(r *EnclaveReport) { r.Attributes |= AttributeDebug }},
		{"miscselect", "a quoting enclave of another MISCSELECT", ".qe.miscselect", func(r *EnclaveReport) { r.MiscSelect = 1 }},
	} {
		q.refuse("without_qe_identity/"+e.name, e.change+", and the policy does not ask for Intel's identity of it", q.code(e.code), func(m *Mutant) {
			m.drop("qe-identity.json")
			m.Policy = policy("collateral", "require_qe_identity = false")
			m.Input = q.quote(q.m, func(x *Quote) { e.edit(&x.QE) })
		})
	}
}
