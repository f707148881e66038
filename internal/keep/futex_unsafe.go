// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"syscall"
	"time"
	"unsafe"
)

// FUTEX_PRIVATE_FLAG and the operations, of linux/futex.h. Waiter and waker
// are threads of this process.
const (
	futexPrivate = 128
	futexOpWait  = 0 | futexPrivate
	futexOpWake  = 1 | futexPrivate
)

// futexWait sleeps while the word at the start of mem, which is shared guest
// memory, has the expected value. It returns 0 when woken.
func futexWait(mem []byte, expected uint32, timeout time.Duration, limited bool) syscall.Errno {
	var ts syscall.Timespec
	var tsp unsafe.Pointer
	if limited {
		ts = syscall.NsecToTimespec(int64(timeout))
		tsp = unsafe.Pointer(&ts)
	}
	// mem is no Go memory and stays mapped; ts is kept by the call.
	_, _, errno := syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), futexOpWait, uintptr(expected), uintptr(tsp), 0, 0)
	return errno
}

// futexWake wakes the one vCPU that may wait on the word at the start of mem.
func futexWake(mem []byte) {
	syscall.RawSyscall(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), futexOpWake, 1)
}
