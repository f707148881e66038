// SPDX-License-Identifier: Apache-2.0

package wasi

// stringList is argv or environ as the guest wants it: NUL-terminated strings
// one after the other, and where each starts.
type stringList struct {
	data   []byte
	starts []uint32
}

func newStringList(list []string) stringList {
	var l stringList
	for _, s := range list {
		l.starts = append(l.starts, uint32(len(l.data)))
		l.data = append(append(l.data, s...), 0)
	}
	return l
}

// sizes writes the number of strings and their total length.
func (l *stringList) sizes(mem Memory, p []uint64) errno {
	count, ok1 := view(mem, uint32(p[0]), 4)
	size, ok2 := view(mem, uint32(p[1]), 4)
	if !ok1 || !ok2 {
		return eFault
	}
	le.PutUint32(count, uint32(len(l.starts)))
	le.PutUint32(size, uint32(len(l.data)))
	return success
}

// copyOut writes the strings and an array of pointers to them.
func (l *stringList) copyOut(mem Memory, p []uint64) errno {
	at := uint32(p[1])
	pointers, ok1 := array(mem, uint32(p[0]), uint32(len(l.starts)), 4)
	data, ok2 := view(mem, at, uint32(len(l.data)))
	if !ok1 || !ok2 {
		return eFault
	}
	for i, start := range l.starts {
		le.PutUint32(pointers[4*i:], at+start)
	}
	copy(data, l.data)
	return success
}

func (h *Host) argsGet(mem Memory, p []uint64) errno         { return h.args.copyOut(mem, p) }
func (h *Host) argsSizesGet(mem Memory, p []uint64) errno    { return h.args.sizes(mem, p) }
func (h *Host) environGet(mem Memory, p []uint64) errno      { return h.env.copyOut(mem, p) }
func (h *Host) environSizesGet(mem Memory, p []uint64) errno { return h.env.sizes(mem, p) }
