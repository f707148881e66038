// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"unsafe"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// vector is a place in the program's buffers: one, or an array of struct iovec
// that is read as the walk reaches it. A program that changes the array during
// its call gets its bytes from or to other places of its own.
type vector struct {
	base, left uint64 // rest of the current buffer
	next       uint64 // address of the next iovec
	count      uint32 // iovecs from there on
}

// single makes v a single buffer and returns its length as Linux cuts it.
func (v *vector) single(addr, n uint64) int64 {
	if int64(n) < 0 {
		return -abi.EINVAL
	}
	n = min(n, rwMax)
	*v = vector{base: addr, left: n}
	return int64(n)
}

// vector makes v the walk over count iovecs at addr and returns the sum of
// their lengths.
func (r *req) vector(v *vector, addr, count uint64) int64 {
	if count > iovMax {
		return -abi.EINVAL
	}
	*v = vector{next: addr, count: uint32(count)}
	total, walk := uint64(0), *v
	for walk.count > 0 {
		if !r.advance(&walk) {
			return -abi.EFAULT
		}
		if int64(walk.left) < 0 {
			return -abi.EINVAL
		}
		total = min(total+walk.left, rwMax)
	}
	return int64(total)
}

// advance goes to the next iovec.
func (r *req) advance(v *vector) bool {
	var b [16]byte
	if !r.sp.CopyIn(r.cpu, b[:], v.next) {
		return false
	}
	v.base, v.left = get64(b[:8]), get64(b[8:])
	v.next += 16
	v.count--
	return true
}

// gather copies the next n bytes of the program's into the payload, which is at
// least that long.
func (r *req) gather(v *vector, n uint64) bool { return r.walk(v, n, true) }

// scatter copies the first n bytes of the payload to the program.
func (r *req) scatter(v *vector, n uint64) bool { return r.walk(v, n, false) }

func (r *req) walk(v *vector, n uint64, in bool) bool {
	if n > sallyport.PayloadSize {
		return false
	}
	for off := uint64(0); off < n; {
		for v.left == 0 {
			if v.count == 0 || !r.advance(v) {
				return false
			}
		}
		part := min(n-off, v.left)
		// Sound: off+part is at most n, which the payload holds.
		at := unsafe.Add(r.p.Payload(), off)
		if in && !r.sp.ToShared(r.cpu, at, v.base, part) || !in && !r.sp.FromShared(r.cpu, v.base, at, part) {
			return false
		}
		v.base += part
		v.left -= part
		off += part
	}
	return true
}
