// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is a folder of files that each run may use and any run may lose. Its
// files are native code that is run unread: what a Keep has compiled, and the
// Keep's own program. So a Cache refuses files that anybody but this user
// could have written. In a TEE, where the user is the attacker, there is none.
type Cache struct {
	dir string
	max int64 // bytes of all entries
	log *slog.Logger
}

const (
	// An entry's time of change is when it was last used, give or take this.
	usedEvery = time.Hour
	// A temporary file this old was left behind by a run that was killed.
	staleAfter = time.Hour
)

// ErrCache says that there is no place for a cache.
var ErrCache = errors.New("loader: no cache")

// CacheDir returns where a user's caches are: the folder enarx under
// $XDG_CACHE_HOME or ~/.cache.
func CacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(base) { // the XDG specification: others are to be ignored
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", fmt.Errorf("%w: HOME is not set", ErrCache)
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "enarx"), nil
}

// OpenCache opens the cache in dir, which is made if need be, and which shall
// not hold more than max bytes.
func OpenCache(dir string, max int64, log *slog.Logger) (*Cache, error) {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	if !info.IsDir() || !oursAlone(info) {
		return nil, fmt.Errorf("%w: %s is not a directory that only this user can write", ErrCache, dir)
	}
	return &Cache{dir: dir, max: max, log: log}, nil
}

// oursAlone says whether nobody but this user (and root) can have written a file.
func oursAlone(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uint32(os.Geteuid()) && info.Mode().Perm()&0o022 == 0
}

// lookup returns the entry for key, or nil.
func (c *Cache) lookup(key string) *os.File {
	path := filepath.Join(c.dir, key)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Debug("cache entry not opened", "err", err)
		}
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || !oursAlone(info) {
		c.log.Warn("cache entry ignored: not a file that only this user can write", "path", path)
		f.Close()
		return nil
	}
	if time.Since(info.ModTime()) > usedEvery {
		_ = os.Chtimes(path, time.Time{}, time.Now()) // only an order of eviction
	}
	return f
}

// add makes key the entry that write writes, all of it or none.
func (c *Cache) add(key string, mode fs.FileMode, write func(f *os.File) error) (err error) {
	f, err := os.CreateTemp(c.dir, "tmp-")
	if err != nil {
		return fmt.Errorf("writing a cache entry: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a cache entry: %w", err)
	}
	if err := os.Rename(f.Name(), filepath.Join(c.dir, key)); err != nil {
		return fmt.Errorf("keeping a cache entry: %w", err)
	}
	c.evict()
	return nil
}

// evict removes what was used longest ago until the rest fits.
func (c *Cache) evict() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.log.Debug("cache not read", "err", err)
		return
	}
	var files []fs.FileInfo
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(e.Name(), "tmp-") {
			if time.Since(info.ModTime()) > staleAfter {
				os.Remove(filepath.Join(c.dir, e.Name()))
			}
			continue
		}
		files, total = append(files, info), total+info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= c.max {
			return
		}
		if err := os.Remove(filepath.Join(c.dir, f.Name())); err == nil {
			total -= f.Size()
		}
	}
}
