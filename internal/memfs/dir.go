// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"sort"
	"syscall"
)

// Cookies of the entries every directory has. Those of the others follow, in
// the order in which they were made.
const (
	cookieDot    = 1
	cookieDotDot = 2
)

// Entry is one name in a directory.
type Entry struct {
	Name string
	Ino  uint64
	Type Type
	Next uint64 // cookie that continues a listing after this entry
}

type directory struct {
	parent *Node // of the root and of removed directories: the directory itself
	byName map[string]*dirent
	order  []*dirent // by id; removed ones stay as tombstones until compact
	gone   int       // tombstones in order
	lastID uint64
}

type dirent struct {
	name string
	id   uint64 // also the entry's cookie, never used again in this directory
	node *Node  // nil once removed
}

// ReadDir lists the directory in the order its entries were made, "." and ".."
// first, continuing after the entry whose Next was cookie; 0 starts. At most
// limit entries are returned, all of them if limit is not positive. Entries
// that stay while others come and go are listed exactly once.
func (n *Node) ReadDir(cookie uint64, limit int) ([]Entry, error) {
	if n.typ != Directory {
		return nil, syscall.ENOTDIR
	}
	list, stale := n.readDir(cookie, limit)
	if stale {
		n.accessed()
	}
	return list, nil
}

func (n *Node) readDir(cookie uint64, limit int) (list []Entry, stale bool) {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	d := n.dir
	first := sort.Search(len(d.order), func(i int) bool { return d.order[i].id > cookie })
	if all := len(d.order) - first + 2; limit <= 0 || limit > all {
		limit = all
	}
	list = make([]Entry, 0, limit)
	if cookie < cookieDot {
		list = append(list, Entry{".", n.ino, Directory, cookieDot})
	}
	if cookie < cookieDotDot && len(list) < limit {
		list = append(list, Entry{"..", d.parent.ino, Directory, cookieDotDot})
	}
	for _, e := range d.order[first:] {
		if len(list) == limit {
			break
		}
		if e.node != nil {
			list = append(list, Entry{e.name, e.node.ino, e.node.typ, e.id})
		}
	}
	return list, n.staleAtime()
}

// lookup returns the node called name, or nil.
func (d *directory) lookup(name string) *Node {
	if e := d.byName[name]; e != nil {
		return e.node
	}
	return nil
}

func (d *directory) add(name string, n *Node) {
	d.lastID++
	e := &dirent{name: name, id: d.lastID, node: n}
	d.byName[name] = e
	d.order = append(d.order, e)
}

// remove drops an entry. Its slot is reclaimed later, so that emptying a large
// directory is not quadratic.
func (d *directory) remove(name string) {
	e := d.byName[name]
	delete(d.byName, name)
	e.node = nil
	d.gone++
	if d.gone > 32 && d.gone > len(d.order)/2 {
		d.compact()
	}
}

func (d *directory) compact() {
	live := make([]*dirent, 0, len(d.order)-d.gone)
	for _, e := range d.order {
		if e.node != nil {
			live = append(live, e)
		}
	}
	d.order, d.gone = live, 0
}

// link gives n the name in directory dir and counts it. The space for the name
// is charged already.
func (dir *Node) link(name string, n *Node) {
	dir.dir.add(name, n)
	if n.typ == Directory {
		n.dir.parent = dir
		dir.nlink++
	} else {
		n.nlink++
	}
	dir.modified()
	n.ctime = dir.ctime
}

// unlink takes the name away and gives back what it and, with the last link,
// the node took.
func (dir *Node) unlink(name string) {
	n := dir.dir.lookup(name)
	dir.dir.remove(name)
	dir.fs.used -= nameCost(name)
	dir.modified()
	dir.dropped(n)
}

// dropped accounts for n having lost one name in dir.
func (dir *Node) dropped(n *Node) {
	if n.typ == Directory {
		dir.nlink--
		n.nlink = 0
		n.dir.parent = n // do not keep the tree above alive through a held node
	} else {
		n.nlink--
	}
	n.ctime = n.fs.Now()
	n.settle()
}

func nameCost(name string) int64 { return direntCost + int64(len(name)) }

// create makes a node in dir. Only a name that is free may be passed.
func (dir *Node) create(name string, typ Type, target string) (*Node, error) {
	if dir.nlink == 0 {
		return nil, syscall.ENOENT // removed while held: it can never be filled again
	}
	cost := nodeCost + int64(len(target))
	if err := dir.fs.charge(cost + nameCost(name)); err != nil {
		return nil, err
	}
	n := dir.fs.newNode(typ, target)
	n.charged = cost
	dir.link(name, n)
	return n, nil
}

// within tells whether directory n is top or below it.
func (n *Node) within(top *Node) bool {
	for n != top {
		if n.dir.parent == n {
			return false
		}
		n = n.dir.parent
	}
	return true
}
