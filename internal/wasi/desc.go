// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"os"

	"enarx.dev/enarx/internal/memfs"
	"enarx.dev/enarx/internal/socket"
)

// kind is what a descriptor refers to.
type kind uint8

const (
	kindNull kind = iota
	kindStdin
	kindOutput // standard output or error
	kindListener
	kindConn
	kindRegular
	kindDirectory
)

// desc is an open descriptor. One struct for all kinds, dispatched by a switch:
// reading and writing happen too often for a table of interfaces.
type desc struct {
	kind          kind
	filetype      uint8
	flags         uint16 // fdflags
	base, inherit uint64 // rights

	// lazyNonblock marks a socket whose NONBLOCK flag is ours, not the guest's;
	// see [Listener].
	lazyNonblock bool

	preopen  bool   // a directory that fd_prestat_get announces
	name     string // of a preopen
	readOnly bool   // directory or file below one: changes fail with EROFS
	fs       *memfs.FS
	node     *memfs.Node // retained
	pos      int64       // of a regular file

	file    *os.File // of a standard stream; the caller's, never closed here
	regular bool     // stdin is a file: reading never waits
	reader  *stdinReader

	listener *socket.Listener
	conn     *socket.Conn
}

// nonblocking tells whether calls on d must not wait.
func (d *desc) nonblocking() bool {
	return d.flags&flagNonblock != 0 && !d.lazyNonblock
}

func (d *desc) isSocket() bool { return d.kind == kindListener || d.kind == kindConn }

// lacks returns what to answer if d does not have the rights: EBADF for reading
// and writing, as POSIX has it for the wrong open mode, else ENOTCAPABLE.
func (d *desc) lacks(rights uint64) errno {
	missing := rights &^ d.base
	switch {
	case missing == 0:
		return success
	case missing&(rightRead|rightWrite) != 0:
		return eBadf
	}
	return eNotcapable
}

func (d *desc) close() errno {
	switch d.kind {
	case kindListener:
		return errnoOf(d.listener.Close())
	case kindConn:
		return errnoOf(d.conn.Close())
	case kindRegular, kindDirectory:
		d.node.Release()
	}
	return success
}

// maxDescriptors bounds the table, and with it what a guest can make the host
// allocate by opening files.
const maxDescriptors = 1 << 16

// lookup returns the descriptor with a number, nil if it is not open.
func (h *Host) lookup(fd uint64) *desc {
	if i := uint32(fd); uint64(i) < uint64(len(h.fds)) {
		return h.fds[i]
	}
	return nil
}

// get returns the open descriptor that has all the rights.
func (h *Host) get(fd, rights uint64) (*desc, errno) {
	d := h.lookup(fd)
	if d == nil {
		return nil, eBadf
	}
	return d, d.lacks(rights)
}

// getFile is get for what only regular files have: an offset and a size.
func (h *Host) getFile(fd, rights uint64) (*desc, errno) {
	d := h.lookup(fd)
	switch {
	case d == nil:
		return nil, eBadf
	case d.kind == kindDirectory:
		return nil, eIsdir
	case d.kind != kindRegular:
		return nil, eSpipe
	}
	return d, d.lacks(rights)
}

// getDir is get for directories.
func (h *Host) getDir(fd, rights uint64) (*desc, errno) {
	d := h.lookup(fd)
	switch {
	case d == nil:
		return nil, eBadf
	case d.kind != kindDirectory:
		return nil, eNotdir
	}
	return d, d.lacks(rights)
}

// getSocket is get for sockets; POSIX's order of errors.
func (h *Host) getSocket(fd uint64) (*desc, errno) {
	d := h.lookup(fd)
	switch {
	case d == nil:
		return nil, eBadf
	case !d.isSocket():
		return nil, eNotsock
	}
	return d, success
}

// nextFD returns the lowest free number, as POSIX wants it.
func (h *Host) nextFD() (uint32, errno) {
	for h.free < len(h.fds) && h.fds[h.free] != nil {
		h.free++
	}
	if h.free >= maxDescriptors {
		return 0, eMfile
	}
	return uint32(h.free), success
}

// install puts d at a number from nextFD.
func (h *Host) install(fd uint32, d *desc) {
	if int(fd) == len(h.fds) {
		h.fds = append(h.fds, nil)
	}
	h.fds[fd] = d
}

// remove frees an open number without closing what was there.
func (h *Host) remove(fd uint32) {
	h.fds[fd] = nil
	h.free = min(h.free, int(fd))
}
