// SPDX-License-Identifier: Apache-2.0

// Package packdir packs a host directory into the tar stream that
// memfs.FS.LoadTar takes. It runs on the host, before a Keep starts, with the
// rights of the user who named the directory.
//
// The tree may change while it is read, by someone else's hand: it is read
// through os.Root, so that nothing outside the named directory is ever packed,
// symbolic links are packed and not followed, and nothing is opened that could
// block.
package packdir

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"unicode/utf8"

	"enarx.dev/enarx/internal/memfs"
)

// Options bounds what is packed.
type Options struct {
	// MaxBytes bounds what the directory takes in a memfs.FS, file contents
	// and bookkeeping together. Zero means no bound.
	MaxBytes int64
}

var (
	// ErrTooBig is wrapped when the directory exceeds Options.MaxBytes, or
	// what memfs accepts in entries or depth.
	ErrTooBig = errors.New("packdir: directory is too big")

	// ErrChanged is wrapped when a file was replaced or cut while it was read.
	ErrChanged = errors.New("packdir: changed while being read")
)

// WriteTar packs the contents of hostDir to w, in the order of their names, and
// finishes the archive. What a Keep's file system has no place for (sockets,
// pipes, devices, names that are not UTF-8) is left out; skipped lists it, each
// as "name: reason".
func WriteTar(ctx context.Context, w io.Writer, hostDir string, opt Options) (skipped []string, err error) {
	root, err := os.OpenRoot(hostDir)
	if err != nil {
		return nil, fmt.Errorf("packing directory: %w", err)
	}
	defer root.Close()
	p := packer{
		tw: tar.NewWriter(w), max: opt.MaxBytes,
		buf: make([]byte, 256<<10),
	}
	if err := p.top(ctx, root); err != nil {
		return p.skipped, fmt.Errorf("packing directory %s: %w", hostDir, err)
	}
	if err := p.tw.Close(); err != nil {
		return p.skipped, fmt.Errorf("packing directory %s: %w", hostDir, err)
	}
	return p.skipped, nil
}

type packer struct {
	tw      *tar.Writer
	max     int64
	used    int64
	entries int
	skipped []string
	buf     []byte
}

func (p *packer) top(ctx context.Context, root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if err := p.header("./", tar.TypeDir, info, 0, ""); err != nil {
		return err
	}
	return p.directory(ctx, root, "", 0)
}

// directory packs what is in root, whose name in the archive is prefix.
func (p *packer) directory(ctx context.Context, root *os.Root, prefix string, depth int) error {
	if depth == memfs.MaxDepth {
		return fmt.Errorf("%w: %q is more than %d directories deep", ErrTooBig, prefix, memfs.MaxDepth)
	}
	names, err := list(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.entry(ctx, root, name, path.Join(prefix, name), depth); err != nil {
			return err
		}
	}
	return nil
}

func list(root *os.Root) ([]string, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (p *packer) entry(ctx context.Context, root *os.Root, name, full string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !utf8.ValidString(name) {
		p.skip(full, "name is not UTF-8")
		return nil
	}
	if len(full) > memfs.MaxPath {
		return fmt.Errorf("%w: a name is longer than %d bytes", ErrTooBig, memfs.MaxPath)
	}
	switch mode := info.Mode(); mode.Type() {
	case 0:
		return p.file(ctx, root, name, full, info)
	case fs.ModeDir:
		return p.subdirectory(ctx, root, name, full, info, depth)
	case fs.ModeSymlink:
		return p.symlink(root, name, full, info)
	default:
		p.skip(full, kind(mode))
		return nil
	}
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "unknown type of file"
}

func (p *packer) skip(name, why string) { p.skipped = append(p.skipped, name+": "+why) }

func (p *packer) subdirectory(ctx context.Context, root *os.Root, name, full string, info fs.FileInfo, depth int) error {
	sub, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	// Lstat saw a directory; a symbolic link may have taken its place since.
	now, err := sub.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(info, now) {
		return fmt.Errorf("%w: %q", ErrChanged, full)
	}
	if err := p.spend(memfs.Cost(name, memfs.Directory, 0)); err != nil {
		return err
	}
	if err := p.header(full+"/", tar.TypeDir, info, 0, ""); err != nil {
		return err
	}
	return p.directory(ctx, sub, full, depth+1)
}

func (p *packer) symlink(root *os.Root, name, full string, info fs.FileInfo) error {
	target, err := root.Readlink(name)
	if err != nil {
		return err
	}
	if !utf8.ValidString(target) || len(target) > memfs.MaxPath || target == "" {
		p.skip(full, "symbolic link to a name that is not UTF-8 or too long")
		return nil
	}
	if err := p.spend(memfs.Cost(name, memfs.Symlink, int64(len(target)))); err != nil {
		return err
	}
	return p.header(full, tar.TypeSymlink, info, 0, target)
}

func (p *packer) file(ctx context.Context, root *os.Root, name, full string, info fs.FileInfo) error {
	// O_NONBLOCK: opening a named pipe that took the file's place must not wait.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, now) {
		return fmt.Errorf("%w: %q", ErrChanged, full)
	}
	size := now.Size()
	if err := p.spend(memfs.Cost(name, memfs.Regular, size)); err != nil {
		return err
	}
	if err := p.header(full, tar.TypeReg, now, size, ""); err != nil {
		return err
	}
	return p.contents(ctx, f, full, size)
}

// contents copies the size bytes that the header announced: no more if the file
// has grown since, and no less.
func (p *packer) contents(ctx context.Context, f *os.File, full string, size int64) error {
	for size > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(p.buf[:min(size, int64(len(p.buf)))])
		if err == io.EOF {
			return fmt.Errorf("%w: %q became shorter", ErrChanged, full)
		}
		if err != nil {
			return err
		}
		if _, err := p.tw.Write(p.buf[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// header writes an entry. Owner and mode stay behind: they mean nothing in a
// Keep, and the user's are nobody else's business.
func (p *packer) header(name string, typ byte, info fs.FileInfo, size int64, target string) error {
	mode := int64(0o644)
	if typ == tar.TypeDir {
		mode = 0o755
	}
	return p.tw.WriteHeader(&tar.Header{
		Typeflag: typ,
		Name:     name,
		Linkname: target,
		Size:     size,
		Mode:     mode,
		ModTime:  info.ModTime(),
		Format:   tar.FormatPAX, // the one with nanoseconds
	})
}

// spend counts one entry and what it will take in the Keep, so that the user
// hears here, and not from inside the Keep, that it is too much.
func (p *packer) spend(cost int64) error {
	if p.entries++; p.entries >= memfs.MaxEntries {
		return fmt.Errorf("%w: it holds more than %d files", ErrTooBig, memfs.MaxEntries)
	}
	if p.used += cost; p.max > 0 && p.used > p.max {
		return fmt.Errorf("%w: its files take more than the limit of %d bytes", ErrTooBig, p.max)
	}
	return nil
}
