// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

// Calls as the kernel takes them. x/sys's own return errors as interfaces, and
// addresses as allocated structures. Every pointer here is to a local or to the
// block, of the size that the call is told.

func result(r uintptr, errno syscall.Errno) int64 {
	if errno != 0 {
		return -int64(errno)
	}
	return int64(r)
}

func raw(nr, a0, a1, a2 uintptr) int64 {
	r, _, errno := syscall.Syscall(nr, a0, a1, a2)
	return result(r, errno)
}

func rawFcntl(fd, cmd int, arg uintptr) int64 {
	return raw(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), arg)
}

func rawPipe(fds *[2]int32, flags int) int64 {
	r, _, errno := syscall.Syscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(fds)), uintptr(flags), 0)
	return result(r, errno)
}

// payload returns the address of n bytes of the block, of which it has as many.
func payload(data []byte, n uint64) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(data[sallyport.PayloadOffset:][:n]))
}

// onPayload makes a call on n bytes of the block.
func onPayload(nr uintptr, fd int, data []byte, n uint64, pos uintptr) int64 {
	r, _, errno := syscall.Syscall6(nr, uintptr(fd), uintptr(payload(data, n)), uintptr(n), pos, 0, 0)
	return result(r, errno)
}

func inQueue(fd int) int64 {
	var n int32
	_, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return result(uintptr(max(n, 0)), errno)
}

func rawPoll(fds []unix.PollFd, timeout uint64) int64 {
	ts := unix.Timespec{Sec: int64(timeout / 1e9), Nsec: int64(timeout % 1e9)}
	wait := unsafe.Pointer(&ts)
	if timeout == sallyport.Forever {
		wait = nil
	}
	r, _, errno := syscall.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(wait), 0, 0, 0)
	return result(r, errno)
}

func rawEpollCtl(fd, op, target int, events uint32, token uint64) int64 {
	ev := unix.EpollEvent{Events: events, Fd: int32(token), Pad: int32(token >> 32)} // Fd and Pad are the data
	_, _, errno := syscall.Syscall6(unix.SYS_EPOLL_CTL, uintptr(fd), uintptr(op), uintptr(target), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return result(0, errno)
}

// epollWait has the kernel write count events into the block: they are the
// guest's from there on, and nothing here reads them.
func epollWait(fd int, data []byte, count uint64, timeout int) int64 {
	r, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(payload(data, count*sallyport.EventEntry)),
		uintptr(count), uintptr(timeout), 0, 0)
	return result(r, errno)
}

func onAddress(nr uintptr, fd int, addr *[sallyport.AddrMax]byte, length uintptr) int64 {
	r, _, errno := syscall.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(addr)), length)
	return result(r, errno)
}

func (p *Proxy) accept(data []byte, fd int, flags uint64) int64 {
	var addr unix.RawSockaddrAny
	length := uint32(unix.SizeofSockaddrAny)
	r, _, errno := syscall.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&length)),
		uintptr(flags|unix.SOCK_CLOEXEC), 0, 0)
	if errno != 0 {
		return -int64(errno)
	}
	putAddress(data, &addr, length)
	return p.add(int(r), socket)
}

func name(data []byte, fd int, nr uintptr) int64 {
	var addr unix.RawSockaddrAny
	length := uint32(unix.SizeofSockaddrAny)
	_, _, errno := syscall.Syscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return -int64(errno)
	}
	putAddress(data, &addr, length)
	return 0
}

func send(data []byte, fd int, n, flags, addrLen uint64) int64 {
	var addr [sallyport.AddrMax]byte
	to := unsafe.Pointer(nil)
	if addrLen != 0 {
		if errno := takeAddress(data, &addr, addrLen, false); errno < 0 {
			return errno
		}
		to = unsafe.Pointer(&addr)
	}
	r, _, errno := syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(payload(data, n)), uintptr(n), uintptr(flags),
		uintptr(to), uintptr(addrLen))
	return result(r, errno)
}

func receive(data []byte, fd int, n, flags uint64, from bool) int64 {
	if !from {
		r, _, errno := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(payload(data, n)), uintptr(n), uintptr(flags), 0, 0)
		return result(r, errno)
	}
	var addr unix.RawSockaddrAny
	length := uint32(unix.SizeofSockaddrAny)
	r, _, errno := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(payload(data, n)), uintptr(n), uintptr(flags),
		uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return -int64(errno)
	}
	putAddress(data, &addr, length)
	return int64(r)
}

func copyAddress(dst []byte, addr *unix.RawSockaddrAny, n uint32) {
	copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(addr)), n)) // n is less than the structure's size
}

func onOption(fd int, level, name uint64, value *uint64, length uint64) int64 {
	_, _, errno := syscall.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(value)), uintptr(length), 0)
	return result(0, errno)
}

// option reads an option that is a number and never negative.
func option(fd int, level, name uint64) int64 {
	var value int32
	length := uint32(4)
	_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&length)), 0)
	return result(uintptr(max(value, 0)), errno)
}

// index returns the place of e in the table.
func (p *Proxy) index(e *entry) uint16 {
	return uint16((uintptr(unsafe.Pointer(e)) - uintptr(unsafe.Pointer(&p.entries[0]))) / unsafe.Sizeof(*e))
}
