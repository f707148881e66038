// SPDX-License-Identifier: Apache-2.0

// Package snp reads and verifies AMD SEV-SNP attestation reports. The layout
// of a report is in AMD 56860, SEV Secure Nested Paging Firmware ABI
// Specification ("ATTESTATION_REPORT Structure" and the tables it refers to);
// the certificates are in AMD 57230, VCEK Certificate and KDS Interface
// Specification. Table numbers differ between revisions, so tables are cited
// by name.
//
// What is trusted: the AMD root keys (ARK) that the caller pins, and nothing
// else. A report, the certificates beside it and revocation lists come from
// whoever presents them.
package snp

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// ReportSize is the size of an attestation report of every version.
const ReportSize = 0x4a0

// The report versions that are understood. Versions 3 and 4 have one layout.
const (
	MinVersion = 2
	MaxVersion = 5
)

// Where what is signed ends and the signature begins, and its parts: R and S,
// 72 bytes each, least significant byte first (AMD 56860, Format for an ECDSA
// P-384 with SHA-384 Signature).
const (
	signedSize = 0x2a0
	scalarSize = 72
	p384Size   = 48
)

// ErrSize is returned for bytes that cannot be a report.
var ErrSize = errors.New("snp: an attestation report has 1184 bytes")

// A Report is an attestation report, taken apart. Fields that its version does
// not have are zero. A Report says nothing until [Verify] has passed it.
type Report struct {
	Raw []byte // the whole report; must not be changed

	Version            uint32
	GuestSVN           uint32
	Policy             Policy
	FamilyID           [16]byte
	ImageID            [16]byte
	VMPL               uint32 // of who asked for the report; 0xffffffff: the host
	SignatureAlgo      uint32
	CurrentTCB         TCBVersion
	PlatformInfo       PlatformInfo
	KeyInfo            KeyInfo
	ReportData         [64]byte
	Measurement        [48]byte
	HostData           [32]byte
	IDKeyDigest        [48]byte
	AuthorKeyDigest    [48]byte
	ReportID           [32]byte
	ReportIDMA         [32]byte // of the migration agent; all ones: none
	ReportedTCB        TCBVersion
	Family             uint8 // CPUID_FAM_ID, extended and base family combined; version 3 and later
	Model              uint8 // CPUID_MOD_ID, extended and base model combined; version 3 and later
	Stepping           uint8 // CPUID_STEP; version 3 and later
	ChipID             [64]byte
	CommittedTCB       TCBVersion
	Current            Firmware
	Committed          Firmware
	LaunchTCB          TCBVersion
	LaunchMitigations  uint64 // LAUNCH_MIT_VECTOR; version 5
	CurrentMitigations uint64 // CURRENT_MIT_VECTOR; version 5
}

// ParseReport takes a report apart. It fails only if data is not of a report's
// size: everything else is for [Verify] to judge and to explain. An unknown
// version is read like the newest known one.
func ParseReport(data []byte) (*Report, error) {
	if len(data) != ReportSize {
		return nil, ErrSize
	}
	raw := make([]byte, ReportSize)
	copy(raw, data)
	le := binary.LittleEndian
	r := &Report{
		Raw:             raw,
		Version:         le.Uint32(raw),
		GuestSVN:        le.Uint32(raw[0x04:]),
		Policy:          Policy(le.Uint64(raw[0x08:])),
		FamilyID:        [16]byte(raw[0x10:]),
		ImageID:         [16]byte(raw[0x20:]),
		VMPL:            le.Uint32(raw[0x30:]),
		SignatureAlgo:   le.Uint32(raw[0x34:]),
		CurrentTCB:      TCBVersion(raw[0x38:]),
		PlatformInfo:    PlatformInfo(le.Uint64(raw[0x40:])),
		KeyInfo:         KeyInfo(le.Uint32(raw[0x48:])),
		ReportData:      [64]byte(raw[0x50:]),
		Measurement:     [48]byte(raw[0x90:]),
		HostData:        [32]byte(raw[0xc0:]),
		IDKeyDigest:     [48]byte(raw[0xe0:]),
		AuthorKeyDigest: [48]byte(raw[0x110:]),
		ReportID:        [32]byte(raw[0x140:]),
		ReportIDMA:      [32]byte(raw[0x160:]),
		ReportedTCB:     TCBVersion(raw[0x180:]),
		ChipID:          [64]byte(raw[0x1a0:]),
		CommittedTCB:    TCBVersion(raw[0x1e0:]),
		Current:         Firmware{Build: raw[0x1e8], Minor: raw[0x1e9], Major: raw[0x1ea]},
		Committed:       Firmware{Build: raw[0x1ec], Minor: raw[0x1ed], Major: raw[0x1ee]},
		LaunchTCB:       TCBVersion(raw[0x1f0:]),
	}
	if r.Version >= 3 {
		r.Family, r.Model, r.Stepping = raw[0x188], raw[0x189], raw[0x18a]
	}
	if r.Version >= 5 {
		r.LaunchMitigations, r.CurrentMitigations = le.Uint64(raw[0x1f8:]), le.Uint64(raw[0x200:])
	}
	return r, nil
}

// span is a part of a report, [from, to).
type span struct{ from, to int }

// reserved returns the parts of the signed bytes that have to be zero in a
// report of that version (AMD 56860, ATTESTATION_REPORT Structure).
func reserved(version uint32) []span {
	switch {
	case version <= 2:
		return reservedV2
	case version <= 4:
		return reservedV3
	}
	return reservedV5
}

var (
	reservedV2 = []span{{0x4c, 0x50}, {0x188, 0x1a0}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {0x1f8, signedSize}}
	reservedV3 = []span{{0x4c, 0x50}, {0x18b, 0x1a0}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {0x1f8, signedSize}}
	reservedV5 = []span{{0x4c, 0x50}, {0x18b, 0x1a0}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {0x208, signedSize}}
)

// firstNonZero returns the offset of the first byte in the spans that is not
// zero, or -1.
func firstNonZero(data []byte, spans ...span) int {
	for _, s := range spans {
		for i, b := range data[s.from:s.to] {
			if b != 0 {
				return s.from + i
			}
		}
	}
	return -1
}

// Firmware is the version of the SEV firmware.
type Firmware struct{ Major, Minor, Build uint8 }

func (f Firmware) String() string {
	return decimal(f.Major) + "." + decimal(f.Minor) + "." + decimal(f.Build)
}

func decimal(n uint8) string { return strconv.Itoa(int(n)) }

// Policy is the guest policy, POLICY: what the guest's owner demands of the
// host and allows it, fixed at launch (AMD 56860, Guest Policy). The two lowest
// bytes are the least firmware ABI version.
type Policy uint64

// The bits of a guest policy.
const (
	PolicySMT              Policy = 1 << 16 // the host may run with SMT
	PolicyMustBeOne        Policy = 1 << 17 // reserved, always set
	PolicyMigrateMA        Policy = 1 << 18 // a migration agent may be associated with the guest
	PolicyDebug            Policy = 1 << 19 // the host may read and write the guest's memory
	PolicySingleSocket     Policy = 1 << 20 // the guest must stay on one socket
	PolicyCXL              Policy = 1 << 21 // CXL devices or memory may be present
	PolicyMemAES256XTS     Policy = 1 << 22 // memory must be encrypted with AES-256-XTS
	PolicyRAPLDisable      Policy = 1 << 23 // running average power limit must be off
	PolicyCiphertextHiding Policy = 1 << 24 // ciphertext of DRAM must be hidden from the host
	PolicyPageSwapDisable  Policy = 1 << 25 // the host may not move pages or swap them out and in
	policyKnown            Policy = 1<<26 - 1
)

// ABI returns the least firmware ABI version that the policy demands.
func (p Policy) ABI() (major, minor uint8) { return uint8(p >> 8), uint8(p) }

// Reserved returns the bits that have no meaning yet and must be zero.
func (p Policy) Reserved() Policy { return p &^ policyKnown }

// Names returns the names of the bits that are set, reserved ones excepted.
func (p Policy) Names() []string { return names(uint64(p), policyNames) }

// PlatformInfo is PLATFORM_INFO, facts about the host's configuration
// (AMD 56860, PLATFORM_INFO Field).
type PlatformInfo uint64

// The bits of the platform information.
const (
	PlatformSMT              PlatformInfo = 1 << 0 // SMT is enabled
	PlatformTSME             PlatformInfo = 1 << 1 // transparent SME is enabled
	PlatformECC              PlatformInfo = 1 << 2 // memory has error correcting codes
	PlatformRAPLDisabled     PlatformInfo = 1 << 3 // running average power limit is off
	PlatformCiphertextHiding PlatformInfo = 1 << 4 // ciphertext of DRAM is hidden from the host
	PlatformAliasCheck       PlatformInfo = 1 << 5 // memory was checked for aliases since reset, none found (AMD-SB-3015)
	PlatformIOMMUWriteSafe   PlatformInfo = 1 << 6 // IOMMU_WRITE_SAFE: AMD-SB-3016 is mitigated; set by Turin's firmware
	PlatformTIO              PlatformInfo = 1 << 7 // SEV-TIO is enabled
	platformKnown            PlatformInfo = 1<<8 - 1
)

// Reserved returns the bits that have no known meaning.
func (p PlatformInfo) Reserved() PlatformInfo { return p &^ platformKnown }

// Names returns the names of the bits that are set, unknown ones excepted.
func (p PlatformInfo) Names() []string { return names(uint64(p), platformNames) }

type bitName struct {
	bit  uint64
	name string
}

var policyNames = []bitName{
	{uint64(PolicySMT), "SMT"},
	{uint64(PolicyMigrateMA), "MigrateMA"},
	{uint64(PolicyDebug), "Debug"},
	{uint64(PolicySingleSocket), "SingleSocket"},
	{uint64(PolicyCXL), "CXL"},
	{uint64(PolicyMemAES256XTS), "MemAES256XTS"},
	{uint64(PolicyRAPLDisable), "RAPLDisable"},
	{uint64(PolicyCiphertextHiding), "CiphertextHiding"},
	{uint64(PolicyPageSwapDisable), "PageSwapDisable"},
}

var platformNames = []bitName{
	{uint64(PlatformSMT), "SMT"},
	{uint64(PlatformTSME), "TSME"},
	{uint64(PlatformECC), "ECC"},
	{uint64(PlatformRAPLDisabled), "RAPLDisabled"},
	{uint64(PlatformCiphertextHiding), "CiphertextHiding"},
	{uint64(PlatformAliasCheck), "AliasCheck"},
	{uint64(PlatformIOMMUWriteSafe), "IOMMUWriteSafe"},
	{uint64(PlatformTIO), "TIO"},
}

func names(v uint64, table []bitName) []string {
	var set []string
	for _, b := range table {
		if v&b.bit != 0 {
			set = append(set, b.name)
		}
	}
	return set
}

// KeyInfo says which keys are behind a report (AMD 56860, ATTESTATION_REPORT
// Structure, offset 48h).
type KeyInfo uint32

// AuthorKey reports whether the ID block was signed by a key that an author
// key vouches for, whose digest is AUTHOR_KEY_DIGEST.
func (k KeyInfo) AuthorKey() bool { return k&1 != 0 }

// MaskChipKey reports whether the host keeps the firmware from using the VCEK.
func (k KeyInfo) MaskChipKey() bool { return k&2 != 0 }

// SigningKey returns which kind of key signed the report.
func (k KeyInfo) SigningKey() SigningKey { return SigningKey(k >> 2 & 7) }

// Reserved returns the bits that must be zero.
func (k KeyInfo) Reserved() KeyInfo { return k &^ 31 }

// SigningKey is a kind of key that signs reports.
type SigningKey uint8

// The kinds of keys; 2 to 6 are reserved.
const (
	SignedByVCEK SigningKey = 0 // the chip's own key
	SignedByVLEK SigningKey = 1 // a key that AMD lends to a cloud provider
	NotSigned    SigningKey = 7
)

func (k SigningKey) String() string {
	switch k {
	case SignedByVCEK:
		return "VCEK"
	case SignedByVLEK:
		return "VLEK"
	case NotSigned:
		return "none"
	}
	return "reserved (" + decimal(uint8(k)) + ")"
}
