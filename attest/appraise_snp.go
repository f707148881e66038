// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"slices"
	"strings"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/snp"
)

// bindWorkload compares the workload digest that the certificate is to name
// with the one the Keep was launched for.
func (a *appraisal) bindWorkload() {
	switch {
	case a.cl.SNP != nil:
		a.workload(a.cl.SNP.Report.HostData[:], "HOST_DATA")
	case a.cl.SGX != nil:
		a.workloadSGX()
	case a.cl.TDX != nil:
		a.workload(a.cl.TDX.Body.MRConfigID[:], "MRCONFIGID")
	}
}

// workload requires the field, if there is one, to hold the workload digest of
// the URIs and zeros after it.
func (a *appraisal) workload(field []byte, name string) {
	names, err := ParseURIs(a.cl.URIs)
	if err != nil {
		a.rule(false, "the certificate says only what was checked", "ask for no other URIs",
			check.Check{Code: "binding.uris", What: "the URIs are ones that can be vouched for", Found: check.Text(err.Error())})
		return
	}
	a.r.Names = names
	c := check.Check{
		Code: "binding.workload", What: "the workload named is the one that the Keep was launched for (" + name + ")",
		Expected: check.Hex(names.Workload), Found: check.Hex(field),
	}
	switch {
	case names.Workload == nil && field != nil && !zero(field):
		a.g.Note(check.Check{Code: "binding.workload", What: "the Keep was launched for a workload that the certificate will not name (" + name + ")", Found: check.Hex(field)})
	case names.Workload == nil:
	case field == nil:
		c.What, c.Expected, c.Found = "the workload named is the program's own word: nothing in the evidence confirms it", nil, check.Hex(names.Workload)
		a.g.Note(c)
	default:
		a.r.WorkloadBound = a.rule(slices.Equal(field[:32], names.Workload) && zero(field[32:]), "the workload named is the one launched",
			"launch the Keep with this workload's digest, or ask for the URI of the one it was launched with", c)
	}
}

// snp applies the rules of the table [snp] and those that always hold.
func (a *appraisal) snp() {
	cl, r, p := a.cl.SNP, a.cl.SNP.Report, &a.p.SNP
	a.snpGuestPolicy()
	levels := p.VMPL
	if levels == nil {
		levels = []uint32{0}
	}
	a.rule(slices.Contains(levels, r.VMPL), "snp.vmpl", "get the report at that level, or add the level to KEY", check.Check{
		Code: "snp.vmpl", What: "the report was asked for at a privilege level (VMPL) that is accepted",
		Expected: levelList(levels), Found: check.Uint(r.VMPL),
	})
	if p.Products != nil {
		a.rule(slices.Contains(p.Products, cl.Product), "snp.products", "add the product line to KEY", check.Check{
			Code: "snp.products", What: "the product line is accepted", Expected: check.List(p.Products), Found: check.Text(cl.Product),
		})
	}
	if cl.Signer == "VLEK" {
		a.rule(p.AllowVLEK, "snp.allow_vlek", "use a machine whose reports its own chip signs, or set KEY", check.Check{
			Code: "snp.vlek.allowed", What: "a key lent to a cloud provider (VLEK) may vouch for the platform", Found: check.Text(cl.CSPID),
		})
		if p.CSPIDs != nil {
			a.rule(slices.Contains(p.CSPIDs, cl.CSPID), "snp.csp_ids", "add the provider to KEY", check.Check{
				Code: "snp.csp_id", What: "the cloud provider is accepted", Expected: check.List(p.CSPIDs), Found: check.Text(cl.CSPID),
			})
		}
	}
	chip := r.ChipID[:]
	if zero(chip) {
		chip = nil // the host masks it, as it may where a VLEK signs: it can be any chip
	}
	a.listed("snp.chip_ids", p.ChipIDs, chip, "snp.chip_id", "the chip is a listed one")
	a.denied("snp.chip_ids_denied", p.ChipIDsDenied, chip, "snp.chip_id.denied", "the chip is not a denied one")
	a.snpPlatform()
	a.snpProgram()
}

type levelList []uint32

func (l levelList) String() string {
	var all check.List
	for _, v := range l {
		all = append(all, check.Uint(v).String())
	}
	return all.String()
}

// snpGuestPolicy judges what the guest lets the host do.
func (a *appraisal) snpGuestPolicy() {
	policy, p := a.cl.SNP.Report.Policy, &a.p.SNP
	flagged := func(name string) bool { return p.PolicyFlags != nil && slices.Contains(*p.PolicyFlags, name) }
	a.rule(policy&snp.PolicyDebug == 0 || p.AllowDebug || flagged("Debug"), "snp.allow_debug",
		"launch the guest with a policy that does not allow debugging; or, where nothing is at stake, set KEY", check.Check{
			Code: "snp.policy.debug", What: "the host may not debug the guest", Found: check.Flags(policy),
		})
	a.rule(policy&snp.PolicyMigrateMA == 0 || p.AllowMigration, "snp.allow_migration",
		"launch the guest with a policy without a migration agent, or set KEY", check.Check{
			Code: "snp.policy.migrate_ma", What: "no migration agent may move the guest", Found: check.Flags(policy),
		})
	if p.PolicyFlags != nil {
		a.rule(policy&snp.PolicySMT == 0 || flagged("SMT"), "snp.policy_flags", "launch the guest with a policy that refuses SMT, or add SMT to KEY", check.Check{
			Code: "snp.policy.smt", What: "the guest refuses hosts with SMT", Found: check.Flags(policy),
		})
		a.rule(policy&snp.PolicySingleSocket != 0 || !flagged("SingleSocket"), "snp.policy_flags",
			"launch the guest with a policy that keeps it on one socket, or remove SingleSocket from KEY", check.Check{
				Code: "snp.policy.single_socket", What: "the guest stays on one socket", Found: check.Flags(policy),
			})
	}
	if p.ABI != nil {
		major, minor := policy.ABI()
		a.rule(p.ABI.Contains(uint64(major), uint64(minor), 0), "snp.abi", "launch the guest with a policy that demands such a version, or change KEY", check.Check{
			Code: "snp.policy.abi_range", What: "the guest demands a firmware ABI version in the range",
			Expected: p.ABI, Found: check.Func(func() string { return check.Uint(major).String() + "." + check.Uint(minor).String() }),
		})
	}
}

// snpPlatform judges the machine.
func (a *appraisal) snpPlatform() {
	cl, r, p := a.cl.SNP, a.cl.SNP.Report, &a.p.SNP
	if p.PlatformInfo != 0 {
		a.rule(r.PlatformInfo&p.PlatformInfo == p.PlatformInfo, "snp.platform_info_flags", "configure the host so, or change KEY", check.Check{
			Code: "snp.platform_info", What: "the platform has what is required of it",
			Expected: check.List(p.PlatformInfo.Names()), Found: check.List(r.PlatformInfo.Names()),
		})
	}
	if p.PlatformDenied != 0 {
		a.rule(r.PlatformInfo&p.PlatformDenied == 0, "snp.platform_info_denied", "configure the host so, or change KEY", check.Check{
			Code: "snp.platform_info.denied", What: "the platform has nothing that is denied",
			Expected: check.Func(func() string { return "not " + strings.Join(p.PlatformDenied.Names(), ", ") }), Found: check.List(r.PlatformInfo.Names()),
		})
	}
	if p.MinimumFirmware != ([3]uint8{}) {
		f := r.Committed
		a.rule(slices.Compare([]uint8{f.Major, f.Minor, f.Build}, p.MinimumFirmware[:]) >= 0, "snp.minimum_firmware",
			"update the firmware and commit it, or lower KEY", check.Check{
				Code: "snp.committed.firmware", What: "the firmware cannot go back behind a minimum version",
				Expected: snp.Firmware{Major: p.MinimumFirmware[0], Minor: p.MinimumFirmware[1], Build: p.MinimumFirmware[2]}, Found: f,
			})
	}
	if len(p.MinimumTCB) == 0 {
		return
	}
	a.minimumTCB(cl.ReportedTCB(), "snp.reported_tcb", "the TCB that the key is bound to reaches the minimum")
	a.minimumTCB(cl.CurrentTCB(), "snp.current_tcb", "the TCB that is running reaches the minimum")
	a.minimumTCB(cl.CommittedTCB(), "snp.committed_tcb", "the TCB cannot go back behind the minimum")
	a.minimumTCB(cl.LaunchTCB(), "snp.launch_tcb", "the TCB at launch reached the minimum")
}

// minimumTCB requires each component to reach the minimum for all product lines
// and the one for this one.
func (a *appraisal) minimumTCB(tcb snp.TCB, code, what string) {
	least := [2]map[string]uint8{a.p.SNP.MinimumTCB[""], a.p.SNP.MinimumTCB[a.cl.SNP.Product]}
	if a.cl.SNP.Product == "" {
		least[1] = nil
	}
	if least[0] == nil && least[1] == nil {
		return
	}
	good := true
	for _, m := range least {
		for name, level := range m {
			// A part that this product line does not have cannot be too old.
			if found, ok := tcb.Component(name); ok && found < level {
				good = false
			}
		}
	}
	a.rule(good, "snp.minimum_tcb", "update the host's firmware and microcode and commit the update, or lower KEY", check.Check{
		Code: code, What: what, Expected: minimum(least), Found: tcb,
	})
}

// minimum is what is required for all product lines, and for one.
type minimum [2]map[string]uint8

func (m minimum) String() string {
	var all check.List
	for _, name := range snp.Components {
		if level, ok := max(m[0][name], m[1][name]), m[0] != nil || m[1] != nil; ok && level > 0 {
			all = append(all, name+" "+check.Uint(level).String())
		}
	}
	return "at least " + all.String()
}

// snpProgram judges what was launched, and for whom.
func (a *appraisal) snpProgram() {
	r, p := a.cl.SNP.Report, &a.p.SNP
	a.listed("snp.hash", p.Hash, r.Measurement[:], "snp.measurement", "the measurement is a listed one")
	a.denied("snp.hash_blacklist", p.HashDenied, r.Measurement[:], "snp.measurement.denied", "the measurement is not a denied one")
	if len(p.Signer) > 0 {
		a.rule(r.KeyInfo.AuthorKey(), "snp.signer", "sign the ID block with an ID key that the author key signed", check.Check{
			Code: "snp.key_info.author_key_en", What: "an author key vouches for the program", Expected: check.Uint(1), Found: check.Flags(r.KeyInfo),
		})
		a.listed("snp.signer", p.Signer, r.AuthorKeyDigest[:], "snp.author_key_digest", "the author key is a listed one")
	}
	a.listed("snp.id_key_digest", p.IDKey, r.IDKeyDigest[:], "snp.id_key_digest", "the ID key is a listed one")
	a.denied("snp.id_key_digest_blacklist", p.IDDenied, r.IDKeyDigest[:], "snp.id_key_digest.denied", "the ID key is not a denied one")
	a.listed("snp.host_data", p.HostData, r.HostData[:], "snp.host_data", "the host data is listed")
	a.atLeast("snp.minimum_guest_svn", uint64(p.MinimumGuestSVN), uint64(r.GuestSVN), "snp.guest_svn", "the guest's security version reaches the minimum")
}
