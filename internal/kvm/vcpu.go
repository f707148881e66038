// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
)

// VCPU is one virtual processor. Its methods are for the one thread that runs
// it, except RequestExit.
type VCPU struct {
	ID    int
	fd    int
	state *runState
	mem   []byte // the mapping that state is the head of
}

// Close frees the vCPU. No other thread may still use it.
func (c *VCPU) Close() error {
	c.state = nil
	err := syscall.Munmap(c.mem)
	if e := syscall.Close(c.fd); err == nil {
		err = e
	}
	return err
}

// Run lets the guest run until something wants the host's attention, which
// Exit describes. EINTR means a signal or RequestExit. It goes through
// syscall.Syscall because a guest may run for ever, which must not hold up the
// garbage collector.
func (c *VCPU) Run() syscall.Errno {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(c.fd), ioRun, 0)
	return errno
}

// RequestExit makes the current Run, if a signal interrupts it, and otherwise
// the next one return EINTR. Any thread may call it until Close.
func (c *VCPU) RequestExit() { atomic.OrUint32(&c.state.Request, requestExit) }

// ClearExit takes RequestExit back.
func (c *VCPU) ClearExit() { atomic.AndUint32(&c.state.Request, ^uint32(requestExit)) }

// RequestWindow makes Run return with ExitIRQWindowOpen as soon as Ready
// would be true.
func (c *VCPU) RequestWindow(on bool) {
	if on {
		atomic.OrUint32(&c.state.Request, requestWindow)
	} else {
		atomic.AndUint32(&c.state.Request, ^uint32(requestWindow))
	}
}

// Ready reports whether the guest, as Run left it, takes an interrupt.
func (c *VCPU) Ready() bool { return c.state.Ready != 0 && c.state.IfFlag != 0 }

// Interrupt injects an external interrupt. KVM does not check that the guest
// takes one: see Ready.
func (c *VCPU) Interrupt(vector uint32) error {
	if _, err := ioctlTo(c.fd, ioInterrupt, &vector); err != nil {
		return fmt.Errorf("KVM_INTERRUPT: %w", err)
	}
	return nil
}

// SetCPUID decides what CPUID answers. It comes before SetSregs and SetXCR0,
// which KVM checks against it.
func (c *VCPU) SetCPUID(entries []CPUIDEntry) error {
	var table cpuid2
	table.N = uint32(copy(table.Entries[:], entries))
	if _, err := ioctlTo(c.fd, ioSetCPUID2, &table); err != nil {
		return fmt.Errorf("KVM_SET_CPUID2: %d entries: %w", table.N, err)
	}
	return nil
}

// SetXCR0 decides which register sets XSAVE manages.
func (c *VCPU) SetXCR0(value uint64) error {
	set := xcrs{N: 1}
	set.XCRs[0].Value = value
	if _, err := ioctlTo(c.fd, ioSetXCRs, &set); err != nil {
		return fmt.Errorf("KVM_SET_XCRS: XCR0 %#x: %w", value, err)
	}
	return nil
}

// SetMSRs writes model-specific registers.
func (c *VCPU) SetMSRs(list ...MSR) error {
	var set msrs
	set.N = uint32(copy(set.Entries[:], list))
	n, err := ioctlTo(c.fd, ioSetMSRs, &set)
	if err == nil && n < len(list) {
		// KVM stops at the first that it refuses, and says how far it came.
		err = fmt.Errorf("MSR %#x = %#x refused", list[n].Index, list[n].Data)
	}
	if err != nil {
		return fmt.Errorf("KVM_SET_MSRS: %w", err)
	}
	return nil
}

// Sregs returns the special registers.
func (c *VCPU) Sregs() (Sregs, error) {
	var s Sregs
	if _, err := ioctlTo(c.fd, ioGetSregs, &s); err != nil {
		return s, fmt.Errorf("KVM_GET_SREGS: %w", err)
	}
	return s, nil
}

// SetSregs sets the special registers.
func (c *VCPU) SetSregs(s *Sregs) error {
	if _, err := ioctlTo(c.fd, ioSetSregs, s); err != nil {
		return fmt.Errorf("KVM_SET_SREGS: CR0 %#x CR4 %#x EFER %#x: %w", s.CR0, s.CR4, s.EFER, err)
	}
	return nil
}

// Regs returns the general registers.
func (c *VCPU) Regs() (Regs, error) {
	var r Regs
	if _, err := ioctlTo(c.fd, ioGetRegs, &r); err != nil {
		return r, fmt.Errorf("KVM_GET_REGS: %w", err)
	}
	return r, nil
}

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r *Regs) error {
	if _, err := ioctlTo(c.fd, ioSetRegs, r); err != nil {
		return fmt.Errorf("KVM_SET_REGS: %w", err)
	}
	return nil
}

// TSCKHz returns the frequency of the guest's time stamp counter.
func (c *VCPU) TSCKHz() (uint32, error) {
	n, err := ioctl(c.fd, ioGetTSCKHz, 0)
	if err != nil {
		return 0, fmt.Errorf("KVM_GET_TSC_KHZ: %w", err)
	}
	return uint32(n), nil
}

// TSCOffset returns what is added to the host's time stamp counter. ok is
// false on kernels before 5.16, which do not tell; they give vCPUs created
// one after the other the same offset by themselves.
func (c *VCPU) TSCOffset() (offset uint64, ok bool, err error) {
	attr := deviceAttr{Group: vcpuTSCCtrl, Attr: vcpuTSCOffset}
	if _, err := ioctlTo(c.fd, ioHasDeviceAttr, &attr); err != nil {
		return 0, false, nil
	}
	err = c.tscOffset(ioGetDeviceAttr, &offset)
	return offset, err == nil, err
}

// SetTSCOffset sets what TSCOffset returns.
func (c *VCPU) SetTSCOffset(offset uint64) error { return c.tscOffset(ioSetDeviceAttr, &offset) }

func (c *VCPU) tscOffset(request uintptr, value *uint64) error {
	// The kernel gets the address in a structure, where Go does not see it:
	// the value must not be on a stack, which may move.
	var pin runtime.Pinner
	pin.Pin(value)
	defer pin.Unpin()
	attr := deviceAttr{Group: vcpuTSCCtrl, Attr: vcpuTSCOffset, Addr: addressOf(value)}
	if _, err := ioctlTo(c.fd, request, &attr); err != nil {
		return fmt.Errorf("KVM_VCPU_TSC_OFFSET: %w", err)
	}
	return nil
}
