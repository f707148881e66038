// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
)

// maxNodes bounds a package, so that memory is bounded too.
const maxNodes = 50_000

// Tree is a local file or folder as a package: what is published, and what its
// digest is.
type Tree struct {
	Nodes []*Node // in the order of upload: the root first, parents before children, names by their bytes

	dir string // below which the files are
}

// Root returns the Meta of the root, which is what a tag says.
func (t *Tree) Root() drawbridge.Meta { return t.Nodes[0].Meta }

// Size returns the bytes of all nodes, listings too.
func (t *Tree) Size() (n int64) {
	for _, node := range t.Nodes {
		n += node.Meta.Length
	}
	return n
}

// Node is a file or folder of a Tree.
type Node struct {
	Path drawbridge.Path
	Meta drawbridge.Meta

	listing []byte // of a folder
	file    string // slash path below Tree.dir, of a file
}

// open returns the content. A file must still have its size; whether it has its
// content too, the server finds out.
func (t *Tree) open(n *Node, offset int64) (io.ReadCloser, error) {
	if n.file == "" {
		return io.NopCloser(bytes.NewReader(n.listing[offset:])), nil
	}
	f, err := os.OpenInRoot(t.dir, filepath.FromSlash(n.file))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() != n.Meta.Length || !info.Mode().IsRegular()) {
		err = fmt.Errorf("%s: %w", n.file, errChanged)
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var errChanged = errors.New("the file was changed meanwhile")

// NameError is a name that no Drawbridge takes.
type NameError struct {
	Path string // of the file, below the folder, with slashes
	Err  error
}

func (e *NameError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *NameError) Unwrap() error { return e.Err }

// BuildTree reads a file or folder and returns it as a package. The media
// types are those that upstream's clients give. Links are followed if they
// stay inside the folder; those that leave it, names that a Drawbridge does
// not take (*NameError), and what is neither file nor folder, are errors. Modes and times
// are no part of a package. progress may be nil.
func BuildTree(ctx context.Context, name string, progress func(Event)) (*Tree, error) {
	given := filepath.Base(name)
	name, err := filepath.EvalSymlinks(name) // the name itself may be a link to anywhere
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	w := &walker{tree: &Tree{dir: name}}
	base := "."
	if !info.IsDir() {
		w.tree.dir, base = filepath.Split(name)
		if w.tree.dir == "" {
			w.tree.dir = "."
		}
	}
	root, err := os.OpenRoot(w.tree.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	w.fs = root.FS()
	if err := w.walk(ctx, base, nil, nil); err != nil {
		return nil, err
	}
	if base != "." {
		w.tree.Nodes[0].Meta.Type = drawbridge.TypeByName(given)
	}
	if err := w.tree.hash(ctx, newMeter(progress, Hashing)); err != nil {
		return nil, err
	}
	if err := w.tree.list(); err != nil {
		return nil, err
	}
	return w.tree, nil
}

type walker struct {
	tree *Tree
	fs   fs.FS
}

// walk adds the file or folder at file, whose place in the package is p. above
// are the folders it is in: a link back to one of them has no end.
func (w *walker) walk(ctx context.Context, file string, p drawbridge.Path, above []fs.FileInfo) error {
	info, err := fs.Stat(w.fs, file)
	if link, linkErr := fs.Lstat(w.fs, file); err != nil && linkErr == nil && link.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a link that leads to nothing in the package: %w", file, err)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if len(w.tree.Nodes) == maxNodes {
		return fmt.Errorf("%s: more than %d files and folders", w.tree.dir, maxNodes)
	}
	node := &Node{Path: p}
	w.tree.Nodes = append(w.tree.Nodes, node)
	switch {
	case info.Mode().IsRegular():
		node.file = file
		node.Meta = drawbridge.Meta{Length: info.Size(), Type: drawbridge.TypeByName(path.Base(file))}
		return nil
	case !info.IsDir():
		return fmt.Errorf("%s is neither a file nor a folder", file)
	case len(p) == drawbridge.MaxDepth:
		return fmt.Errorf("%s: more than %d folders deep", file, drawbridge.MaxDepth)
	}
	for _, other := range above {
		if os.SameFile(info, other) {
			return fmt.Errorf("%s is a link to a folder that it is in", file)
		}
	}
	node.Meta.Type = drawbridge.TypeDirectory
	entries, err := fs.ReadDir(w.fs, file)
	if err != nil {
		return err
	}
	above = append(above[:len(above):len(above)], info)
	for _, e := range entries { // by name
		if err := drawbridge.CheckName(e.Name()); err != nil {
			return &NameError{Path: path.Join(file, e.Name()), Err: err}
		}
		if err := w.walk(ctx, path.Join(file, e.Name()), p.Child(e.Name()), above); err != nil {
			return err
		}
	}
	return nil
}

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// hash computes the digests of the files, several files at a time.
func (t *Tree) hash(ctx context.Context, m *meter) error {
	for _, n := range t.Nodes {
		m.expect(n.Meta.Length)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range t.Nodes {
		if n.file == "" {
			continue
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return t.hashFile(ctx, n, m)
		})
	}
	return group.Wait()
}

func (t *Tree) hashFile(ctx context.Context, n *Node, m *meter) error {
	f, err := t.open(n, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	h := drawbridge.NewHasher(drawbridge.All()...)
	for err == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		var k int
		k, err = f.Read(buf[:])
		_, _ = h.Write(buf[:k])
		m.add(n.Path, int64(k))
	}
	switch {
	case err != io.EOF:
		return err
	case h.Len() != n.Meta.Length:
		return fmt.Errorf("%s: %w", n.file, errChanged)
	}
	n.Meta.Digests = h.Sum()
	return nil
}

// list makes the listings, children before parents.
func (t *Tree) list() error {
	listings := map[string]drawbridge.Directory{}
	for i := len(t.Nodes) - 1; i >= 0; i-- {
		n := t.Nodes[i]
		key := n.Path.String()
		if n.file == "" {
			n.listing = listings[key].Canonical()
			delete(listings, key)
			if len(n.listing) > drawbridge.MaxJSON {
				return fmt.Errorf("folder %q: its listing would have %d bytes, more than %d", key, len(n.listing), drawbridge.MaxJSON)
			}
			n.Meta = drawbridge.MetaOf(n.listing, drawbridge.TypeDirectory)
		}
		if len(n.Path) == 0 {
			continue
		}
		parent := n.Path[:len(n.Path)-1].String()
		if listings[parent] == nil {
			listings[parent] = drawbridge.Directory{}
		}
		listings[parent][n.Path[len(n.Path)-1]] = drawbridge.Entry{Meta: n.Meta}
	}
	return nil
}
