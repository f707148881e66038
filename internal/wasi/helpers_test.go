// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"fmt"
	"os"
	"testing"

	"enarx.dev/enarx/internal/memfs"
)

// memory is a guest's memory without an engine.
type memory []byte

func (m memory) Read(offset, n uint32) ([]byte, bool) {
	if uint64(offset)+uint64(n) > uint64(len(m)) {
		return nil, false
	}
	return m[offset : offset+n : offset+n], true
}

// byName holds Call of each function, by module and name.
var byName = func() map[string]map[string]Function {
	m := map[string]map[string]Function{Preview1: {}, Preview0: {}}
	for _, f := range Functions() {
		m[f.Module][f.Name] = f
	}
	return m
}()

// guest calls the functions as a program would.
type guest struct {
	testing.TB
	*Host
	mem    memory
	module string
	brk    uint32 // memory below is in use
}

const out = 8 // where guest's helpers have results written

func newGuest(t testing.TB, cfg Config) *guest {
	h := New(cfg)
	t.Cleanup(h.Close)
	return &guest{TB: t, Host: h, mem: make(memory, 1<<20), module: Preview1, brk: 1024}
}

// call passes integers as they are and strings as pointer and length.
func (g *guest) call(name string, args ...any) errno {
	g.Helper()
	f, ok := byName[g.module][name]
	if !ok {
		g.Fatalf("no function %s", name)
	}
	var stack []uint64
	for _, a := range args {
		switch v := a.(type) {
		case int:
			stack = append(stack, uint64(v))
		case uint32:
			stack = append(stack, uint64(v))
		case uint64:
			stack = append(stack, v)
		case string:
			stack = append(stack, uint64(g.put([]byte(v))), uint64(len(v)))
		default:
			g.Fatalf("argument of type %T", a)
		}
	}
	if len(stack) != len(f.Params) {
		g.Fatalf("%s takes %d arguments, not %d", name, len(f.Params), len(stack))
	}
	if len(stack) == 0 {
		stack = make([]uint64, 1)
	}
	f.Call(g.Host, g.mem, stack)
	return errno(stack[0])
}

// want calls and checks the result.
func (g *guest) want(e errno, name string, args ...any) {
	g.Helper()
	if got := g.call(name, args...); got != e {
		g.Errorf("%s%v = %d, want %d", name, args, got, e)
	}
}

// must is want(success), and ends the test otherwise.
func (g *guest) must(name string, args ...any) {
	g.Helper()
	if got := g.call(name, args...); got != success {
		g.Fatalf("%s%v = %d", name, args, got)
	}
}

// put copies data into guest memory.
func (g *guest) put(data []byte) uint32 {
	g.Helper()
	at := (g.brk + 7) &^ 7
	if int(at)+len(data) > len(g.mem) {
		at = 1024 // old strings are not used any more
	}
	copy(g.mem[at:], data)
	g.brk = at + uint32(len(data))
	return at
}

// iovecs describes buffers of guest memory, given as address and length pairs.
func (g *guest) iovecs(pairs ...uint32) (ptr uint32, n int) {
	var b []byte
	for _, v := range pairs {
		b = le.AppendUint32(b, v)
	}
	return g.put(b), len(pairs) / 2
}

func (g *guest) u32(at uint32) uint32 { return le.Uint32(g.mem[at:]) }
func (g *guest) u64(at uint32) uint64 { return le.Uint64(g.mem[at:]) }

const allRights = rightsEnd - 1

// open opens a path and returns the descriptor.
func (g *guest) open(dir uint32, path string, oflags int, base uint64, fdflags int) uint32 {
	g.Helper()
	g.must("path_open", dir, 0, path, oflags, base, uint64(allRights), fdflags, out)
	return g.u32(out)
}

func (g *guest) write(fd uint32, s string) errno {
	g.Helper()
	ptr, n := g.iovecs(g.put([]byte(s)), uint32(len(s)))
	return g.call("fd_write", fd, ptr, n, out)
}

// read reads up to n bytes.
func (g *guest) read(fd uint32, n uint32) (string, errno) {
	g.Helper()
	at := g.put(make([]byte, n))
	ptr, count := g.iovecs(at, n)
	if e := g.call("fd_read", fd, ptr, count, out); e != success {
		return "", e
	}
	return string(g.mem[at : at+g.u32(out)]), success
}

func (g *guest) wantRead(fd, n uint32, want string) {
	g.Helper()
	if got, e := g.read(fd, n); e != success || got != want {
		g.Errorf("fd_read(%d) = %q, %d; want %q", fd, got, e, want)
	}
}

// rights returns what fd_fdstat_get shows.
func (g *guest) rights(fd uint32) (base, inherit uint64) {
	g.Helper()
	g.must("fd_fdstat_get", fd, out)
	return g.u64(out + 8), g.u64(out + 16)
}

func (g *guest) flags(fd uint32) uint16 {
	g.Helper()
	g.must("fd_fdstat_get", fd, out)
	return le.Uint16(g.mem[out+2:])
}

// newTree returns a guest with one writable directory at 3, and the directory.
func newTree(t testing.TB) (*guest, *memfs.FS) {
	fs := memfs.New(0)
	g := newGuest(t, Config{Files: []File{Empty(), Sink(), Sink(), Dir("/", fs, fs.Root(), false)}})
	return g, fs
}

// pipe returns both ends of a pipe.
func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
