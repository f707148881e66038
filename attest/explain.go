// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/dcap"
	"enarx.dev/enarx/attest/snp"
)

// sentences are the rules of a policy in words, with where each comes from.
type sentences struct {
	p   *Policy
	out strings.Builder
}

func (s *sentences) title(t string) { fmt.Fprintf(&s.out, "%s\n", t) }

// say writes one rule and the source of its key.
func (s *sentences) say(key, format string, args ...any) {
	source, ok := s.p.sources[key]
	if !ok {
		source = "built in"
	}
	fmt.Fprintf(&s.out, "  • %s  [%s]\n", fmt.Sprintf(format, args...), source)
}

// list says what with the values, if there are some.
func (s *sentences) list(key, what string, list [][]byte) {
	if len(list) == 0 {
		return
	}
	s.say(key, "%s", what)
	for _, v := range list {
		fmt.Fprintf(&s.out, "      %s\n", hex.EncodeToString(v))
	}
}

// flag says yes or no.
func (s *sentences) flag(key string, set bool, yes, no string) {
	if set {
		s.say(key, "%s", yes)
	} else {
		s.say(key, "%s", no)
	}
}

// Explain says in words what p accepts, rule by rule, and what it warns of.
func (p *Policy) Explain(w io.Writer) error {
	s := &sentences{p: p}
	s.general()
	if p.accepts(SNP) {
		s.snp(&p.SNP)
	}
	if p.accepts(SGX) {
		s.sgx(&p.SGX)
	}
	if p.accepts(TDX) {
		s.tdx(&p.TDX)
	}
	for i, warning := range p.Warnings {
		if i == 0 {
			s.title("Warnings")
		}
		fmt.Fprintf(&s.out, "  ! %s\n", warning)
	}
	_, err := io.WriteString(w, s.out.String())
	return err
}

func (p *Policy) accepts(t Technology) bool {
	return p.Technologies == nil || slices.Contains(p.Technologies, t)
}

func (s *sentences) general() {
	p := s.p
	s.title("All evidence")
	if p.Technologies == nil {
		s.say("technologies", "of AMD SEV-SNP, Intel SGX and Intel TDX is accepted")
	} else {
		s.say("technologies", "must be of: %s", technologyList(p.Technologies))
	}
	s.flag("", p.Insecure, "or without any hardware: INSECURE", "evidence without hardware is refused")
	s.flag("", p.RequireBinding, "must be bound to the key of the request, with nothing after the hash", "need not be bound to a key: INSECURE outside of explanations")
	s.flag("refuse_known_broken", p.RefuseKnownBroken, "silicon that an advisory calls broken is refused", "silicon that an advisory calls broken is accepted, and that noted")
	if p.Expected != nil {
		s.say("expected", "the measurement must be that of: %s", strings.Join(p.Expected, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Measurements)) {
		m := p.Measurements[name]
		for _, t := range []Technology{SNP, SGX, TDX} {
			s.list("measurements."+name, fmt.Sprintf("%q measures on %s to", name, t.Title()), m.of(t))
		}
	}
	c := &p.Collateral
	s.flag("collateral.require_crl", c.RequireCRL, "current revocation lists are required", "revocation lists may be missing or stale")
	s.flag("collateral.require_tcb_info", c.RequireTCBInfo, "Intel's current TCB info is required", "Intel's TCB info may be missing or stale: old platforms are not noticed")
	s.flag("collateral.require_qe_identity", c.RequireQEIdentity, "Intel's current identity of the quoting enclave is required", "Intel's identity of the quoting enclave may be missing or stale: old ones are not noticed")
	if c.MaxAge > 0 {
		s.say("collateral.max_age", "none of these may be older than %s", days(c.MaxAge))
	}
	s.say("certificate.life", "certificates are issued for %s", days(p.Certificate.Life))
	s.say("certificate.max_life", "and for no more than %s", days(p.Certificate.MaxLife))
}

// days writes whole days as such.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "a day"
	case d >= day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

func (s *sentences) snp(p *SNPPolicy) {
	s.title("AMD SEV-SNP")
	flagged := func(name string) bool { return p.PolicyFlags != nil && slices.Contains(*p.PolicyFlags, name) }
	debugKey := "snp.allow_debug"
	if flagged("Debug") {
		debugKey = "snp.policy_flags"
	}
	s.flag(debugKey, p.AllowDebug || flagged("Debug"), "guests that the host may debug are accepted: INSECURE", "guests that the host may debug are refused")
	s.flag("snp.allow_migration", p.AllowMigration, "guests may have a migration agent", "guests with a migration agent are refused")
	s.flag("snp.allow_vlek", p.AllowVLEK, "a key lent to a cloud provider (VLEK) may sign", "only the chip's own key (VCEK) may sign")
	if p.AllowVLEK && p.CSPIDs != nil {
		s.say("snp.csp_ids", "a VLEK must be lent to: %s", strings.Join(p.CSPIDs, ", "))
	}
	levels := p.VMPL
	if levels == nil {
		levels = []uint32{0}
	}
	s.say("snp.vmpl", "the report must be asked for at VMPL %s", levelList(levels))
	if p.PolicyFlags != nil {
		s.flag("snp.policy_flags", flagged("SMT"), "guests may accept hosts with SMT", "guests must refuse hosts with SMT")
		s.flag("snp.policy_flags", flagged("SingleSocket"), "guests must stay on one socket", "guests may span sockets")
	}
	if p.ABI != nil {
		s.say("snp.abi", "the guest policy must demand a firmware ABI version in %s", p.ABI)
	}
	if p.PlatformInfo != 0 {
		s.say("snp.platform_info_flags", "the platform must have: %s", check.List(p.PlatformInfo.Names()))
	}
	if p.PlatformDenied != 0 {
		s.say("snp.platform_info_denied", "the platform must not have: %s", check.List(p.PlatformDenied.Names()))
	}
	if p.Products != nil {
		s.say("snp.products", "the product line must be one of: %s", check.List(p.Products))
	}
	for _, product := range slices.Sorted(maps.Keys(p.MinimumTCB)) {
		of := "the reported, current, committed and launch TCB"
		if product != "" {
			of += " of " + product
		}
		s.say("snp.minimum_tcb", "%s must be %s", of, minimum{p.MinimumTCB[product]})
	}
	if p.MinimumFirmware != ([3]uint8{}) {
		s.say("snp.minimum_firmware", "the committed firmware must be at least %s", snp.Firmware{Major: p.MinimumFirmware[0], Minor: p.MinimumFirmware[1], Build: p.MinimumFirmware[2]})
	}
	if p.MinimumGuestSVN > 0 {
		s.say("snp.minimum_guest_svn", "the guest's security version must be at least %d", p.MinimumGuestSVN)
	}
	s.list("snp.hash", "the measurement must be one of", p.Hash)
	s.list("snp.hash_blacklist", "the measurement must not be one of", p.HashDenied)
	s.list("snp.signer", "the digest of the author key must be one of", p.Signer)
	s.list("snp.id_key_digest", "the digest of the ID key must be one of", p.IDKey)
	s.list("snp.id_key_digest_blacklist", "the digest of the ID key must not be one of", p.IDDenied)
	s.list("snp.host_data", "the host data must be one of", p.HostData)
	s.list("snp.chip_ids", "the chip must be one of", p.ChipIDs)
	s.list("snp.chip_ids_denied", "the chip must not be one of", p.ChipIDsDenied)
}

// intel says the rules that SGX and TDX share.
func (s *sentences) intel(table string, p *DCAPPolicy, debug bool) {
	debugKey := table + ".allow_debug"
	if debug && !p.AllowDebug {
		debugKey = table + ".features"
	}
	s.flag(debugKey, debug, "what the host may debug is accepted: INSECURE", "what the host may debug is refused")
	s.say(table+".allowed_tcb_statuses", "the TCB status must be one of: %s", check.List(p.statuses()))
	if p.Advisories == nil {
		s.say(table+".allowed_advisories", "any security advisory may come with an accepted status")
	} else {
		s.say(table+".allowed_advisories", "only these security advisories may be open, whatever the status: %s", check.List(p.Advisories))
	}
	if p.MinimumEvaluation > 0 {
		s.say(table+".minimum_evaluation_number", "the TCB info must be of evaluation %d or later", p.MinimumEvaluation)
	}
	if p.MinimumQESVN > 0 {
		s.say(table+".minimum_qe_svn", "the quoting enclave's security version must be at least %d", p.MinimumQESVN)
	}
	if p.MinimumPCESVN > 0 {
		s.say(table+".minimum_pce_svn", "the provisioning enclave's security version must be at least %d", p.MinimumPCESVN)
	}
	s.list(table+".ppids", "the processor (PPID) must be one of", p.PPIDs)
	s.list(table+".ppids_denied", "the processor (PPID) must not be one of", p.PPIDsDenied)
	s.list(table+".platforms", "the platform instance must be one of", p.Platforms)
}

func (s *sentences) sgx(p *SGXPolicy) {
	s.title("Intel SGX")
	s.intel("sgx", &p.DCAPPolicy, p.AllowDebug || p.Features != nil && *p.Features&dcap.Debug != 0)
	if p.Features != nil {
		s.say("sgx.features", "no attributes but these may be set: %s", *p.Features|dcap.Init|dcap.Mode64Bit)
	}
	if _, said := s.p.sources["sgx.require_kss"]; said || p.RequireKSS {
		s.flag("sgx.require_kss", p.RequireKSS, "the enclave must use key separation and sharing (KSS)", "the enclave need not use key separation and sharing (KSS)")
	}
	if p.MiscSelect != nil {
		s.say("sgx.misc_select", "no MISCSELECT bits but these may be set: %s", check.Flags(*p.MiscSelect))
	}
	if p.MinimumSVN > 0 {
		s.say("sgx.enclave_security_version", "the enclave's security version must be at least %d", p.MinimumSVN)
	}
	if p.ProductID != nil {
		s.say("sgx.enclave_product_id", "the enclave's product ID must be %d", *p.ProductID)
	}
	s.list("sgx.hash", "the measurement (MRENCLAVE) must be one of", p.Hash)
	s.list("sgx.hash_blacklist", "the measurement (MRENCLAVE) must not be one of", p.HashDenied)
	s.list("sgx.signer", "the signer (MRSIGNER) must be one of", p.Signer)
	s.list("sgx.config_id", "the configuration (CONFIGID) must be one of", p.ConfigID)
}

func (s *sentences) tdx(p *TDXPolicy) {
	s.title("Intel TDX")
	s.intel("tdx", &p.DCAPPolicy, p.AllowDebug)
	s.flag("tdx.allow_migration", p.AllowMigration, "trust domains may be migratable", "trust domains that somebody may move are refused")
	if len(p.MRServiceTD) == 0 {
		s.say("tdx.mr_service_td", "trust domains with a service TD are refused")
	}
	s.list("tdx.mr_service_td", "there must be no service TD, or one of", p.MRServiceTD)
	s.list("tdx.mr_td", "the measurement (MRTD) must be one of", p.MRTD)
	s.list("tdx.mr_td_denied", "the measurement (MRTD) must not be one of", p.MRTDDenied)
	for i, key := range [...]string{"tdx.rtmr0", "tdx.rtmr1", "tdx.rtmr2", "tdx.rtmr3"} {
		s.list(key, fmt.Sprintf("RTMR%d must be one of", i), p.RTMR[i])
	}
	s.list("tdx.mr_config_id", "MRCONFIGID must be one of", p.MRConfigID)
	s.list("tdx.mr_owner", "MROWNER must be one of", p.MROwner)
	s.list("tdx.mr_owner_config", "MROWNERCONFIG must be one of", p.MROwnerConfig)
	s.list("tdx.mr_seam", "the TDX module (MRSEAM) must be one of", p.MRSEAM)
}
