// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"encoding/hex"
	"strconv"

	"enarx.dev/enarx/attest/check"
)

// format requires the report to be one that this package can read right: a
// version it knows, and nothing where the versions it knows have nothing.
func (v *verification) format(g *check.Group) {
	r := v.report
	known := g.Require(r.Version >= MinVersion && r.Version <= MaxVersion, check.Check{
		Code: "snp.version", What: "the report is of a known version",
		Expected: check.Text("2 to 5"), Found: check.Uint(r.Version), Source: sourceReport,
		Fix: "update this verifier if the version is newer",
	})
	if r.Version >= 3 {
		g.Require(v.claims.Product != "", check.Check{
			Code: "snp.product", What: "the processor is of a product line with SEV-SNP",
			Expected: check.Text("Milan, Genoa or Turin"), Found: check.Func(r.processor),
			Source: sourceReport + ", CPUID_FAM_ID and CPUID_MOD_ID",
		})
	}
	g.Require(r.SignatureAlgo == 1, check.Check{
		Code: "snp.signature_algo", What: "the report is signed with ECDSA P-384 and SHA-384",
		Expected: check.Uint(1), Found: check.Uint(r.SignatureAlgo), Source: sourceABI + "Signature Algorithm Encodings",
	})
	v.policy(g)
	g.Require(r.PlatformInfo.Reserved() == 0, check.Check{
		Code: "snp.platform_info.reserved", What: "the platform information has no unknown bits",
		Expected: check.Text("bits 0 to 7 only"), Found: check.Flags(r.PlatformInfo), Source: sourcePlatform,
		Fix: "update this verifier: the firmware says something that it does not know",
	})
	v.keyInfo(g)
	v.reserved(g, known)
}

func (r *Report) processor() string {
	return "family 0x" + strconv.FormatUint(uint64(r.Family), 16) + " model 0x" + strconv.FormatUint(uint64(r.Model), 16)
}

// policy checks what holds for every guest policy.
func (v *verification) policy(g *check.Group) {
	r := v.report
	g.Require(r.Policy&PolicyMustBeOne != 0 && r.Policy.Reserved() == 0, check.Check{
		Code: "snp.policy.reserved", What: "the guest policy's reserved bits are as they have to be",
		Expected: check.Text("bit 17 set, bits 26 to 63 clear"), Found: check.Flags(r.Policy), Source: sourcePolicy,
		Fix: "update this verifier if the bit has got a meaning",
	})
	major, minor := r.Policy.ABI()
	g.Require(major < r.Current.Major || major == r.Current.Major && minor <= r.Current.Minor, check.Check{
		Code: "snp.policy.abi", What: "the firmware is at least of the ABI version that the guest policy demands",
		Expected: check.Func(func() string { return "at least " + decimal(major) + "." + decimal(minor) }),
		Found:    r.Current, Source: sourcePolicy,
		Fix: "none: firmware that keeps to its specification does not launch such a guest",
	})
}

// keyInfo requires the report to be signed at all, by a known kind of key.
func (v *verification) keyInfo(g *check.Group) {
	k := v.report.KeyInfo
	g.Require(k.Reserved() == 0, check.Check{
		Code: "snp.key_info.reserved", What: "the key information has no unknown bits",
		Expected: check.Text("bits 0 to 4 only"), Found: check.Flags(k), Source: sourceReport,
	})
	key := k.SigningKey()
	g.Require(key == SignedByVCEK || key == SignedByVLEK, check.Check{
		Code: "snp.key_info.signing_key", What: "the report names the kind of key that signed it",
		Expected: check.Text("VCEK or VLEK"), Found: key, Source: sourceReport + ", SIGNING_KEY",
		Fix: "have the host let the firmware sign (MASK_CHIP_KEY off in SNP_CONFIG, or a VLEK loaded)",
	})
	g.Require(!k.MaskChipKey() || key != SignedByVCEK, check.Check{
		Code: "snp.key_info.mask_chip_key", What: "the host does not mask the key that signed",
		Found: check.Flags(k), Source: sourceReport + ", MASK_CHIP_KEY",
		Fix: "have the host set MASK_CHIP_KEY to 0 (SNP_CONFIG)",
	})
}

// reserved requires everything that has no meaning to be zero: firmware that
// says more than this package can read must not be misread.
func (v *verification) reserved(g *check.Group, known bool) {
	r := v.report
	product := v.claims.Product
	for _, t := range []struct {
		code, what string
		tcb        *TCBVersion
	}{
		{"snp.current_tcb.reserved", "the current TCB has no unknown parts", &r.CurrentTCB},
		{"snp.reported_tcb.reserved", "the reported TCB has no unknown parts", &r.ReportedTCB},
		{"snp.committed_tcb.reserved", "the committed TCB has no unknown parts", &r.CommittedTCB},
		{"snp.launch_tcb.reserved", "the launch TCB has no unknown parts", &r.LaunchTCB},
	} {
		g.Require(!t.tcb.reserved(product), check.Check{Code: t.code, What: t.what, Found: check.Hex(t.tcb[:]), Source: sourceTCB})
	}
	c := check.Check{Code: "snp.reserved", What: "the report's reserved bytes are zero", Source: sourceReport}
	if !known {
		g.Skip(c, "not known for this version")
		return
	}
	at := firstNonZero(r.Raw, reserved(r.Version)...)
	c.Found = offset(r.Raw, 0, at)
	c.Fix = "update this verifier if the bytes have got a meaning"
	g.Require(at < 0, c)
}

// offset is the byte at base+at, or nothing if at is negative.
func offset(raw []byte, base, at int) check.Value {
	if at < 0 {
		return nil
	}
	at += base
	return check.Text("0x" + hex.EncodeToString(raw[at:at+1]) + " at offset 0x" + strconv.FormatUint(uint64(at), 16))
}
