// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"

	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/attest/roots"
	"enarx.dev/enarx/internal/need"
)

// disagreements are where go-sev-guest 0.15.0 says something else about the
// real evidence than we do, and why. docs/ repeats them.
var disagreements = map[string]string{
	"turin-v5-caci platform info": "it calls bit 6 reserved; firmware sets it (IOMMU_WRITE_SAFE, AMD-SB-3016)",
	"turin-v5-caci endorsement":   "it knows neither the FMC extension (1.3.6.1.4.1.3704.1.3.9) nor hardware ids of 8 bytes",
	"turin-v5-caci verdict":       "it cannot read the VCEK",
	"turin-v5-caci tcb":           "it reads every TCB_VERSION in the order of Milan",
	"turin-v5-caci url":           "it asks for the 64 bytes of the chip id and leaves the FMC out",
}

// agree requires both to say the same unless it is a known disagreement, and
// known disagreements to be there.
func agree(t *testing.T, about string, same bool, ours, theirs any) {
	t.Helper()
	_, known := disagreements[about]
	if same == known {
		t.Errorf("%s: we say %v, go-sev-guest says %v; known disagreement: %t", about, ours, theirs, known)
	}
}

func TestCrossCheck(t *testing.T) {
	dir := need.Vectors(t)
	for _, c := range []struct{ name, report, vcek string }{
		{"milan", "milan.rprt", "milan.vcek"},
		{"milan zero", "test2_le.bin", "enarx-snp-vcek.der"},
		{"milan wrong vcek", "test2_le.bin", "milan_vcek.old.pem"},
		{"milan-crl", "extracted/milan-crl.report.bin", "extracted/milan-crl.vcek.der"},
		{"milan-2022-11-b", "extracted/milan-2022-11-b.report.bin", "extracted/milan-2022-11-b.vcek.der"},
		{"milan-v2-azure", "more/snp/milan-v2-azure.report.bin", "more/snp/milan-v2-azure.vcek.der"},
		{"milan-v2-azure wrong vcek", "more/snp/milan-v2-azure.report.bin", "more/snp/negative-vcek-hwid-raw.der"},
		{"milan-v2-debug", "more/snp/milan-v2-debug.report.bin", "more/snp/milan-v2-debug.vcek.der"},
		{"milan-v3-caci", "more/snp/milan-v3-caci.report.bin", "more/snp/milan-v3-caci.vcek.pem"},
		{"milan-v3-azvtpm", "more/snp/milan-v3-azvtpm.report.bin", "more/snp/milan-v3-azvtpm.vcek.der"},
		{"milan-v4-gce", "more/snp/milan-v4-gce.report.bin", "more/snp/milan-v3-caci.vcek.pem"},
		{"genoa-v3-caci", "more/snp/genoa-v3-caci.report.bin", "more/snp/genoa-v3-caci.vcek.pem"},
		{"genoa-v3-tsm", "more/snp/genoa-v3-tsm.report.bin", "more/snp/genoa-v3-tsm.vcek.pem"},
		{"genoa-v3-azure", "more/snp/genoa-v3-azure.hcl.bin", "more/snp/genoa-v3-azure.vcek.der"},
		{"turin-v5-caci", "more/snp/turin-v5-caci.report.bin", "more/snp/turin-v5-caci.vcek.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := load(t, dir, c.report)
			vcek := certificates(t, dir, c.vcek)[0]
			theirs := sameFields(t, c.name, raw)
			sameEndorsement(t, c.name, vcek)
			sameVerdict(t, c.name, raw, theirs, vcek)
		})
	}
}

// sameFields compares every field of the report.
func sameFields(t *testing.T, name string, raw []byte) *sevsnp.Report {
	t.Helper()
	r, err := ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := abi.ReportToProto(raw)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for _, f := range []struct {
		name         string
		ours, theirs uint64
	}{
		{"version", uint64(r.Version), uint64(p.Version)}, {"guest svn", uint64(r.GuestSVN), uint64(p.GuestSvn)},
		{"policy", uint64(r.Policy), p.Policy}, {"vmpl", uint64(r.VMPL), uint64(p.Vmpl)}, {"algorithm", uint64(r.SignatureAlgo), uint64(p.SignatureAlgo)},
		{"platform", uint64(r.PlatformInfo), p.PlatformInfo}, {"key", uint64(r.KeyInfo), uint64(p.SignerInfo)},
		{"current", le.Uint64(r.CurrentTCB[:]), p.CurrentTcb}, {"reported", le.Uint64(r.ReportedTCB[:]), p.ReportedTcb},
		{"committed", le.Uint64(r.CommittedTCB[:]), p.CommittedTcb}, {"launch", le.Uint64(r.LaunchTCB[:]), p.LaunchTcb},
		{"current build", uint64(r.Current.Build), uint64(p.CurrentBuild)}, {"current minor", uint64(r.Current.Minor), uint64(p.CurrentMinor)},
		{"current major", uint64(r.Current.Major), uint64(p.CurrentMajor)}, {"committed build", uint64(r.Committed.Build), uint64(p.CommittedBuild)},
		{"committed minor", uint64(r.Committed.Minor), uint64(p.CommittedMinor)}, {"committed major", uint64(r.Committed.Major), uint64(p.CommittedMajor)},
		{"launch mitigations", r.LaunchMitigations, p.LaunchMitVector}, {"current mitigations", r.CurrentMitigations, p.CurrentMitVector},
	} {
		agree(t, name+" "+f.name, f.ours == f.theirs, f.ours, f.theirs)
	}
	for _, f := range []struct {
		name         string
		ours, theirs []byte
	}{
		{"family id", r.FamilyID[:], p.FamilyId}, {"image id", r.ImageID[:], p.ImageId}, {"report data", r.ReportData[:], p.ReportData},
		{"measurement", r.Measurement[:], p.Measurement}, {"host data", r.HostData[:], p.HostData}, {"id key", r.IDKeyDigest[:], p.IdKeyDigest},
		{"author key", r.AuthorKeyDigest[:], p.AuthorKeyDigest}, {"report id", r.ReportID[:], p.ReportId}, {"report id ma", r.ReportIDMA[:], p.ReportIdMa},
		{"chip id", r.ChipID[:], p.ChipId}, {"signature", r.Raw[signedSize:], p.Signature},
	} {
		agree(t, name+" "+f.name, bytes.Equal(f.ours, f.theirs), f.ours, f.theirs)
	}
	if r.Version >= 3 {
		line := kds.ProductLineFromFms(p.Cpuid1EaxFms)
		agree(t, name+" product", ProductLine(r.Family, r.Model) == line, r.processor(), line)
		family, model, stepping := abi.FmsFromCpuid1Eax(p.Cpuid1EaxFms)
		agree(t, name+" processor", r.Family == family && r.Model == model && r.Stepping == stepping, r.processor(), p.Cpuid1EaxFms)
	}
	sameBits(t, name, r, p)
	return p
}

// sameBits compares what the bits are called.
func sameBits(t *testing.T, name string, r *Report, p *sevsnp.Report) {
	t.Helper()
	policy, err := abi.ParseSnpPolicy(p.Policy)
	if err != nil {
		t.Fatal(err)
	}
	major, minor := r.Policy.ABI()
	ours := abi.SnpPolicy{
		ABIMajor: major, ABIMinor: minor, SMT: r.Policy&PolicySMT != 0, MigrateMA: r.Policy&PolicyMigrateMA != 0, Debug: r.Policy&PolicyDebug != 0,
		SingleSocket: r.Policy&PolicySingleSocket != 0, CXLAllowed: r.Policy&PolicyCXL != 0, MemAES256XTS: r.Policy&PolicyMemAES256XTS != 0,
		RAPLDis: r.Policy&PolicyRAPLDisable != 0, CipherTextHidingDRAM: r.Policy&PolicyCiphertextHiding != 0, PageSwapDisable: r.Policy&PolicyPageSwapDisable != 0,
	}
	agree(t, name+" policy bits", ours == policy, ours, policy)
	info, err := abi.ParseSnpPlatformInfo(p.PlatformInfo)
	is := func(b PlatformInfo) bool { return r.PlatformInfo&b != 0 }
	platform := abi.SnpPlatformInfo{
		SMTEnabled: is(PlatformSMT), TSMEEnabled: is(PlatformTSME), ECCEnabled: is(PlatformECC), RAPLDisabled: is(PlatformRAPLDisabled),
		CiphertextHidingDRAMEnabled: is(PlatformCiphertextHiding), AliasCheckComplete: is(PlatformAliasCheck), TIOEnabled: is(PlatformTIO),
	}
	agree(t, name+" platform info", err == nil && info == platform, r.PlatformInfo.Names(), err)
	signer, err := abi.ParseSignerInfo(p.SignerInfo)
	if err != nil {
		t.Fatal(err)
	}
	key := abi.SignerInfo{SigningKey: abi.ReportSigner(r.KeyInfo.SigningKey()), MaskChipKey: r.KeyInfo.MaskChipKey(), AuthorKeyEn: r.KeyInfo.AuthorKey()}
	agree(t, name+" key info", key == signer, key, signer)
	product := ProductLine(r.Family, r.Model)
	reported := kds.DecomposeTCBVersion(kds.TCBVersion(p.ReportedTcb))
	agree(t, name+" tcb", sameParts(r.ReportedTCB.Decode(product), reported), r.ReportedTCB.Decode(product), reported)
	if product != "" {
		url := kds.VCEKCertURL(product, p.ChipId, kds.TCBVersion(p.ReportedTcb))
		want, err := kds.ParseVCEKCertURL(url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := kds.ParseVCEKCertURL(KDS + VCEKURLPath(product, r.ChipID[:], r.ReportedTCB.Decode(product)))
		agree(t, name+" url", err == nil && got.TCB == want.TCB && bytes.Equal(got.HWID, want.HWID) && got.ProductLine == want.ProductLine, got, want)
	}
}

func sameParts(t TCB, p kds.TCBParts) bool {
	return t == TCB{Bootloader: p.BlSpl, TEE: p.TeeSpl, SNP: p.SnpSpl, Microcode: p.UcodeSpl} && p.Spl4|p.Spl5|p.Spl6|p.Spl7 == 0
}

func sameEndorsement(t *testing.T, name string, vcek *x509.Certificate) {
	t.Helper()
	ours, err := ParseEndorsement(vcek)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := kds.VcekCertificateExtensions(vcek)
	agree(t, name+" endorsement", err == nil && theirs.ProductName == ours.ProductName && bytes.Equal(theirs.HWID, ours.HWID) &&
		sameParts(ours.TCB, kds.DecomposeTCBVersion(theirs.TCBVersion)), ours.TCB, err)
}

// sameVerdict compares the report's signature alone, and then path and
// signature. go-sev-guest compares neither chip nor TCB there.
func sameVerdict(t *testing.T, name string, raw []byte, p *sevsnp.Report, vcek *x509.Certificate) {
	t.Helper()
	theirs := verify.SnpReportSignature(raw, vcek)
	e, err := ParseEndorsement(vcek)
	if err != nil {
		t.Fatal(err)
	}
	ours := verifies(e.Key, raw)
	agree(t, name+" signature", ours == (theirs == nil), ours, theirs)

	bad := bytes.Clone(raw)
	bad[0x90] ^= 1
	agree(t, name+" altered", !verifies(e.Key, bad) && verify.SnpReportSignature(bad, vcek) != nil, "good", "good")

	g := check.New("")
	Verify(g, Input{Report: raw, Certificates: []*x509.Certificate{vcek}, Roots: roots.Vendors(), Now: m1})
	theirs = verify.SnpAttestation(&sevsnp.Attestation{
		Report:           p,
		CertificateChain: &sevsnp.CertificateChain{VcekCert: vcek.Raw, Extras: map[string][]byte{}},
		Product:          &sevsnp.SevProduct{Name: sevsnp.SevProduct_SEV_PRODUCT_MILAN},
	}, &verify.Options{Now: m1, DisableCertFetching: true})
	agree(t, name+" verdict", g.OK() == (theirs == nil), codes(g), theirs)
}

// Where certificates and lists are is as go-sev-guest and the vendor's own
// certificates have it.
func TestCrossCheckURLs(t *testing.T) {
	known := map[string]bool{}
	for _, product := range []string{Milan, Genoa, Turin} {
		for signer, kind := range map[abi.ReportSigner]string{abi.VcekReportSigner: "vcek", abi.VlekReportSigner: "vlek"} {
			if got, want := KDS+ChainURLPath(product, kind), kds.ProductCertChainURL(signer, product); got != want {
				t.Errorf("chain: %s, want %s", got, want)
			}
			got, want := KDS+CRLURLPath(product, kind), kds.CrlLinkByKey(product, signer)
			if got != want {
				t.Errorf("list: %s, want %s", got, want)
			}
			known[got] = true
		}
	}
	for _, c := range slices.Concat(roots.Vendors().AMD, roots.Vendors().Intermediates) {
		for _, url := range c.CRLDistributionPoints {
			if strings.HasPrefix(url, KDS) && !known[url] {
				t.Errorf("%s says its list is at %s", c.Subject.CommonName, url)
			}
		}
	}
}
