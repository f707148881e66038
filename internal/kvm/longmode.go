// SPDX-License-Identifier: Apache-2.0

package kvm

// Bits of control registers. Intel SDM volume 3, 2.5; AMD APM volume 2, 3.1.
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0AM = 1 << 18
	cr0PG = 1 << 31

	cr4PAE        = 1 << 5
	cr4PGE        = 1 << 7
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10
	cr4UMIP       = 1 << 11
	cr4FSGSBASE   = 1 << 16
	cr4OSXSAVE    = 1 << 18
	cr4SMEP       = 1 << 20
	cr4SMAP       = 1 << 21

	eferSCE = 1 << 0
	eferLME = 1 << 8
	eferLMA = 1 << 10
	eferNXE = 1 << 11
)

// msrPAT is IA32_PAT; patDefault is its value at reset, which the page tables
// of the shim are written for.
const (
	msrPAT     = 0x277
	patDefault = 0x0007_0406_0007_0406
)

// rflagsFixed is the bit of RFLAGS that is always one.
const rflagsFixed = 2

// Selectors of the shim's descriptor table.
const (
	selKernelCode = 0x08
	selKernelData = 0x10
)

// Segment types: execute-read, read-write, busy 64-bit TSS, LDT; all accessed.
const (
	typeCode = 11
	typeData = 3
	typeTSS  = 11
	typeLDT  = 2
)

// LongMode sets the special registers for 64-bit code at CPL 0 with paging on
// and interrupts off, as a kernel finds itself late in its boot: there is no
// firmware and nothing that would get it there. The descriptor tables are the
// guest's to load.
func (s *Sregs) LongMode(cr3, cr4 uint64) {
	s.CS = Segment{Limit: 0xffff_ffff, Selector: selKernelCode, Type: typeCode, Present: 1, S: 1, L: 1, G: 1}
	data := Segment{Limit: 0xffff_ffff, Selector: selKernelData, Type: typeData, Present: 1, S: 1, DB: 1, G: 1}
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.TR = Segment{Limit: 0xffff, Type: typeTSS, Present: 1} // VMX refuses one that is unusable
	s.LDT = Segment{Type: typeLDT, Unusable: 1}
	s.CR0 = cr0PG | cr0AM | cr0WP | cr0NE | cr0ET | cr0MP | cr0PE
	s.CR3 = cr3
	s.CR4 = cr4
	s.EFER = eferSCE | eferLME | eferLMA | eferNXE
}

// Start is where a vCPU begins.
type Start struct {
	Entry uint64 // RIP
	Stack uint64 // RSP
	CR3   uint64 // physical address of the top page table
	Args  [6]uint64
}

// Prepare puts a new vCPU into long mode at the given start. Args are in the
// registers of the System V convention: RDI, RSI, RDX, RCX, R8, R9.
func (c *VCPU) Prepare(cpuid CPUID, start *Start) error {
	if err := c.SetCPUID(cpuid.ForVCPU(c.ID)); err != nil {
		return err
	}
	if xcr0 := cpuid.XCR0(); xcr0 != 0 {
		if err := c.SetXCR0(xcr0); err != nil {
			return err
		}
	}
	if err := c.SetMSRs(MSR{Index: msrPAT, Data: patDefault}); err != nil {
		return err
	}
	sregs, err := c.Sregs()
	if err != nil {
		return err
	}
	sregs.LongMode(start.CR3, cpuid.CR4())
	if err := c.SetSregs(&sregs); err != nil {
		return err
	}
	a := &start.Args
	return c.SetRegs(&Regs{
		RIP: start.Entry, RSP: start.Stack, RFLAGS: rflagsFixed,
		RDI: a[0], RSI: a[1], RDX: a[2], RCX: a[3], R8: a[4], R9: a[5],
	})
}
