// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"gocloud.dev/blob/driver"
	"golang.org/x/sys/unix"
)

const (
	// flushSize is how much of a large file is written before the kernel is
	// asked to begin writing it out, so that the sync at its end is short.
	flushSize = 8 << 20

	// largeObject is from what size on the free space is looked at.
	largeObject = 64 << 10
)

type writer struct {
	b       *Bucket
	ctx     context.Context
	key     string
	tmp     string
	f       *os.File
	ifNone  bool
	n       int64 // written
	flushed int64
	err     error // of a step, after which nothing else counts
}

// NewTypedWriter returns a writer of an object, which is there from Close on,
// or not at all: also if the context is cancelled before.
func (b *Bucket) NewTypedWriter(ctx context.Context, key, _ string, opts *driver.WriterOptions) (driver.Writer, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if opts.BeforeWrite != nil {
		if err := opts.BeforeWrite(func(any) bool { return false }); err != nil {
			return nil, err
		}
	}
	name, f, err := b.createTemp()
	if err != nil {
		return nil, err
	}
	return &writer{b: b, ctx: ctx, key: key, tmp: name, f: f, ifNone: opts.IfNotExist}, nil
}

// createTemp makes a file in tmp. It is locked as long as it is open, so that
// Sweep knows whose process is dead.
func (b *Bucket) createTemp() (name string, f *os.File, err error) {
	for {
		var random [tempBytes]byte
		_, _ = rand.Read(random[:]) // never fails
		name = tmp + "/" + hex.EncodeToString(random[:])
		err = b.step(Create, name, "", func() error {
			f, err = b.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			return err
		})
		if err != nil {
			return "", nil, err
		}
		_ = unix.Flock(int(f.Fd()), unix.LOCK_EX) // where there are no locks, Sweep is careful
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink > 0 {
			return name, f, err
		}
		_ = f.Close() // swept before it was locked
	}
}

// Write writes on.
func (w *writer) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	end := w.n + int64(len(p))
	switch {
	case w.err != nil || strings.HasPrefix(w.key, Vital):
	case end > largeObject && (w.n <= largeObject || w.n/flushSize != end/flushSize):
		w.err = w.b.checkFree(flushSize + w.b.opts.Reserve)
	case w.n == 0:
		w.err = w.b.checkFree(int64(len(p)) + w.b.opts.Reserve/4)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.write(p)
	w.n += int64(n)
	if w.n-w.flushed >= flushSize {
		// Only a hint: the sync tells of errors.
		_ = unix.SyncFileRange(int(w.f.Fd()), w.flushed, w.n-w.flushed, unix.SYNC_FILE_RANGE_WRITE)
		w.flushed = w.n
	}
	w.err = err
	return n, err
}

func (w *writer) write(p []byte) (n int, err error) {
	s := Step{Op: Write, Path: w.tmp, Data: p}
	if w.b.opts.Before != nil {
		err = w.b.opts.Before(&s)
	}
	switch {
	case err == nil && len(s.Data) == len(p):
		n, err = w.f.Write(p)
	case len(s.Data) < len(p):
		n, _ = w.f.Write(s.Data)
		if err == nil {
			err = io.ErrShortWrite
		}
	}
	if w.b.opts.After != nil {
		w.b.opts.After(s, err)
	}
	return n, err
}

// checkFree returns ENOSPC unless so many bytes are free.
func (b *Bucket) checkFree(want int64) error {
	f, err := b.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil // then the write itself will tell
	}
	if free := int64(st.Bavail) * st.Bsize; free < want {
		return fmt.Errorf("%d bytes are free, and some of them are reserved: %w", free, unix.ENOSPC)
	}
	return nil
}

// Close puts the object in its place.
func (w *writer) Close() error {
	err := w.err
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil {
		err = w.finish()
	}
	if err != nil && w.tmp != "" {
		w.removeTemp()
	}
	if closing := w.f.Close(); err == nil {
		err = closing
	}
	return err
}

func (w *writer) removeTemp() {
	// Else it is swept later.
	_ = w.b.step(Remove, w.tmp, "", func() error { return w.b.root.Remove(w.tmp) })
	w.tmp = ""
}

func (w *writer) finish() error {
	if w.ifNone {
		if err := w.b.absent(w.key); err != nil {
			return err
		}
	}
	if err := w.b.step(Sync, w.tmp, "", w.f.Sync); err != nil {
		return err
	}
	folder := path.Dir(w.key)
	if err := w.b.makeFolder(folder); err != nil {
		return err
	}
	if err := w.place(); err != nil {
		return err
	}
	if err := w.b.syncFolder(folder); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(w.f.Fd()), &st); err == nil {
		w.b.remember(w.key, &st)
	}
	return nil
}

func (w *writer) place() error {
	b := w.b
	if !w.ifNone {
		err := b.step(Rename, w.tmp, w.key, func() error { return b.root.Rename(w.tmp, w.key) })
		if err == nil {
			w.tmp = ""
		}
		return err
	}
	err := b.step(Link, w.tmp, w.key, func() error { return b.root.Link(w.tmp, w.key) })
	if errors.Is(err, fs.ErrExist) {
		if err := b.absent(w.key); err != nil {
			return err
		}
		return errExists // and gone again
	}
	if err == nil {
		w.removeTemp()
	}
	return err
}

// absent returns errExists if an object is there: durably, as it is going to
// be relied upon.
func (b *Bucket) absent(key string) error {
	st, err := b.stat(key)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	if err := b.settle(key, st); err != nil {
		return err
	}
	return errExists
}

// Sweep deletes the files in tmp whose writers are dead, and returns how many
// they were. What has not a name of ours is somebody else's: the directory may
// be none of a bucket, but / or /var by mistake.
func (b *Bucket) Sweep() (int, error) {
	dir, err := b.root.Open(tmp)
	if err != nil {
		return 0, err
	}
	defer func() { _ = dir.Close() }()
	swept := 0
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			if !isTemp(name) {
				continue
			}
			if ok, err := b.sweep(tmp + "/" + name); err != nil {
				return swept, err
			} else if ok {
				swept++
			}
		}
		if err == io.EOF {
			return swept, nil
		} else if err != nil {
			return swept, err
		}
	}
}

// isTemp reports whether a file in tmp has a name as create makes them.
func isTemp(name string) bool {
	random, err := hex.DecodeString(name)
	return err == nil && len(random) == tempBytes
}

func (b *Bucket) sweep(name string) (bool, error) {
	f, err := b.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case time.Since(info.ModTime()) < 24*time.Hour: // there are no locks here
		return false, nil
	}
	err = b.step(Remove, name, "", func() error { return b.root.Remove(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func statOf(info fs.FileInfo) (*unix.Stat_t, error) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errNot
	}
	return &unix.Stat_t{
		Ino: sys.Ino, Size: sys.Size, Mode: sys.Mode,
		Mtim: unix.Timespec(sys.Mtim), Ctim: unix.Timespec(sys.Ctim),
	}, nil
}
