// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// ReportSize is the length of an SGX REPORT without its key id and MAC.
const ReportSize = 384

// A Report describes an enclave: the REPORT structure of Intel SDM volume 3D, up
// to and including REPORTDATA.
type Report struct {
	CPUSVN        [16]byte   // CPUSVN
	MiscSelect    uint32     // MISCSELECT
	CETAttributes uint8      // CET_ATTRIBUTES
	ISVExtProdID  [16]byte   // ISVEXTPRODID
	Attributes    Attributes // ATTRIBUTES.FLAGS
	XFRM          uint64     // ATTRIBUTES.XFRM
	MREnclave     [32]byte   // MRENCLAVE
	MRSigner      [32]byte   // MRSIGNER
	ConfigID      [64]byte   // CONFIGID
	ISVProdID     uint16     // ISVPRODID
	ISVSVN        uint16     // ISVSVN
	ConfigSVN     uint16     // CONFIGSVN
	ISVFamilyID   [16]byte   // ISVFAMILYID
	ReportData    [64]byte   // REPORTDATA

	Raw []byte // the 384 bytes, as they are signed
}

// Decode reads the first [ReportSize] bytes of b, which must be that long. Raw is
// a view of them.
func (r *Report) Decode(b []byte) {
	r.Raw = b[:ReportSize:ReportSize]
	copy(r.CPUSVN[:], b[0:])
	r.MiscSelect = binary.LittleEndian.Uint32(b[16:])
	r.CETAttributes = b[20]
	copy(r.ISVExtProdID[:], b[32:])
	r.Attributes = Attributes(binary.LittleEndian.Uint64(b[48:]))
	r.XFRM = binary.LittleEndian.Uint64(b[56:])
	copy(r.MREnclave[:], b[64:])
	copy(r.MRSigner[:], b[128:])
	copy(r.ConfigID[:], b[192:])
	r.ISVProdID = binary.LittleEndian.Uint16(b[256:])
	r.ISVSVN = binary.LittleEndian.Uint16(b[258:])
	r.ConfigSVN = binary.LittleEndian.Uint16(b[260:])
	copy(r.ISVFamilyID[:], b[304:])
	copy(r.ReportData[:], b[320:])
}

// ReservedZero reports whether every reserved byte is zero.
func (r *Report) ReservedZero() bool {
	b := r.Raw
	return Zero(b[21:32]) && Zero(b[96:128]) && Zero(b[160:192]) && Zero(b[262:304])
}

// Zero reports whether every byte of b is zero.
func Zero(b []byte) bool {
	var any byte
	for _, x := range b {
		any |= x
	}
	return any == 0
}

// Attributes is the FLAGS half of an enclave's ATTRIBUTES (Intel SDM volume 3D,
// "ATTRIBUTES").
type Attributes uint64

// The attributes.
const (
	Init          Attributes = 1 << 0  // INIT
	Debug         Attributes = 1 << 1  // DEBUG
	Mode64Bit     Attributes = 1 << 2  // MODE64BIT
	ProvisionKey  Attributes = 1 << 4  // PROVISIONKEY
	EINITTokenKey Attributes = 1 << 5  // EINITTOKEN_KEY
	CET           Attributes = 1 << 6  // CET
	KSS           Attributes = 1 << 7  // KSS
	AEXNotify     Attributes = 1 << 10 // AEXNOTIFY

	knownAttributes = Init | Debug | Mode64Bit | ProvisionKey | EINITTokenKey | CET | KSS | AEXNotify
)

var attributeNames = map[int]string{
	0: "INIT", 1: "DEBUG", 2: "MODE64BIT", 4: "PROVISIONKEY", 5: "EINITTOKENKEY",
	6: "CET", 7: "KSS", 10: "AEXNOTIFY",
}

// Names lists the attributes that are set, those that are not defined as
// "bit-N".
func (a Attributes) Names() []string { return BitNames(uint64(a), attributeNames) }

// Unknown returns the bits that are set and not defined.
func (a Attributes) Unknown() Attributes { return a &^ knownAttributes }

func (a Attributes) String() string { return BitString(uint64(a), attributeNames) }

// BitNames lists the bits that are set in v, lowest first.
func BitNames(v uint64, names map[int]string) []string {
	var list []string
	for bit := range 64 {
		if v>>bit&1 == 0 {
			continue
		}
		name, ok := names[bit]
		if !ok {
			name = "bit-" + strconv.Itoa(bit)
		}
		list = append(list, name)
	}
	return list
}

// BitString is v in hexadecimal and the names of its bits.
func BitString(v uint64, names map[int]string) string {
	s := "0x" + strconv.FormatUint(v, 16)
	if list := BitNames(v, names); len(list) > 0 {
		s += " (" + strings.Join(list, ", ") + ")"
	}
	return s
}
