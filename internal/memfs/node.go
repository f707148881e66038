// SPDX-License-Identifier: Apache-2.0

package memfs

import "syscall"

// Type is what kind of file a node is. It never changes.
type Type uint8

// The types of files.
const (
	Regular Type = iota + 1
	Directory
	Symlink
)

// Info is what stat tells about a node. Times are nanoseconds since 1970.
type Info struct {
	Dev, Ino            uint64 // Dev is not zero and the same for a whole FS
	Type                Type
	Nlink               uint64 // a directory counts itself and its subdirectories
	Size                int64  // of a symbolic link, the length of its target
	Atime, Mtime, Ctime int64
}

// Node is a file, directory or symbolic link, whatever names it has: an inode.
// It stays usable while it is referenced, also after its last name is gone.
type Node struct {
	fs     *FS
	ino    uint64
	typ    Type
	target string // of a symbolic link

	// Guarded by fs.mu.
	nlink               uint64
	refs                int64 // Retain minus Release
	charged             int64 // what this node takes from fs.used, names aside
	dead                bool  // no link and no holder: charges were given back
	atime, mtime, ctime int64
	size                int64
	blocks              map[int64]block // of a regular file, by offset / blockSize
	dir                 *directory      // of a directory
}

// Type returns the type of the node, without taking a lock.
func (n *Node) Type() Type { return n.typ }

// Info returns the node's attributes.
func (n *Node) Info() Info {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	size := n.size
	if n.typ == Symlink {
		size = int64(len(n.target))
	}
	return Info{
		Dev: n.fs.dev, Ino: n.ino, Type: n.typ, Nlink: n.nlink, Size: size,
		Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime,
	}
}

// SetTimes sets the access and modification times; nil leaves one as it is.
func (n *Node) SetTimes(atime, mtime *int64) error {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if atime != nil {
		n.atime = *atime
	}
	if mtime != nil {
		n.mtime = *mtime
	}
	n.ctime = n.fs.Now()
	return nil
}

// Retain counts one more holder of the node, who owes it a Release. Nodes from
// [FS.Open] come retained; a node from [FS.Lookup] does not, and its space may
// be given back as soon as another goroutine removes it: it can then still be
// read, but growing it fails with ESTALE.
func (n *Node) Retain() {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.refs++
}

// Release ends one hold. With the last one, a file that has no links either
// gives its space back.
func (n *Node) Release() {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.refs == 0 {
		panic("memfs: bug: Release without Retain")
	}
	n.refs--
	n.settle()
}

// settle gives back the node's space once nothing can reach it. Blocks are left
// to the garbage collector: a holder without Retain may still be reading.
func (n *Node) settle() {
	if n.nlink > 0 || n.refs > 0 || n.dead {
		return
	}
	n.dead = true
	n.fs.used -= n.charged
	n.charged = 0
}

// charge takes c bytes for this node from the limit; negative c gives back.
func (n *Node) charge(c int64) error {
	if n.dead {
		if c > 0 {
			return syscall.ESTALE
		}
		return nil
	}
	if err := n.fs.charge(c); err != nil {
		return err
	}
	n.charged += c
	return nil
}

// modified stamps a change of contents. fs.mu is held.
func (n *Node) modified() {
	n.mtime = n.fs.Now()
	n.ctime = n.mtime
}

// relatimeAfter is when an access time counts as stale although nothing was
// written since; the same day that Linux uses.
const relatimeAfter = 24 * 3600 * 1e9

// staleAtime tells whether a read must be recorded, by the relatime rule: once
// after each change, and once a day. It spares readers the exclusive lock.
func (n *Node) staleAtime() bool {
	return n.atime <= n.mtime || n.atime <= n.ctime || n.fs.Now()-n.atime > relatimeAfter
}

// accessed records a read. fs.mu is not held.
func (n *Node) accessed() {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.atime = n.fs.Now()
}
