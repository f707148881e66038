// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/attest/attesttest"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/internal/need"
)

// rule is a key of a policy, what makes it accept the synthetic evidence of
// that shape, and what makes it refuse it, with that code. A value of either
// may be a %x for the bytes that of returns.
type rule struct {
	shape     string
	edit      func(*attesttest.Request)
	of        func(*Claims) []byte
	good, bad string
	code      string
}

func snpReport(edit func(*attesttest.Report)) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.Report = edit }
}

func sgxQuote(edit func(*attesttest.SGXQuote)) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.SGX = edit }
}

func tdxQuote(edit func(*attesttest.TDXQuote)) func(*attesttest.Request) {
	return func(r *attesttest.Request) { r.TDX = edit }
}

// olderMachine makes a request come from a platform that Intel calls outdated.
func olderMachine(r *attesttest.Request) {
	m := *r.Machine
	m.SVN[0]--
	r.Machine = &m
	r.Evidence = func(e *attesttest.Evidence) { // the TCB info of the current one
		e.TCBInfo.JSON = silicon.Machine().TCBInfo(strings.ToUpper(r.Shape[:3]))
	}
}

// list, of n bytes, and one that nothing has.
func other(n int) string { return strings.Repeat("5a", n) }

func listRule(shape, key string, n int, of func(*Claims) []byte, code string, edit func(*attesttest.Request)) rule {
	return rule{shape, edit, of, key + ` = ["` + other(n) + `", "%x"]`, key + ` = ["` + other(n) + `"]`, code}
}

func denyRule(shape, key string, n int, of func(*Claims) []byte, code string) rule {
	return rule{shape, nil, of, key + ` = ["` + other(n) + `"]`, key + ` = ["%x"]`, code}
}

func author(r *attesttest.Report) {
	r.SignerInfo |= attesttest.SignerAuthorKey
	r.AuthorKeyDigest = [48]byte{1, 2}
	r.IDKeyDigest = [48]byte{3, 4}
}

// vlek is a request from a chip that a cloud provider's key signs for.
func vlek(r *attesttest.Request) { r.Chip = silicon.AMD.Milan.Chip("chip").Lent("cloud.example") }

// policyRules has an entry for every key that a policy can have.
var policyRules = map[string]rule{
	"technologies":        {"snp-v2", nil, nil, `technologies = ["snp"]`, `technologies = ["sgx", "tdx"]`, "policy.technology"},
	"refuse_known_broken": {"snp-v2", func(r *attesttest.Request) { r.Chip = silicon.AMD.Genoa.Chip("new") }, nil, `refuse_known_broken = true`, "", ""},
	"expected": {"snp-v2", nil, (*Claims).Measurement,
		"expected = [\"app\"]\n[measurements.app]\nsnp = \"%x\"", "expected = [\"app\"]\n[measurements.app]\nsnp = [\"" + other(48) + "\"]\nsgx = \"" + other(32) + "\"", "policy.expected"},
	"measurements": {"tdx-v1", nil, (*Claims).Measurement,
		"expected = [\"app\", \"b\"]\nmeasurements = { app = { tdx = \"%x\" }, b = { sgx = \"" + other(32) + "\" } }", "expected = [\"b\"]\nmeasurements = { app = { tdx = \"%x\" }, b = { snp = \"" + other(48) + "\" } }", "policy.expected"},

	"snp.signer":                  listRule("snp-v2", "signer", 48, func(c *Claims) []byte { return c.SNP.Report.AuthorKeyDigest[:] }, "snp.author_key_digest", snpReport(author)),
	"snp.hash":                    listRule("snp-v2", "hash", 48, (*Claims).Measurement, "snp.measurement", nil),
	"snp.hash_blacklist":          denyRule("snp-v2", "hash_blacklist", 48, (*Claims).Measurement, "snp.measurement.denied"),
	"snp.id_key_digest":           listRule("snp-v2", "id_key_digest", 48, func(c *Claims) []byte { return c.SNP.Report.IDKeyDigest[:] }, "snp.id_key_digest", snpReport(author)),
	"snp.id_key_digest_blacklist": denyRule("snp-v2", "id_key_digest_blacklist", 48, func(c *Claims) []byte { return c.SNP.Report.IDKeyDigest[:] }, "snp.id_key_digest.denied"),
	"snp.abi":                     {"snp-v2", snpReport(func(r *attesttest.Report) { r.Policy |= 0x0133 }), nil, `abi = ">=1.51"`, `abi = "~1.52"`, "snp.policy.abi_range"},
	"snp.policy_flags":            {"snp-v2", nil, nil, `policy_flags = ["SMT"]`, `policy_flags = ["SMT", "SingleSocket"]`, "snp.policy.single_socket"},
	"snp.platform_info_flags":     {"snp-v2", nil, nil, `platform_info_flags = "SME"`, `platform_info_flags = "TSME"`, "snp.platform_info"},
	"snp.platform_info_denied":    {"snp-v2", nil, nil, `platform_info_denied = ["TSME", "TIO"]`, `platform_info_denied = ["SMT"]`, "snp.platform_info.denied"},
	"snp.minimum_tcb":             {"snp-v2", snpReport(func(r *attesttest.Report) { r.LaunchTCB.SNP-- }), nil, `minimum_tcb = { milan = { snp = 1 }, genoa = { snp = 255 } }`, `minimum_tcb = { microcode = 255 }`, "snp.reported_tcb"},
	"snp.minimum_firmware":        {"snp-v2", nil, nil, `minimum_firmware = "1.55.29"`, `minimum_firmware = "1.55.30"`, "snp.committed.firmware"},
	"snp.minimum_guest_svn":       {"snp-v2", snpReport(func(r *attesttest.Report) { r.GuestSVN = 7 }), nil, `minimum_guest_svn = 7`, `minimum_guest_svn = 8`, "snp.guest_svn"},
	"snp.chip_ids":                listRule("snp-v2", "chip_ids", 64, func(c *Claims) []byte { return c.SNP.Report.ChipID[:] }, "snp.chip_id", nil),
	"snp.chip_ids_denied":         denyRule("snp-v2", "chip_ids_denied", 64, func(c *Claims) []byte { return c.SNP.Report.ChipID[:] }, "snp.chip_id.denied"),
	"snp.csp_ids":                 {"snp-v2", vlek, nil, "allow_vlek = true\ncsp_ids = [\"cloud.example\"]", "allow_vlek = true\ncsp_ids = [\"another\"]", "snp.csp_id"},
	"snp.host_data":               listRule("snp-v2", "host_data", 32, func(c *Claims) []byte { return c.SNP.Report.HostData[:] }, "snp.host_data", uris(WorkloadURI(wdig))),
	"snp.products":                {"snp-v2", nil, nil, `products = ["milan"]`, `products = ["genoa", "turin"]`, "snp.products"},
	"snp.vmpl":                    {"snp-v2", snpReport(func(r *attesttest.Report) { r.VMPL = 1 }), nil, `vmpl = [0, 1]`, `vmpl = 2`, "snp.vmpl"},
	"snp.allow_debug":             {"snp-v2", snpReport(func(r *attesttest.Report) { r.Policy |= attesttest.PolicyDebug }), nil, "allow_debug = true", "allow_debug = false", "snp.policy.debug"},
	"snp.allow_migration":         {"snp-v2", snpReport(func(r *attesttest.Report) { r.Policy |= attesttest.PolicyMigrationAgent }), nil, "allow_migration = true", "allow_migration = false", "snp.policy.migrate_ma"},
	"snp.allow_vlek":              {"snp-v2", vlek, nil, "allow_vlek = true", "allow_vlek = false", "snp.vlek.allowed"},

	"sgx.signer":                    listRule("sgx-v3", "signer", 32, func(c *Claims) []byte { return c.SGX.Body.MRSigner[:] }, "sgx.mrsigner", nil),
	"sgx.hash":                      listRule("sgx-v3", "hash", 32, (*Claims).Measurement, "sgx.mrenclave", nil),
	"sgx.hash_blacklist":            denyRule("sgx-v3", "hash_blacklist", 32, (*Claims).Measurement, "sgx.mrenclave.denied"),
	"sgx.features":                  {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes |= attesttest.AttributeProvisionKey }), nil, `features = ["ProvisioningKey", "KSS"]`, `features = []`, "sgx.attributes.features"},
	"sgx.misc_select":               {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.MiscSelect = 1 }), nil, `misc_select = ["EXINFO"]`, `misc_select = []`, "sgx.miscselect"},
	"sgx.enclave_security_version":  {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.ISVSVN = 3 }), nil, `enclave_security_version = 3`, `enclave_security_version = 4`, "sgx.isvsvn"},
	"sgx.enclave_product_id":        {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.ISVProdID = 3 }), nil, `enclave_product_id = 3`, `enclave_product_id = 0`, "sgx.isvprodid"},
	"sgx.config_id":                 listRule("sgx-v3", "config_id", 64, func(c *Claims) []byte { return c.SGX.Body.ConfigID[:] }, "sgx.configid", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes |= uint64(dcap.KSS); q.Body.ConfigID[63] = 1 })),
	"sgx.require_kss":               {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes &^= uint64(dcap.KSS) }), nil, "require_kss = false", "require_kss = true", "sgx.attributes.kss"},
	"sgx.allowed_tcb_statuses":      {"sgx-v3", olderMachine, nil, `allowed_tcb_statuses = ["UpToDate", "OutOfDate"]`, `allowed_tcb_statuses = ["SWHardeningNeeded"]`, "sgx.tcb.status"},
	"sgx.allowed_advisories":        {"sgx-v3", olderMachine, nil, "allowed_tcb_statuses = [\"OutOfDate\"]\nallowed_advisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]", "allowed_tcb_statuses = [\"OutOfDate\"]\nallowed_advisories = [\"INTEL-SA-00001\"]", "sgx.tcb.advisories"},
	"sgx.ppids":                     listRule("sgx-v3", "ppids", 16, func(c *Claims) []byte { return c.SGX.PCK.PPID[:] }, "sgx.pck.ppid", nil),
	"sgx.ppids_denied":              denyRule("sgx-v3", "ppids_denied", 16, func(c *Claims) []byte { return c.SGX.PCK.PPID[:] }, "sgx.pck.ppid.denied"),
	"sgx.platforms":                 listRule("sgx-v3", "platforms", 16, func(c *Claims) []byte { return c.SGX.PCK.Platform.InstanceID[:] }, "sgx.pck.platform", nil),
	"sgx.minimum_qe_svn":            {"sgx-v3", nil, nil, `minimum_qe_svn = 8`, `minimum_qe_svn = 9`, "sgx.qe.isvsvn.minimum"},
	"sgx.minimum_pce_svn":           {"sgx-v3", nil, nil, `minimum_pce_svn = 13`, `minimum_pce_svn = 14`, "sgx.pck.pcesvn"},
	"sgx.minimum_evaluation_number": {"sgx-v3", nil, nil, `minimum_evaluation_number = 18`, `minimum_evaluation_number = 19`, "sgx.tcb-info.evaluation-number"},
	"sgx.allow_debug":               {"sgx-v3", sgxQuote(func(q *attesttest.SGXQuote) { q.Body.Attributes |= attesttest.AttributeDebug }), nil, "allow_debug = true", "allow_debug = false", "sgx.attributes.debug"},

	"tdx.mr_td":           listRule("tdx-v1", "mr_td", 48, (*Claims).Measurement, "tdx.mrtd", nil),
	"tdx.mr_td_denied":    denyRule("tdx-v1", "mr_td_denied", 48, (*Claims).Measurement, "tdx.mrtd.denied"),
	"tdx.rtmr0":           listRule("tdx-v1", "rtmr0", 48, func(c *Claims) []byte { return c.TDX.Body.RTMR[0][:] }, "tdx.rtmr0", nil),
	"tdx.rtmr1":           listRule("tdx-v1", "rtmr1", 48, func(c *Claims) []byte { return c.TDX.Body.RTMR[1][:] }, "tdx.rtmr1", nil),
	"tdx.rtmr2":           listRule("tdx-v1", "rtmr2", 48, func(c *Claims) []byte { return c.TDX.Body.RTMR[2][:] }, "tdx.rtmr2", nil),
	"tdx.rtmr3":           listRule("tdx-v1", "rtmr3", 48, func(c *Claims) []byte { return c.TDX.Body.RTMR[3][:] }, "tdx.rtmr3", nil),
	"tdx.mr_config_id":    listRule("tdx-v1", "mr_config_id", 48, func(c *Claims) []byte { return c.TDX.Body.MRConfigID[:] }, "tdx.mrconfigid", nil),
	"tdx.mr_owner":        listRule("tdx-v1", "mr_owner", 48, func(c *Claims) []byte { return c.TDX.Body.MROwner[:] }, "tdx.mrowner", nil),
	"tdx.mr_owner_config": listRule("tdx-v1", "mr_owner_config", 48, func(c *Claims) []byte { return c.TDX.Body.MROwnerConfig[:] }, "tdx.mrownerconfig", nil),
	"tdx.mr_seam":         listRule("tdx-v1", "mr_seam", 48, func(c *Claims) []byte { return c.TDX.Body.MRSEAM[:] }, "tdx.mrseam", nil),
	"tdx.mr_service_td": listRule("tdx-v1", "mr_service_td", 48, func(c *Claims) []byte { return c.TDX.Body.MRServiceTD[:] }, "tdx.mrservicetd", func(r *attesttest.Request) {
		r.Version = 5
		r.TDX = func(q *attesttest.TDXQuote) { q.MRServiceTD[0] = 1 }
	}),
	"tdx.allow_migration":           {"tdx-v1", tdxQuote(func(q *attesttest.TDXQuote) { q.TDAttributes |= attesttest.TDMigratable }), nil, "allow_migration = true", "allow_migration = false", "tdx.attributes.migratable"},
	"tdx.allow_debug":               {"tdx-v1", tdxQuote(func(q *attesttest.TDXQuote) { q.TDAttributes |= attesttest.TDDebug }), nil, "allow_debug = true", "allow_debug = false", "tdx.attributes.debug"},
	"tdx.allowed_tcb_statuses":      {"tdx-v1", olderMachine, nil, `allowed_tcb_statuses = ["OutOfDate"]`, `allowed_tcb_statuses = ["UpToDate"]`, "tdx.tcb.status"},
	"tdx.allowed_advisories":        {"tdx-v1", olderMachine, nil, "allowed_tcb_statuses = [\"OutOfDate\"]\nallowed_advisories = [\"INTEL-SA-00001\", \"INTEL-SA-00002\"]", "allowed_tcb_statuses = [\"OutOfDate\"]\nallowed_advisories = [\"INTEL-SA-00002\"]", "tdx.tcb.advisories"},
	"tdx.ppids":                     listRule("tdx-v1", "ppids", 16, func(c *Claims) []byte { return c.TDX.PCK.PPID[:] }, "tdx.pck.ppid", nil),
	"tdx.ppids_denied":              denyRule("tdx-v1", "ppids_denied", 16, func(c *Claims) []byte { return c.TDX.PCK.PPID[:] }, "tdx.pck.ppid.denied"),
	"tdx.platforms":                 listRule("tdx-v1", "platforms", 16, func(c *Claims) []byte { return c.TDX.PCK.Platform.InstanceID[:] }, "tdx.pck.platform", nil),
	"tdx.minimum_qe_svn":            {"tdx-v1", nil, nil, `minimum_qe_svn = 6`, `minimum_qe_svn = 7`, "tdx.qe.isvsvn.minimum"},
	"tdx.minimum_pce_svn":           {"tdx-v1", nil, nil, `minimum_pce_svn = 13`, `minimum_pce_svn = 14`, "tdx.pck.pcesvn"},
	"tdx.minimum_evaluation_number": {"tdx-v1", nil, nil, `minimum_evaluation_number = 18`, `minimum_evaluation_number = 19`, "tdx.tcb-info.evaluation-number"},

	"collateral.max_age":             {"snp-v2", nil, nil, `max_age = "3d"`, `max_age = "24h"`, "snp.ark.crl"},
	"collateral.require_crl":         {"snp-v1", nil, nil, `require_crl = false`, `require_crl = true`, "snp.ark.crl"},
	"collateral.require_tcb_info":    {"sgx-v2", nil, nil, "require_tcb_info = false\nrequire_qe_identity = false", "require_tcb_info = true\nrequire_qe_identity = false", "sgx.tcb-info"},
	"collateral.require_qe_identity": {"sgx-v3", nil, nil, `require_qe_identity = false`, `require_qe_identity = true`, "sgx.qe-identity"},
	"certificate.life":               {"snp-v2", nil, nil, `life = "30m"`, "", ""},
	"certificate.max_life":           {"snp-v2", nil, nil, `max_life = "90d"`, "", ""},
}

// withTable puts a key into its table.
func withTable(key, text string) string {
	if table, _, ok := strings.Cut(key, "."); ok {
		return "[" + table + "]\n" + text
	}
	return text
}

// TestPolicyRules shows for every key that it decides, that it says so under
// its code and names its line, and that Explain knows it.
func TestPolicyRules(t *testing.T) {
	known := map[string]bool{}
	for key := range policyKeys {
		known[key] = true
	}
	for table, keys := range policyTables {
		for key := range keys {
			known[table+"."+key] = true
		}
	}
	for key := range known {
		if _, ok := policyRules[key]; !ok {
			t.Errorf("%s: no test shows what it does", key)
		}
	}
	memo := pki.NewMemo(memoSize)
	for key, c := range policyRules {
		t.Run(key, func(t *testing.T) {
			if !known[key] {
				t.Fatal("no such key")
			}
			csr, _ := silicon.CSR(c.shape, or(c.edit))
			req, err := ParseRequest(csr, memo)
			if err != nil {
				t.Fatal(err)
			}
			collateral := serverCollateral(t, memo)
			if strings.HasPrefix(key, "collateral.require") {
				collateral = &Collateral{}
			}
			cl := Verify(req.Evidence, &Roots{silicon.Roots(), memo}, collateral, testTime)
			read := func(text string) *Policy {
				if c.of != nil && strings.Contains(text, "%x") {
					text = fmt.Sprintf(text, c.of(cl))
				}
				p, err := ParsePolicy("p.toml", []byte(withTable(key, text)))
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			good := read(c.good)
			if r := Appraise(cl, good); !r.Accepted() {
				t.Errorf("%s: %v", c.good, r.Err())
			}
			var words bytes.Buffer
			if err := good.Explain(&words); err != nil {
				t.Fatal(err)
			}
			source := good.sources[key]
			if !strings.HasPrefix(source, "p.toml:") || key != "technologies" && !strings.Contains(words.String(), "["+source+"]") {
				t.Errorf("Explain does not say %s:\n%s", source, &words)
			}
			if c.bad == "" {
				return
			}
			r := Appraise(cl, read(c.bad))
			if r.Code() != c.code {
				t.Fatalf("%s: got %s, want %s", c.bad, r.Code(), c.code)
			}
			if failed := r.Failed(); !strings.Contains(failed.Source, "p.toml:") || failed.Fix == "" {
				t.Errorf("%s: source %q, change %q", c.bad, failed.Source, failed.Fix)
			}
		})
	}
}

// TestPolicyDocumented: docs/evidence.md has every key and no other.
func TestPolicyDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "evidence.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(text), "\n## Policy\n")
	policy, _, ok := strings.Cut(policy, "\n## ")
	if !ok {
		t.Fatal("docs/evidence.md has no section on policy")
	}
	documented := map[string]bool{}
	for line := range strings.SplitSeq(policy, "\n") {
		if cells := strings.Split(line, "|"); len(cells) >= 5 {
			for _, m := range regexp.MustCompile("`([a-z_0-9.]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = true
			}
		}
	}
	for key := range policyRules {
		if !documented[key] {
			t.Errorf("%s is not in docs/evidence.md", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("%s is in docs/evidence.md and no key", key)
	}
}

// TestUpstreamPolicy reads the policy that upstream accepts its own evidence
// with.
func TestUpstreamPolicy(t *testing.T) {
	p, err := ParsePolicy("steward.toml", []byte(refSNP+refSGX))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.SNP.Signer) != 1 || len(p.SNP.IDKey) != 1 || len(p.SNP.Hash) != 1 || p.SNP.ABI.String() != ">=1.51" || len(*p.SNP.PolicyFlags) != 1 || p.SNP.PlatformInfo != 1 {
		t.Errorf("snp: %+v", p.SNP)
	}
	if len(p.SGX.Signer) != 1 || len(p.SGX.Hash) != 1 || *p.SGX.Features != dcap.KSS|dcap.EINITTokenKey|dcap.ProvisionKey || *p.SGX.MiscSelect != 1 || *p.SGX.ProductID != 0 || len(p.SGX.Advisories) != 9 {
		t.Errorf("sgx: %+v", p.SGX)
	}
	var lines []string
	for _, w := range p.Warnings {
		lines = append(lines, w.Source)
	}
	// policy_flags, "SME" twice, allowed_advisories without statuses.
	if got := strings.Join(lines, " "); got != "steward.toml:8 steward.toml:9 steward.toml:9 steward.toml:19" {
		t.Errorf("warnings at %s: %v", got, p.Warnings)
	}
	if p.Digest() != sha256.Sum256([]byte(refSNP+refSGX)) || p.Name() != "steward.toml" {
		t.Error("digest or name")
	}
}

// TestPolicyErrors: what upstream swallowed is refused, with line and advice.
func TestPolicyErrors(t *testing.T) {
	h48, h32 := other(48), other(32)
	for text, want := range map[string]string{
		"[snp":                            "p.toml:1:4: ",
		"[snp]\nhash = 'a":                "p.toml:2:9: ",
		"[snp]":                           "p.toml:1:2: [snp] is empty | remove the table, or say what it requires",
		"\n[snp]\nhash = [\"\"]":          `p.toml:3:1: snp.hash: "" is not 96 hexadecimal digits`,
		"[snp]\nhash = [\"" + h32 + "\"]": `p.toml:2:1: snp.hash: "` + h32 + `" is not 96 hexadecimal digits`,
		"[snp]\nhash = \"" + h48 + "\"":   "p.toml:2:1: snp.hash: must be an array of strings, not a string",
		"[snp]\nhash = [1]":               "p.toml:2:1: snp.hash: must be an array of strings, and has an integer",
		"[snp]\nHash = []":                `p.toml:2:1: unknown key "Hash" in [snp] | did you mean "hash"?`,
		"[snp]\nhahs = []":                `p.toml:2:1: unknown key "hahs" in [snp] | did you mean "hash"?`,
		"[snp]\nfeatures = []":            `p.toml:2:1: unknown key "features" in [snp] | features belongs in [sgx]`,
		"[sgx]\nabi = \"*\"":              `p.toml:2:1: unknown key "abi" in [sgx] | abi belongs in [snp]`,
		"[sgx]\nexpected = []":            `p.toml:2:1: unknown key "expected" in [sgx] | expected belongs at the top of the file, before any table`,
		"hash = []":                       `p.toml:1:1: unknown key "hash" | hash belongs in [sgx]`,
		"[spn]\nhash = []":                `p.toml:1:2: unknown key "spn" | did you mean "snp"?`,
		"snp = 1":                         "p.toml:1:1: snp must be a table | write it as [snp]",
		"[snp]\nhash = [\"" + h48 + "\"]\nhash_blacklist = [\"" + h48 + "\"]": "p.toml:3:1: snp.hash_blacklist: " + h48 + " is allowed too | remove it from one of the lists",
		"[snp]\nhash = []\nhash = []":                                         "p.toml:3:1: ",
		"[snp]\nabi = \">=x\"":                                                `p.toml:2:1: snp.abi: ">=x": not a version like 1.51`,
		"[snp]\nabi = 1":                                                      `p.toml:2:1: snp.abi: must be a string like ">=1.51", not an integer`,
		"[snp]\npolicy_flags = [\"Smt\"]":                                     `p.toml:2:1: snp.policy_flags: unknown guest policy flag "Smt" | did you mean "SMT"?`,
		"[snp]\nplatform_info_flags = \"FOO\"":                                `p.toml:2:1: snp.platform_info_flags: unknown platform flag "FOO" | known: ALIAS_CHECK, CIPHERTEXT_HIDING, ECC, IOMMU_WRITE_SAFE, RAPL_DIS, SME, SMT, TIO, TSME`,
		"[snp]\nminimum_tcb = { snp = 256 }":                                  "p.toml:2:17: snp.minimum_tcb: snp must be between 0 and 255",
		"[snp]\nminimum_tcb = { ucode = 1 }":                                  `p.toml:2:17: snp.minimum_tcb: unknown TCB component "ucode" | known: fmc, bootloader, tee, snp, microcode, genoa, milan, turin`,
		"[snp.minimum_tcb]\nmilan = 1":                                        "p.toml:2:1: snp.minimum_tcb.milan must be a table, not an integer",
		"[snp]\nminimum_tcb = { milan = { fmc = 1 } }":                        "p.toml:2:17: snp.minimum_tcb: Milan has no fmc | only Turin has one",
		"[snp]\nminimum_tcb = 1":                                              "p.toml:2:1: snp.minimum_tcb: must be a table like { snp = 24, microcode = 219 }, not an integer",
		"[snp]\nminimum_firmware = \"1.55\"":                                  `p.toml:2:1: snp.minimum_firmware: must be a string like "1.55.31"`,
		"[snp]\nminimum_guest_svn = -1":                                       "p.toml:2:1: snp.minimum_guest_svn: must be between 0 and 4294967295",
		"[snp]\nchip_ids = [\"00\"]":                                          `p.toml:2:1: snp.chip_ids: "00" is not 128 hexadecimal digits, or 16 for Turin`,
		"[snp]\nproducts = [\"rome\"]":                                        `p.toml:2:1: snp.products: unknown product line "rome" | known: genoa, milan, turin`,
		"[snp]\nproducts = []":                                                "p.toml:2:1: snp.products: is empty, which refuses everything",
		"[snp]\nvmpl = [4]":                                                   "p.toml:2:1: snp.vmpl: must be between 0 and 3",
		"[snp]\nvmpl = []":                                                    "p.toml:2:1: snp.vmpl: is empty, which refuses everything",
		"[snp]\nallow_debug = 1":                                              "p.toml:2:1: snp.allow_debug: must be true or false, not an integer",
		"[sgx]\nfeatures = [\"DEBUG\"]":                                       `p.toml:2:1: sgx.features: unknown feature "DEBUG" | did you mean "Debug"?`,
		"[sgx]\nmisc_select = [\"X\"]":                                        `p.toml:2:1: sgx.misc_select: unknown MISCSELECT flag "X" | known: EXINFO`,
		"[sgx]\nenclave_product_id = 65536":                                   "p.toml:2:1: sgx.enclave_product_id: must be between 0 and 65535",
		"[sgx]\nallowed_tcb_statuses = []":                                    "p.toml:2:1: sgx.allowed_tcb_statuses: is empty, which refuses everything: remove it to accept UpToDate",
		"[sgx]\nallowed_tcb_statuses = [\"Revoked\"]":                         "p.toml:2:1: sgx.allowed_tcb_statuses: a platform that Intel revoked is never accepted | remove it",
		"[tdx]\nallowed_tcb_statuses = [\"UptoDate\"]":                        `p.toml:2:1: tdx.allowed_tcb_statuses: unknown TCB status "UptoDate" | did you mean "UpToDate"?`,
		"[collateral]\nmax_age = \"1w\"":                                      `p.toml:2:1: collateral.max_age: "1w" is not a duration like "24h" or "30d"`,
		"[collateral]\nmax_age = \"0s\"":                                      "p.toml:2:1: collateral.max_age: must be at least a second and at most a hundred years",
		"[collateral]\nmax_age = 1":                                           `p.toml:2:1: collateral.max_age: must be a string like "24h" or "30d", not an integer`,
		"[certificate]\nlife = \"30d\"":                                       "p.toml:2:1: certificate.life: life 720h0m0s is more than max_life 672h0m0s",
		"[certificate]\nmax_life = \"1h\"":                                    "p.toml:2:1: certificate.max_life: life 24h0m0s is more than max_life 1h0m0s",
		"technologies = [\"sev\"]":                                            `p.toml:1:1: technologies: unknown technology "sev" | known: sgx, snp, tdx`,
		"expected = [\"a\"]":                                                  "p.toml:1:1: expected: there is no [measurements.a]",
		"measurements = 1":                                                    "p.toml:1:1: measurements: must be tables like [measurements.NAME], not an integer",
		"[measurements]\na = 1":                                               `p.toml:2:1: measurements.a must be a table | write [measurements.a] with snp, sgx or tdx = "…"`,
		"[measurements.a]":                                                    `p.toml:1:15: measurements.a is empty | add snp, sgx or tdx = "…"`,
		"[measurements.a]\nspn = \"\"":                                        `p.toml:2:1: unknown key "spn" in [measurements.a] | did you mean "snp"?`,
		"[measurements.a]\nsnp = \"00\"":                                      `p.toml:2:1: measurements.a.snp: "00" is not 96 hexadecimal digits`,
		"[[snp]]\nhash = []":                                                  "p.toml:1:3: snp must be a table | write it as [snp]",
		"#" + strings.Repeat("x", maxPolicy):                                  "p.toml: 1048577 bytes, more than 1048576",
	} {
		_, err := ParsePolicy("p.toml", []byte(text))
		e, ok := errors.AsType[*PolicyError](err)
		if !ok {
			t.Errorf("%.80q: got %v, want %s", text, err, want)
			continue
		}
		got := e.Error()
		if e.Hint != "" {
			got += " | " + e.Hint
		}
		if got != want && !(strings.HasSuffix(want, ": ") && strings.HasPrefix(got, want)) {
			t.Errorf("%.80q:\n got %s\nwant %s", text, got, want)
		}
	}
}

// TestPolicyWarnings: what is accepted and probably not meant.
func TestPolicyWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"[snp]\nhash = []":              "p.toml:2: snp.hash is empty, which asks for nothing",
		"[snp]\nhash_blacklist = []":    "",
		"[sgx]\nfeatures = [\"Debug\"]": "p.toml:2: Debug is among the features: enclaves whose memory the host can read are accepted",
		"technologies = []":             "p.toml:1: technologies is empty, which refuses all hardware",
		"[measurements.a]\nsgx = \"" + other(32) + "\"": `p.toml:1: measurements without expected = ["NAME"]: they are not required of anybody`,
	} {
		p, err := ParsePolicy("p.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range p.Warnings {
			got += w.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDefaultPolicy(t *testing.T) {
	p, err := ParsePolicy("p.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := DefaultPolicy()
	if p.Digest() != d.Digest() || p.Collateral != d.Collateral || p.Certificate != d.Certificate || !d.RequireBinding || d.Insecure ||
		d.Certificate.Life != 24*time.Hour || !d.Collateral.RequireCRL || !d.Collateral.RequireTCBInfo || !d.Collateral.RequireQEIdentity {
		t.Errorf("%+v", d)
	}
}

func TestVersionRange(t *testing.T) {
	type in struct {
		req          string
		major, minor uint64
	}
	for c, want := range map[in]bool{
		{"*", 0, 0}: true, {"", 9, 9}: false,
		{"1.51", 1, 51}: true, {"1.51", 1, 99}: true, {"1.51", 1, 50}: false, {"1.51", 2, 0}: false,
		{"1.0", 1, 51}: true, {"0.5", 0, 5}: true, {"0.5", 0, 6}: false, {"0", 0, 9}: true, {"0", 1, 0}: false,
		{">=1.51", 1, 51}: true, {">=1.51", 2, 0}: true, {">=1.51", 1, 50}: false,
		{">1.51", 1, 51}: false, {">1.51", 1, 52}: true, {">254.0", 1, 51}: false, {">1", 1, 99}: false, {">1", 2, 0}: true,
		{"<1.51", 1, 50}: true, {"<1.51", 1, 51}: false, {"<=1.51", 1, 51}: true, {"<=1.51", 1, 52}: false,
		{"=1.51", 1, 51}: true, {"=1.51", 1, 52}: false, {"=1", 1, 7}: true,
		{"~1.51", 1, 51}: true, {"~1.51", 1, 52}: false, {"~1", 1, 52}: true, {"~1", 2, 0}: false,
		{"^1.51", 1, 60}: true, {"1.*", 1, 3}: true, {"1.*", 2, 3}: false,
		{">=1.49, <2", 1, 50}: true, {">=1.49, <2", 2, 0}: false, {">= 1.49", 1, 49}: true, {"1.51.0", 1, 51}: true, {"=1.51.1", 1, 51}: false,
	} {
		r, err := ParseVersionRange(c.req)
		if err != nil {
			if c.req != "" {
				t.Errorf("%q: %v", c.req, err)
			}
			continue
		}
		if got := r.Contains(c.major, c.minor, 0); got != want {
			t.Errorf("%q contains %d.%d: %v", c.req, c.major, c.minor, got)
		}
	}
	for _, bad := range []string{"", "x", "1.2.3.4", ">", ">=*", "=>1", "1.*.2", "1.-2", "+1", "1,", "99999999999", "1.2-rc"} {
		if _, err := ParseVersionRange(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
