// SPDX-License-Identifier: Apache-2.0

package attesttest

import "slices"

// sgx are SGX quotes.
func (g *generator) sgx() {
	m := g.w.Machine()
	q := &quotes{generator: g, prefix: "sgx", info: "SGX", qe: "QE", m: m}
	body := func(m *Machine, edit func(*SGXQuote)) []byte {
		return m.QuoteSGX(func(x *SGXQuote) { x.Body.ReportData = bound(); edit(x) })
	}
	q.quote = func(m *Machine, edit func(*Quote)) []byte {
		return body(m, func(x *SGXQuote) { edit(&x.Quote) })
	}
	q.acceptQuote("sgx")
	set := func(name, change, code string, edit func(*EnclaveReport), also ...string) {
		q.refuse(name, change, code, func(c *Mutant) {
			c.Input, c.Also = body(m, func(x *SGXQuote) { edit(&x.Body) }), also
		})
	}
	for _, f := range []field{
		{"header/qe_svn", 8}, {"header/pce_svn", 10}, {"body/cpusvn", 48}, {"body/miscselect", 48 + 16}, {"body/reserved_21", 48 + 21}, {"body/isvextprodid", 48 + 32},
		{"body/attributes", 48 + 48}, {"body/xfrm", 48 + 56}, {"body/mrenclave", 48 + 64}, {"body/mrenclave_end", 48 + 95}, {"body/reserved_96", 48 + 96},
		{"body/mrsigner", 48 + 128}, {"body/reserved_160", 48 + 160}, {"body/configid", 48 + 192}, {"body/isvprodid", 48 + 256}, {"body/isvsvn", 48 + 258},
		{"body/configsvn", 48 + 260}, {"body/isvfamilyid", 48 + 304}, {"body/report_data", 48 + 320}, {"body/report_data_end", 48 + 383},
	} {
		q.alter(f.name, f.at, "sgx.quote.signature")
	}
	q.alter("header/tee_type", 4, "sgx.header.reserved")
	q.fields(48 + 384)
	q.set("header/reserved/1", "a reserved byte is 1", ".header.reserved", func(x *Quote) { x.TEEType = 1 })
	for _, at := range []int{21, 31, 96, 127, 160, 191, 262, 303} {
		q.set("body/reserved_"+decimal(at), "a reserved byte is 1", "sgx.report.reserved", func(x *Quote) {
			x.PatchBody = func(raw []byte) { raw[at] = 1 }
		})
	}
	set("body/attributes/debug", "an enclave that the host may debug", "sgx.attributes.debug", func(r *EnclaveReport) { r.Attributes |= AttributeDebug })
	set("body/attributes/init", "an enclave that is not initialized", "sgx.attributes.init", func(r *EnclaveReport) { r.Attributes &^= AttributeInit })
	set("body/attributes/mode64", "an enclave of 32 bits", "sgx.attributes.mode64bit", func(r *EnclaveReport) { r.Attributes &^= AttributeMode64 })
	set("body/attributes/bit3", "an unknown attribute", "sgx.attributes.reserved", func(r *EnclaveReport) { r.Attributes |= 1 << 3 })
	set("body/attributes/bit63", "an unknown attribute", "sgx.attributes.reserved", func(r *EnclaveReport) { r.Attributes |= 1 << 63 })
	set("body/report_data/other", "bound to something else", "binding.data", func(r *EnclaveReport) { r.ReportData[31] ^= 1 })
	set("body/report_data/rest", "the rest of the report data is not zero", "binding.data", func(r *EnclaveReport) { r.ReportData[63] = 1 })
	q.sgxPolicies(m, body)
	q.certificates()
	q.lists()
	q.documents()

	processor := g.w.Intel.Machine("client")
	processor.CA = ProcessorCA
	q.m = processor
	q.acceptQuote("sgx-processor")
	q.alter("body/mrenclave", 48+64, "sgx.quote.signature")
	q.refuse("pck-ca_crl/missing", "no CRL of the Processor CA", "sgx.pck-ca.crl", func(m *Mutant) { m.drop("pck-ca.crl") })
}

func (q *quotes) sgxPolicies(m *Machine, body func(*Machine, func(*SGXQuote)) []byte) {
	plain := m.NewSGXQuote().Body
	config := make([]byte, 64)
	config[0] = 7
	for _, p := range []struct {
		name, line, code string
		good, bad        func(*EnclaveReport)
	}{
		{"mrenclave", "hash = " + hexList(plain.MREnclave[:]), "sgx.mrenclave", nil, func(r *EnclaveReport) { r.MREnclave[0] ^= 1 }},
		{"mrenclave_denied", "hash_blacklist = " + hexList(plain.MREnclave[:]), "sgx.mrenclave.denied", func(r *EnclaveReport) { r.MREnclave[0] ^= 1 }, nil},
		{"mrsigner", "signer = " + hexList(plain.MRSigner[:]), "sgx.mrsigner", nil, func(r *EnclaveReport) { r.MRSigner[31] ^= 1 }},
		{"features", `features = ["KSS"]`, "sgx.attributes.features", nil, func(r *EnclaveReport) { r.Attributes |= AttributeProvisionKey }},
		{"kss", `require_kss = true`, "sgx.attributes.kss", nil, func(r *EnclaveReport) { r.Attributes &^= AttributeKSS }},
		{"miscselect", `misc_select = []`, "sgx.miscselect", nil, func(r *EnclaveReport) { r.MiscSelect = 1 }},
		{"isvprodid", "enclave_product_id = 0", "sgx.isvprodid", nil, func(r *EnclaveReport) { r.ISVProdID = 1 }},
		{"isvsvn", "enclave_security_version = 2", "sgx.isvsvn", func(r *EnclaveReport) { r.ISVSVN = 2 }, func(r *EnclaveReport) { r.ISVSVN = 1 }},
		{"configid", "config_id = " + hexList(config), "sgx.configid", func(r *EnclaveReport) { r.ConfigID[0] = 7 }, func(r *EnclaveReport) { r.ConfigID[0] = 6 }},
		{"configid_kss", "config_id = " + hexList(config), "sgx.configid", nil, func(r *EnclaveReport) { r.ConfigID[0], r.Attributes = 7, r.Attributes&^AttributeKSS }},
	} {
		for _, c := range []struct {
			suffix string
			edit   func(*EnclaveReport)
			good   bool
		}{{"", p.good, true}, {"/other", p.bad, false}} {
			if c.good && p.good == nil && p.bad != nil && p.name == "configid_kss" {
				continue
			}
			edit := func(x *Mutant) {
				x.Policy = policy("sgx", p.line)
				if c.edit != nil {
					x.Input = body(m, func(s *SGXQuote) { c.edit(&s.Body) })
				}
			}
			if c.good {
				q.still("under_"+p.name, "a policy asks for this and it is so", edit)
			} else {
				q.refuse("under_"+p.name+c.suffix, "a policy asks for something else", p.code, edit)
			}
		}
	}
	q.machinePolicies()
}

// machinePolicies are rules on machines.
func (q *quotes) machinePolicies() {
	other := make([]byte, 16)
	for _, p := range []struct{ name, good, bad, code string }{
		{"ppid", "ppids = " + hexList(q.m.PPID[:]), "ppids = " + hexList(other), ".pck.ppid"},
		{"ppid_denied", "ppids_denied = " + hexList(other), "ppids_denied = " + hexList(q.m.PPID[:]), ".pck.ppid.denied"},
		{"platform", "platforms = " + hexList(q.m.Instance[:]), "platforms = " + hexList(other), ".pck.platform"},
		{"pcesvn", "minimum_pce_svn = 13", "minimum_pce_svn = 14", ".pck.pcesvn"},
	} {
		q.still("under_"+p.name, "a policy asks for this and it is so", func(m *Mutant) { m.Policy = policy(q.prefix, p.good) })
		q.refuse("under_"+p.name+"/other", "a policy asks for something else", q.code(p.code), func(m *Mutant) { m.Policy = policy(q.prefix, p.bad) })
	}
}

// tdx are TDX quotes.
func (g *generator) tdx() {
	q := &quotes{generator: g, prefix: "tdx", info: "TDX", qe: "TD_QE", m: g.w.Machine()}
	for _, version := range []uint16{4, 5} {
		body := func(edit func(*TDXQuote)) []byte {
			return q.m.QuoteTDX(version, func(x *TDXQuote) { x.ReportData = bound(); edit(x) })
		}
		q.quote = func(m *Machine, edit func(*Quote)) []byte {
			return m.QuoteTDX(version, func(x *TDXQuote) { x.ReportData = bound(); edit(&x.Quote) })
		}
		q.acceptQuote("tdx-v" + decimal(int(version)))
		set := func(name, change, code string, edit func(*TDXQuote), also ...string) {
			q.refuse(name, change, code, func(m *Mutant) { m.Input, m.Also = body(edit), also })
		}
		start, end := 48, 48+584
		if version == 5 {
			start, end = 54, 54+648
		}
		q.tdFields(start)
		q.tdRules(set)
		if version == 5 {
			q.tdx15(set, body)
			continue
		}
		q.fields(end)
		q.set("header/reserved/1", "a reserved byte is 1", ".header.reserved", func(x *Quote) { x.QESVN = 1 })
		q.set("header/tee_type/0", "a quote of SGX", ".header.tee-type", func(x *Quote) { x.TEEType = 0 })
		q.tdxPolicies(body)
		q.certificates()
		q.lists()
		q.documents()
		q.module()
	}
}

// tdFields are altered parts of the TD's report, which begins at the given place.
func (q *quotes) tdFields(start int) {
	for _, f := range []field{
		{"tee_tcb_svn", 0}, {"mrseam", 16}, {"mrsignerseam", 64}, {"seamattributes", 112}, {"td_attributes", 123}, {"xfam", 128}, {"mrtd", 136},
		{"mrconfigid", 184}, {"mrowner", 232}, {"mrownerconfig", 280}, {"rtmr0", 328}, {"rtmr1", 376}, {"rtmr2", 424}, {"rtmr3", 472},
		{"report_data", 520}, {"report_data_end", 583},
	} {
		q.alter("body/"+f.name, start+f.at, "tdx.quote.signature")
	}
}

func (q *quotes) tdRules(set func(name, change, code string, edit func(*TDXQuote), also ...string)) {
	set("body/td_attributes/debug", "a TD that the host may debug", "tdx.attributes.debug", func(x *TDXQuote) { x.TDAttributes |= TDDebug })
	set("body/td_attributes/migratable", "a TD that may be moved", "tdx.attributes.migratable", func(x *TDXQuote) { x.TDAttributes |= TDMigratable })
	set("body/td_attributes/reserved", "an unknown attribute", "tdx.attributes.reserved", func(x *TDXQuote) { x.TDAttributes |= 1 << 40 })
	set("body/mrsignerseam/other", "a TDX module of another signer", "tdx.mrsignerseam", func(x *TDXQuote) { x.MRSignerSEAM[0] = 1 })
	set("body/seamattributes/1", "a TDX module of other attributes", "tdx.seamattributes", func(x *TDXQuote) { x.SEAMAttributes = 1 })
	set("body/report_data/other", "bound to something else", "binding.data", func(x *TDXQuote) { x.ReportData[0] ^= 0x80 })
	set("body/report_data/rest", "the rest of the report data is not zero", "binding.data", func(x *TDXQuote) { x.ReportData[63] = 1 })
	set("body/tee_tcb_svn/module", "an out of date TDX module", "tdx.tcb.status", func(x *TDXQuote) { x.TEETCBSVN[0]-- })
	set("body/tee_tcb_svn/module_unknown", "a TDX module older than any that Intel knows", "tdx.module.level", func(x *TDXQuote) { x.TEETCBSVN[0] = 1 })
	set("body/tee_tcb_svn/module_version", "a TDX module of an unknown version", "tdx.module.identity", func(x *TDXQuote) { x.TEETCBSVN[1] = 9 })
	set("body/tee_tcb_svn/loader", "an older SEAM loader than Intel knows", "tdx.tcb-info.level", func(x *TDXQuote) { x.TEETCBSVN[2]-- })
}

// tdx15 are the differences of TD 1.5 and quotes of version 5.
func (q *quotes) tdx15(set func(name, change, code string, edit func(*TDXQuote), also ...string), body func(func(*TDXQuote)) []byte) {
	q.alter("body/tee_tcb_svn_2", 54+584, "tdx.quote.signature")
	q.alter("body/mrservicetd", 54+600, "tdx.quote.signature")
	q.alter("body/type", 48, "tdx.body.size")
	q.alter("body/size", 50, "tdx.body.size")
	set("body/mrservicetd/other", "a service TD is bound to the TD", "tdx.mrservicetd", func(x *TDXQuote) { x.MRServiceTD[0] = 1 })
	set("body/tee_tcb_svn_2/older", "an out of date TDX module runs now", "tdx.tcb.status", func(x *TDXQuote) { x.TEETCBSVN2[0]-- })
	set("body/tee_tcb_svn_2/unknown", "a TDX module older than any that Intel knows runs now", "tdx.module.current", func(x *TDXQuote) { x.TEETCBSVN2[0] = 1 })
	set("body/tee_tcb_svn_2/version", "a TDX module of an unknown version runs now", "tdx.module.current", func(x *TDXQuote) { x.TEETCBSVN2[1] = 9 })
	set("body/tee_tcb_svn_2/loader", "an older SEAM loader than Intel knows runs now", "tdx.module.current", func(x *TDXQuote) { x.TEETCBSVN2[2]-- })
	q.still("body/tee_tcb_svn_2/newer", "a newer TDX module runs now", func(m *Mutant) { m.Input = body(func(x *TDXQuote) { x.TEETCBSVN2[0]++ }) })
	q.refuse("body/type/1", "the body of an SGX enclave", "tdx.body.type", func(m *Mutant) {
		m.Input = slices.Clone(body(func(*TDXQuote) {}))
		m.Input[48], m.Loose = 1, true
	})
	q.still("td10", "a TD of version 1.0", func(m *Mutant) { m.Input = body(func(x *TDXQuote) { x.BodyType = 2 }) })
	service := [48]byte{1}
	q.still("under_mrservicetd", "a service TD that the policy lists", func(m *Mutant) {
		m.Policy = policy("tdx", "mr_service_td = "+hexList(service[:]))
		m.Input = body(func(x *TDXQuote) { x.MRServiceTD = service })
	})
}

func (q *quotes) tdxPolicies(body func(func(*TDXQuote)) []byte) {
	plain := q.m.NewTDXQuote(4)
	for _, p := range []struct {
		name, key, code string
		value           []byte
		bad             func(*TDXQuote)
	}{
		{"mrtd", "mr_td", "tdx.mrtd", plain.MRTD[:], func(x *TDXQuote) { x.MRTD[0] ^= 1 }},
		{"rtmr0", "rtmr0", "tdx.rtmr0", plain.RTMR[0][:], func(x *TDXQuote) { x.RTMR[0][0] ^= 1 }},
		{"rtmr1", "rtmr1", "tdx.rtmr1", plain.RTMR[1][:], func(x *TDXQuote) { x.RTMR[1][0] ^= 1 }},
		{"rtmr2", "rtmr2", "tdx.rtmr2", plain.RTMR[2][:], func(x *TDXQuote) { x.RTMR[2][0] ^= 1 }},
		{"rtmr3", "rtmr3", "tdx.rtmr3", plain.RTMR[3][:], func(x *TDXQuote) { x.RTMR[3][0] ^= 1 }},
		{"mrconfigid", "mr_config_id", "tdx.mrconfigid", plain.MRConfigID[:], func(x *TDXQuote) { x.MRConfigID[0] ^= 1 }},
		{"mrowner", "mr_owner", "tdx.mrowner", plain.MROwner[:], func(x *TDXQuote) { x.MROwner[0] ^= 1 }},
		{"mrownerconfig", "mr_owner_config", "tdx.mrownerconfig", plain.MROwnerConfig[:], func(x *TDXQuote) { x.MROwnerConfig[0] ^= 1 }},
		{"mrseam", "mr_seam", "tdx.mrseam", plain.MRSEAM[:], func(x *TDXQuote) { x.MRSEAM[0] ^= 1 }},
	} {
		text := policy("tdx", p.key+" = "+hexList(p.value))
		q.still("under_"+p.name, "a policy asks for this and it is so", func(m *Mutant) { m.Policy = text })
		q.refuse("under_"+p.name+"/other", "a policy asks for something else", p.code, func(m *Mutant) { m.Policy, m.Input = text, body(p.bad) })
	}
	q.refuse("under_mrtd_denied/other", "a policy refuses this", "tdx.mrtd.denied", func(m *Mutant) {
		m.Policy = policy("tdx", "mr_td_denied = "+hexList(plain.MRTD[:]))
	})
	q.machinePolicies()
}

// module are what a TCB info says about TDX modules.
func (q *quotes) module() {
	set := func(name, change, code string, edit func(*TCBInfo)) {
		q.document("tcb-info.json", "tcb-info/module/"+name, change, code, q.m.TCBInfo("TDX", edit))
	}
	set("id/other", "another module", ".module.identity", func(t *TCBInfo) { t.Modules[0].ID = "TDX_03" })
	set("levels/newer", "no level for this module", ".module.level", func(t *TCBInfo) {
		t.Modules[0].Levels = t.Modules[0].Levels[:1]
		t.Modules[0].Levels[0].TCB.ISVSVN++
	})
	set("mrsigner/other", "a module of another signer", ".mrsignerseam", func(t *TCBInfo) { t.Modules[0].MRSigner = "01" + t.Modules[0].MRSigner[2:] })
	set("attributes/other", "a module of other attributes", ".seamattributes", func(t *TCBInfo) { t.Modules[0].Attributes = "01" + t.Modules[0].Attributes[2:] })
	for _, s := range []string{"OutOfDate", "Revoked"} {
		set("status/"+s, "Intel says so about this module", ".tcb.status", func(t *TCBInfo) { t.Modules[0].Levels[0].Status = s })
	}
}
