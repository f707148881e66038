// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"syscall"
)

// tssAddress is where KVM may put three pages of its own on Intel processors
// that cannot run real mode in a guest: below 4 GiB, where no Keep has memory.
const tssAddress = 0xfffb_d000

// VM is a virtual machine: memory slots and vCPUs.
type VM struct {
	sys *System
	fd  int
}

// CreateVM makes a VM without memory, vCPUs or interrupt controller.
func (s *System) CreateVM() (*VM, error) {
	fd, err := ioctl(s.fd, ioCreateVM, 0)
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VM: %w", err)
	}
	v := &VM{sys: s, fd: fd}
	if _, err := ioctl(fd, ioSetTSSAddr, tssAddress); err != nil {
		v.Close()
		return nil, fmt.Errorf("KVM_SET_TSS_ADDR: %w", err)
	}
	// Not every kernel has it, and all it changes is what an error says.
	if n, err := s.extension(capExitOnEmulationFailure); err == nil && n != 0 {
		enable := enableCap{Cap: capExitOnEmulationFailure, Args: [4]uint64{1}}
		if _, err := ioctlTo(fd, ioEnableCap, &enable); err != nil {
			v.Close()
			return nil, fmt.Errorf("KVM_CAP_EXIT_ON_EMULATION_FAILURE: %w", err)
		}
	}
	return v, nil
}

// SetMemory makes mem the guest's memory at gpa, as the given slot. The
// mapping must outlive the VM and its vCPUs. The plain request is used, which
// every kernel has: the newer KVM_SET_USER_MEMORY_REGION2 adds only
// guest_memfd, for memory that the host cannot read.
func (v *VM) SetMemory(slot uint32, gpa uint64, mem []byte, readOnly bool) error {
	region := memoryRegion{Slot: slot, GPA: gpa, Size: uint64(len(mem)), Memory: address(mem)}
	if readOnly {
		region.Flags = memReadonly
	}
	if _, err := ioctlTo(v.fd, ioSetUserMemoryRegion, &region); err != nil {
		return fmt.Errorf("KVM_SET_USER_MEMORY_REGION: slot %d at %#x, %d bytes: %w", slot, gpa, len(mem), err)
	}
	return nil
}

// CreateVCPU makes a vCPU, which is also its APIC id.
func (v *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := ioctl(v.fd, ioCreateVCPU, uintptr(id))
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VCPU: %d: %w", id, err)
	}
	state, mem, err := mapRun(fd, v.sys.runSize)
	if err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("vCPU %d: %w", id, err)
	}
	return &VCPU{ID: id, fd: fd, state: state, mem: mem}, nil
}

// Close closes the VM. It is gone when its vCPUs are closed too.
func (v *VM) Close() error { return syscall.Close(v.fd) }
