// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"os"
	"structs"
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct sigaction on x86-64, which is not libc's.
type sigaction struct {
	_        structs.HostLayout
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const saRestart = 0x1000_0000 // SA_RESTART of asm/signal.h

// clearRestart keeps everything of the action that Go's runtime installed but
// that one flag.
func clearRestart() error {
	var act sigaction
	if err := rtSigaction(StopSignal, nil, &act); err != nil {
		return err
	}
	if act.handler <= 1 { // SIG_DFL, SIG_IGN
		return fmt.Errorf("kvm: bug: Go's runtime does not handle signal %d", int(StopSignal))
	}
	act.flags &^= saRestart
	return rtSigaction(StopSignal, &act, nil)
}

func rtSigaction(sig syscall.Signal, set, old *sigaction) error {
	// Both conversions are part of the call, so both structures stay put.
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(sigaction{}.mask), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigaction", errno)
	}
	return nil
}
