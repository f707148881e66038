// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"time"
)

// Bounds on an archive, whatever the limit of the file system. Data needs none
// of its own: it is charged like any other.
const (
	MaxPath    = maxPath // bytes of a name, or of a symbolic link's target
	MaxDepth   = 128     // components of a name
	MaxEntries = 1 << 20 // headers; and as many nodes, directories that names imply included
)

// ErrArchive is wrapped by every error of [FS.LoadTar] that the archive itself
// caused.
var ErrArchive = errors.New("memfs: archive refused")

var (
	errAbsolute  = errors.New("absolute name")
	errName      = errors.New("name is not plain: empty, dot or dot-dot component, or a slash at the end")
	errDepth     = errors.New("too many directories deep")
	errEntries   = errors.New("too many entries")
	errType      = errors.New("neither file, directory nor link")
	errSparse    = errors.New("sparse files are not supported")
	errDuplicate = errors.New("name appears twice")
	errParent    = errors.New("below something that is not a directory")
	errLink      = errors.New("hard link to something that is not an earlier file")
)

// LoadTar fills dir from the tar stream r, which comes from the host and is
// hostile. It takes directories, regular files, symbolic links, and hard links
// to earlier files, with modification times to the nanosecond, and refuses
// anything else: absolute names, "..", devices, sparse files, a name given
// twice (except a directory's), names below a symbolic link, and a stream that
// ends before the end mark. Missing parent directories are made. Symbolic links
// are stored as they are, since resolution is what confines them.
//
// Exactly the archive is read from r, nothing after it. After an error dir
// holds part of the archive.
func (fs *FS) LoadTar(dir *Node, r io.Reader) error {
	if dir.fs != fs || dir.typ != Directory {
		return syscall.ENOTDIR
	}
	end := &endReader{r: r}
	tr := tar.NewReader(end)
	l := loader{fs: fs, top: dir, dirTimes: make(map[*Node]int64), buf: make([]byte, blockSize)}
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := l.entry(hdr, tr); err != nil {
			return fmt.Errorf("%w: entry %q: %w", ErrArchive, clip(hdr.Name), err)
		}
	}
	// archive/tar takes a stream that just stops between two entries for
	// complete. It is not: the host may have cut it there.
	if end.hit {
		return fmt.Errorf("%w: %w", ErrArchive, io.ErrUnexpectedEOF)
	}
	l.finish()
	return nil
}

// Cost returns what LoadTar charges for one entry with this last name component:
// size is a regular file's or, for a symbolic link, the length of its target.
func Cost(name string, typ Type, size int64) int64 {
	cost := nodeCost + nameCost(name)
	switch typ {
	case Symlink:
		cost += size
	case Regular:
		cost += size / blockSize * (blockCost + blockSize)
		if tail := size % blockSize; tail > 0 {
			cost += blockCost + roundBlock(tail)
		}
	}
	return cost
}

// endReader remembers whether a read went past the end of r.
type endReader struct {
	r   io.Reader
	hit bool
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if n > 0 && err == io.EOF {
		return n, nil // the next read, if there is one, tells
	}
	e.hit = e.hit || err == io.EOF
	return n, err
}

type loader struct {
	fs       *FS
	top      *Node
	headers  int
	nodes    int
	dirTimes map[*Node]int64 // set last: filling a directory changes its time
	buf      []byte
}

func (l *loader) entry(hdr *tar.Header, data io.Reader) error {
	if l.headers++; l.headers > MaxEntries {
		return errEntries
	}
	path, err := splitName(hdr.Name, hdr.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		return l.directory(path, hdr)
	}
	dir, err := l.directories(path[:len(path)-1])
	if err != nil {
		return err
	}
	name := path[len(path)-1]
	if l.child(dir, name) != nil {
		return errDuplicate
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		return l.file(dir, name, hdr, data)
	case tar.TypeSymlink:
		return l.symlink(dir, name, hdr)
	case tar.TypeLink:
		return l.hardLink(dir, name, hdr)
	}
	return errType
}

func (l *loader) directory(path []string, hdr *tar.Header) error {
	n, err := l.directories(path)
	if err != nil {
		return err
	}
	l.dirTimes[n] = mtime(hdr)
	return nil
}

// directories walks to path below top, making what is missing. It never steps
// through a symbolic link: an archive must not place files by one.
func (l *loader) directories(path []string) (*Node, error) {
	dir := l.top
	for _, name := range path {
		n := l.child(dir, name)
		if n == nil {
			var err error
			if n, err = l.create(dir, name, Directory, ""); err != nil {
				return nil, err
			}
		}
		if n.typ != Directory {
			return nil, errParent
		}
		dir = n
	}
	return dir, nil
}

func (l *loader) file(dir *Node, name string, hdr *tar.Header, data io.Reader) error {
	for key := range hdr.PAXRecords {
		// A few bytes of such an entry can stand for exabytes of zeros.
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errSparse
		}
	}
	n, err := l.create(dir, name, Regular, "")
	if err != nil {
		return err
	}
	for off := int64(0); off < hdr.Size; {
		chunk := l.buf[:min(hdr.Size-off, blockSize)]
		if _, err := io.ReadFull(data, chunk); err != nil {
			return err
		}
		c, err := n.WriteAt(chunk, off)
		if err == nil && c < len(chunk) {
			err = syscall.ENOSPC
		}
		if err != nil {
			return err
		}
		off += blockSize
	}
	l.setTime(n, mtime(hdr))
	return nil
}

func (l *loader) symlink(dir *Node, name string, hdr *tar.Header) error {
	if err := checkText(hdr.Linkname); err != nil {
		return fmt.Errorf("target %q: %w", clip(hdr.Linkname), err)
	}
	n, err := l.create(dir, name, Symlink, hdr.Linkname)
	if err != nil {
		return err
	}
	l.setTime(n, mtime(hdr))
	return nil
}

func (l *loader) hardLink(dir *Node, name string, hdr *tar.Header) error {
	path, err := splitName(hdr.Linkname, false)
	if err != nil {
		return fmt.Errorf("target %q: %w", clip(hdr.Linkname), err)
	}
	n := l.top
	for _, name := range path {
		if n.typ != Directory {
			return errLink
		}
		if n = l.child(n, name); n == nil {
			return errLink
		}
	}
	if n.typ == Directory {
		return errLink
	}
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if dir.dir.lookup(name) != nil {
		return errDuplicate
	}
	return dir.hardLink(name, n)
}

// finish sets the times of directories, once nothing more is put into them.
func (l *loader) finish() {
	for n, t := range l.dirTimes {
		l.setTime(n, t)
	}
}

func (l *loader) child(dir *Node, name string) *Node {
	l.fs.mu.RLock()
	defer l.fs.mu.RUnlock()
	return dir.dir.lookup(name)
}

func (l *loader) create(dir *Node, name string, typ Type, target string) (*Node, error) {
	// One header can imply MaxDepth directories; this holds where the file
	// system has no bound of its own.
	if l.nodes++; l.nodes > MaxEntries {
		return nil, errEntries
	}
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if dir.dir.lookup(name) != nil {
		return nil, errDuplicate // made by another goroutine since child looked
	}
	return dir.create(name, typ, target)
}

func (l *loader) setTime(n *Node, mtime int64) {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	n.mtime = mtime
}

// splitName returns the components of an archive name. A leading "./" is
// accepted, as many archives have it; for a directory also a slash at the end.
func splitName(name string, dir bool) ([]string, error) {
	if err := checkText(name); err != nil {
		return nil, err
	}
	if name[0] == '/' {
		return nil, errAbsolute
	}
	if dir {
		name = strings.TrimSuffix(name, "/")
		if name == "." {
			return nil, nil
		}
	}
	path := strings.Split(strings.TrimPrefix(name, "./"), "/")
	if len(path) > MaxDepth {
		return nil, errDepth
	}
	for _, c := range path {
		switch {
		case c == "" || c == "." || c == "..":
			return nil, errName
		case len(c) > maxName:
			return nil, syscall.ENAMETOOLONG
		}
	}
	return path, nil
}

// mtime returns the modification time of an entry. WASI counts nanoseconds
// since 1970 without a sign, so times that it cannot say become the nearest.
func mtime(hdr *tar.Header) int64 {
	t := hdr.ModTime
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// clip keeps an error message about a hostile name short.
func clip(s string) string {
	if len(s) > maxName {
		return s[:maxName] + "…"
	}
	return s
}
