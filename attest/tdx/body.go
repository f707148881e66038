// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"encoding/binary"

	"enarx.dev/enarx/attest/dcap"
)

// The sizes of bodies.
const (
	sizeTD10 = 584
	sizeTD15 = 648
)

// A Body describes a trust domain: the TD report of a quote (Intel TDX DCAP,
// Quote Generation Library and Quote Verification Library, appendix A; the
// fields are those of TDREPORT in the Intel TDX Module ABI specification).
type Body struct {
	TEETCBSVN      [16]uint8  // TEE_TCB_SVN: of the TDX module when the TD was started (minor, major), and of what loads it
	MRSEAM         [48]byte   // MRSEAM: the TDX module
	MRSignerSEAM   [48]byte   // MRSIGNERSEAM: who signed it; zero for Intel
	SEAMAttributes uint64     // SEAMATTRIBUTES
	Attributes     Attributes // TDATTRIBUTES
	XFAM           uint64     // XFAM
	MRTD           [48]byte   // MRTD: the TD as it was built
	MRConfigID     [48]byte   // MRCONFIGID
	MROwner        [48]byte   // MROWNER
	MROwnerConfig  [48]byte   // MROWNERCONFIG
	RTMR           [4][48]byte
	ReportData     [64]byte

	V15         bool      // TDX 1.5: the rest is there
	TEETCBSVN2  [16]uint8 // TEE_TCB_SVN_2: of the TDX module now
	MRServiceTD [48]byte  // MRSERVICETD: the service TDs that are bound; zero for none

	Raw []byte
}

// decode reads a body of one of the two sizes.
func (t *Body) decode(b []byte) {
	t.Raw = b
	copy(t.TEETCBSVN[:], b)
	copy(t.MRSEAM[:], b[16:])
	copy(t.MRSignerSEAM[:], b[64:])
	t.SEAMAttributes = binary.LittleEndian.Uint64(b[112:])
	t.Attributes = Attributes(binary.LittleEndian.Uint64(b[120:]))
	t.XFAM = binary.LittleEndian.Uint64(b[128:])
	copy(t.MRTD[:], b[136:])
	copy(t.MRConfigID[:], b[184:])
	copy(t.MROwner[:], b[232:])
	copy(t.MROwnerConfig[:], b[280:])
	for i := range t.RTMR {
		copy(t.RTMR[i][:], b[328+48*i:])
	}
	copy(t.ReportData[:], b[520:])
	if len(b) == sizeTD15 {
		t.V15 = true
		copy(t.TEETCBSVN2[:], b[584:])
		copy(t.MRServiceTD[:], b[600:])
	}
}

// Attributes is the attributes of a trust domain (Intel TDX Module ABI
// specification, ATTRIBUTES). With any of the lowest eight set, the TD is under
// debug and not to be trusted.
type Attributes uint64

// The attributes.
const (
	Debug         Attributes = 1 << 0  // DEBUG
	HGSPlusProf   Attributes = 1 << 4  // HGS_PLUS_PROF
	PerfProf      Attributes = 1 << 5  // PERF_PROF
	PMTProf       Attributes = 1 << 6  // PMT_PROF
	ICSSD         Attributes = 1 << 16 // ICSSD
	LASS          Attributes = 1 << 27 // LASS
	SEPTVEDisable Attributes = 1 << 28 // SEPT_VE_DISABLE
	Migratable    Attributes = 1 << 29 // MIGRATABLE
	PKS           Attributes = 1 << 30 // PKS
	KL            Attributes = 1 << 31 // KL
	TPA           Attributes = 1 << 62 // TPA
	PerfMon       Attributes = 1 << 63 // PERFMON

	// UnderDebug is every attribute that takes away the TD's protection,
	// those that are not defined yet included (TUD).
	UnderDebug Attributes = 0xff

	knownAttributes = Debug | HGSPlusProf | PerfProf | PMTProf | ICSSD | LASS | SEPTVEDisable |
		Migratable | PKS | KL | TPA | PerfMon
)

var attributeNames = map[int]string{
	0: "DEBUG", 4: "HGS_PLUS_PROF", 5: "PERF_PROF", 6: "PMT_PROF", 16: "ICSSD", 27: "LASS",
	28: "SEPT_VE_DISABLE", 29: "MIGRATABLE", 30: "PKS", 31: "KL", 62: "TPA", 63: "PERFMON",
}

// Names lists the attributes that are set, those that are not defined as
// "bit-N".
func (a Attributes) Names() []string { return dcap.BitNames(uint64(a), attributeNames) }

// Unknown returns the bits that are set and not defined.
func (a Attributes) Unknown() Attributes { return a &^ knownAttributes }

func (a Attributes) String() string { return dcap.BitString(uint64(a), attributeNames) }
