// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"fmt"
)

// leaf is one line of the CPUID policy: of a leaf, the bits that a Keep may
// see. A leaf that is not in the table answers zero.
type leaf struct {
	function, index    uint32
	eax, ebx, ecx, edx uint32 // masks
}

const (
	all      = ^uint32(0)
	anyIndex = ^uint32(0)
)

// profileV1 is the CPUID policy of Keeps, version 1: features of ring 3 that
// compilers use up to AVX2, what the shim needs at ring 0, and the processor's
// name. Left out are AVX-512 and AMX (their registers are outside XCR0 = 7),
// protection keys, shadow stacks and indirect branch tracking (state the shim
// does not save), five-level paging, TSX, SVM and VMX, power management,
// performance counters, the host's topology, and what a hypervisor would offer
// a kernel. With it a Keep behaves alike on all processors of one kind.
//
// Bit numbers: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
var profileV1 = []leaf{
	{0x0, 0, all, all, all, all}, // highest leaf, vendor
	{0x1, 0, all, // family, model, stepping
		0x0000_ff00, // CLFLUSH line; the APIC id is set below
		bits(0, 1, 9, 12, 13, 19, 20, 22) | // SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE
			bits(23, 25, 26, 28, 29, 30, 31), // POPCNT AES XSAVE AVX F16C RDRAND hypervisor
		bits(0, 2, 3, 4, 5, 6, 7, 8, 9) | // FPU DE PSE TSC MSR PAE MCE CX8 APIC
			bits(11, 12, 13, 14, 15, 16, 17, 19) | // SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH
			bits(23, 24, 25, 26)}, // MMX FXSR SSE SSE2
	{0x2, anyIndex, all, all, all, all},    // Intel: caches
	{0x4, anyIndex, 0x3fff, all, all, all}, // Intel: caches, not who shares them
	{0x7, 0, 0, // no sub-leaves
		bits(0, 3, 5, 7, 8, 9) | // FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS
			bits(18, 19, 20, 23, 29), // RDSEED ADX SMAP CLFLUSHOPT SHA
		bits(2, 8, 9, 10, 22), // UMIP GFNI VAES VPCLMULQDQ RDPID
		bits(4)},              // FSRM
	{0xb, anyIndex, 0, 0, all, 0},       // no topology; the APIC id is set below
	{0xd, 0, xcr0Mask, all, all, 0},     // register sets of XCR0, size of their area
	{0xd, 1, bits(0, 1, 2), 0, 0, 0},    // XSAVEOPT XSAVEC XGETBV1
	{0xd, 2, all, all, 0, 0},            // where AVX is in the area
	{0x15, 0, all, all, all, 0},         // TSC frequency
	{0x16, 0, all, all, all, 0},         // processor frequency
	{0x80000000, 0, all, all, all, all}, // highest leaf, vendor
	{0x80000001, 0, all, 0,
		bits(0, 5, 6, 7, 8), // LAHF LZCNT SSE4A misaligned SSE, PREFETCHW
		bits(0, 2, 3, 4, 5, 6, 7, 8, 9) | // AMD repeats leaf 1
			bits(12, 13, 14, 15, 16, 17, 23, 24) |
			bits(11, 20, 22, 26, 27, 29)}, // SYSCALL NX MMXEXT, 1 GiB pages, RDTSCP LM
	{0x80000002, 0, all, all, all, all}, // name
	{0x80000003, 0, all, all, all, all},
	{0x80000004, 0, all, all, all, all},
	{0x80000005, 0, all, all, all, all},         // AMD: caches
	{0x80000006, 0, all, all, all, all},         // caches
	{0x80000007, 0, 0, 0, 0, bits(8)},           // TSC does not stop
	{0x80000008, 0, 0xffff, 0, 0, 0},            // physical and linear address bits
	{0x8000001d, anyIndex, 0x3fff, all, all, 0}, // AMD: caches, not who shares them
	{0x8000001e, 0, 0, 0, 0, 0},                 // AMD: no topology; the APIC id is set below
}

// Highest leaves of profileV1.
const (
	maxBasic    = 0x16
	maxExtended = 0x8000001e
)

// xcr0Mask is what a Keep's threads have of registers: x87, SSE and AVX. It is
// what the shim saves.
const xcr0Mask = 7

// needed is what no Keep runs without, with the names that error texts use.
var needed = []struct {
	name     string
	function uint32
	register func(*CPUIDEntry) uint32
	bit      uint
}{
	{"XSAVE", 1, ecx, 26}, {"RDRAND", 1, ecx, 30},
	{"FSGSBASE", 7, ebx, 0}, {"SMEP", 7, ebx, 7}, {"SMAP", 7, ebx, 20},
	{"SYSCALL", 0x80000001, edx, 11}, {"NX", 0x80000001, edx, 20}, {"long mode", 0x80000001, edx, 29},
}

// ErrProcessor means that this processor, as KVM presents it, lacks something
// that every Keep needs.
var ErrProcessor = errors.New("kvm: the processor cannot run a Keep")

// CPUID is what CPUID answers in a Keep, but for the number of the vCPU.
type CPUID []CPUIDEntry

// KeepCPUID returns what KVM can offer here of profile "v1".
func (s *System) KeepCPUID() (CPUID, error) {
	table := cpuid2{N: maxCPUIDEntries}
	if _, err := ioctlTo(s.fd, ioGetSupportedCPUID, &table); err != nil {
		return nil, fmt.Errorf("KVM_GET_SUPPORTED_CPUID: %w", err)
	}
	return applyProfile(profileV1, table.Entries[:min(table.N, maxCPUIDEntries)]), nil
}

func applyProfile(profile []leaf, supported []CPUIDEntry) CPUID {
	var out CPUID
	for _, e := range supported {
		for _, l := range profile {
			if l.function != e.Function || l.index != anyIndex && l.index != e.Index {
				continue
			}
			e.EAX &= l.eax
			e.EBX &= l.ebx
			e.ECX &= l.ecx
			e.EDX &= l.edx
			switch e.Function {
			case 0:
				e.EAX = min(e.EAX, maxBasic)
			case 0x80000000:
				e.EAX = min(e.EAX, maxExtended)
			case 0xd:
				if e.Index == 0 {
					e.EBX, e.ECX = xsaveSize(e.EAX), xsaveSize(e.EAX)
				}
			}
			out = append(out, e)
			break
		}
	}
	return out
}

// xsaveSize is the size of the standard-format XSAVE area: 512 bytes of
// FXSAVE, a header of 64, and 256 for the upper halves of AVX.
func xsaveSize(xcr0 uint32) uint32 {
	if xcr0&bits(2) != 0 {
		return 0x340
	}
	return 0x240
}

// ForVCPU returns the table with the numbers of one vCPU in it.
func (c CPUID) ForVCPU(id int) []CPUIDEntry {
	out := make([]CPUIDEntry, len(c))
	for i, e := range c {
		switch e.Function {
		case 1:
			e.EBX |= uint32(id) << 24
		case 0xb:
			e.EDX = uint32(id)
		case 0x8000001e:
			e.EAX = uint32(id)
		}
		out[i] = e
	}
	return out
}

// XCR0 returns what XCR0 of a Keep is.
func (c CPUID) XCR0() uint64 {
	if e := c.find(0xd); e != nil {
		return uint64(e.EAX & xcr0Mask)
	}
	return 0
}

// CR4 returns what CR4 of a Keep is: everything that the shim needs, and what
// merely hardens it where the processor has it.
func (c CPUID) CR4() uint64 {
	v := uint64(cr4PAE | cr4PGE | cr4OSFXSR | cr4OSXMMEXCPT)
	if e := c.find(1); e != nil && ecx(e)&bits(26) != 0 {
		v |= cr4OSXSAVE
	}
	if e := c.find(7); e != nil {
		for bit, flag := range map[uint32]uint64{bits(0): cr4FSGSBASE, bits(7): cr4SMEP, bits(20): cr4SMAP} {
			if ebx(e)&bit != 0 {
				v |= flag
			}
		}
		if ecx(e)&bits(2) != 0 {
			v |= cr4UMIP
		}
	}
	return v
}

// Check returns ErrProcessor, with the name, if something is missing that
// every Keep needs.
func (c CPUID) Check() error {
	for _, n := range needed {
		if e := c.find(n.function); e == nil || n.register(e)&bits(n.bit) == 0 {
			return fmt.Errorf("%w: no %s", ErrProcessor, n.name)
		}
	}
	if c.XCR0() != xcr0Mask {
		return fmt.Errorf("%w: no AVX", ErrProcessor)
	}
	return nil
}

// find returns the first entry of a leaf.
func (c CPUID) find(function uint32) *CPUIDEntry {
	for i := range c {
		if c[i].Function == function {
			return &c[i]
		}
	}
	return nil
}

func ebx(e *CPUIDEntry) uint32 { return e.EBX }
func ecx(e *CPUIDEntry) uint32 { return e.ECX }
func edx(e *CPUIDEntry) uint32 { return e.EDX }

func bits(numbers ...uint) uint32 {
	var v uint32
	for _, n := range numbers {
		v |= 1 << n
	}
	return v
}
