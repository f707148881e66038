// SPDX-License-Identifier: Apache-2.0

package attest

// Files that go together.
var (
	milanCRL  = "extracted/milan-crl.crl-amd-milan.der"
	milanM    = "more/amd/crl-ark-milan-6.der"
	genoaM    = "more/amd/crl-ark-genoa-4.der"
	i5CRLs    = []string{"extracted/i5-tcb.crl-intel-root.der", "extracted/i5-tcb.crl-intel-pck-processor.der"}
	i5TCB     = []string{"extracted/i5-tcb.tcbinfo.json", "extracted/i5-tcb.tcb-issuer-chain.pem"}
	xeon      = []string{"more/sgx/v3-xeon-swhardening.tcbinfo.json", "more/sgx/v3-xeon-swhardening.qeidentity.json", "more/sgx/tcb-signing-2018.pem"}
	xeonCRLs  = []string{"extracted/i5-crl.crl-intel-root.der", "extracted/i5-crl.crl-intel-pck-platform.der"}
	xeonT2    = together(xeon, xeonCRLs)
	tdxC080   = []string{"more/tdx/v4-uptodate-c080.tcbinfo.json", "more/tdx/v4-uptodate-c080.qeidentity.json", "more/sgx/tcb-signing-2018.pem"}
	tdx5080   = []string{"more/tdx/5080.tcbinfo.json", "more/tdx/5080.qeidentity.json", "more/sgx/tcb-signing-2018.pem", "more/tdx/crl-pck-platform-2023-06.der", "more/tdx/crl-root-2023-04.der"}
	tdxB0C0   = []string{"more/tdx/v4-uptodate-b0c0.collateral.json"}
	tdx2026   = []string{"more/tdx/v5-uptodate-90c0.tcbinfo.json", "more/tdx/tdqe-identity-2026-02.json", "more/tdx/crl-pck-platform-2026-02.der", "more/tdx/crl-root-2025-03.der", "more/tdx/tcb-signing-2025.pem"}
	genoaData = "MIDBNH28iioisjPyxxxxxxxxxxxxxxxxMIDBNH28iioisjPyxxxxxxxxxxxxxxxx"
	noSNPCRL  = noCRL
)

func together(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// is is the verdict on a file that is no evidence.
func is(what string) []verdict { return []verdict{{is: what}} }

// verdicts is what the INDEX files ask for.
var verdicts = map[string][]verdict{
	"milan.signed.crl.csr": {
		{is: "certificate request with evidence in the shape snp-v2", at: "T0", code: "accepted"},
		{at: "T0", policy: refSNP, code: "accepted"},
		{at: "T0", policy: swap(refSNP, `"7d`, `"00`), code: "snp.author_key_digest"},
		{at: "T0", policy: swap(swap(refSNP, `id_key_digest = ["d71a4d1da440d515cd69fbb1314acf4221726e82768a8bf6e4a4063ed542ac78349c8145b4666a4242a91a374387b473"]`, ""),
			"id_key_digest_blacklist = []", `id_key_digest_blacklist = ["d71a4d1da440d515cd69fbb1314acf4221726e82768a8bf6e4a4063ed542ac78349c8145b4666a4242a91a374387b473"]`), code: "snp.id_key_digest.denied"},
		{at: "T0", policy: swap(refSNP, ">=1.51", ">254.0"), code: "snp.policy.abi_range"},
		{at: "T0", policy: swap(refSNP, `"SMT"`, ""), code: "snp.policy.smt"},
		{at: "now", code: "snp.ark.crl"},
	},
	"milan.signed.csr": {
		{is: "certificate request with evidence in the shape snp-v1", at: "T0", with: []string{milanCRL}, code: "accepted"},
		{at: "T0", code: "snp.ark.crl"},
	},
	"milan.rprt": {
		{is: "SNP report", at: "T0", with: []string{"milan.vcek", milanCRL}, code: "binding.key", also: []string{"snp.policy.debug"}},
		{at: "T0", with: []string{"milan.vcek", milanCRL}, alone: true, policy: "[snp]\nallow_debug = true", code: "accepted"},
		{at: "T0", with: []string{"enarx-snp-vcek.der", milanCRL}, alone: true, policy: "[snp]\nallow_debug = true", code: "accepted"},
		{at: "T0", with: []string{"milan_vcek.old.pem", milanCRL}, alone: true, code: "snp.vcek.chip_id", also: []string{"snp.vcek.tcb.microcode", "snp.signature"}},
	},
	"test2_le.bin": {
		{is: "SNP report", at: "T0", with: []string{"milan.vcek", milanCRL}, alone: true, code: "snp.policy.debug"},
	},
	"milan.vcek":         is("certificate"),
	"milan_vcek.pem":     is("PEM: certificate"),
	"milan_vcek.old.pem": is("PEM: certificate"),
	"milan_vcek2.pem":    is("PEM: certificate"),
	"enarx-snp-vcek.der": is("certificate"),
	"SEV-Milan.crt":      is("certificate"),
	"milan.pkipath":      is("path of 2 certificates"),
	"genoa.pkipath":      is("path of 2 certificates"), // TestGenoaRevoked
	"amd-milan.pem":      is("PEM: 2 × certificate"),
	"amd-genoa.pem":      is("PEM: 2 × certificate"),
	"icelake.signed.tcb.crl.single.i5.csr": {
		{is: "certificate request with evidence in the shape sgx-v3", at: "T0", policy: refSGX + outdated + noQE, code: "accepted"},
		{at: "T0", code: "sgx.tcb.status", also: []string{"sgx.qe-identity"}},
		{at: "T0", policy: refSGX, code: "sgx.tcb.status"},
		{at: "T0", policy: swap(refSGX, `"7a`, `"00`) + outdated + noQE, code: "sgx.mrsigner"},
		{at: "T0", policy: swap(refSGX, "_version = 0", "_version = 9999") + outdated + noQE, code: "sgx.isvsvn"},
		{at: "T0", policy: "[sgx]\nallowed_advisories = [\"bogus-1234\"]\n" + outdated + noQE, code: "sgx.tcb.advisories"},
		{at: "now", policy: refSGX + outdated + noQE, code: "sgx.tcb-signing.validity"},
	},
	"icelake.signed.crl.csr": {
		{is: "certificate request with evidence in the shape sgx-v2", at: "T0", policy: noQE, code: "sgx.tcb-info"},
		{at: "T0", with: together(i5TCB, i5CRLs), policy: "[sgx]\n" + outdated + noQE, code: "accepted"},
	},
	"icelake.signed.csr": {
		{is: "certificate request with evidence in the shape sgx-v1", at: "T2", with: xeonT2, code: "sgx.tcb.status"},
		{at: "T2", with: xeonT2, policy: "[sgx]\n" + outdated, code: "accepted"},
		{at: "T2", with: xeonT2, policy: "[sgx]\nallowed_advisories = [\"INTEL-SA-00586\", \"INTEL-SA-00614\", \"INTEL-SA-00615\", \"INTEL-SA-00657\"]\n" + outdated, code: "accepted"},
		{at: "T2", with: xeonT2, policy: "[sgx]\nallowed_advisories = [\"INTEL-SA-00586\"]\n" + outdated, code: "sgx.tcb.advisories"},
	},
	"quote.icelake": {
		{is: "SGX quote", at: "T2", with: xeonT2, policy: "[sgx]\n" + outdated, code: "binding.key"},
		{at: "T2", with: xeonT2, policy: "[sgx]\n" + outdated, alone: true, code: "accepted"},
	},
	"quote.unknown": {
		{is: "SGX quote", at: "T0", alone: true, code: "sgx.pck-ca.crl"}, // its 4 bytes too many are zeros,
	},
	"root.der":                    is("certificate"),
	"sgx.pkipath":                 is("path of 2 certificates"),
	"intel-sgx.pem":               is("PEM: 3 × certificate"),
	"multi_pck.crt":               is("certificate"),
	"single_pck.crt":              is("certificate"),
	"negative/icelake_signed.csr": {{code: "unreadable: DER"}}, // TestNegativeRequests: 400
	"negative/milan_signed.csr":   {{code: "unreadable: DER"}},
	"testca/ca.crt":               is("PEM: certificate"),
	"testca/test.csr":             {{is: "PEM: certificate request", code: "csr.evidence"}},
	"testca/server.csr":           {{is: "PEM: certificate request", code: "csr.extensions"}},
	"testca/test.crt":             is("PEM: certificate"),
	"testca/server.crt":           is("PEM: certificate"),
	"testca/certs-test-crt.der":   is("certificate"),

	"extracted/milan-crl.vcek.der": is("certificate"),
	"extracted/milan-crl.report.bin": {
		{is: "SNP report", at: "T0", with: []string{"extracted/milan-crl.vcek.der", milanCRL}, alone: true, policy: refSNP, code: "accepted"},
	},
	"extracted/milan-crl.crl-amd-milan.der": is("CRL of ARK-Milan"),
	"extracted/milan-crl.crl-amd-genoa.der": is("CRL of ARK-Genoa"),
	"extracted/milan-2022-11-b.report.bin": {
		{is: "SNP report", at: "T0", with: []string{"extracted/milan-2022-11-b.vcek.der", milanCRL}, alone: true, code: "accepted"},
	},
	"extracted/milan-2022-11-b.vcek.der": is("certificate"),
	"extracted/i5-tcb.quote.bin": {
		{is: "SGX quote", at: "T0", with: together(i5TCB, i5CRLs), alone: true, policy: "[sgx]\n" + outdated + noQE, code: "accepted"},
	},
	"extracted/i5-tcb.tcbinfo.json":                is("SGX TCB info for 00706e470000"),
	"extracted/i5-tcb.tcb-issuer-chain.pem":        is("PEM: 2 × certificate"),
	"extracted/i5-tcb.crl-intel-root.der":          is("CRL of Intel SGX Root CA"),
	"extracted/i5-tcb.crl-intel-pck-processor.der": is("CRL of Intel SGX PCK Processor CA"),
	"extracted/i5-tcb.crl-intel-pck-platform.der":  is("CRL of Intel SGX PCK Platform CA"),
	"extracted/i5-crl.quote.bin":                   {{is: "SGX quote", at: "T0", alone: true, policy: noQE, code: "sgx.pck-ca.crl", also: []string{"sgx.root.crl", "sgx.tcb-info"}}},
	"extracted/i5-crl.crl-intel-root.der":          is("CRL of Intel SGX Root CA"),
	"extracted/i5-crl.crl-intel-pck-processor.der": is("CRL of Intel SGX PCK Processor CA"),
	"extracted/i5-crl.crl-intel-pck-platform.der":  is("CRL of Intel SGX PCK Platform CA"),
	"extracted/xeon-b.quote.bin":                   {{is: "SGX quote", at: "T2", with: xeonT2, alone: true, policy: "[sgx]\n" + outdated, code: "accepted"}},

	"more/amd/milan_ask_ark_asvk.pem": is("PEM: 3 × certificate"),
	"more/amd/genoa_ask_ark_asvk.pem": is("PEM: 3 × certificate"),
	"more/amd/turin_ask_ark_asvk.pem": is("PEM: 3 × certificate"),
	"more/amd/crl-ark-milan-6.der":    is("CRL of ARK-Milan"),
	"more/amd/crl-ark-genoa-4.der":    is("CRL of ARK-Genoa"),

	"more/snp/milan-v3-caci.report.bin": {
		{is: "SNP report", at: "M1", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, alone: true, code: "accepted"},
		{at: "M1", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, code: "binding.key"},
		{at: "M1", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, data: "nonce", code: "binding.data"},
		{at: "M2", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, alone: true, code: "snp.vcek.validity"},
		{at: "2026-01-15T00:00:00Z", with: []string{"more/snp/milan-v3-caci.vcek-reissue.pem", milanM}, alone: true, code: "accepted"},
		{at: "2026-06-01T00:00:00Z", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, alone: true, code: "snp.ark.crl"},
		{at: "M1", with: []string{"more/snp/milan-v3-caci.vcek.pem", milanM}, alone: true, policy: "refuse_known_broken = true", code: "advisory.milan-seed"},
	},
	"more/snp/milan-v3-caci.vcek.pem":         is("PEM: certificate"),
	"more/snp/milan-v3-caci.vcek-reissue.pem": is("PEM: certificate"),
	"more/snp/genoa-v3-caci.report.bin": {
		{is: "SNP report", at: "M1", with: []string{"more/snp/genoa-v3-caci.vcek.pem", genoaM}, alone: true, code: "snp.ark.crl"},
		{at: "M1", with: []string{"more/snp/genoa-v3-caci.vcek.pem", genoaM}, alone: true, policy: noSNPCRL, code: "accepted"},
		{at: "M1", with: []string{"more/snp/genoa-v3-caci.vcek.pem", genoaM}, alone: true, policy: "refuse_known_broken = true\n" + noSNPCRL, code: "accepted"},
		{at: "M2", with: []string{"more/snp/genoa-v3-caci.vcek.pem", genoaM}, alone: true, code: "snp.vcek.validity"},
	},
	"more/snp/genoa-v3-caci.vcek.pem": is("PEM: certificate"),
	"more/snp/turin-v5-caci.report.bin": {
		{is: "SNP report", at: "M1", with: []string{"more/snp/turin-v5-caci.vcek.pem"}, alone: true, code: "snp.ark.crl"},
		{at: "M1", with: []string{"more/snp/turin-v5-caci.vcek.pem"}, alone: true, policy: noSNPCRL, code: "accepted"},
		{at: "M1", with: []string{"more/snp/turin-v5-caci.vcek.pem"}, alone: true, policy: "[snp]\nminimum_tcb.turin = { fmc = 1, bootloader = 1, tee = 1, snp = 4, microcode = 81 }\n" + noSNPCRL, code: "accepted"},
		{at: "M1", with: []string{"more/snp/turin-v5-caci.vcek.pem"}, alone: true, policy: "[snp]\nminimum_tcb.turin = { fmc = 2 }\n" + noSNPCRL, code: "snp.reported_tcb"},
	},
	"more/snp/turin-v5-caci.vcek.pem": is("PEM: certificate"),
	"more/snp/genoa-v3-tsm.json": {
		{is: "configfs-tsm: SNP report", at: "M2", with: []string{genoaM}, data: genoaData, code: "accepted"},
		{at: "M2", with: []string{genoaM}, data: "another", code: "binding.data"},
	},
	"more/snp/genoa-v3-tsm.cbor": {
		{is: "configfs-tsm: SNP report", at: "M2", with: []string{genoaM}, data: genoaData, code: "accepted"},
		{at: "M2", with: []string{genoaM}, data: "another", code: "binding.data"},
	},
	"more/snp/genoa-v3-tsm.report.bin": {
		{is: "SNP report", at: "M2", with: []string{genoaM, "more/snp/genoa-v3-tsm.vcek.pem"}, data: genoaData, code: "accepted"},
	},
	"more/snp/genoa-v3-tsm.vcek.pem": is("PEM: certificate"),
	"more/snp/genoa-v3-azure.hcl.bin": {
		{is: "Azure HCL report with an SNP report", at: "M2", with: []string{genoaM, "more/snp/genoa-v3-azure.vcek.der"}, alone: true, code: "accepted"},
		{at: "M2", with: []string{genoaM, "more/snp/genoa-v3-azure.vcek.der"}, alone: true, policy: "[snp]\nplatform_info_flags = \"SMT\"", code: "snp.platform_info"},
	},
	"more/snp/genoa-v3-azure.vcek.der": is("certificate"),
	"more/snp/milan-v3-azvtpm.json": {
		{is: "Azure HCL report with an SNP report", at: "M2", with: []string{milanM}, alone: true, code: "accepted"},
		{at: "M2", with: []string{milanM}, data: "another", code: "binding.data"},
	},
	"more/snp/milan-v3-azvtpm.report.bin": {
		{is: "SNP report", at: "M2", with: []string{milanM, "more/snp/milan-v3-azvtpm.vcek.der"}, alone: true, code: "accepted"},
	},
	"more/snp/milan-v3-azvtpm.vcek.der": is("certificate"),
	"more/snp/milan-v4-gce.report.bin": {
		{is: "SNP report", at: "M2", with: []string{milanM}, alone: true, code: "snp.vcek"},
		{at: "M2", with: []string{milanM, "more/snp/milan-v2-azure.vcek.der"}, alone: true, code: "snp.vcek.chip_id", also: []string{"snp.signature", "snp.vcek.tcb.bootloader"}},
	},
	"more/snp/milan-v2-azure.report.bin": {
		{is: "SNP report", at: "M2", with: []string{milanM, "more/snp/milan-v2-azure.vcek.der"}, alone: true, code: "accepted"},
		{at: "M2", with: []string{milanM, "more/snp/milan-v2-azure.vcek.der"}, alone: true, policy: "[snp]\nminimum_tcb = { snp = 8, microcode = 115 }", code: "accepted"},
		{at: "M2", with: []string{milanM, "more/snp/milan-v2-azure.vcek.der"}, alone: true, policy: "[snp]\nminimum_tcb = { snp = 9 }", code: "snp.reported_tcb"},
		{at: "M2", with: []string{milanM, "more/snp/milan-v2-azure.vcek.der"}, alone: true, policy: "[snp]\nminimum_tcb = { microcode = 116 }", code: "snp.reported_tcb"},
		{at: "M2", with: []string{milanM, "more/snp/negative-vcek-hwid-raw.der"}, alone: true, code: "snp.vcek.signature"},
	},
	"more/snp/milan-v2-azure.vcek.der":    is("certificate"),
	"more/snp/negative-vcek-hwid-raw.der": is("certificate"),
	"more/snp/milan-v2-debug.report.bin": {
		{is: "SNP report", at: "M2", with: []string{milanM, "more/snp/milan-v2-debug.vcek.der"}, alone: true, code: "snp.policy.debug"},
		{at: "M2", with: []string{milanM, "more/snp/milan-v2-debug.vcek.der"}, data: "\x01\x02\x03\x04\x05", policy: "[snp]\nallow_debug = true", code: "accepted"},
	},
	"more/snp/milan-v2-debug.vcek.der": is("certificate"),

	"more/sgx/v3-xeon-swhardening.quote.bin": {
		{is: "SGX quote", at: "X5", with: xeon, alone: true, policy: "[sgx]\n" + outdated, code: "sgx.pck-ca.crl", also: []string{"sgx.root.crl"}},
		{at: "X5", with: xeon, alone: true, policy: "[sgx]\n" + outdated + noCRL, code: "accepted"},
		{at: "X5", with: xeon, alone: true, policy: noCRL, code: "sgx.tcb.status"},
		{at: "X5", with: xeon, alone: true, policy: "[sgx]\nallowed_advisories = [\"INTEL-SA-00615\"]\n" + outdated + noCRL, code: "sgx.tcb.advisories"},
		{at: "T2", with: xeonT2, alone: true, policy: "[sgx]\nallowed_advisories = [\"INTEL-SA-00615\", \"INTEL-SA-00657\"]\n" + outdated, code: "accepted"},
		{at: "X5", with: []string{xeon[0], xeon[1], "more/sgx/tcb-signing-wrong.pem"}, alone: true, policy: "[sgx]\n" + outdated + noCRL, code: "sgx.tcb-signing.role", also: []string{"sgx.tcb-info", "sgx.qe-identity"}},
		{at: "X5", with: []string{xeon[0], xeon[1], "more/tdx/tcb-signing-2025.pem"}, alone: true, policy: "[sgx]\n" + outdated + noCRL, code: "sgx.tcb-signing.validity"},
	},
	"more/sgx/v3-xeon-swhardening.tcbinfo.json":    is("SGX TCB info for 00606a000000"),
	"more/sgx/v3-xeon-swhardening.qeidentity.json": is("QE identity"),
	"more/sgx/tcb-signing-2018.pem":                is("PEM: 2 × certificate"),
	"more/sgx/tcb-signing-wrong.pem":               is("PEM: 2 × certificate"),
	"more/sgx/v3-eppid.quote.bin":                  {{is: "SGX quote", at: "X5", with: xeon, alone: true, code: "sgx.certification-data"}},
	"more/sgx/v3-debug-occlum.quote.bin": {
		{is: "SGX quote", at: "X4", alone: true, code: "sgx.attributes.debug", also: []string{"sgx.tcb-info"}},
		{at: "X5", with: xeon, alone: true, policy: noCRL, code: "sgx.pck.validity", also: []string{"sgx.attributes.debug", "sgx.tcb.status"}},
	},

	"more/tdx/v4-uptodate-c080.quote.bin": {
		{is: "TDX quote", at: "X3", with: tdxC080, alone: true, policy: noCRL, code: "accepted"},
		{at: "X3", with: tdxC080, alone: true, code: "tdx.pck-ca.crl", also: []string{"tdx.root.crl"}},
		{at: "X3", with: tdxC080, policy: noCRL, code: "binding.key"},
	},
	"more/tdx/v4-uptodate-c080.tcbinfo.json":    is("TDX TCB info for c0806f000000"),
	"more/tdx/v4-uptodate-c080.qeidentity.json": is("TD_QE identity"),
	"more/tdx/v4-uptodate-c080-zeropad.quote.bin": {
		{is: "TDX quote", at: "X3", with: tdxC080, alone: true, policy: noCRL, code: "accepted"},
	},
	"more/tdx/v4-garbage-trailer.quote.bin": {
		{is: "TDX quote", at: "X3", with: tdxC080, alone: true, policy: noCRL, code: "tdx.quote.trailing"},
	},
	"more/tdx/v4-nolevel-5080.quote.bin": {
		{is: "TDX quote", at: "X4", with: tdx5080, alone: true, code: "tdx.tcb-info.level"},
	},
	"more/tdx/v4-debug-5080.quote.bin": {
		{is: "TDX quote", at: "X4", with: tdx5080, alone: true, code: "tdx.attributes.debug"},
		{at: "X4", with: tdx5080, alone: true, policy: "[tdx]\nallow_debug = true", code: "accepted"},
	},
	"more/tdx/5080.tcbinfo.json":            is("TDX TCB info for 50806f000000"),
	"more/tdx/5080.qeidentity.json":         is("TD_QE identity"),
	"more/tdx/crl-pck-platform-2023-06.der": is("CRL of Intel SGX PCK Platform CA"),
	"more/tdx/crl-root-2023-04.der":         is("CRL of Intel SGX Root CA"),
	"more/tdx/v4-uptodate-b0c0.quote.bin": {
		{is: "TDX quote", at: "X1", with: tdxB0C0, alone: true, code: "accepted"},
		{at: "2025-07-20T00:00:00Z", with: tdxB0C0, alone: true, code: "tdx.pck-ca.crl", also: []string{"tdx.tcb-info", "tdx.qe-identity"}},
		{at: "2025-06-19T10:00:00Z", with: tdxB0C0, alone: true, code: "tdx.pck-ca.crl", also: []string{"tdx.tcb-info", "tdx.qe-identity"}},
		{at: "X1", with: []string{"more/tdx/v4-uptodate-b0c0.tcbinfo.json", "more/tdx/v4-uptodate-b0c0.qeidentity.json", "more/tdx/crl-pck-platform-2025-06.der", "more/tdx/crl-root-2025-03.der", "more/tdx/tcb-signing-2025.pem"}, alone: true, code: "accepted"},
		{at: "X1", with: together(tdx2026), alone: true, code: "tdx.pck-ca.crl", also: []string{"tdx.tcb-info.fmspc"}},
	},
	"more/tdx/v4-uptodate-b0c0.collateral.json": is("collateral: 3 × issuer chain, CRL of"),
	"more/tdx/v4-uptodate-b0c0.tcbinfo.json":    is("TDX TCB info for b0c06f000000"),
	"more/tdx/v4-uptodate-b0c0.qeidentity.json": is("TD_QE identity"),
	"more/tdx/crl-pck-platform-2025-06.der":     is("CRL of Intel SGX PCK Platform CA"),
	"more/tdx/crl-root-2025-03.der":             is("CRL of Intel SGX Root CA"),
	"more/tdx/tcb-signing-2025.pem":             is("PEM: 2 × certificate"),
	"more/tdx/v5-uptodate-90c0.quote.bin": {
		{is: "TDX quote", at: "X2", with: tdx2026, alone: true, code: "accepted"},
		{at: "X1", with: tdx2026, alone: true, code: "tdx.pck.validity"},
		{at: "now", with: tdx2026, alone: true, code: "tdx.pck-ca.crl"},
	},
	"more/tdx/v5-uptodate-90c0.tcbinfo.json": is("TDX TCB info for 90c06f000000"),
	"more/tdx/tdqe-identity-2026-02.json":    is("TD_QE identity"),
	"more/tdx/crl-pck-platform-2026-02.der":  is("CRL of Intel SGX PCK Platform CA"),
	"more/tdx/v5-servicetd-90c0.quote.bin": {
		{is: "TDX quote", at: "X2", with: tdx2026, alone: true, code: "tdx.tcb-info.level", also: []string{"tdx.mrservicetd"}},
	},
	"more/tdx/v4-gce-zeropad.quote.bin": {
		{is: "TDX quote", at: "X3", alone: true, code: "tdx.pck-ca.crl", also: []string{"tdx.root.crl", "tdx.tcb-info"}},
	},
	"more/tdx/v4-gce-zeropad.nonce.bin": {{code: "unreadable: 64 bytes"}}, // report data, not evidence

	// There is no verifier for Arm CCA here: these are read as what they are not.
	"more/cca/tf-rmm.token.cbor":          {{code: "unreadable: an Arm CCA token"}},
	"more/cca/tf-rmm.platform.pub":        {{code: "unreadable: PEM of a \"PUBLIC KEY\""}},
	"more/cca/veraison-good.token.cbor":   {{code: "unreadable: an Arm CCA token"}},
	"more/cca/veraison-good.platform.jwk": {{code: "unreadable: JSON without"}},
}
