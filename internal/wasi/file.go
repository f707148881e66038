// SPDX-License-Identifier: Apache-2.0

package wasi

import "math"

func (h *Host) fdRead(mem Memory, p []uint64) errno {
	d, e := h.get(p[0], rightRead)
	if e != success {
		return orDirectory(d, e)
	}
	result, ok := view(mem, uint32(p[3]), 4)
	if !ok {
		return eFault
	}
	bufs, _, e := h.buffers(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return e
	}
	n, e := h.read(d, bufs)
	h.dropBuffers()
	if e == success {
		le.PutUint32(result, n)
	}
	return e
}

func (h *Host) read(d *desc, bufs [][]byte) (uint32, errno) {
	switch d.kind {
	case kindConn:
		return h.recv(d, bufs, 0)
	case kindRegular:
		n, e := readAt(d, bufs, d.pos)
		d.pos += int64(n)
		return n, e
	case kindStdin:
		return h.readStdin(d, bufs)
	case kindNull:
		return 0, success
	case kindListener:
		return 0, eNotconn
	}
	return 0, eBadf
}

func (h *Host) fdWrite(mem Memory, p []uint64) errno {
	d, e := h.get(p[0], rightWrite)
	if e != success {
		return orDirectory(d, e)
	}
	result, ok := view(mem, uint32(p[3]), 4)
	if !ok {
		return eFault
	}
	bufs, total, e := h.buffers(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return e
	}
	n, e := h.write(d, bufs, total)
	h.dropBuffers()
	if e == success {
		le.PutUint32(result, n)
	}
	return e
}

func (h *Host) write(d *desc, bufs [][]byte, total uint32) (uint32, errno) {
	switch d.kind {
	case kindConn:
		return h.send(d, bufs)
	case kindRegular:
		if d.flags&flagAppend != 0 {
			return appendTo(d, bufs)
		}
		n, e := writeAt(d, bufs, d.pos)
		d.pos += int64(n)
		return n, e
	case kindOutput:
		return h.writeOutput(d, bufs, total)
	case kindNull:
		return total, success
	}
	return 0, eBadf
}

// orDirectory turns a missing right into the error POSIX has for reading or
// writing a directory.
func orDirectory(d *desc, e errno) errno {
	if d != nil && d.kind == kindDirectory {
		return eIsdir
	}
	return e
}

// readAt fills buffers from a file, up to its end.
func readAt(d *desc, bufs [][]byte, off int64) (uint32, errno) {
	total := uint32(0)
	for _, b := range bufs {
		n, err := d.node.ReadAt(b, off)
		if err != nil {
			return total, unlessDone(total, errnoOf(err))
		}
		total += uint32(n)
		off += int64(n)
		if n < len(b) {
			break
		}
	}
	return total, success
}

func writeAt(d *desc, bufs [][]byte, off int64) (uint32, errno) {
	total := uint32(0)
	for _, b := range bufs {
		if off > math.MaxInt64-int64(len(b)) {
			return total, unlessDone(total, eFbig)
		}
		n, err := d.node.WriteAt(b, off)
		total += uint32(n)
		off += int64(n)
		if err != nil {
			return total, unlessDone(total, errnoOf(err))
		}
		if n < len(b) {
			break
		}
	}
	return total, success
}

// appendTo writes at the end of a file, and leaves the offset there.
func appendTo(d *desc, bufs [][]byte) (uint32, errno) {
	total := uint32(0)
	for _, b := range bufs {
		n, end, err := d.node.Append(b)
		total += uint32(n)
		if n > 0 {
			d.pos = end
		}
		if err != nil {
			return total, unlessDone(total, errnoOf(err))
		}
		if n < len(b) {
			break
		}
	}
	return total, success
}

// unlessDone hides an error that came after some bytes were transferred: the
// guest is told of the bytes, and meets the error when it calls again.
func unlessDone(done uint32, e errno) errno {
	if done > 0 {
		return success
	}
	return e
}

func (h *Host) fdPread(mem Memory, p []uint64) errno {
	return h.positioned(mem, p, rightRead, readAt)
}

// fdPwrite writes at the offset also if the file is in append mode, as POSIX
// says and Linux does not.
func (h *Host) fdPwrite(mem Memory, p []uint64) errno {
	return h.positioned(mem, p, rightWrite, writeAt)
}

func (h *Host) positioned(mem Memory, p []uint64, right uint64, transfer func(*desc, [][]byte, int64) (uint32, errno)) errno {
	d, e := h.getFile(p[0], right|rightSeek)
	if e != success {
		return e
	}
	result, ok := view(mem, uint32(p[4]), 4)
	if !ok {
		return eFault
	}
	if p[3] > math.MaxInt64 {
		return eInval
	}
	bufs, _, e := h.buffers(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return e
	}
	n, e := transfer(d, bufs, int64(p[3]))
	h.dropBuffers()
	if e == success {
		le.PutUint32(result, n)
	}
	return e
}

func (h *Host) fdSeek(mem Memory, p []uint64, a *abi) errno {
	offset, whence := int64(p[1]), uint32(p[2])
	right := uint64(rightSeek)
	if offset == 0 && whence == uint32(a.whence[1]) {
		right = 0 // only tells; checked below
	}
	d, e := h.getFile(p[0], right)
	if e != success {
		return e
	}
	result, ok := view(mem, uint32(p[3]), 8)
	if !ok {
		return eFault
	}
	base := int64(0)
	switch whence {
	case uint32(a.whence[0]):
	case uint32(a.whence[1]):
		if d.base&(rightSeek|rightTell) == 0 {
			return eNotcapable
		}
		base = d.pos
	case uint32(a.whence[2]):
		base = d.node.Info().Size
	default:
		return eInval
	}
	if offset > 0 && base > math.MaxInt64-offset {
		return eOverflow
	}
	if base+offset < 0 {
		return eInval
	}
	d.pos = base + offset
	le.PutUint64(result, uint64(d.pos))
	return success
}

// fdTell needs the right to tell, or to seek, which implies it.
func (h *Host) fdTell(mem Memory, p []uint64) errno {
	d, e := h.getFile(p[0], 0)
	switch {
	case e != success:
		return e
	case d.base&(rightSeek|rightTell) == 0:
		return eNotcapable
	}
	return putUint64(mem, uint32(p[1]), uint64(d.pos))
}

func (h *Host) fdAllocate(_ Memory, p []uint64) errno {
	d, e := h.getFile(p[0], rightAllocate)
	switch {
	case e != success:
		return e
	case p[2] == 0 || p[1] > math.MaxInt64 || p[2] > math.MaxInt64:
		return eInval
	}
	return errnoOf(d.node.Allocate(int64(p[1]), int64(p[2])))
}
