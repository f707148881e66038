// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// install puts program over every thread of the process.
func install(program []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// The kernel copies the program before the call returns; prog and what it
	// points to stay alive until then.
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("installing a seccomp filter: %w", errno)
	}
	if tid != 0 {
		return fmt.Errorf("installing a seccomp filter: thread %d could not be included", tid)
	}
	return nil
}

// hasSeccomp says whether the kernel has filters that cover all threads and
// can answer an errno.
func hasSeccomp() bool {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	// The kernel reads four bytes at the pointer.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0,
		uintptr(unsafe.Pointer(&action))); errno != 0 {
		return false
	}
	// With no program at all a known flag fails later (EFAULT) than an unknown one (EINVAL).
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, 0)
	return errno == unix.EFAULT
}
