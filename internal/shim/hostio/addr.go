// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Lengths of socket addresses. Linux takes an IPv6 address without scope too.
const (
	inetLen, inet6Len, inet6Min = 16, 28, 24
	addrMost                    = 128 // struct sockaddr_storage
)

type address struct {
	bytes  [sallyport.AddrMax]byte
	length uint32
}

// addressIn reads a socket address from user memory and leaves it in the block
// for the host. It returns its length there, or -errno as Linux does.
func (r *req) addressIn(f *file, addr, length uint64) int64 {
	n := uint32(length)
	if n > addrMost || n < 2 {
		return -abi.EINVAL
	}
	var buf [sallyport.AddrMax]byte
	if !r.sp.CopyIn(r.cpu, buf[:min(n, sallyport.AddrMax)], addr) {
		return -abi.EFAULT
	}
	put := uint32(0)
	switch family := uint32(buf[0]) | uint32(buf[1])<<8; {
	case family == afInet && n >= inetLen:
		put = inetLen
	case family == afInet6 && n >= inet6Min:
		put = inet6Len
	case family == afInet || family == afInet6:
		return -abi.EINVAL
	case family == afUnspec:
		put = inetLen
	default:
		return -abi.EAFNOSUPPORT
	}
	if put == inet6Len && f.domain == afInet {
		return -abi.EAFNOSUPPORT
	}
	for i := uint32(0); i < sallyport.AddrMax; i += 4 {
		word := uint32(0)
		if i < put {
			word = get32(buf[i:])
		}
		r.p.Store32(sallyport.AddrBytes+i, word)
	}
	return int64(put)
}

// addressFrom takes the address that the host has left in the block, each word
// once. It reports false unless the address is of f's family and length (B.4,
// rule 2).
func (r *req) addressFrom(f *file, a *address) bool {
	a.length = r.p.Load32(sallyport.AddrLength)
	for i := uint32(0); i < sallyport.AddrMax; i += 4 {
		put32(a.bytes[i:], r.p.Load32(sallyport.AddrBytes+i))
	}
	family := uint32(a.bytes[0]) | uint32(a.bytes[1])<<8
	return family == uint32(f.domain) &&
		(family == afInet && a.length == inetLen || family == afInet6 && a.length == inet6Len)
}

// addressOut gives the program an address as far as its buffer goes, and the
// whole length, or only that of nothing if there is none.
func (r *req) addressOut(a *address, addr, lengthAddr uint64) int64 {
	var b [4]byte
	if !r.sp.CopyIn(r.cpu, b[:], lengthAddr) {
		return -abi.EFAULT
	}
	room := get32(b[:])
	if room > 1<<31-1 {
		return -abi.EINVAL
	}
	n := min(room, a.length, sallyport.AddrMax)
	if n > 0 && !r.sp.CopyOut(r.cpu, addr, a.bytes[:n]) {
		return -abi.EFAULT
	}
	return r.out32(lengthAddr, a.length)
}

// out32 stores a result of a call and returns 0 or -EFAULT.
func (r *req) out32(addr uint64, v uint32) int64 {
	var b [4]byte
	put32(b[:], v)
	if !r.sp.CopyOut(r.cpu, addr, b[:]) {
		return -abi.EFAULT
	}
	return 0
}

// The start of a buffer, little-endian.
func put32(p []byte, v uint32) { sallyport.Put32(p, 0, v) }
func put64(p []byte, v uint64) { sallyport.Put64(p, 0, v) }
func get32(p []byte) uint32    { return sallyport.Get32(p, 0) }
func get64(p []byte) uint64    { return sallyport.Get64(p, 0) }
