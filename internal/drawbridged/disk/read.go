// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob/driver"
	"golang.org/x/sys/unix"
)

type reader struct {
	io.Reader
	f     *os.File
	attrs driver.ReaderAttributes
}

// NewRangeReader opens length bytes of an object from offset on, length < 0:
// all of the rest.
func (b *Bucket) NewRangeReader(_ context.Context, key string, offset, length int64, opts *driver.ReaderOptions) (driver.Reader, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	f, err := b.root.OpenFile(key, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	r, err := b.newReader(f, key, offset, length, opts)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

func (b *Bucket) newReader(f *os.File, key string, offset, length int64, opts *driver.ReaderOptions) (*reader, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fs.ErrNotExist
	}
	if err := b.settle(key, &st); err != nil {
		return nil, err
	}
	if opts.BeforeRead != nil {
		if err := opts.BeforeRead(func(any) bool { return false }); err != nil {
			return nil, err
		}
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, err
		}
	}
	r := &reader{f, f, driver.ReaderAttributes{ContentType: contentType, ModTime: time.Unix(st.Mtim.Unix()), Size: st.Size}}
	if length >= 0 {
		r.Reader = io.LimitReader(f, length)
	}
	return r, nil
}

func (r *reader) Close() error                         { return r.f.Close() }
func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attrs }

// As gives the open file for a **os.File.
func (r *reader) As(i any) bool {
	p, ok := i.(**os.File)
	if ok {
		*p = r.f
	}
	return ok
}

// pageSize is how many objects a page has that is not told.
const pageSize = 10_000

// ListPaged lists objects in the order of their keys. Folders in which there
// is no object do not appear. The delimiter must be "" or "/".
func (b *Bucket) ListPaged(ctx context.Context, opts *driver.ListOptions) (*driver.ListPage, error) {
	if opts.Delimiter != "" && opts.Delimiter != "/" {
		return nil, errNot
	}
	if opts.BeforeList != nil {
		if err := opts.BeforeList(func(any) bool { return false }); err != nil {
			return nil, err
		}
	}
	l := lister{b: b, ctx: ctx, prefix: opts.Prefix, groups: opts.Delimiter != "", after: string(opts.PageToken), size: opts.PageSize}
	if l.size == 0 {
		l.size = pageSize
	}
	folder := "."
	if i := strings.LastIndexByte(opts.Prefix, '/'); i >= 0 {
		if folder = opts.Prefix[:i]; checkKey(folder) != nil {
			return &driver.ListPage{}, nil // there is nothing of such a name
		}
	}
	err := l.list(folder)
	if err == errFull {
		return &driver.ListPage{Objects: l.found, NextPageToken: []byte(l.found[len(l.found)-1].Key)}, nil
	}
	return &driver.ListPage{Objects: l.found}, err
}

var errFull = errors.New("the page is full")

// A lister fills one page.
type lister struct {
	b      *Bucket
	ctx    context.Context
	prefix string
	groups bool // what is in a folder below the prefix is one object
	after  string
	size   int
	found  []*driver.ListObject
}

// An entry is a name in a folder, whose key ends in a slash if it is one.
type entry struct {
	name, key string
}

func (e entry) isDir() bool { return strings.HasSuffix(e.key, "/") }

// list adds the objects of a folder, some thousand names at a time.
func (l *lister) list(folder string) error {
	f, err := l.b.root.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	behind := ""
	for {
		entries, more, err := l.smallest(f, folder, behind)
		if err != nil {
			return err
		}
		if err := l.add(f, folder, entries); err != nil || !more {
			return err
		}
		behind = entries[len(entries)-1].key
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// smallest returns the first entries of a folder behind one, in order, and
// whether there are more. So much memory is needed for a page, and not for a
// folder.
func (l *lister) smallest(f *os.File, folder, behind string) (entries []entry, more bool, err error) {
	limit := l.size + 1
	order := func(a, b entry) int { return cmp.Compare(a.key, b.key) }
	cut := func() {
		slices.SortFunc(entries, order)
		if len(entries) > limit {
			entries, more = entries[:limit], true
		}
	}
	for {
		if err := l.ctx.Err(); err != nil {
			return nil, false, err
		}
		names, err := f.ReadDir(1024)
		for _, d := range names {
			if e, ok := l.entry(folder, d); ok && e.key > behind {
				entries = append(entries, e)
			}
		}
		if len(entries) > 2*limit+1024 {
			cut()
		}
		if err == io.EOF {
			cut()
			return entries, more, nil
		} else if err != nil {
			return nil, false, err
		}
	}
}

// entry reports whether there may be something on the page in what a folder
// has.
func (l *lister) entry(folder string, d fs.DirEntry) (entry, bool) {
	e := entry{d.Name(), path.Join(folder, d.Name())}
	if !isSegment(e.name) || folder == "." && (e.name == tmp || e.name == lostFound) {
		return e, false
	}
	switch {
	case d.IsDir():
		e.key += "/"
	case !d.Type().IsRegular():
		return e, false
	}
	if !strings.HasPrefix(e.key, l.prefix) {
		return e, false
	}
	return e, e.key > l.after || e.isDir() && !l.grouped(e) && strings.HasPrefix(l.after, e.key)
}

// grouped reports whether a folder is one object of the list.
func (l *lister) grouped(e entry) bool {
	return l.groups && e.isDir() && len(e.key) > len(l.prefix)
}

// add adds entries of a folder to the page. It returns errFull if one is left.
func (l *lister) add(f *os.File, folder string, entries []entry) error {
	synced := false
	for _, e := range entries {
		var o *driver.ListObject
		switch {
		case l.grouped(e):
			if any, err := l.b.hasObject(strings.TrimSuffix(e.key, "/")); err != nil || !any {
				if err != nil {
					return err
				}
				continue
			}
			o = &driver.ListObject{Key: e.key, IsDir: true}
		case e.isDir():
			if err := l.list(strings.TrimSuffix(e.key, "/")); err != nil {
				return err
			}
			continue
		default:
			var st unix.Stat_t
			err := unix.Fstatat(int(f.Fd()), e.name, &st, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, unix.ENOENT) {
				continue // deleted meanwhile
			} else if err != nil {
				return err
			}
			if l.b.unsettled(e.key, &st) {
				if !synced {
					if err := l.b.settle(e.key, &st); err != nil {
						return err
					}
					synced = true // for all whose names were read before
				}
				l.b.remember(e.key, &st)
			}
			o = &driver.ListObject{Key: e.key, ModTime: time.Unix(st.Mtim.Unix()), Size: st.Size}
		}
		if len(l.found) == l.size {
			return errFull
		}
		l.found = append(l.found, o)
	}
	return nil
}

// hasObject reports whether there is an object in a folder or below.
func (b *Bucket) hasObject(folder string) (bool, error) {
	f, err := b.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	var folders []string
	for {
		names, err := f.ReadDir(64)
		for _, d := range names {
			switch {
			case !isSegment(d.Name()):
			case d.Type().IsRegular():
				return true, nil
			case d.IsDir():
				folders = append(folders, path.Join(folder, d.Name()))
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return false, err
		}
		if len(folders) > 0 {
			if any, err := b.hasObject(folders[0]); any || err != nil {
				return any, err
			}
			folders = folders[1:]
		}
	}
	for _, sub := range folders {
		if any, err := b.hasObject(sub); any || err != nil {
			return any, err
		}
	}
	return false, nil
}
