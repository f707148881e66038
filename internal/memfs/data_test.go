// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"bytes"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
)

func newFile(t testing.TB, fs *FS) *Node {
	t.Helper()
	n, err := fs.Open(fs.Root(), "file", Open{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDataModel compares random operations with a plain byte slice.
func TestDataModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	fs := New(1 << 30)
	n := newFile(t, fs)
	var model []byte
	grow := func(size int64) {
		if d := size - int64(len(model)); d > 0 {
			model = append(model, make([]byte, d)...)
		}
	}
	const span = 5 * blockSize
	for step := range 3000 {
		off := rnd.Int64N(span)
		if rnd.IntN(3) == 0 {
			off = off / blockSize * blockSize
		}
		p := make([]byte, rnd.IntN(2*blockSize)>>rnd.IntN(17))
		for i := range p {
			p[i] = byte(step) | 1
		}
		switch op := rnd.IntN(10); {
		case op < 4:
			if c, err := n.WriteAt(p, off); c != len(p) || err != nil {
				t.Fatalf("step %d: wrote %d of %d: %v", step, c, len(p), err)
			}
			if len(p) > 0 {
				grow(off + int64(len(p)))
				copy(model[off:], p)
			}
		case op < 5:
			c, end, err := n.Append(p)
			if c != len(p) || end != int64(len(model)+len(p)) || err != nil {
				t.Fatalf("step %d: appended %d of %d to %d: %v", step, c, len(p), end, err)
			}
			model = append(model, p...)
		case op < 6:
			if err := n.Truncate(off); err != nil {
				t.Fatal(err)
			}
			grow(off)
			model = model[:off]
		case op < 7:
			if err := n.Allocate(off, int64(len(p))+1); err != nil {
				t.Fatal(err)
			}
			grow(off + int64(len(p)) + 1)
		default:
			c, err := n.ReadAt(p, off)
			want := 0
			if off < int64(len(model)) {
				want = min(len(p), len(model)-int(off))
			}
			if err != nil || c != want {
				t.Fatalf("step %d: read %d at %d of %d: %v", step, c, off, len(model), err)
			}
			if want > 0 && !bytes.Equal(p[:c], model[off:int(off)+c]) {
				t.Fatalf("step %d: wrong data at %d", step, off)
			}
		}
		if got := n.Info().Size; got != int64(len(model)) {
			t.Fatalf("step %d: size %d, want %d", step, got, len(model))
		}
		if step%16 == 0 {
			check(t, fs, n)
		}
	}
	check(t, fs, n)
}

func TestSparse(t *testing.T) {
	const far = 1 << 60
	fs := New(1 << 20)
	n := newFile(t, fs)
	empty := fs.Used()
	if err := n.Truncate(far); err != nil || fs.Used() != empty {
		t.Fatalf("a hole takes %d bytes (%v)", fs.Used()-empty, err)
	}
	if c, err := n.WriteAt([]byte("x"), far+7); c != 1 || err != nil {
		t.Fatal(c, err)
	}
	if got := fs.Used() - empty; got > blockCost+blockSize {
		t.Errorf("one byte takes %d", got)
	}
	p := []byte("garbage garbage")
	if c, err := n.ReadAt(p, far); c != 8 || err != nil || string(p[:8]) != "\x00\x00\x00\x00\x00\x00\x00x" {
		t.Errorf("%d %q %v", c, p, err)
	}
	if c, err := n.ReadAt(p, far/2); c != len(p) || err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("%d %q %v", c, p, err)
	}
	if err := n.Truncate(1); err != nil || fs.Used() != empty {
		t.Errorf("after cutting, %d bytes are in use (%v)", fs.Used()-empty, err)
	}
	check(t, fs, n)
}

func TestOffsets(t *testing.T) {
	fs := New(1 << 20)
	n := newFile(t, fs)
	p := make([]byte, 10)
	for _, off := range []int64{-1, math.MinInt64} {
		if _, err := n.ReadAt(p, off); err != syscall.EINVAL {
			t.Errorf("read at %d: %v", off, err)
		}
		if _, err := n.WriteAt(p, off); err != syscall.EINVAL {
			t.Errorf("write at %d: %v", off, err)
		}
		if err := n.Truncate(off); err != syscall.EINVAL {
			t.Errorf("truncate to %d: %v", off, err)
		}
		if err := n.Allocate(off, 1); err != syscall.EINVAL {
			t.Errorf("allocate at %d: %v", off, err)
		}
		if err := n.Allocate(0, off); err != syscall.EINVAL {
			t.Errorf("allocate %d: %v", off, err)
		}
	}
	if _, err := n.WriteAt(p, math.MaxInt64-9); err != syscall.EFBIG {
		t.Errorf("write past the end of the world: %v", err)
	}
	if err := n.Allocate(math.MaxInt64, 1); err != syscall.EFBIG {
		t.Errorf("allocate past the end of the world: %v", err)
	}
	if c, err := n.WriteAt(p, math.MaxInt64-10); c != 10 || err != nil {
		t.Errorf("write up to the end of the world: %d, %v", c, err)
	}
	if _, _, err := n.Append(p); err != syscall.EFBIG {
		t.Errorf("append there: %v", err)
	}
	if c, err := n.ReadAt(p, math.MaxInt64); c != 0 || err != nil {
		t.Errorf("read there: %d, %v", c, err)
	}
	if c, err := n.ReadAt(p, math.MaxInt64-3); c != 3 || err != nil {
		t.Errorf("read before it: %d, %v", c, err)
	}
	if c, err := n.WriteAt(nil, math.MaxInt64); c != 0 || err != nil {
		t.Errorf("write nothing: %d, %v", c, err)
	}
	if err := n.Truncate(math.MaxInt64); err != nil {
		t.Errorf("truncate: %v", err)
	}
	if err := n.Truncate(0); err != nil {
		t.Errorf("truncate: %v", err)
	}
	check(t, fs, n)

	build(t, fs, "l -> f")
	for node, want := range map[*Node]error{fs.Root(): syscall.EISDIR, find(t, fs, "l"): syscall.EINVAL} {
		_, read := node.ReadAt(p, 0)
		_, write := node.WriteAt(p, 0)
		_, _, app := node.Append(p)
		for i, err := range []error{read, write, app, node.Truncate(0), node.Allocate(0, 1)} {
			if err != want {
				t.Errorf("operation %d on a node without data: %v, want %v", i, err, want)
			}
		}
	}
}

func TestNoSpace(t *testing.T) {
	const limit = 1 << 20
	fs := New(limit)
	n := newFile(t, fs)
	data := bytes.Repeat([]byte("x"), limit)
	c, err := n.WriteAt(data, 0)
	if err != nil || c == 0 || c >= limit || limit-fs.Used() >= blockCost+1 {
		t.Fatalf("wrote %d, %v, %d in use", c, err, fs.Used())
	}
	if _, err := n.WriteAt(data, int64(c)); err != syscall.ENOSPC {
		t.Errorf("writing on: %v", err)
	}
	if _, _, err := n.Append(data[:1]); err != syscall.ENOSPC {
		t.Errorf("appending: %v", err)
	}
	if c, err := n.WriteAt(data[:100], 0); c != 100 || err != nil {
		t.Errorf("overwriting: %d, %v", c, err)
	}
	if got := n.Info().Size; got != int64(c) {
		t.Errorf("size %d after failed writes, want %d", got, c)
	}
	if err := fs.Mkdir(fs.Root(), "d"); err != syscall.ENOSPC {
		t.Errorf("mkdir: %v", err)
	}
	if err := fs.Symlink("t", fs.Root(), "s"); err != syscall.ENOSPC {
		t.Errorf("symlink: %v", err)
	}
	if err := fs.Link(fs.Root(), "file", fs.Root(), "l"); err != syscall.ENOSPC {
		t.Errorf("link: %v", err)
	}
	if _, err := fs.Open(fs.Root(), "f", Open{Create: true}); err != syscall.ENOSPC {
		t.Errorf("create: %v", err)
	}
	check(t, fs, n)

	if err := fs.Unlink(fs.Root(), "file"); err != nil {
		t.Fatal(err)
	}
	if fs.Used() < limit/2 {
		t.Error("an open file does not count once its name is gone")
	}
	check(t, fs, n)
	n.Release()
	if fs.Used() != 0 {
		t.Errorf("%d in use, nothing left", fs.Used())
	}
	check(t, fs)
	p := make([]byte, 1)
	if c, err := n.ReadAt(p, 0); c != 1 || err != nil || p[0] != 'x' {
		t.Errorf("late read: %d %q %v", c, p, err)
	}
	if _, err := n.WriteAt(p, limit*2); err != syscall.ESTALE {
		t.Errorf("late write: %v", err)
	}
	if err := n.Truncate(0); err != nil || fs.Used() != 0 {
		t.Errorf("late truncate: %v, %d in use", err, fs.Used())
	}
}

func TestAllocate(t *testing.T) {
	fs := New(1 << 20)
	n := newFile(t, fs)
	empty := fs.Used()
	for _, tt := range []struct{ off, length, size int64 }{ // file_allocate
		{0, 100, 100}, {10, 10, 100}, {90, 20, 110},
	} {
		if err := n.Allocate(tt.off, tt.length); err != nil || n.Info().Size != tt.size {
			t.Errorf("%+v: %v, size %d", tt, err, n.Info().Size)
		}
	}
	if got := fs.Used() - empty; got != blockCost+blockSize {
		t.Errorf("reserved %d", got)
	}
	if err := n.Allocate(0, 1<<20); err != syscall.ENOSPC {
		t.Errorf("too much: %v", err)
	}
	if err := n.Allocate(0, math.MaxInt64); err != syscall.ENOSPC {
		t.Errorf("everything: %v", err)
	}
	if n.Info().Size != 110 {
		t.Errorf("size %d after failures", n.Info().Size)
	}
	if err := n.Allocate(0, 8*blockSize); err != nil {
		t.Fatal(err)
	}
	// Another file takes the rest; what was reserved must still be writable.
	rest, err := fs.Open(fs.Root(), "rest", Open{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rest.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	check(t, fs, n, rest)
	data := bytes.Repeat([]byte("y"), 8*blockSize)
	if c, err := n.WriteAt(data, 0); c != len(data) || err != nil {
		t.Errorf("writing what was reserved: %d, %v", c, err)
	}
	check(t, fs, n, rest)
	if err := n.Truncate(0); err != nil {
		t.Fatal(err)
	}
	check(t, fs, n, rest)

	free := New(0)
	huge := newFile(t, free)
	if err := huge.Allocate(0, math.MaxInt64); err != nil || huge.Info().Size != math.MaxInt64 {
		t.Errorf("without a bound: %v", err)
	}
	check(t, free, huge)
}

// TestAppendIsCheap writes a file in small pieces and looks at what is
// allocated: copying it each time would take hundreds of times its size.
func TestAppendIsCheap(t *testing.T) {
	fs := New(0)
	n := newFile(t, fs)
	piece := make([]byte, 100)
	const pieces = 20000
	allocs := testing.AllocsPerRun(1, func() {
		for range pieces {
			if _, _, err := n.Append(piece); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > pieces/20 {
		t.Errorf("%v allocations for %d appends", allocs, pieces)
	}
	check(t, fs, n)
}
