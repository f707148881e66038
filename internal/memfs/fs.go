// SPDX-License-Identifier: Apache-2.0

// Package memfs is the file system inside a Keep: directories, regular files
// and symbolic links held in memory, with the semantics of POSIX and the error
// numbers WASI preview 1 expects.
//
// Everything a guest can name lives here: the copies of host directories given
// with --dir, the files of a package and /tmp. Nothing is backed by the host,
// so the host sees neither names nor contents, and cannot change them once
// they are loaded.
//
// Both sides of this package are hostile. Paths and offsets come from the
// guest, archives ([FS.LoadTar]) come from the host. Two properties hold
// against both:
//
//   - Confinement. A path is resolved relative to a directory node that is a
//     jail: absolute paths, "..", and symbolic links that would climb above it
//     fail with EPERM. Resolution runs under the file system's lock, so a
//     concurrent rename cannot move a directory out from under it.
//   - Bounded memory. Every node, name and block of data is charged against
//     the limit given to [New] before it is allocated; ENOSPC beyond.
//
// An open file keeps its data after its last link is removed, and keeps being
// charged for it. [FS.Open] therefore returns a retained node and the holder
// owes it one [Node.Release]; forgetting it costs space, never safety.
package memfs

import (
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxPath  = 4096 // bytes of a path or of a symbolic link's target
	maxName  = 255  // bytes of one path component
	maxLinks = 40   // symbolic links followed in one resolution
)

// What bookkeeping costs, charged on top of data. The figures are above what
// the Go heap takes for them, so that the limit bounds memory also for a guest
// that makes nothing but empty files.
const (
	nodeCost   = 512
	direntCost = 128 // plus the name
	blockCost  = 128 // plus the block
)

// FS is one file system. All its methods, and those of its nodes, are safe for
// concurrent use.
type FS struct {
	// Now is the clock for time stamps, in nanoseconds since 1970. New sets it
	// to the system clock; replace it before the first use or not at all.
	Now func() int64

	dev  uint64
	root *Node

	mu      sync.RWMutex // guards everything below and every node's fields
	max     int64        // 0: no bound
	used    int64
	lastIno uint64
}

// lastDev numbers file systems, so that two of them never share a Dev: a guest
// that sees several takes equal (Dev, Ino) to mean the same file.
var lastDev atomic.Uint64

// New returns an empty file system that holds at most maxBytes of data and
// bookkeeping. Zero or less means no bound.
func New(maxBytes int64) *FS {
	fs := &FS{
		Now: func() int64 { return time.Now().UnixNano() },
		dev: lastDev.Add(1),
		max: max(maxBytes, 0),
	}
	fs.root = fs.newNode(Directory, "")
	fs.root.dir.parent = fs.root
	return fs
}

// Root returns the top directory. It is never removed and needs no Release.
func (fs *FS) Root() *Node { return fs.root }

// Used returns the bytes charged against the limit. It is zero when the root
// is empty and no removed file is held open.
func (fs *FS) Used() int64 {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.used
}

// room returns how many bytes may still be charged.
func (fs *FS) room() int64 {
	if fs.max == 0 {
		return math.MaxInt64 - fs.used
	}
	return fs.max - fs.used
}

// charge takes n bytes from the limit; negative n gives them back.
func (fs *FS) charge(n int64) error {
	if n > fs.room() {
		return syscall.ENOSPC
	}
	fs.used += n
	return nil
}

// newNode makes an uncharged node with no links. fs.mu is held, or fs is not
// shared yet.
func (fs *FS) newNode(typ Type, target string) *Node {
	fs.lastIno++
	now := fs.Now()
	n := &Node{fs: fs, ino: fs.lastIno, typ: typ, target: target, atime: now, mtime: now, ctime: now}
	if typ == Directory {
		n.dir = &directory{byName: make(map[string]*dirent), lastID: cookieDotDot}
		n.nlink = 2
	}
	return n
}
