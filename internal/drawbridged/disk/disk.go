// SPDX-License-Identifier: Apache-2.0

// Package disk is a bucket of gocloud.dev/blob in a directory. Unlike that
// module's own, it says that an object is written only when it would survive a
// loss of power.
//
// An object is a file of the key's name. It is written under another name in
// the folder tmp, synced, and then linked (which fails if the key is taken) or
// renamed to its place, and the folder is synced. So an object is there whole
// or not at all, whatever happens, and any number of processes may work on one
// directory without a lock.
//
// What another process has just linked, and not yet synced, could still vanish.
// So this package shows no object before it is durable: of a young one that it
// has not written or synced itself, it syncs the folder first.
//
// Folders are never removed, and so never race with those who write to them.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
	"golang.org/x/sys/unix"
)

// An Op is a step that changes something on the disk.
type Op string

// The steps. Of these, only write has Data and only link and rename have To.
const (
	Create  Op = "create"  // a file in tmp
	Write   Op = "write"   // to it
	Sync    Op = "sync"    // it
	Link    Op = "link"    // it to its place
	Rename  Op = "rename"  // it to its place, over what is there
	Remove  Op = "remove"  // a file, in tmp too
	Mkdir   Op = "mkdir"   // a folder
	SyncDir Op = "syncdir" // a folder: what was linked, renamed, removed or made in it
)

// Step is one step, with paths below the directory.
type Step struct {
	Op       Op
	Path, To string
	Data     []byte
}

// Options are for tests, but for Reserve and ReadOnly.
type Options struct {
	// Before is called before each step. If it returns an error, the step is
	// not taken and fails with it. Of a write it may shorten Data: so much is
	// written then, and the write fails in any case.
	Before func(*Step) error

	// After is told how each step ended.
	After func(Step, error)

	// Reserve is how many bytes of the file system are left free by large
	// objects, and small ones leave a quarter of it. Those with the prefix Vital
	// may have the last byte. 0: 16 MiB.
	Reserve int64

	// ReadOnly opens a directory that is there, and changes nothing in it.
	ReadOnly bool
}

// Vital is the prefix of the keys without which nothing can be deleted: those
// of the collector.
const Vital = "gc/"

// The names that are not keys.
const (
	tmp       = "tmp"
	lostFound = "lost+found" // where the directory is a file system of its own
)

// tempBytes is the length of the random name of a file in tmp, which is
// written in hexadecimal.
const tempBytes = 16

// Bucket is the driver of a bucket in a directory. It is what As of the
// *blob.Bucket gives for a **Bucket.
type Bucket struct {
	root *os.Root
	opts Options

	mu      sync.Mutex
	folders map[string]bool    // durable, down from the root
	settled map[string]version // files that were seen to be durable while young
}

// version tells a file from an earlier one of the same name.
type version struct {
	inode  uint64
	change unix.Timespec
}

// remembered is how many entries each of the two maps has at most.
const remembered = 20_000

// OpenURL opens the bucket in the directory of file:///directory.
func OpenURL(s string, o Options) (*blob.Bucket, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not file:///directory", s)
	}
	return Open(filepath.FromSlash(u.Path), o)
}

// Open opens the bucket in a directory, which is made if it is not there, and
// deletes what processes that died have left in tmp.
func Open(dir string, o Options) (*blob.Bucket, error) {
	if o.Reserve == 0 {
		o.Reserve = 16 << 20
	}
	if !o.ReadOnly {
		if err := makeRoot(dir); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	b := &Bucket{root: root, opts: o, folders: map[string]bool{".": true}, settled: map[string]version{}}
	if o.ReadOnly {
		return blob.NewBucket(b), nil
	}
	err = b.makeFolder(tmp)
	if err == nil {
		_, err = b.Sweep()
	}
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return blob.NewBucket(b), nil
}

// makeRoot makes the directory, and its place durable.
func makeRoot(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	return parent.Sync()
}

// step takes one step, with the hooks around it. A write is not taken here.
func (b *Bucket) step(op Op, name, to string, take func() error) error {
	s := Step{Op: op, Path: name, To: to}
	var err error
	if b.opts.Before != nil {
		err = b.opts.Before(&s)
	}
	if err == nil {
		err = take()
	}
	if b.opts.After != nil {
		b.opts.After(s, err)
	}
	return err
}

var (
	errKey    = errors.New("not a key")
	errExists = errors.New("the object exists")
	errNot    = errors.New("not implemented")
)

// keyByte tells what keys are made of: nothing that any file system mangles.
func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("^~.+-_", c) >= 0
}

// isSegment reports whether s may be between the slashes of a key.
func isSegment(s string) bool {
	for i := range len(s) {
		if !keyByte(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 255 && s[0] != '.'
}

// checkKey returns an error unless a key is also a path, and below no name
// that is taken.
func checkKey(key string) error {
	segments := strings.Split(key, "/")
	for _, s := range segments {
		if !isSegment(s) {
			return fmt.Errorf("%w: %.300q", errKey, key)
		}
	}
	if len(key) > 1024 || segments[0] == tmp || segments[0] == lostFound {
		return fmt.Errorf("%w: %.300q", errKey, key)
	}
	return nil
}

// makeFolder makes a folder and those above it, and their places durable. It
// is done once for each by a process, even if another made it: nobody removes
// folders.
func (b *Bucket) makeFolder(name string) error {
	b.mu.Lock()
	known := b.folders[name]
	b.mu.Unlock()
	if known {
		return nil
	}
	parent := path.Dir(name)
	if err := b.makeFolder(parent); err != nil {
		return err
	}
	if info, err := b.root.Lstat(name); err != nil || !info.IsDir() {
		err := b.step(Mkdir, name, "", func() error { return b.root.Mkdir(name, 0o700) })
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := b.syncFolder(parent); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.folders) > remembered {
		clear(b.folders)
		b.folders["."] = true
	}
	b.folders[name] = true
	return nil
}

func (b *Bucket) syncFolder(name string) error {
	return b.step(SyncDir, name, "", func() error {
		f, err := b.root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return f.Sync()
	})
}

// youth is how long a file may be there without being durable: every file
// system writes its journal far sooner.
const youth = 10 * time.Minute

// settle makes a file durable that was just seen, if it may not be.
func (b *Bucket) settle(name string, st *unix.Stat_t) error {
	if !b.unsettled(name, st) {
		return nil
	}
	folder := path.Dir(name)
	if err := b.makeFolder(folder); err != nil {
		return err
	}
	if err := b.syncFolder(folder); err != nil {
		return err
	}
	b.remember(name, st)
	return nil
}

func (b *Bucket) unsettled(name string, st *unix.Stat_t) bool {
	if age := time.Since(time.Unix(st.Ctim.Unix())); age > youth {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settled[name] != version{st.Ino, st.Ctim}
}

func (b *Bucket) remember(name string, st *unix.Stat_t) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.settled) > remembered {
		clear(b.settled)
	}
	b.settled[name] = version{st.Ino, st.Ctim}
}

// stat returns what a file is, or fs.ErrNotExist if it is none.
func (b *Bucket) stat(name string) (*unix.Stat_t, error) {
	info, err := b.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	return statOf(info)
}

// Close closes the bucket.
func (b *Bucket) Close() error { return b.root.Close() }

// ErrorCode says what the errors of a Bucket are.
func (b *Bucket) ErrorCode(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, errKey):
		return gcerrors.InvalidArgument
	case errors.Is(err, errExists):
		return gcerrors.FailedPrecondition
	case errors.Is(err, errNot):
		return gcerrors.Unimplemented
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return gcerrors.NotFound
	case errors.Is(err, fs.ErrPermission):
		return gcerrors.PermissionDenied
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return gcerrors.ResourceExhausted
	}
	return gcerrors.Unknown
}

// As gives the Bucket for a **Bucket.
func (b *Bucket) As(i any) bool {
	p, ok := i.(**Bucket)
	if ok {
		*p = b
	}
	return ok
}

// ErrorAs gives what errors.As does.
func (b *Bucket) ErrorAs(err error, i any) bool { return errors.As(err, i) }

// Attributes returns the size of an object and when it was written.
func (b *Bucket) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	st, err := b.stat(key)
	if err != nil {
		return nil, err
	}
	if err := b.settle(key, st); err != nil {
		return nil, err
	}
	return &driver.Attributes{ContentType: contentType, ModTime: time.Unix(st.Mtim.Unix()), Size: st.Size}, nil
}

// contentType is that of every object: none is kept.
const contentType = "application/octet-stream"

// Delete removes an object for good.
func (b *Bucket) Delete(_ context.Context, key string, opts *driver.DeleteOptions) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if opts.BeforeDelete != nil {
		if err := opts.BeforeDelete(func(any) bool { return false }); err != nil {
			return err
		}
	}
	if _, err := b.stat(key); err != nil {
		return err // also for a folder, which Remove would take
	}
	if err := b.step(Remove, key, "", func() error { return b.root.Remove(key) }); err != nil {
		return err
	}
	return b.syncFolder(path.Dir(key))
}

// Copy is not implemented.
func (b *Bucket) Copy(context.Context, string, string, *driver.CopyOptions) error { return errNot }

// SignedURL is not implemented.
func (b *Bucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errNot
}
