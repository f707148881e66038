// SPDX-License-Identifier: Apache-2.0

package wasi

import "encoding/binary"

// Memory is the guest's linear memory. Read returns a live view of byteCount
// bytes at offset, or false if any of them lies outside. Views are used only
// until the host function returns: nothing moves the memory meanwhile, since
// only the guest can grow it. A nil Memory is a guest that has none.
type Memory interface {
	Read(offset, byteCount uint32) ([]byte, bool)
}

var le = binary.LittleEndian

const (
	maxIovecs = 1024 // IOV_MAX of Linux; also bounds the work of one call
	maxPath   = 4096 // PATH_MAX
)

// view returns n bytes of guest memory at off.
func view(mem Memory, off, n uint32) ([]byte, bool) {
	if mem == nil {
		return nil, false
	}
	b, ok := mem.Read(off, n)
	if !ok || uint32(len(b)) != n {
		return nil, false
	}
	return b[:n:n], true
}

// array is view for count elements of size bytes each.
func array(mem Memory, off, count, size uint32) ([]byte, bool) {
	n := uint64(count) * uint64(size)
	if n > 1<<32-1 {
		return nil, false
	}
	return view(mem, off, uint32(n))
}

func putUint64(mem Memory, off uint32, v uint64) errno {
	b, ok := view(mem, off, 8)
	if !ok {
		return eFault
	}
	le.PutUint64(b, v)
	return success
}

// buffers turns an iovec array into views, leaving out empty ones. The array is
// copied before any of it is used, because reading into the first buffer may
// overwrite the description of the second. The result is scratch of h, whose use
// dropBuffers must end.
func (h *Host) buffers(mem Memory, off, count uint32) (bufs [][]byte, total uint32, e errno) {
	if count > maxIovecs {
		return nil, 0, eInval
	}
	list, ok := array(mem, off, count, sizeIovec)
	if !ok {
		return nil, 0, eFault
	}
	h.iovecs = h.iovecs[:0]
	sum := uint64(0)
	for ; len(list) > 0; list = list[sizeIovec:] {
		ptr, n := le.Uint32(list), le.Uint32(list[4:])
		if n == 0 {
			continue // its pointer may be anything, as an empty slice's in Rust is
		}
		b, ok := view(mem, ptr, n)
		if !ok {
			h.dropBuffers()
			return nil, 0, eFault
		}
		h.iovecs = append(h.iovecs, b)
		sum += uint64(n)
	}
	if sum > 1<<32-1 {
		h.dropBuffers()
		return nil, 0, eInval // the byte count could not be returned
	}
	return h.iovecs, uint32(sum), success
}

// dropBuffers forgets the views, which may otherwise hold a memory that the
// engine has since replaced by a larger one.
func (h *Host) dropBuffers() {
	clear(h.iovecs)
	h.iovecs = h.iovecs[:0]
}

// text copies a string out of guest memory. Encoding is memfs's to check.
func text(mem Memory, ptr, n uint32) (string, errno) {
	if n > maxPath {
		return "", eNametoolong
	}
	b, ok := view(mem, ptr, n)
	if !ok {
		return "", eFault
	}
	return string(b), success
}
