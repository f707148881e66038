// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openCache(t *testing.T) *Cache {
	t.Helper()
	c, err := OpenCache(filepath.Join(t.TempDir(), "a", "b"), MaxModules, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// entries returns the names in the cache.
func entries(t *testing.T, c *Cache) (names []string) {
	t.Helper()
	list, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// TestCacheRuns runs a Keep that stores an entry, and runs it again.
func TestCacheRuns(t *testing.T) {
	c := openCache(t)
	l := launch(t, "cache", "999")
	l.Modules = c
	for _, step := range []struct {
		write, want string
		kept        int
	}{
		{"0", "", 0},
		{"999", "", 0}, // one byte short
		{"1000", "", 1},
		{"0", "entry 1000 <nil>\n", 1},
		{"1000", "entry 1000 <nil>\n", 1},
	} {
		l.Args[1] = step.write
		out, code, err := run(t, l)
		if out != step.want || code != 0 || err != nil {
			t.Errorf("storing %s: %q, %d, %v", step.write, out, code, err)
		}
		if got := entries(t, c); len(got) != step.kept {
			t.Errorf("storing %s leaves %q", step.write, got)
		}
	}

	name := filepath.Join(c.dir, entries(t, c)[0])
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// What others may have written is not used, nor is what is no file.
	l.Args[1] = "0"
	if err := os.Chmod(name, 0o620); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, l); out != "" || err != nil {
		t.Errorf("group-writable entry: %q, %v", out, err)
	}
	moved := filepath.Join(t.TempDir(), "entry")
	if err := errors.Join(os.Chmod(name, 0o600), os.Rename(name, moved), os.Symlink(moved, name)); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, l); out != "" || err != nil {
		t.Errorf("symbolic link: %q, %v", out, err)
	}

	// A pipe has no content to name an entry by.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Close()
	l.Module = r
	if out, _, err := run(t, l); out != "no store\n" || err != nil {
		t.Errorf("a pipe: %q, %v", out, err)
	}
}

func TestOpenCache(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCache(dir, MaxModules, log); !errors.Is(err, ErrCache) {
		t.Errorf("a directory anyone can write: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if _, err := OpenCache(path, MaxModules, log); !errors.Is(err, ErrCache) {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "relative")
	if dir, err := CacheDir(); !errors.Is(err, ErrCache) {
		t.Errorf("no HOME: %q, %v", dir, err)
	}
	t.Setenv("HOME", "/home/u")
	if dir, err := CacheDir(); dir != "/home/u/.cache/enarx" || err != nil {
		t.Errorf("HOME: %q, %v", dir, err)
	}
	t.Setenv("XDG_CACHE_HOME", "/x")
	if dir, err := CacheDir(); dir != "/x/enarx" || err != nil {
		t.Errorf("XDG_CACHE_HOME: %q, %v", dir, err)
	}
}

func TestKey(t *testing.T) {
	base, _ := key(strings.NewReader("module"), "image")
	same, _ := key(strings.NewReader("module"), "image")
	other, _ := key(strings.NewReader("module2"), "image")
	engine, _ := key(strings.NewReader("module"), "image2")
	if base != same || base == other || base == engine || len(base) != 64 {
		t.Errorf("keys %s %s %s %s", base, same, other, engine)
	}
}

// entry is a well-formed cache entry of n bytes.
func entry(n int) []byte {
	b := make([]byte, n)
	copy(b, entryMagic)
	binary.LittleEndian.PutUint64(b[len(entryMagic):], uint64(n))
	return b
}

func TestStore(t *testing.T) {
	c := openCache(t)
	c.max = 1000
	yes, no := func() bool { return true }, func() bool { return false }
	for name, bad := range map[string][]byte{
		"magic":    append([]byte("ENXCACHF"), entry(100)[8:]...),
		"short":    entry(100)[:99],
		"long":     append(entry(100), 0),
		"header":   entry(100)[:7],
		"too big":  entry(1001),
		"overflow": append([]byte(entryMagic), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"tiny":     append([]byte(entryMagic), 15, 0, 0, 0, 0, 0, 0, 0),
	} {
		if err := c.store("k", bytes.NewReader(bad), yes); err == nil {
			t.Errorf("%s is stored", name)
		}
	}
	if err := c.store("k", bytes.NewReader(entry(100)), no); err == nil {
		t.Error("the code of a changed module is stored")
	}
	if err := c.store("k", strings.NewReader(""), yes); err != nil {
		t.Errorf("nothing to store: %v", err)
	}
	if got := entries(t, c); len(got) != 0 {
		t.Fatalf("left behind: %q", got)
	}

	// The least recently used goes first, and an abandoned file with it.
	for i, k := range []string{"old", "used", "new"} {
		if err := c.store(k, bytes.NewReader(entry(400)), yes); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			at := time.Now().Add(time.Duration(i-5) * time.Hour)
			if err := os.Chtimes(filepath.Join(c.dir, k), at, at); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 {
			f := c.lookup("old")
			if f == nil {
				t.Fatal("old is not found")
			}
			f.Close()
		}
	}
	if got := strings.Join(entries(t, c), " "); got != "new old" {
		t.Errorf("kept %q, want the new one and the one just used", got)
	}
	tmp := filepath.Join(c.dir, "tmp-1")
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.evict()
	if _, err := os.Stat(tmp); err != nil {
		t.Error("a file being written was removed")
	}
	past := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(tmp, past, past); err != nil {
		t.Fatal(err)
	}
	c.evict()
	if _, err := os.Stat(tmp); err == nil {
		t.Error("an abandoned file is kept")
	}
}

// TestPrograms starts a Keep from memory, then from the file that the first
// left, and not from that file when it is not what was left.
func TestPrograms(t *testing.T) {
	c := openCache(t)
	l := launch(t, "exe")
	l.Images = c
	inMemory, onDisk := "memory\n", "disk\n"
	check := func(what, want string) {
		t.Helper()
		if out, code, err := run(t, l); out != want || code != 0 || err != nil {
			t.Errorf("%s: %q, %d, %v", what, out, code, err)
		}
	}
	check("first run", inMemory)
	check("second run", onDisk)
	names := entries(t, c)
	if len(names) != 1 {
		t.Fatalf("kept %q", names)
	}
	path := filepath.Join(c.dir, names[0])
	if err := os.Chmod(path, 0o520); err != nil {
		t.Fatal(err)
	}
	check("a program that others can write", inMemory)
	check("the program that replaced it", onDisk)
	if err := errors.Join(os.Chmod(path, 0o700), os.Truncate(path, 1000)); err != nil {
		t.Fatal(err)
	}
	check("half a program", inMemory)
	check("the program that replaced it", onDisk)

	if err := unix.Mount("tmpfs", c.dir, "tmpfs", unix.MS_NOEXEC, "mode=700"); err != nil {
		t.Skip("skipped the rest: mounting a file system:", err)
	}
	defer unix.Unmount(c.dir, 0)
	check("first run on noexec", inMemory)
	check("second run on noexec", inMemory)
	if got := entries(t, c); len(got) != 1 {
		t.Errorf("kept %q", got)
	}
}

// FuzzStore has a Keep, which is not trusted, write anything into the cache:
// what is kept is all it wrote and has the length it says, or nothing is kept.
func FuzzStore(f *testing.F) {
	f.Add(entry(100))
	f.Add(entry(100)[:50])
	f.Add([]byte(entryMagic))
	f.Add(append(entry(20), 1, 2, 3))
	c := &Cache{dir: f.TempDir(), max: 4096, log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(c.dir, "k")
		os.Remove(path)
		err := c.store("k", bytes.NewReader(data), func() bool { return true })
		kept, readErr := os.ReadFile(path)
		if (err == nil && len(data) > 0) != (readErr == nil) {
			t.Fatalf("store: %v, and the entry: %v", err, readErr)
		}
		if readErr == nil && !bytes.Equal(kept, data) {
			t.Fatalf("kept %d bytes of %d", len(kept), len(data))
		}
	})
}
