// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/elliptic"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A field is a place in a report or quote.
type field struct {
	name string
	at   int
}

// reportFields are the signed fields of every report. That is, all but those
// which say how the rest is to be read: these have cases of their own.
var reportFields = []field{
	{"guest_svn", 0x004}, {"policy", 0x008}, {"family_id", 0x010}, {"image_id", 0x020}, {"vmpl", 0x030}, {"current_tcb", 0x03f},
	{"platform_info", 0x040}, {"author_key_en", 0x048}, {"reserved_4c", 0x04c}, {"report_data", 0x050}, {"report_data_end", 0x08f},
	{"measurement", 0x090}, {"measurement_end", 0x0bf}, {"host_data", 0x0c0}, {"id_key_digest", 0x0e0}, {"author_key_digest", 0x110},
	{"report_id", 0x140}, {"report_id_ma", 0x160}, {"reported_tcb", 0x187}, {"chip_id", 0x1a0}, {"committed_tcb", 0x1e7},
	{"current_build", 0x1e8}, {"current_minor", 0x1e9}, {"current_major", 0x1ea}, {"committed_build", 0x1ec},
	{"committed_minor", 0x1ed}, {"committed_major", 0x1ee}, {"launch_tcb", 0x1f7}, {"last_signed", 0x29f},
}

// snpCase is a bare report of a chip with what belongs to it.
func (g *generator) snpCase(name string, c *Chip, edits ...func(*Report)) Mutant {
	data := bound()
	report := c.SignReport(append([]func(*Report){func(r *Report) { r.ReportData = data }}, edits...)...)
	line := strings.ToLower(c.Name)
	return Mutant{
		Name: name, Change: "none: this one is in order", Kind: KindSNP, Input: report, ReportData: data[:],
		Collateral: []Piece{{"endorsement.crt", c.Endorsement(c.TCB)}, {"ark-" + line + ".crl", c.CRL()}},
	}
}

// set sends the base with a report that the endorsed key signed after edit.
func (g *generator) set(c *Chip, name, change, code string, edit func(*Report), also ...string) {
	g.refuse(name, change, code, func(m *Mutant) {
		m.Input, m.Also = g.signWith(c, edit), also
	})
}

// signWith is a report with the base's report data, signed with the key for the
// chip's TCB whatever it says.
func (g *generator) signWith(c *Chip, edit func(*Report)) []byte {
	return c.SignReport(func(r *Report) {
		r.ReportData, r.Key = bound(), c.Key(c.TCB)
		r.Version = binary.LittleEndian.Uint32(g.base.Input)
		edit(r)
	})
}

func (g *generator) snp() {
	milan := g.w.AMD.Milan.Chip("conformance")
	for version := uint32(2); version <= 5; version++ {
		g.accept(g.snpCase(fmt.Sprintf("snp-milan-v%d", version), milan, func(r *Report) { r.Version = version }))
		if version == 3 {
			g.reportFields(milan)
			g.reportPolicies(milan)
		}
		g.reservedBytes(milan, version)
	}
	g.genoaAndTurin()
	g.vlek(milan.Lent("cloud.example"))
}

// reservedBytes are the places that must be zero in that version.
func (g *generator) reservedBytes(c *Chip, version uint32) {
	places := []int{0x04c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f}
	if version < 3 {
		places = append(places, 0x188)
	}
	if version < 5 {
		places = append(places, 0x1f8, 0x207)
	}
	for _, at := range places {
		g.set(c, fmt.Sprintf("reserved_%03x", at), fmt.Sprintf("the reserved byte at 0x%x is 1", at), "snp.reserved", patchReport(at, 1))
	}
}

func patchReport(at int, value byte) func(*Report) {
	return func(r *Report) { r.Patch = func(raw []byte) { raw[at] = value } }
}

func (g *generator) reportFields(c *Chip) {
	for _, f := range reportFields {
		g.alter(f.name, f.at, "snp.signature")
	}
	g.alter("signature_r", 0x2a0, "snp.signature")
	g.alter("signature_s", 0x2e8, "snp.signature")
	for _, f := range []field{{"signature_r_end", 0x2a0 + 71}, {"signature_s_end", 0x2e8 + 71}, {"signature_tail", 0x330}, {"signature_end", 0x49f}} {
		g.alter(f.name, f.at, "snp.signature.reserved")
	}
	g.refuse("signature/zero", "the report is not signed", "snp.signature", func(m *Mutant) {
		m.Input = slices.Clone(m.Input)
		clear(m.Input[ReportSignedSize:])
	})
	g.refuse("size/short", "one byte shorter", "snp.size", func(m *Mutant) { m.Input = m.Input[:ReportSize-1] })
	g.refuse("size/long", "one byte longer", "snp.size", func(m *Mutant) { m.Input = append(slices.Clone(m.Input), 1) })
	g.refuse("size/empty", "nothing", "snp.size", func(m *Mutant) { m.Input = []byte{} })

	for _, v := range []uint32{0, 1, 6, 0x02000000} {
		g.set(c, fmt.Sprintf("version/%d", v), "an unknown version", "snp.version", func(r *Report) { r.Version = v }, "snp.product", "snp.vcek.product", "snp.reserved")
	}
	g.set(c, "signature_algo", "an unknown algorithm", "snp.signature_algo", func(r *Report) { r.SignatureAlgo = 2 })
	g.set(c, "policy/bit17", "the policy bit that must be one is not", "snp.policy.reserved", func(r *Report) { r.Policy &^= PolicyReserved1 })
	g.set(c, "policy/bit26", "an unknown policy bit", "snp.policy.reserved", func(r *Report) { r.Policy |= 1 << 26 })
	g.set(c, "policy/bit63", "an unknown policy bit", "snp.policy.reserved", func(r *Report) { r.Policy |= 1 << 63 })
	g.set(c, "policy/abi", "the policy asks for newer firmware than there is", "snp.policy.abi", func(r *Report) { r.Policy |= 0x0138 })
	g.set(c, "platform_info/bit8", "an unknown bit", "snp.platform_info.reserved", func(r *Report) { r.PlatformInfo |= 1 << 8 })
	g.set(c, "key_info/bit5", "an unknown bit", "snp.key_info.reserved", func(r *Report) { r.SignerInfo |= 1 << 5 })
	g.set(c, "key_info/none", "it says that no key signed", "snp.key_info.signing_key", func(r *Report) { r.SignerInfo |= SignerNone }, "snp.vcek")
	g.set(c, "key_info/masked", "it says that the key is masked", "snp.key_info.mask_chip_key", func(r *Report) { r.SignerInfo |= 1 << 1 })
	g.set(c, "key_info/vlek", "it says that a VLEK signed", "snp.vlek", func(r *Report) { r.SignerInfo |= SignerVLEK }, "snp.vlek.allowed")
	for _, t := range []field{{"current_tcb", 0x03b}, {"reported_tcb", 0x183}, {"committed_tcb", 0x1e3}, {"launch_tcb", 0x1f3}} {
		g.set(c, t.name+"/reserved", "a reserved byte is 1", "snp."+t.name+".reserved", patchReport(t.at, 1))
	}
	g.set(c, "reported_tcb/bootloader", "one more", "snp.vcek.tcb.bootloader", func(r *Report) { r.ReportedTCB.Bootloader++ })
	g.set(c, "reported_tcb/tee", "one more", "snp.vcek.tcb.tee", func(r *Report) { r.ReportedTCB.TEE++ })
	g.set(c, "reported_tcb/snp", "one more", "snp.vcek.tcb.snp", func(r *Report) { r.ReportedTCB.SNP++ })
	g.set(c, "reported_tcb/microcode", "one less", "snp.vcek.tcb.microcode", func(r *Report) { r.ReportedTCB.Microcode-- })
	g.set(c, "chip_id/other", "another chip's", "snp.vcek.chip_id", func(r *Report) { r.ChipID = c.Chip("other").ID })
	g.set(c, "chip_id/masked", "the host masks it", "snp.vcek.chip_id", func(r *Report) { r.ChipID = [64]byte{} })
	g.set(c, "cpuid/unknown", "a processor without SEV-SNP", "snp.product", func(r *Report) { r.CPU[0] = 0x17 }, "snp.vcek.product")
	g.set(c, "cpuid/genoa", "a Genoa", "snp.vcek.product", func(r *Report) { r.CPU = [3]byte{0x19, 0x11, 1} })
	g.set(c, "report_data/other", "bound to something else", "binding.data", func(r *Report) { r.ReportData[0] ^= 0x80 })
	g.set(c, "report_data/rest", "the rest of the report data is not zero", "binding.data", func(r *Report) { r.ReportData[63] = 1 })
	g.refuse("endorsement/other", "the VCEK of another chip", "snp.vcek.chip_id", func(m *Mutant) {
		m.replace("endorsement.crt", c.Chip("other").Endorsement(c.TCB))
		m.Also = []string{"snp.signature"}
	})
	old := c.TCB
	old.SNP--
	g.refuse("endorsement/older", "the VCEK of older firmware", "snp.vcek.tcb.snp", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(old))
		m.Also = []string{"snp.signature"}
	})
	g.refuse("endorsement/missing", "no VCEK", "snp.vcek", func(m *Mutant) { m.drop("endorsement.crt") })
	g.refuse("key/other", "signed with a key that nobody endorsed", "snp.signature", func(m *Mutant) {
		m.Input = c.SignReport(func(r *Report) { r.ReportData, r.Key = bound(), g.w.Key("stray", elliptic.P384()) })
	})
}

// genoaAndTurin are the differences of the newer product lines.
func (g *generator) genoaAndTurin() {
	genoa := g.w.AMD.Genoa.Chip("conformance")
	g.accept(g.snpCase("snp-genoa-v3", genoa))
	for _, model := range []byte{0x10, 0x1f, 0xa0, 0xaf} {
		g.still(fmt.Sprintf("cpuid_%02x", model), "a model of the Genoa family", func(m *Mutant) {
			m.Input = g.signWith(genoa, func(r *Report) { r.CPU[1] = model })
		})
	}
	g.set(genoa, "cpuid/milan", "a Milan", "snp.vcek.product", func(r *Report) { r.CPU = [3]byte{0x19, 1, 1} })
	g.refuse("ask/first", "the endorsement is by the first ASK, which is revoked", "snp.ask.revoked", func(m *Mutant) {
		m.replace("ask-genoa.crt", genoa.ASK(func(c *Certificate) { c.Serial.SetInt64(0x20001) }))
	})

	g.refuse("ask/milan", "the ASK is issued by the root key of another product line", "snp.ark.product", func(m *Mutant) {
		milan := g.w.AMD.Milan
		m.replace("ask-genoa.crt", genoa.ASK(func(c *Certificate) {
			c.Signer, c.Issuer = milan.key("ARK"), amdName("ARK-Milan")
			c.Set(AuthorityKeyID(c.Signer.Public()))
		}))
		m.add("ark-milan.crl", milan.CRL())
	})

	turin := g.w.AMD.Turin.Chip("conformance")
	g.accept(g.snpCase("snp-turin-v5", turin))
	g.alter("launch_mitigation_vector", 0x1f8, "snp.signature")
	g.alter("current_mitigation_vector", 0x200, "snp.signature")
	g.set(turin, "reported_tcb/fmc", "one more", "snp.vcek.tcb.fmc", func(r *Report) { r.ReportedTCB.FMC++ })
	g.set(turin, "reported_tcb/bootloader", "one more", "snp.vcek.tcb.bootloader", func(r *Report) { r.ReportedTCB.Bootloader++ })
	g.set(turin, "reported_tcb/snp", "one less", "snp.vcek.tcb.snp", func(r *Report) { r.ReportedTCB.SNP-- })
	g.set(turin, "reported_tcb/microcode", "one less", "snp.vcek.tcb.microcode", func(r *Report) { r.ReportedTCB.Microcode-- })
	g.set(turin, "reported_tcb/milan_order", "the security versions in the order of Milan", "snp.reported_tcb.reserved", func(r *Report) {
		r.Patch = func(raw []byte) {
			t := g.w.AMD.Milan.pack(turin.TCB)
			copy(raw[0x180:], t[:])
		}
	}, "snp.vcek.tcb.bootloader", "snp.vcek.tcb.tee", "snp.vcek.tcb.snp")
	g.set(turin, "chip_id/long", "more than the 8 bytes that Turin has", "snp.vcek.chip_id", func(r *Report) { r.ChipID[8] = 1 })
	g.set(turin, "chip_id/other", "another chip's", "snp.vcek.chip_id", func(r *Report) { r.ChipID[7] ^= 1 })
}

// vlek are reports signed with a key that AMD lent to a cloud provider.
func (g *generator) vlek(c *Chip) {
	m := g.snpCase("snp-vlek", c)
	m.Policy = policy("snp", "allow_vlek = true", `csp_ids = ["cloud.example"]`)
	g.accept(m)
	g.alter("measurement", 0x090, "snp.signature")
	g.lent(c)
	g.refuse("policy/no_vlek", "the policy does not allow VLEKs", "snp.vlek.allowed", func(m *Mutant) { m.Policy = "" })
	g.refuse("policy/csp", "the policy allows another cloud provider", "snp.csp_id", func(m *Mutant) {
		m.Policy = policy("snp", "allow_vlek = true", `csp_ids = ["other.example"]`)
	})
	chip := g.w.AMD.Milan.Chip("conformance")
	g.refuse("policy/chip_denied", "the policy denies a chip, and the report does not name its own", "snp.chip_id.denied", func(m *Mutant) {
		m.Policy = policy("snp", "allow_vlek = true", "chip_ids_denied = "+hexList(chip.ID[:]))
	})
	g.refuse("policy/chip_none", "the policy lists chips, and the report does not name its own", "snp.chip_id", func(m *Mutant) {
		m.Policy = policy("snp", "allow_vlek = true", "chip_ids = "+hexList(make([]byte, 64)))
	})
	g.set(c, "key_info/vcek", "it says that a VCEK signed", "snp.vcek", func(r *Report) { r.SignerInfo &^= SignerVLEK })
	g.set(c, "reported_tcb/snp", "one more", "snp.vlek.tcb.snp", func(r *Report) { r.ReportedTCB.SNP++ })
	g.refuse("asvk/missing", "no ASVK", "snp.asvk", func(m *Mutant) { m.drop("asvk-milan.crt") })
	asvk := parsed(c.ASVK())
	g.refuse("asvk/revoked", "AMD's CRL has the ASVK", "snp.asvk.revoked", func(m *Mutant) {
		m.replace("ark-milan.crl", c.CRL(func(l *CRL) { l.Revoked = []Revoked{{asvk.SerialNumber, g.w.Now.Add(issued)}} }))
	})
	g.refuse("endorsement/ask", "the VLEK is issued by the ASK", "snp.asvk.name", func(m *Mutant) {
		m.replace("endorsement.crt", c.Endorsement(c.TCB, func(e *Certificate) {
			e.Signer, e.Issuer = c.key("ASK"), amdName("SEV-"+c.Name)
		}))
	})
}

// reportPolicies are fields that a policy is about.
func (g *generator) reportPolicies(c *Chip) {
	for _, p := range []struct {
		name, change, code, policy string
		edit                       func(*Report)
	}{
		{"policy/debug", "the host may debug the guest", "snp.policy.debug", "", func(r *Report) { r.Policy |= PolicyDebug }},
		{"policy/migration", "a migration agent may move the guest", "snp.policy.migrate_ma", "", func(r *Report) { r.Policy |= PolicyMigrationAgent }},
		{"vmpl/1", "a report asked for from below VMPL 0", "snp.vmpl", "", func(r *Report) { r.VMPL = 1 }},
		{"vmpl/host", "a report asked for by the host", "snp.vmpl", "", func(r *Report) { r.VMPL = 0xffffffff }},
	} {
		g.set(c, p.name, p.change, p.code, p.edit)
	}
	r := c.NewReport()
	other := r.Measurement
	other[0] ^= 1
	id, author := [48]byte{1, 2, 3}, [48]byte{4, 5, 6}
	signedGuest := func(r *Report) { r.IDKeyDigest, r.AuthorKeyDigest, r.SignerInfo = id, author, SignerAuthorKey }
	for _, p := range []struct {
		name, line, code string
		good, bad        func(*Report)
	}{
		{"measurement", "hash = " + hexList(r.Measurement[:]), "snp.measurement", nil, func(r *Report) { r.Measurement = other }},
		{"measurement_denied", "hash_blacklist = " + hexList(other[:]), "snp.measurement.denied", nil, func(r *Report) { r.Measurement = other }},
		{"author_key", "signer = " + hexList(author[:]), "snp.author_key_digest", signedGuest, func(r *Report) { signedGuest(r); r.AuthorKeyDigest[0] ^= 1 }},
		{"author_key_en", "signer = " + hexList(author[:]), "snp.key_info.author_key_en", signedGuest, func(r *Report) { signedGuest(r); r.SignerInfo = 0 }},
		{"id_key", "id_key_digest = " + hexList(id[:]), "snp.id_key_digest", signedGuest, func(r *Report) { signedGuest(r); r.IDKeyDigest[0] ^= 1 }},
		{"id_key_denied", "id_key_digest_blacklist = " + hexList(id[:]), "snp.id_key_digest.denied", nil, signedGuest},
		{"abi", `abi = ">=1.51"`, "snp.policy.abi_range", func(r *Report) { r.Policy |= 1<<8 | 51 }, func(r *Report) { r.Policy |= 1<<8 | 50 }},
		{"smt", `policy_flags = []`, "snp.policy.smt", func(r *Report) { r.Policy &^= PolicySMT }, func(*Report) {}},
		{"single_socket", `policy_flags = ["SMT", "SingleSocket"]`, "snp.policy.single_socket", func(r *Report) { r.Policy |= PolicySingleSocket }, func(*Report) {}},
		{"platform_info", `platform_info_flags = ["TSME"]`, "snp.platform_info", func(r *Report) { r.PlatformInfo |= 2 }, func(*Report) {}},
		{"platform_info_denied", `platform_info_denied = ["SMT"]`, "snp.platform_info.denied", func(r *Report) { r.PlatformInfo &^= 1 }, func(*Report) {}},
		{"guest_svn", `minimum_guest_svn = 3`, "snp.guest_svn", func(r *Report) { r.GuestSVN = 3 }, func(r *Report) { r.GuestSVN = 2 }},
		{"host_data", "host_data = " + hexList(make([]byte, 32)), "snp.host_data", nil, func(r *Report) { r.HostData[31] = 1 }},
		{"chip_id", "chip_ids = " + hexList(c.Chip("other").ID[:]), "snp.chip_id", nil, func(*Report) {}},
		{"chip_id_denied", "chip_ids_denied = " + hexList(c.ID[:]), "snp.chip_id.denied", nil, func(*Report) {}},
		{"vmpl", "vmpl = [1]", "snp.vmpl", func(r *Report) { r.VMPL = 1 }, func(r *Report) { r.VMPL = 2 }},
		{"product", `products = ["Genoa"]`, "snp.products", nil, func(*Report) {}},
		{"firmware", `minimum_firmware = "1.55.29"`, "snp.committed.firmware", nil, func(r *Report) { r.Committed[0]-- }},
		{"reported_tcb", "minimum_tcb = { snp = 25 }", "snp.reported_tcb", nil, func(r *Report) { r.CurrentTCB.SNP, r.CommittedTCB.SNP, r.LaunchTCB.SNP = 25, 25, 25 }},
		{"current_tcb", "minimum_tcb = { microcode = 219 }", "snp.current_tcb", nil, func(r *Report) { r.CurrentTCB.Microcode-- }},
		{"committed_tcb", "minimum_tcb = { bootloader = 4 }", "snp.committed_tcb", nil, func(r *Report) { r.CommittedTCB.Bootloader-- }},
		{"launch_tcb", "minimum_tcb = { snp = 24 }", "snp.launch_tcb", nil, func(r *Report) { r.LaunchTCB.SNP-- }},
	} {
		text := policy("snp", p.line)
		if p.good != nil {
			g.still("under_"+p.name, "a policy asks for this and it is so", func(m *Mutant) { m.Policy, m.Input = text, g.signWith(c, p.good) })
		}
		g.refuse("under_"+p.name+"/other", "a policy asks for something else: "+strings.SplitN(p.line, " ", 2)[0], p.code, func(m *Mutant) {
			m.Policy, m.Input = text, g.signWith(c, p.bad)
		})
	}
}
