// SPDX-License-Identifier: Apache-2.0

// Package live holds values that follow files: what a running server uses is
// replaced when the files change and the new ones are good, and kept when they
// are not.
package live

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Value is a T made from files. Readers never wait. It is safe for
// concurrent use.
type Value[T any] struct {
	name    string
	paths   []string
	load    func() (T, error)
	current atomic.Pointer[T]

	mu   sync.Mutex // one reload at a time; guards what follows
	seen string     // state of the paths when they were last read, good or bad
	next string     // state that they had at the last look
}

// New loads a value. name is what it is called in logs, paths are the files
// and folders whose change is worth loading it again.
func New[T any](name string, load func() (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{name: name, paths: paths, load: load}
	return v, v.Reload()
}

// Fixed returns a value that never changes.
func Fixed[T any](value T) *Value[T] {
	v := &Value[T]{name: "constant", load: func() (T, error) { return value, nil }}
	v.current.Store(&value)
	return v
}

// Get returns the value as it was last loaded.
func (v *Value[T]) Get() T { return *v.current.Load() }

// Name is what the value is called in logs.
func (v *Value[T]) Name() string { return v.name }

// Reload loads the value anew, and keeps the old one if that fails.
func (v *Value[T]) Reload() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reload(fingerprint(v.paths))
}

// reload takes the fingerprint from before the files were read, so that a
// change in between is seen next time.
func (v *Value[T]) reload(seen string) error {
	v.seen = seen
	value, err := v.load()
	if err != nil {
		return err
	}
	v.current.Store(&value)
	return nil
}

// Refresh loads the value anew if its files have changed since they were last
// read, and not since the last look: half a policy may well be a policy, and an
// empty one asks for nothing.
func (v *Value[T]) Refresh() (changed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := fingerprint(v.paths)
	settled := now == v.next
	v.next = now
	if now == v.seen || !settled {
		return false, nil
	}
	return true, v.reload(now)
}

// Reloadable is a Value of any type.
type Reloadable interface {
	Name() string
	Reload() error
	Refresh() (changed bool, err error)
}

// Watch refreshes the values every so often, which takes two looks, and reloads them all for each
// receive from now, until the context ends. report is told of each attempt.
func Watch(ctx context.Context, every time.Duration, now <-chan os.Signal, report func(name string, err error), values ...Reloadable) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
			for _, v := range values {
				report(v.Name(), v.Reload())
			}
		case <-tick.C:
			for _, v := range values {
				if changed, err := v.Refresh(); changed {
					report(v.Name(), err)
				}
			}
		}
	}
}

// fingerprint says what there is at the paths, without reading files. Folders
// count with the files in them. Links are followed: an orchestrator changes a
// mounted secret by changing where a link leads.
func fingerprint(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		describe(&b, path, info)
		if !info.IsDir() {
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
		for _, e := range entries {
			name := filepath.Join(path, e.Name())
			if info, err := os.Stat(name); err == nil {
				describe(&b, name, info)
			}
		}
	}
	return b.String()
}

func describe(b *strings.Builder, path string, info os.FileInfo) {
	fmt.Fprintf(b, "%s %d %d %d\n", path, info.Size(), info.ModTime().UnixNano(), inode(info))
}
