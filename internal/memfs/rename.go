// SPDX-License-Identifier: Apache-2.0

package memfs

import "syscall"

// Rename moves what is at oldPath to newPath, replacing a file, or an empty
// directory with a directory, in one step. If both name the same node it does
// nothing.
func (fs *FS) Rename(oldDir *Node, oldPath string, newDir *Node, newPath string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	from, err := fs.resolve(oldDir, oldPath, followNever)
	if err != nil {
		return err
	}
	to, err := fs.resolve(newDir, newPath, followNever)
	if err != nil {
		return err
	}
	if from.dir == nil || to.dir == nil {
		return syscall.EINVAL // "." and "..", as POSIX has it
	}
	if from.node == nil {
		return syscall.ENOENT
	}
	if from.node.typ != Directory && (from.slash || to.slash) {
		return syscall.ENOTDIR
	}
	if from.node == to.node {
		return nil
	}
	if err := mayReplace(from.node, to); err != nil {
		return err
	}
	return fs.move(from, to)
}

// mayReplace checks the rules of rename(2) for putting n at to.
func mayReplace(n *Node, to place) error {
	if n.typ == Directory && to.dir.within(n) {
		return syscall.EINVAL
	}
	switch old := to.node; {
	case old == nil && to.dir.nlink == 0:
		return syscall.ENOENT
	case old == nil:
		return nil
	case n.typ != Directory && old.typ == Directory:
		return syscall.EISDIR
	case n.typ == Directory && old.typ != Directory:
		return syscall.ENOTDIR
	case n.typ == Directory && len(old.dir.byName) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

func (fs *FS) move(from, to place) error {
	n := from.node
	// One name goes and, unless one is replaced, one comes: only the difference
	// is charged, so that a full file system can still be tidied.
	cost := -nameCost(from.name)
	if to.node == nil {
		cost += nameCost(to.name)
	}
	if err := fs.charge(cost); err != nil {
		return err
	}
	from.dir.dir.remove(from.name)
	if to.node == nil {
		to.dir.dir.add(to.name, n)
	} else {
		to.dir.dir.byName[to.name].node = n // keeps the name's cookie
		to.dir.dropped(to.node)
	}
	if n.typ == Directory {
		from.dir.nlink--
		to.dir.nlink++
		n.dir.parent = to.dir
	}
	from.dir.modified()
	to.dir.modified()
	n.ctime = to.dir.ctime
	return nil
}
