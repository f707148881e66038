// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"strings"
	"syscall"
	"unicode/utf8"
)

// follow says what happens to a symbolic link in the last component of a path.
// Links before the last are always followed.
type follow int

const (
	followNever follow = iota // operations on the name itself: unlink, rename, …
	followSlash               // only when a slash after it asks for a directory
	followAll
)

// place is where a path led.
type place struct {
	dir   *Node  // the directory that holds, or would hold, name; nil if the path ended in "." or ".."
	name  string // last component
	slash bool   // a slash followed it: only a directory will do
	node  *Node  // what is there, nil if nothing
}

// checkText refuses what is neither a path nor the target of a symbolic link.
func checkText(s string) error {
	switch {
	case s == "":
		return syscall.ENOENT
	case len(s) > maxPath:
		return syscall.ENAMETOOLONG
	case strings.IndexByte(s, 0) >= 0:
		return syscall.EINVAL
	case !utf8.ValidString(s):
		return syscall.EILSEQ
	}
	return nil
}

// walk is one resolution. cur is always jail or a directory below it: it only
// moves down through entries, and up through ".." while it is not jail.
type walk struct {
	jail, cur *Node
	rest      string // not yet walked
	links     int    // symbolic links expanded so far
}

// resolve finds path from jail, which it never leaves. fs.mu is held for the
// whole of it: were it released between two steps, a rename could move cur out
// of jail, and the next ".." would not stop.
func (fs *FS) resolve(jail *Node, path string, f follow) (place, error) {
	if err := checkText(path); err != nil {
		return place{}, err
	}
	if path[0] == '/' {
		return place{}, syscall.EPERM
	}
	if jail.fs != fs {
		return place{}, syscall.EXDEV
	}
	if jail.typ != Directory {
		return place{}, syscall.ENOTDIR
	}
	w := walk{jail: jail, cur: jail, rest: path}
	for {
		p, err := w.last()
		if err != nil || p.node == nil || p.node.typ != Symlink {
			return p, err
		}
		if f == followNever || f == followSlash && !p.slash {
			return p, nil
		}
		tail := ""
		if p.slash {
			tail = "/"
		}
		if err := w.expand(p.node, tail); err != nil {
			return place{}, err
		}
	}
}

// last walks all components but the last, and looks that one up in cur.
func (w *walk) last() (place, error) {
	for {
		name, tail, slash := strings.Cut(w.rest, "/")
		tail = strings.TrimLeft(tail, "/")
		if tail == "" {
			return w.final(name, slash)
		}
		w.rest = tail
		if err := w.enter(name); err != nil {
			return place{}, err
		}
	}
}

func (w *walk) final(name string, slash bool) (place, error) {
	if name == "." || name == ".." {
		if err := w.enter(name); err != nil {
			return place{}, err
		}
		return place{name: name, node: w.cur}, nil
	}
	if len(name) > maxName {
		return place{}, syscall.ENAMETOOLONG
	}
	return place{dir: w.cur, name: name, slash: slash, node: w.cur.dir.lookup(name)}, nil
}

// enter steps into the directory called name, or, if it is a symbolic link,
// puts its target in front of what is left to walk.
func (w *walk) enter(name string) error {
	switch {
	case name == ".":
		return nil
	case name == "..":
		if w.cur == w.jail {
			return syscall.EPERM
		}
		w.cur = w.cur.dir.parent
		return nil
	case len(name) > maxName:
		return syscall.ENAMETOOLONG
	}
	n := w.cur.dir.lookup(name)
	switch {
	case n == nil:
		return syscall.ENOENT
	case n.typ == Symlink:
		return w.expand(n, "/"+w.rest)
	case n.typ != Directory:
		return syscall.ENOTDIR
	}
	w.cur = n
	return nil
}

// expand continues the walk with the target of link, then tail.
func (w *walk) expand(link *Node, tail string) error {
	if w.links++; w.links > maxLinks {
		return syscall.ELOOP
	}
	if link.target[0] == '/' {
		return syscall.EPERM // an archive may hold such links; none is ever followed
	}
	w.rest = link.target + tail
	return nil
}
