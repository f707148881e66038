// SPDX-License-Identifier: Apache-2.0

package wasi

// fdClose closes any descriptor, preopened and standard ones too.
func (h *Host) fdClose(_ Memory, p []uint64) errno {
	d := h.lookup(p[0])
	if d == nil {
		return eBadf
	}
	h.remove(uint32(p[0]))
	return d.close()
}

// fdRenumber moves a descriptor over another open one, which is closed.
func (h *Host) fdRenumber(_ Memory, p []uint64) errno {
	from, to := h.lookup(p[0]), h.lookup(p[1])
	switch {
	case from == nil || to == nil:
		return eBadf
	case from == to:
		return success
	}
	h.fds[uint32(p[1])] = from
	h.remove(uint32(p[0]))
	to.close() // as dup2, which does not report this error either
	return success
}

func (h *Host) fdFdstatGet(mem Memory, p []uint64) errno {
	d := h.lookup(p[0])
	if d == nil {
		return eBadf
	}
	b, ok := view(mem, uint32(p[1]), sizeFdstat)
	if !ok {
		return eFault
	}
	d.lazyNonblock = false // the guest knows now
	clear(b)
	b[0] = d.filetype
	le.PutUint16(b[2:], d.flags)
	le.PutUint64(b[8:], d.base)
	le.PutUint64(b[16:], d.inherit)
	return success
}

// fdFdstatSetFlags sets all flags. The SYNC ones are accepted and shown but do
// nothing: memory is as synchronous as a Keep's files get.
func (h *Host) fdFdstatSetFlags(_ Memory, p []uint64) errno {
	d, e := h.get(p[0], rightSetFlags)
	if e != success {
		return e
	}
	flags := uint32(p[1])
	if flags&^flagsAll != 0 || d.isSocket() && flags&^flagNonblock != 0 {
		return eInval
	}
	d.lazyNonblock = false
	d.flags = uint16(flags)
	return success
}

// fdFdstatSetRights can only take rights away.
func (h *Host) fdFdstatSetRights(_ Memory, p []uint64) errno {
	d := h.lookup(p[0])
	switch {
	case d == nil:
		return eBadf
	case p[1]&^d.base != 0 || p[2]&^d.inherit != 0:
		return eNotcapable
	}
	d.base, d.inherit = p[1], p[2]
	return success
}

// fdPrestatGet announces preopened directories. C libraries and Go enumerate
// them from 3 until EBADF, but skip kinds they do not know: so another kind of
// descriptor that stands before a preopened directory gets a kind of its own,
// or the directory would not be found.
func (h *Host) fdPrestatGet(mem Memory, p []uint64) errno {
	d := h.lookup(p[0])
	if d == nil || !d.preopen && !h.preopenAfter(uint32(p[0])) {
		return eBadf
	}
	b, ok := view(mem, uint32(p[1]), sizePrestat)
	if !ok {
		return eFault
	}
	clear(b)
	b[0] = preopenOther
	if d.preopen {
		b[0] = preopenDir
		le.PutUint32(b[4:], uint32(len(d.name)))
	}
	return success
}

func (h *Host) preopenAfter(fd uint32) bool {
	for _, d := range h.fds[fd+1:] {
		if d != nil && d.preopen {
			return true
		}
	}
	return false
}

func (h *Host) fdPrestatDirName(mem Memory, p []uint64) errno {
	d := h.lookup(p[0])
	if d == nil || !d.preopen {
		return eBadf
	}
	if uint64(uint32(p[2])) < uint64(len(d.name)) {
		return eNametoolong
	}
	b, ok := view(mem, uint32(p[1]), uint32(len(d.name)))
	if !ok {
		return eFault
	}
	copy(b, d.name)
	return success
}

func (h *Host) fdSync(_ Memory, p []uint64) errno     { return h.sync(p[0], rightSync) }
func (h *Host) fdDatasync(_ Memory, p []uint64) errno { return h.sync(p[0], rightDatasync) }

// sync has nothing to do: files are memory, streams are not buffered.
func (h *Host) sync(fd, right uint64) errno {
	d, e := h.get(fd, right)
	if d != nil && d.isSocket() {
		return eInval
	}
	return e
}

// fdAdvise checks its arguments; there is nothing to prefetch.
func (h *Host) fdAdvise(_ Memory, p []uint64) errno {
	_, e := h.getFile(p[0], rightAdvise)
	switch {
	case e != success:
		return e
	case uint32(p[3]) > adviceLast || p[1]+p[2] < p[1]:
		return eInval
	}
	return success
}
