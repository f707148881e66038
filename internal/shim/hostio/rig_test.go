// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/keep/proxy"
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
	"enarx.dev/enarx/internal/shim/spin"
)

// The machine of a test: page tables, then the heap.
const (
	rigRoot = 0x8000
	rigHeap = 0x40_0000
	rigRAM  = 32 << 20
	rigCPUs = 8
)

func TestMain(m *testing.M) {
	spin.Relax = func(uint32) { runtime.Gosched() }
	os.Exit(m.Run())
}

// mapped returns memory that is not the Go heap's: blocks are shared with the
// host, and the race detector, which knows only memory that Go gave out, must
// not mistake a hostile host for a bug.
func mapped(t testing.TB, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b
}

// rig is a shim without a virtual machine: real tables, real user memory with
// page tables and all, a block per vCPU, and a host.
type rig struct {
	*Table
	t      testing.TB
	sp     *mem.Space
	ports  [rigCPUs]sallyport.Port
	blocks [rigCPUs][]byte
	host   func(block []byte, req *sallyport.Request) // serves a request
	aborts []uint64
	user   uint64 // user memory: userSize bytes, and nothing mapped behind
	forged bool   // requests may be anything, since the host writes to the block
}

const userSize = 1 << 20

func newRig(t testing.TB, descriptors int) *rig {
	t.Helper()
	r := &rig{Table: new(Table), t: t, sp: new(mem.Space)}
	ram := mapped(t, rigHeap+rigRAM)
	none := func() {}
	hooks := mem.Hooks{Flush: none, Shootdown: func(uint32) {}, Grow: func(uint32, uint64, uint64) bool { return false },
		Release: func(uint32, uint64, uint64) {}}
	if !r.sp.Init(unsafe.Pointer(&ram[0]), rigRoot, rigHeap, rigRAM, rigRAM, hooks) {
		t.Fatal("the space refuses its heap")
	}
	for i := range r.ports {
		r.blocks[i] = mapped(t, sallyport.BlockSize)
		var req sallyport.Request
		r.ports[i].Init(unsafe.Pointer(&r.blocks[i][0]), uint32(i), func(index uint32) {
			if !sallyport.ReadRequest(r.blocks[index], &req) && !r.forged {
				t.Errorf("the guest asked for number %#x", req.Nr)
			}
			r.host(r.blocks[index], &req)
		})
	}
	r.Table.Abort = func(code uint64) { r.aborts = append(r.aborts, code) }
	r.Table.Init(descriptors)
	const anonPrivate = 0x22
	addr := r.sp.Mmap(0, 0, userSize+abi.PageSize, abi.ProtRead|abi.ProtWrite, anonPrivate)
	if addr < 0 || r.sp.Munmap(0, uint64(addr)+userSize, abi.PageSize) != 0 {
		t.Fatal("no user memory", addr)
	}
	r.user = uint64(addr)
	return r
}

// newProxied makes a rig whose host is the real one.
func newProxied(t testing.TB, files ...*os.File) *rig {
	t.Helper()
	r := newRig(t, len(files))
	p, err := proxy.New(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	r.host = p.Serve
	t.Cleanup(func() {
		if len(r.aborts) != 0 {
			t.Errorf("an honest host made the shim abort: %v", r.aborts)
		}
		r.check()
	})
	return r
}

// on makes a system call on a vCPU.
func (r *rig) on(cpu int, nr uint64, a ...uint64) int64 {
	var args [6]uint64
	copy(args[:], a)
	ret, known := r.Call(r.sp, &r.ports[cpu], nr, &args)
	if !known {
		r.t.Errorf("call %d is not known", nr)
	}
	return ret
}

func (r *rig) call(nr uint64, a ...uint64) int64 { return r.on(0, nr, a...) }

// must makes a system call that succeeds.
func (r *rig) must(nr uint64, a ...uint64) uint64 {
	r.t.Helper()
	ret := r.call(nr, a...)
	if ret < 0 {
		r.t.Fatalf("call %d%v: %v", nr, a, unix.Errno(-ret))
	}
	return uint64(ret)
}

// fails makes a system call that fails with errno.
func (r *rig) fails(errno unix.Errno, nr uint64, a ...uint64) {
	r.t.Helper()
	if ret := r.call(nr, a...); ret != -int64(errno) {
		r.t.Errorf("call %d%v: %d (%v), not %v", nr, a, ret, unix.Errno(-ret), errno)
	}
}

func (r *rig) put(off uint64, b []byte) uint64 {
	r.t.Helper()
	if !r.sp.CopyOut(0, r.user+off, b) {
		r.t.Fatal("no memory")
	}
	return r.user + off
}

func (r *rig) get(off uint64, n int) []byte {
	r.t.Helper()
	b := make([]byte, n)
	if !r.sp.CopyIn(0, b, r.user+off) {
		r.t.Fatal("no memory")
	}
	return b
}

func (r *rig) get32(off uint64) uint32 { return binary.LittleEndian.Uint32(r.get(off, 4)) }

func (r *rig) put64(off uint64, words ...uint64) uint64 {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return r.put(off, b)
}

// sockaddr returns the bytes of a socket address.
func sockaddr(a netip.AddrPort) []byte {
	b := make([]byte, 28)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	if a.Addr().Is4() {
		b[0] = unix.AF_INET
		copy(b[4:], a.Addr().AsSlice())
		return b[:16]
	}
	b[0] = unix.AF_INET6
	copy(b[8:], a.Addr().AsSlice())
	return b
}

func addrPort(b []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b[2:])
	if b[0] == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port)
}

var loopback = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// bound makes a socket of the type that is bound to a loopback port.
func (r *rig) bound(typ uint64) (fd uint64, at netip.AddrPort) {
	r.t.Helper()
	fd = r.must(abi.SYS_SOCKET, unix.AF_INET, typ, 0)
	r.must(abi.SYS_BIND, fd, r.put(0, sockaddr(loopback)), 16)
	r.put(64, []byte{28, 0, 0, 0})
	r.must(abi.SYS_GETSOCKNAME, fd, r.user, r.user+64)
	if n := r.get32(64); n != 16 {
		r.t.Fatalf("an address of %d bytes", n)
	}
	return fd, addrPort(r.get(0, 16))
}

// check is what must be true of the table between calls, whatever happened.
func (r *rig) check() {
	r.t.Helper()
	t := r.Table
	fds := map[uint16]int32{}
	for fd := range t.numbers {
		n := t.numbers[fd]
		used := t.used[fd/64]&(1<<(fd%64)) != 0
		if used != (n.file != 0) {
			r.t.Fatalf("descriptor %d: used %v, file %d", fd, used, n.file)
		}
		if n.file != 0 {
			fds[n.file-1]++
		}
	}
	handles := map[uint32]bool{}
	watched := 0
	for i := range t.files {
		f := &t.files[i]
		if int(f.self) != i || f.fds != fds[uint16(i)] || f.refs != f.fds || (f.refs == 0) != (f.kind == free) {
			r.t.Fatalf("file %d: %d descriptors and %d references, kind %d; %d numbers", i, f.fds, f.refs, f.kind, fds[uint16(i)])
		}
		if f.refs > 0 && f.remote() {
			h := sallyport.HandleIndex(f.handle)
			if handles[h] || t.handles[h/64]&(1<<(h%64)) == 0 {
				r.t.Fatalf("file %d: handle %#x is not its own", i, f.handle)
			}
			handles[h] = true
		}
		for j := f.watch; j != 0; j = t.watches[j-1].next {
			w := &t.watches[j-1]
			if watched++; w.file != uint16(i) || w.mask == 0 || t.files[w.ep].kind != epoll || w.mods != 0 || !w.ready || watched > maxWatches {
				r.t.Fatalf("file %d: watch %d is %+v", i, j-1, *w)
			}
		}
	}
	marked := 0
	for _, w := range t.handles {
		for ; w != 0; w &= w - 1 {
			marked++
		}
	}
	frees, freeWatches := 0, 0
	for i := t.freeFile; i != 0 && frees <= MaxFiles; i = t.files[i-1].next {
		frees++
	}
	for i := t.freeWatch; i != 0 && freeWatches <= maxWatches; i = t.watches[i-1].next {
		freeWatches++
	}
	if marked != len(handles) || frees+len(fds) != MaxFiles || freeWatches+watched != maxWatches {
		r.t.Fatalf("%d handles marked, %d live; %d files free, %d open; %d watches free, %d in use",
			marked, len(handles), frees, len(fds), freeWatches, watched)
	}
}

func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ seed
	}
	return b
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that differ from the %d sent", what, len(got), len(want))
	}
}
