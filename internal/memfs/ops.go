// SPDX-License-Identifier: Apache-2.0

package memfs

import "syscall"

// Open says how [FS.Open] treats what it finds.
type Open struct {
	Follow    bool // follow a symbolic link in the last component
	Create    bool // make a regular file if there is nothing
	Exclusive bool // with Create: fail if there is something
	Truncate  bool // empty the file
	Directory bool // fail unless it is a directory
}

// Open finds or makes the file at path below dir and returns it retained: the
// caller owes it a [Node.Release]. A symbolic link that is not followed fails
// with ELOOP.
func (fs *FS) Open(dir *Node, path string, how Open) (*Node, error) {
	if how.Create && how.Directory {
		return nil, syscall.EINVAL
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := followSlash
	switch {
	case how.Create && how.Exclusive:
		f = followNever
	case how.Follow:
		f = followAll
	}
	p, err := fs.resolve(dir, path, f)
	if err != nil {
		return nil, err
	}
	n := p.node
	if n == nil {
		n, err = createFile(p, how)
	} else {
		err = reopen(p, how)
	}
	if err != nil {
		return nil, err
	}
	n.refs++
	return n, nil
}

func createFile(p place, how Open) (*Node, error) {
	switch {
	case !how.Create:
		return nil, syscall.ENOENT
	case p.slash:
		return nil, syscall.EISDIR // as Linux: only a file can be made, and it asks for a directory
	}
	return p.dir.create(p.name, Regular, "")
}

func reopen(p place, how Open) error {
	n := p.node
	switch {
	case how.Create && how.Exclusive:
		return syscall.EEXIST
	case n.typ == Symlink:
		return syscall.ELOOP
	case n.typ != Directory && (p.slash || how.Directory):
		return syscall.ENOTDIR
	case n.typ == Directory && (how.Create || how.Truncate):
		return syscall.EISDIR
	}
	if how.Truncate {
		n.truncate(0)
	}
	return nil
}

// Lookup finds the node at path below dir, for calls that look at it and let
// go: it is not retained. Without follow, a symbolic link in the last component
// is itself the answer, unless a slash after it asks for a directory.
func (fs *FS) Lookup(dir *Node, path string, follow bool) (*Node, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	f := followSlash
	if follow {
		f = followAll
	}
	return fs.find(dir, path, f)
}

// find resolves a path to something that exists.
func (fs *FS) find(dir *Node, path string, f follow) (*Node, error) {
	p, err := fs.resolve(dir, path, f)
	switch {
	case err != nil:
		return nil, err
	case p.node == nil:
		return nil, syscall.ENOENT
	case p.slash && p.node.typ != Directory:
		return nil, syscall.ENOTDIR
	}
	return p.node, nil
}

// vacant resolves a path to a name that is free.
func (fs *FS) vacant(dir *Node, path string) (place, error) {
	p, err := fs.resolve(dir, path, followNever)
	if err == nil && p.node != nil {
		err = syscall.EEXIST
	}
	return p, err
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(dir *Node, path string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	p, err := fs.vacant(dir, path)
	if err != nil {
		return err
	}
	_, err = p.dir.create(p.name, Directory, "")
	return err
}

// Rmdir removes an empty directory.
func (fs *FS) Rmdir(dir *Node, path string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	p, err := fs.resolve(dir, path, followNever)
	switch {
	case err != nil:
		return err
	case p.node == nil:
		return syscall.ENOENT
	case p.name == ".":
		return syscall.EINVAL
	case p.name == "..":
		return syscall.ENOTEMPTY // it holds at least the directory the path came through
	case p.node.typ != Directory:
		return syscall.ENOTDIR
	case len(p.node.dir.byName) > 0:
		return syscall.ENOTEMPTY
	}
	p.dir.unlink(p.name)
	return nil
}

// Unlink removes the name of a file or symbolic link.
func (fs *FS) Unlink(dir *Node, path string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	p, err := fs.resolve(dir, path, followNever)
	switch {
	case err != nil:
		return err
	case p.node == nil:
		return syscall.ENOENT
	case p.node.typ == Directory:
		return syscall.EISDIR
	case p.slash:
		return syscall.ENOTDIR
	}
	p.dir.unlink(p.name)
	return nil
}

// Link gives the file or symbolic link at oldPath a second name. Symbolic links
// are not followed.
func (fs *FS) Link(oldDir *Node, oldPath string, newDir *Node, newPath string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.find(oldDir, oldPath, followSlash)
	if err != nil {
		return err
	}
	p, err := fs.vacant(newDir, newPath)
	switch {
	case err != nil:
		return err
	case n.typ == Directory:
		return syscall.EPERM
	case p.slash || p.dir.nlink == 0:
		return syscall.ENOENT
	}
	return p.dir.hardLink(p.name, n)
}

// hardLink gives n, which is not a directory, the free name in dir.
func (dir *Node) hardLink(name string, n *Node) error {
	if err := dir.fs.charge(nameCost(name)); err != nil {
		return err
	}
	dir.link(name, n)
	return nil
}

// Symlink makes a symbolic link. Its target need not exist; an absolute one is
// refused with EPERM, as following it would be.
func (fs *FS) Symlink(target string, dir *Node, path string) error {
	if err := checkText(target); err != nil {
		return err
	}
	if target[0] == '/' {
		return syscall.EPERM
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	p, err := fs.vacant(dir, path)
	if err != nil {
		return err
	}
	if p.slash {
		return syscall.ENOENT
	}
	_, err = p.dir.create(p.name, Symlink, target)
	return err
}

// Readlink returns the target of the symbolic link at path.
func (fs *FS) Readlink(dir *Node, path string) (string, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.find(dir, path, followSlash)
	if err != nil {
		return "", err
	}
	if n.typ != Symlink {
		return "", syscall.EINVAL
	}
	return n.target, nil
}
