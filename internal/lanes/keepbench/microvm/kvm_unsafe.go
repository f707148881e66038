// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"encoding/binary"
	"fmt"
	"os"
	"structs"
	"syscall"
	"unsafe"

	"enarx.dev/enarx/internal/kvm"
)

// A Keep has no interrupt controller, so internal/kvm has no requests for one.
// These are the requests of linux/kvm.h that this package makes.
const (
	kvmType  = 0xae // KVMIO
	dirWrite = 1    // the kernel reads
	dirRead  = 2    // the kernel writes

	ioCreateVM     = kvmType<<8 | 0x01
	ioRunSize      = kvmType<<8 | 0x04 // KVM_GET_VCPU_MMAP_SIZE
	ioCPUID        = (dirRead|dirWrite)<<30 | 8<<16 | kvmType<<8 | 0x05
	ioCreateVCPU   = kvmType<<8 | 0x41
	ioSetMemory    = dirWrite<<30 | unsafe.Sizeof(region{})<<16 | kvmType<<8 | 0x46
	ioSetTSS       = kvmType<<8 | 0x47
	ioCreateIRQs   = kvmType<<8 | 0x60
	ioCreatePIT    = dirWrite<<30 | unsafe.Sizeof(pitConfig{})<<16 | kvmType<<8 | 0x77
	ioRun          = kvmType<<8 | 0x80
	ioSetRegs      = dirWrite<<30 | unsafe.Sizeof(kvm.Regs{})<<16 | kvmType<<8 | 0x82
	ioGetSregs     = dirRead<<30 | unsafe.Sizeof(kvm.Sregs{})<<16 | kvmType<<8 | 0x83
	ioSetSregs     = dirWrite<<30 | unsafe.Sizeof(kvm.Sregs{})<<16 | kvmType<<8 | 0x84
	ioSetCPUID     = dirWrite<<30 | 8<<16 | kvmType<<8 | 0x90
	tssAddress     = 0xfffb_d000 // three pages that Intel processors may need
	speakerDummy   = 1           // KVM_PIT_SPEAKER_DUMMY: port 0x61 is the timer's
	maxCPUIDLeaves = 256
)

// region is struct kvm_userspace_memory_region.
type region struct {
	_                 structs.HostLayout
	slot, flags       uint32
	gpa, size, memory uint64
}

// pitConfig is struct kvm_pit_config.
type pitConfig struct {
	_     structs.HostLayout
	flags uint32
	_     [15]uint32
}

// cpuidTable is struct kvm_cpuid2 with its array.
type cpuidTable struct {
	_       structs.HostLayout
	n, _    uint32
	entries [maxCPUIDLeaves]kvm.CPUIDEntry
}

func ioctl(fd int, name string, request, arg uintptr) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return 0, fmt.Errorf("%s: %w", name, errno)
	}
	return int(n), nil
}

func ioctlTo[T any](fd int, name string, request uintptr, arg *T) error {
	// The conversion is part of the call, so the collector keeps arg.
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return fmt.Errorf("%s: %w", name, errno)
	}
	return nil
}

func runVCPU(fd int) syscall.Errno {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), ioRun, 0)
	return errno
}

// create makes the VM, its memory and its vCPU.
func (m *machine) create(memory int) (err error) {
	if m.sys, err = syscall.Open(kvm.Device, syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: kvm.Device, Err: err}
	}
	if m.vm, err = ioctl(m.sys, "KVM_CREATE_VM", ioCreateVM, 0); err != nil {
		m.vm = -1
		return err
	}
	if _, err = ioctl(m.vm, "KVM_SET_TSS_ADDR", ioSetTSS, tssAddress); err != nil {
		return err
	}
	if _, err = ioctl(m.vm, "KVM_CREATE_IRQCHIP", ioCreateIRQs, 0); err != nil {
		return err
	}
	if err = ioctlTo(m.vm, "KVM_CREATE_PIT2", ioCreatePIT, &pitConfig{flags: speakerDummy}); err != nil {
		return err
	}
	if m.mem, err = mapMemory(memory); err != nil {
		return err
	}
	slot := region{size: uint64(memory), memory: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.mem))))}
	if err = ioctlTo(m.vm, "KVM_SET_USER_MEMORY_REGION", ioSetMemory, &slot); err != nil {
		return err
	}
	if m.vcpu, err = ioctl(m.vm, "KVM_CREATE_VCPU", ioCreateVCPU, 0); err != nil {
		m.vcpu = -1
		return err
	}
	size, err := ioctl(m.sys, "KVM_GET_VCPU_MMAP_SIZE", ioRunSize, 0)
	if err != nil {
		return err
	}
	if m.run, err = syscall.Mmap(m.vcpu, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap of kvm_run", err)
	}
	return m.setCPUID()
}

// mapMemory asks for large pages, which save most of the faults of a boot.
func mapMemory(size int) ([]byte, error) {
	const huge = 2 << 20
	mem, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if size%huge == 0 {
		_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE) // without, it is only slower
	}
	return mem, nil
}

// setCPUID shows the guest all that KVM supports.
func (m *machine) setCPUID() error {
	table := cpuidTable{n: maxCPUIDLeaves}
	if err := ioctlTo(m.sys, "KVM_GET_SUPPORTED_CPUID", ioCPUID, &table); err != nil {
		return err
	}
	for i := range table.entries[:table.n] {
		adjustCPUID(&table.entries[i])
	}
	return ioctlTo(m.vcpu, "KVM_SET_CPUID2", ioSetCPUID, &table)
}

// enter puts the vCPU where the boot protocol wants it.
func (m *machine) enter(entry uint64) error {
	var s kvm.Sregs
	if err := ioctlTo(m.vcpu, "KVM_GET_SREGS", ioGetSregs, &s); err != nil {
		return err
	}
	longMode(&s)
	if err := ioctlTo(m.vcpu, "KVM_SET_SREGS", ioSetSregs, &s); err != nil {
		return err
	}
	r := kvm.Regs{RIP: entry, RSI: bootParamsAt, RSP: stackTop, RBP: stackTop, RFLAGS: flagsReserved}
	return ioctlTo(m.vcpu, "KVM_SET_REGS", ioSetRegs, &r)
}

// exit is why KVM_RUN returned.
type exit struct {
	reason  uint32
	out     bool
	address uint64 // port or physical
	data    []byte // what the guest wrote, or shall read
}

// Offsets in struct kvm_run.
const (
	runReason, runUnion = 8, 32
	ioOut               = 1 // KVM_EXIT_IO_OUT
)

// decodeExit trusts its input: it is this machine's kernel that wrote it.
func decodeExit(run []byte) exit {
	e := exit{reason: binary.LittleEndian.Uint32(run[runReason:])}
	u := run[runUnion:]
	switch e.reason {
	case kvm.ExitIO:
		e.out = u[0] == ioOut
		e.address = uint64(binary.LittleEndian.Uint16(u[2:]))
		size := uint64(u[1]) * uint64(binary.LittleEndian.Uint32(u[4:]))
		at := binary.LittleEndian.Uint64(u[8:])
		e.data = run[at : at+size]
	case kvm.ExitMMIO:
		e.address = binary.LittleEndian.Uint64(u)
		e.data = u[8 : 8+binary.LittleEndian.Uint32(u[16:])]
		e.out = u[20] != 0
	}
	return e
}
