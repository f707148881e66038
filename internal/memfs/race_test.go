// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestConcurrent lets goroutines work on the same few names. Errors are
// expected; a data race, a broken tree or a lost byte is not.
func TestConcurrent(t *testing.T) {
	fs := New(8 << 20)
	names := []string{"a", "b", "c", "d/a", "d/b", "e/a", "d", "e", "d/x/y", "l/a"}
	build(t, fs, "d/", "e/", "d/x/", "l -> d")
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 7))
			for range 1500 {
				a, b := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
				churn(fs, rnd, a, b)
			}
		})
	}
	wg.Wait()
	check(t, fs)
	removeAll(t, fs, fs.Root())
	if fs.Used() != 0 {
		t.Errorf("%d in use, nothing left", fs.Used())
	}
}

// churn does one random operation and lets go of what it opened.
func churn(fs *FS, rnd *rand.Rand, a, b string) {
	root := fs.Root()
	switch rnd.IntN(9) {
	case 0, 1:
		n, err := fs.Open(root, a, Open{Create: true, Truncate: rnd.IntN(4) == 0})
		if err != nil {
			return
		}
		defer n.Release()
		p := make([]byte, rnd.IntN(3*blockSize))
		_, _ = n.WriteAt(p, rnd.Int64N(blockSize))
		_, _ = n.ReadAt(p, 0)
		_ = n.Truncate(rnd.Int64N(blockSize))
	case 2:
		_ = fs.Unlink(root, a)
	case 3:
		_ = fs.Rename(root, a, root, b)
	case 4:
		_ = fs.Link(root, a, root, b)
	case 5:
		_ = fs.Mkdir(root, a)
	case 6:
		_ = fs.Rmdir(root, a)
	case 7:
		_ = fs.Symlink(b, root, a)
	case 8:
		if n, err := fs.Lookup(root, a, true); err == nil {
			_ = n.Info()
			_, _ = n.ReadDir(0, 5)
			_ = n.SetTimes(new(int64), nil)
		}
	}
}

// removeAll empties a directory.
func removeAll(t testing.TB, fs *FS, dir *Node) {
	t.Helper()
	list, err := dir.ReadDir(cookieDotDot, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Type != Directory {
			err = fs.Unlink(dir, e.Name)
		} else {
			sub, lookupErr := fs.Lookup(dir, e.Name, false)
			if lookupErr != nil {
				t.Fatal(lookupErr)
			}
			removeAll(t, fs, sub)
			err = fs.Rmdir(dir, e.Name)
		}
		if err != nil {
			t.Fatalf("removing %q: %v", e.Name, err)
		}
	}
}

// TestConcurrentAppend checks that appends from several goroutines each land
// whole, at the place they are told.
func TestConcurrentAppend(t *testing.T) {
	fs := New(0)
	n := newFile(t, fs)
	const workers, rounds, size = 4, 300, 333
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + worker)}, size)
			for range rounds {
				c, end, err := n.Append(p)
				if c != size || err != nil {
					t.Errorf("appended %d: %v", c, err)
					return
				}
				q := make([]byte, size)
				if _, err := n.ReadAt(q, end-size); err != nil || !bytes.Equal(p, q) {
					t.Errorf("%q at %d: %v", q[:8], end, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := n.Info().Size; got != workers*rounds*size {
		t.Errorf("size %d", got)
	}
}

// TestConcurrentMove moves directories in and out of a jail while another
// goroutine walks up and down in it.
func TestConcurrentMove(t *testing.T) {
	fs := New(0)
	build(t, fs, "secret", "jail/", "jail/a/", "jail/a/b/", "jail/a/b/c/", "out/")
	jail := find(t, fs, "jail")
	secret := find(t, fs, "secret")
	var wg sync.WaitGroup
	var stop atomic.Bool
	wg.Go(func() {
		defer stop.Store(true)
		for i := range 4000 {
			from, to := "jail/a/b", "out/b"
			if i%2 == 1 {
				from, to = to, from
			}
			if err := fs.Rename(fs.Root(), from, fs.Root(), to); err != nil {
				t.Errorf("move %d: %v", i, err)
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				n, err := fs.Lookup(jail, "a/b/c/../../../../secret", true)
				if n == secret || err != syscall.EPERM && err != syscall.ENOENT {
					t.Errorf("reached %v, %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	check(t, fs)
}

func ExampleFS_Open() {
	fs := New(1 << 20)
	n, err := fs.Open(fs.Root(), "greeting", Open{Create: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Release()
	if _, _, err := n.Append([]byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.Info().Size)
	// Output: 5
}
