// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"syscall"

	"enarx.dev/enarx/internal/memfs"
)

// Paths are resolved by memfs, which keeps them below the directory they start
// from. Here are rights, read-only directories and flags.

// namedIn reads a directory descriptor that the guest may use for right, and a
// path below it given as pointer and length.
func (h *Host) namedIn(mem Memory, fd, right, ptr, n uint64) (*desc, string, errno) {
	d, e := h.getDir(fd, right)
	if e != success {
		return nil, "", e
	}
	path, e := text(mem, uint32(ptr), uint32(n))
	return d, path, e
}

// change runs an operation that changes the directory tree at one path.
func (h *Host) change(mem Memory, p []uint64, right uint64, op func(*memfs.FS, *memfs.Node, string) error) errno {
	d, path, e := h.namedIn(mem, p[0], right, p[1], p[2])
	if e != success {
		return e
	}
	if d.readOnly {
		return eRofs
	}
	return errnoOf(op(d.fs, d.node, path))
}

func (h *Host) pathCreateDirectory(mem Memory, p []uint64) errno {
	return h.change(mem, p, rightPathCreateDirectory, (*memfs.FS).Mkdir)
}

func (h *Host) pathRemoveDirectory(mem Memory, p []uint64) errno {
	return h.change(mem, p, rightPathRemoveDirectory, (*memfs.FS).Rmdir)
}

func (h *Host) pathUnlinkFile(mem Memory, p []uint64) errno {
	return h.change(mem, p, rightPathUnlinkFile, (*memfs.FS).Unlink)
}

func (h *Host) pathSymlink(mem Memory, p []uint64) errno {
	d, path, e := h.namedIn(mem, p[2], rightPathSymlink, p[3], p[4])
	if e != success {
		return e
	}
	target, e := text(mem, uint32(p[0]), uint32(p[1]))
	if e != success {
		return e
	}
	if d.readOnly {
		return eRofs
	}
	return errnoOf(d.fs.Symlink(target, d.node, path))
}

// pathReadlink cuts a target that does not fit, as readlink(2) does.
func (h *Host) pathReadlink(mem Memory, p []uint64) errno {
	d, path, e := h.namedIn(mem, p[0], rightPathReadlink, p[1], p[2])
	if e != success {
		return e
	}
	buf, ok1 := view(mem, uint32(p[3]), uint32(p[4]))
	result, ok2 := view(mem, uint32(p[5]), 4)
	if !ok1 || !ok2 {
		return eFault
	}
	target, err := d.fs.Readlink(d.node, path)
	if err != nil {
		return errnoOf(err)
	}
	le.PutUint32(result, uint32(copy(buf, target)))
	return success
}

// pathLink refuses to follow: hard links are to what the name names.
func (h *Host) pathLink(mem Memory, p []uint64) errno {
	from, oldPath, e := h.namedIn(mem, p[0], rightPathLinkSource, p[2], p[3])
	if e != success {
		return e
	}
	to, newPath, e := h.namedIn(mem, p[4], rightPathLinkTarget, p[5], p[6])
	switch {
	case e != success:
		return e
	case uint32(p[1]) != 0:
		return eInval
	}
	if e := sameTree(from, to); e != success {
		return e
	}
	return errnoOf(from.fs.Link(from.node, oldPath, to.node, newPath))
}

func (h *Host) pathRename(mem Memory, p []uint64) errno {
	from, oldPath, e := h.namedIn(mem, p[0], rightPathRenameSource, p[1], p[2])
	if e != success {
		return e
	}
	to, newPath, e := h.namedIn(mem, p[3], rightPathRenameTarget, p[4], p[5])
	if e != success {
		return e
	}
	if e := sameTree(from, to); e != success {
		return e
	}
	return errnoOf(from.fs.Rename(from.node, oldPath, to.node, newPath))
}

// sameTree checks that a name may move between two directories. A link from a
// read-only directory into a writable one would be a way to write to its files.
func sameTree(from, to *desc) errno {
	switch {
	case from.fs != to.fs || from.readOnly != to.readOnly:
		return errnoOf(syscall.EXDEV)
	case to.readOnly:
		return eRofs
	}
	return success
}

// opening is what path_open asks for.
type opening struct {
	lookup, oflags, fdflags uint32
	base, inherit           uint64
}

func (h *Host) pathOpen(mem Memory, p []uint64) errno {
	d, path, e := h.namedIn(mem, p[0], rightPathOpen, p[2], p[3])
	if e != success {
		return e
	}
	result, ok := view(mem, uint32(p[8]), 4)
	if !ok {
		return eFault
	}
	o := opening{
		lookup: uint32(p[1]), oflags: uint32(p[4]), base: p[5], inherit: p[6], fdflags: uint32(p[7]),
	}
	fd, e := h.open(d, path, o)
	if e == success {
		le.PutUint32(result, fd)
	}
	return e
}

func (h *Host) open(d *desc, path string, o opening) (uint32, errno) {
	if e := o.check(d); e != success {
		return 0, e
	}
	fd, e := h.nextFD()
	if e != success {
		return 0, e
	}
	node, err := o.find(d, path)
	if err != nil {
		return 0, errnoOf(err)
	}
	opened, e := o.desc(d, node)
	if e != success {
		node.Release()
		return 0, e
	}
	h.install(fd, opened)
	return fd, success
}

func (o *opening) check(d *desc) errno {
	need := uint64(0)
	if o.oflags&oflagCreat != 0 {
		need |= rightPathCreateFile
	}
	if o.oflags&oflagTrunc != 0 && o.base&d.inherit&rightFilestatSetSize == 0 {
		// Not asked of who could truncate the file once it is open: Go's os.Root
		// opens its directory without this right, and creates files in it.
		need |= rightPathFilestatSetSize
	}
	switch {
	case o.lookup&^lookupFollow != 0 || o.oflags&^oflagsAll != 0 || o.fdflags&^flagsAll != 0:
		return eInval
	case d.readOnly && o.oflags&oflagTrunc != 0:
		return eRofs
	}
	return d.lacks(need)
}

// find opens the node. In a read-only directory O_CREAT may open what is there.
func (o *opening) find(d *desc, path string) (*memfs.Node, error) {
	how := memfs.Open{
		Follow:    o.lookup&lookupFollow != 0,
		Create:    o.oflags&oflagCreat != 0,
		Exclusive: o.oflags&oflagExcl != 0,
		Truncate:  o.oflags&oflagTrunc != 0,
		Directory: o.oflags&oflagDirectory != 0,
	}
	if !d.readOnly || !how.Create {
		return d.fs.Open(d.node, path, how)
	}
	how.Create = false
	node, err := d.fs.Open(d.node, path, how)
	switch {
	case err == syscall.ENOENT:
		return nil, syscall.EROFS
	case err == nil && how.Exclusive:
		node.Release()
		return nil, syscall.EEXIST
	}
	return node, err
}

// desc makes the descriptor: what was asked for, as far as the directory passes
// it on and the type of file has it.
func (o *opening) desc(d *desc, node *memfs.Node) (*desc, errno) {
	base := o.base & d.inherit
	opened := &desc{filetype: filetypeOf(node.Type()), readOnly: d.readOnly, fs: d.fs, node: node}
	if node.Type() == memfs.Directory {
		if o.base&rightWrite != 0 {
			return nil, eIsdir
		}
		opened.kind = kindDirectory
		opened.base = base & rightsDirectory
		opened.inherit = o.inherit & d.inherit
		return opened, success
	}
	opened.kind = kindRegular
	opened.flags = uint16(o.fdflags)
	opened.base = base & rightsRegular
	if d.readOnly {
		if o.base&rightWrite != 0 {
			return nil, eRofs
		}
		opened.base &^= rightAllocate | rightFilestatSetSize | rightFilestatSetTimes
	}
	return opened, success
}
