// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"crypto/ecdsa"
	"encoding/binary"
	"slices"
)

// Sizes of an SNP report.
const (
	ReportSize       = 1184
	ReportSignedSize = 672
)

// A Report is an SNP attestation report, before it is encoded.
// SEV-SNP Firmware ABI, 56860, ATTESTATION_REPORT.
type Report struct {
	Version           uint32
	GuestSVN          uint32
	Policy            uint64
	FamilyID, ImageID [16]byte
	VMPL              uint32
	SignatureAlgo     uint32
	CurrentTCB        TCB
	PlatformInfo      uint64
	SignerInfo        uint32 // 0 author key present, 1 chip key masked, 4:2 signing key
	ReportData        [64]byte
	Measurement       [48]byte
	HostData          [32]byte
	IDKeyDigest       [48]byte
	AuthorKeyDigest   [48]byte
	ReportID          [32]byte
	ReportIDMA        [32]byte
	ReportedTCB       TCB
	CPU               [3]byte // family, model, stepping; from version 3
	ChipID            [64]byte
	CommittedTCB      TCB
	Current           [3]byte // build, minor, major
	Committed         [3]byte // build, minor, major
	LaunchTCB         TCB
	LaunchMitigation  uint64 // from version 5
	CurrentMitigation uint64 // from version 5

	// Patch, if set, changes the encoded report before it is signed: for
	// reserved fields.
	Patch func(raw []byte)
	// Key signs, if set, in place of the chip's.
	Key *ecdsa.PrivateKey
}

// Bits of a report.
const (
	PolicySMT            = 1 << 16
	PolicyReserved1      = 1 << 17
	PolicyMigrationAgent = 1 << 18
	PolicyDebug          = 1 << 19
	PolicySingleSocket   = 1 << 20

	SignerAuthorKey = 1 << 0
	SignerVLEK      = 1 << 2
	SignerNone      = 7 << 2
)

// NewReport returns the report that the chip's current firmware makes about an
// ordinary guest: no debugging, VMPL 0.
func (c *Chip) NewReport() *Report {
	r := &Report{
		Version: c.Product.Report, Policy: 0x30000, SignatureAlgo: 1, PlatformInfo: 0x25, CPU: c.CPU, ChipID: c.ID,
		CurrentTCB: c.TCB, ReportedTCB: c.TCB, CommittedTCB: c.TCB, LaunchTCB: c.TCB,
		Current: [3]byte{29, 55, 1}, Committed: [3]byte{29, 55, 1},
	}
	if c.CSP != "" {
		r.SignerInfo |= SignerVLEK
	}
	c.world.bytes("measurement/snp", r.Measurement[:])
	c.world.bytes("report id", r.ReportID[:])
	for i := range r.ReportIDMA {
		r.ReportIDMA[i] = 0xff
	}
	if r.Version >= 5 {
		r.LaunchMitigation, r.CurrentMitigation = 0x3f, 0x3f
	}
	return r
}

// SignReport returns a report of the chip, signed with its key for the reported TCB.
func (c *Chip) SignReport(edits ...func(*Report)) []byte {
	r := c.NewReport()
	for _, edit := range edits {
		edit(r)
	}
	raw := r.encode(c.Product)
	if r.Patch != nil {
		r.Patch(raw)
	}
	key := r.Key
	if key == nil {
		key = c.Key(r.ReportedTCB)
	}
	SignReport(raw, key)
	return raw
}

// SignReport signs an encoded report in place.
func SignReport(raw []byte, key *ecdsa.PrivateKey) {
	clear(raw[ReportSignedSize:])
	r, s := rawSign(key, raw[:ReportSignedSize])
	slices.Reverse(r)
	slices.Reverse(s)
	copy(raw[ReportSignedSize:], r)
	copy(raw[ReportSignedSize+72:], s)
}

func (r *Report) encode(p *Product) []byte {
	raw := make([]byte, ReportSize)
	le := binary.LittleEndian
	le.PutUint32(raw[0x000:], r.Version)
	le.PutUint32(raw[0x004:], r.GuestSVN)
	le.PutUint64(raw[0x008:], r.Policy)
	copy(raw[0x010:], r.FamilyID[:])
	copy(raw[0x020:], r.ImageID[:])
	le.PutUint32(raw[0x030:], r.VMPL)
	le.PutUint32(raw[0x034:], r.SignatureAlgo)
	putTCB := func(at int, t TCB) { b := p.pack(t); copy(raw[at:], b[:]) }
	putTCB(0x038, r.CurrentTCB)
	le.PutUint64(raw[0x040:], r.PlatformInfo)
	le.PutUint32(raw[0x048:], r.SignerInfo)
	copy(raw[0x050:], r.ReportData[:])
	copy(raw[0x090:], r.Measurement[:])
	copy(raw[0x0c0:], r.HostData[:])
	copy(raw[0x0e0:], r.IDKeyDigest[:])
	copy(raw[0x110:], r.AuthorKeyDigest[:])
	copy(raw[0x140:], r.ReportID[:])
	copy(raw[0x160:], r.ReportIDMA[:])
	putTCB(0x180, r.ReportedTCB)
	if r.Version >= 3 {
		copy(raw[0x188:], r.CPU[:])
	}
	copy(raw[0x1a0:], r.ChipID[:])
	putTCB(0x1e0, r.CommittedTCB)
	copy(raw[0x1e8:], r.Current[:])
	copy(raw[0x1ec:], r.Committed[:])
	putTCB(0x1f0, r.LaunchTCB)
	if r.Version >= 5 {
		le.PutUint64(raw[0x1f8:], r.LaunchMitigation)
		le.PutUint64(raw[0x200:], r.CurrentMitigation)
	}
	return raw
}
