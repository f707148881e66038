// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"math"

	"enarx.dev/enarx/internal/memfs"
)

func filetypeOf(t memfs.Type) uint8 {
	switch t {
	case memfs.Regular:
		return fileRegular
	case memfs.Directory:
		return fileDirectory
	case memfs.Symlink:
		return fileSymlink
	}
	return fileUnknown
}

// putFilestat writes a filestat. What is not a file has a type and zeros.
func putFilestat(b []byte, a *abi, filetype uint8, i memfs.Info) {
	clear(b)
	le.PutUint64(b[0:], i.Dev)
	le.PutUint64(b[8:], i.Ino)
	b[16] = filetype
	if a.nlinkWide {
		le.PutUint64(b[24:], i.Nlink)
	} else {
		le.PutUint32(b[20:], uint32(min(i.Nlink, math.MaxUint32)))
	}
	b = b[a.afterNlink:]
	le.PutUint64(b[0:], uint64(i.Size))
	le.PutUint64(b[8:], uint64(i.Atime))
	le.PutUint64(b[16:], uint64(i.Mtime))
	le.PutUint64(b[24:], uint64(i.Ctime))
}

func (h *Host) fdFilestatGet(mem Memory, p []uint64, a *abi) errno {
	d, e := h.get(p[0], rightFilestatGet)
	if e != success {
		return e
	}
	b, ok := view(mem, uint32(p[1]), a.filestat)
	if !ok {
		return eFault
	}
	var info memfs.Info
	if d.node != nil {
		info = d.node.Info()
	}
	putFilestat(b, a, d.filetype, info)
	return success
}

func (h *Host) pathFilestatGet(mem Memory, p []uint64, a *abi) errno {
	d, e := h.getDir(p[0], rightPathFilestatGet)
	if e != success {
		return e
	}
	b, ok := view(mem, uint32(p[4]), a.filestat)
	if !ok {
		return eFault
	}
	node, e := h.find(d, mem, p[1:4])
	if e != success {
		return e
	}
	info := node.Info()
	putFilestat(b, a, filetypeOf(info.Type), info)
	return success
}

// find looks up a path given as lookupflags, pointer and length.
func (h *Host) find(d *desc, mem Memory, p []uint64) (*memfs.Node, errno) {
	flags := uint32(p[0])
	if flags&^lookupFollow != 0 {
		return nil, eInval
	}
	path, e := text(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return nil, e
	}
	node, err := d.fs.Lookup(d.node, path, flags&lookupFollow != 0)
	return node, errnoOf(err)
}

func (h *Host) fdFilestatSetSize(_ Memory, p []uint64) errno {
	d, e := h.getFile(p[0], rightFilestatSetSize)
	switch {
	case e == eSpipe:
		return eInval // as ftruncate on what has no size
	case e != success:
		return e
	case d.readOnly:
		return eRofs
	case p[1] > math.MaxInt64:
		return eInval
	}
	return errnoOf(d.node.Truncate(int64(p[1])))
}

func (h *Host) fdFilestatSetTimes(_ Memory, p []uint64) errno {
	d, e := h.get(p[0], rightFilestatSetTimes)
	switch {
	case e != success:
		return e
	case d.node == nil:
		return eInval
	case d.readOnly:
		return eRofs
	}
	return h.setTimes(d.node, p[1:4])
}

func (h *Host) pathFilestatSetTimes(mem Memory, p []uint64) errno {
	d, e := h.getDir(p[0], rightPathFilestatSetTimes)
	if e != success {
		return e
	}
	if d.readOnly {
		return eRofs
	}
	node, e := h.find(d, mem, p[1:4])
	if e != success {
		return e
	}
	return h.setTimes(node, p[4:7])
}

// setTimes takes an access time, a modification time and fstflags.
func (h *Host) setTimes(node *memfs.Node, p []uint64) errno {
	flags := uint32(p[2])
	const bothA, bothM = setAtime | setAtimeNow, setMtime | setMtimeNow
	if flags&^setTimesAll != 0 || flags&bothA == bothA || flags&bothM == bothM {
		return eInval
	}
	var atime, mtime *int64
	now := h.clock.realtime()
	if flags&bothA != 0 {
		t, ok := timestamp(p[0], flags&setAtimeNow != 0, now)
		if !ok {
			return eInval
		}
		atime = &t
	}
	if flags&bothM != 0 {
		t, ok := timestamp(p[1], flags&setMtimeNow != 0, now)
		if !ok {
			return eInval
		}
		mtime = &t
	}
	return errnoOf(node.SetTimes(atime, mtime))
}

// timestamp returns now or the given time, unless that is beyond year 2262.
func timestamp(given uint64, useNow bool, now int64) (int64, bool) {
	if useNow {
		return now, true
	}
	return int64(given), given <= math.MaxInt64
}
