// SPDX-License-Identifier: Apache-2.0

package wasi

import "enarx.dev/enarx/internal/memfs"

// maxEntries bounds what one look at a directory allocates.
const maxEntries = 256

// fdReaddir fills the buffer with entries, the last one cut where the buffer
// ends: that is how the guest learns that there is more.
func (h *Host) fdReaddir(mem Memory, p []uint64) errno {
	d, e := h.getDir(p[0], rightReaddir)
	if e != success {
		return e
	}
	buf, ok1 := view(mem, uint32(p[1]), uint32(p[2]))
	result, ok2 := view(mem, uint32(p[4]), 4)
	if !ok1 || !ok2 {
		return eFault
	}
	cookie, used := p[3], 0
	for used < len(buf) {
		list, err := d.node.ReadDir(cookie, min((len(buf)-used)/sizeDirent+1, maxEntries))
		if err != nil {
			return errnoOf(err)
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			used += putDirent(buf[used:], &list[i])
		}
		cookie = list[len(list)-1].Next
	}
	le.PutUint32(result, uint32(used))
	return success
}

// putDirent writes as much of an entry as fits.
func putDirent(b []byte, e *memfs.Entry) int {
	var head [sizeDirent]byte
	le.PutUint64(head[0:], e.Next)
	le.PutUint64(head[8:], e.Ino)
	le.PutUint32(head[16:], uint32(len(e.Name)))
	head[20] = filetypeOf(e.Type)
	n := copy(b, head[:])
	return n + copy(b[n:], e.Name)
}
