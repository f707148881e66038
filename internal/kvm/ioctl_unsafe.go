// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

const runStateSize = int(unsafe.Sizeof(runState{}))

// ioctl is for requests whose argument is a number. A signal of ours may
// arrive at any time, so an interrupted request is made again.
func ioctl(fd int, request, arg uintptr) (int, error) {
	for {
		n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return int(n), errno
		}
	}
}

// ioctlTo is for requests whose argument is a structure of the size that the
// request names (or longer, where the structure says how long it is).
func ioctlTo[T any](fd int, request uintptr, arg *T) (int, error) {
	for {
		// The conversion is part of the call, so the collector keeps arg.
		n, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return int(n), errno
		}
	}
}

// address is what the kernel calls a mapping. The caller keeps mem mapped (it
// is never Go heap) for as long as the kernel may use the address.
func address(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }

// addressOf is for structures that hold a pointer as a number; the caller
// keeps v alive until the request is done.
func addressOf[T any](v *T) uint64 { return uint64(uintptr(unsafe.Pointer(v))) }

// mapRun maps the state that a vCPU shares with the kernel.
func mapRun(fd, size int) (*runState, []byte, error) {
	mem, err := syscall.Mmap(fd, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("mapping kvm_run: %w", os.NewSyscallError("mmap", err))
	}
	// check() saw that the mapping is at least as long as a runState.
	return (*runState)(unsafe.Pointer(unsafe.SliceData(mem))), mem, nil
}
