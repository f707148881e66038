// SPDX-License-Identifier: Apache-2.0

package kvm

import "structs"

// The structures below are those of linux/kvm.h and asm/kvm.h, field by field.

// memoryRegion is struct kvm_userspace_memory_region.
type memoryRegion struct {
	_      structs.HostLayout
	Slot   uint32
	Flags  uint32
	GPA    uint64 // guest_phys_addr
	Size   uint64 // memory_size
	Memory uint64 // userspace_addr
}

// Regs are the general registers: struct kvm_regs.
type Regs struct {
	_                                      structs.HostLayout
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP, RFLAGS                            uint64
}

// Segment is struct kvm_segment: a segment register with its hidden part.
type Segment struct {
	_        structs.HostLayout
	Base     uint64
	Limit    uint32
	Selector uint16
	Type     uint8
	Present  uint8
	DPL      uint8
	DB       uint8
	S        uint8
	L        uint8
	G        uint8
	AVL      uint8
	Unusable uint8
	_        uint8
}

// Table is struct kvm_dtable: where a descriptor table is.
type Table struct {
	_     structs.HostLayout
	Base  uint64
	Limit uint16
	_     [3]uint16
}

// Sregs are the special registers: struct kvm_sregs.
type Sregs struct {
	_                       structs.HostLayout
	CS, DS, ES, FS, GS, SS  Segment
	TR, LDT                 Segment
	GDT, IDT                Table
	CR0, CR2, CR3, CR4, CR8 uint64
	EFER                    uint64
	APICBase                uint64
	InterruptBitmap         [4]uint64
}

// CPUIDEntry is struct kvm_cpuid_entry2: what one leaf answers.
type CPUIDEntry struct {
	_                  structs.HostLayout
	Function           uint32
	Index              uint32
	Flags              uint32
	EAX, EBX, ECX, EDX uint32
	_                  [3]uint32
}

// maxCPUIDEntries is KVM_MAX_CPUID_ENTRIES of arch/x86/include/asm/kvm_host.h.
const maxCPUIDEntries = 256

// cpuid2 is struct kvm_cpuid2 with room for every entry that KVM accepts.
type cpuid2 struct {
	_       structs.HostLayout
	N       uint32 // nent
	_       uint32
	Entries [maxCPUIDEntries]CPUIDEntry
}

// MSR is struct kvm_msr_entry: a model-specific register and its value.
type MSR struct {
	_     structs.HostLayout
	Index uint32
	_     uint32
	Data  uint64
}

const maxMSRs = 8

// msrs is struct kvm_msrs.
type msrs struct {
	_       structs.HostLayout
	N       uint32 // nmsrs
	_       uint32
	Entries [maxMSRs]MSR
}

// xcr is struct kvm_xcr.
type xcr struct {
	_     structs.HostLayout
	XCR   uint32
	_     uint32
	Value uint64
}

// xcrs is struct kvm_xcrs.
type xcrs struct {
	_     structs.HostLayout
	N     uint32 // nr_xcrs
	Flags uint32
	XCRs  [16]xcr
	_     [16]uint64
}

// enableCap is struct kvm_enable_cap.
type enableCap struct {
	_     structs.HostLayout
	Cap   uint32
	Flags uint32
	Args  [4]uint64
	_     [64]byte
}

// deviceAttr is struct kvm_device_attr.
type deviceAttr struct {
	_     structs.HostLayout
	Flags uint32
	Group uint32
	Attr  uint64
	Addr  uint64
}

// runState is the head of struct kvm_run, which a vCPU shares with the kernel.
// While KVM_RUN runs, other threads touch nothing of it but Request.
type runState struct {
	_        structs.HostLayout
	Request  uint32 // byte 0 request_interrupt_window, byte 1 immediate_exit
	_        uint32
	Reason   uint32 // exit_reason
	Ready    uint8  // ready_for_interrupt_injection
	IfFlag   uint8
	Flags    uint16
	CR8      uint64
	APICBase uint64
	Union    [0x100]byte
}

// Bits of runState.Request.
const (
	requestWindow = 1      // request_interrupt_window
	requestExit   = 1 << 8 // immediate_exit
)
