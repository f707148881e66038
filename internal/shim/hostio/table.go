// SPDX-License-Identifier: Apache-2.0

// Package hostio is the part of the shim that lends a program the host's
// descriptors. It holds the program's descriptor table, forwards calls through
// the sallyport, and believes nothing that comes back: results are checked for
// range, errors against a list per call, handles for being new, addresses for
// family and length, events against what was asked for (shim.md, B.4). Pointers
// stay here, epoll_event.data with them: the host knows a handle or a token.
// An answer that no kernel gives ends the Keep.
package hostio

import (
	"math/bits"
	"sync/atomic"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/spin"
)

// MaxFiles bounds the program's descriptors; RLIMIT_NOFILE says the same.
const MaxFiles = 4096

// maxWatches bounds what all epoll descriptors together watch. A power of two:
// an index from the host is masked as well as compared, so that a
// mispredicted branch reads no other memory.
const maxWatches = 2 * MaxFiles

type kind uint8

const (
	free   kind = iota
	stream      // there at start: may be anything that can be read or written
	pipe
	event
	epoll
	socket
	device // /dev/null and its kin; no handle
	text   // one of the host's three files; content is untrusted
)

// Devices, as a file's proto.
const (
	devNull = iota
	devZero
	devRandom
)

// file is an open file description: what dup shares.
type file struct {
	handle uint64
	pos    uint64 // of a text, guarded by Table.lock
	refs   int32  // descriptors and calls in flight; the slot is free at 0
	fds    int32  // descriptors; closed at 0
	watch  uint32 // first watch of this file, plus one
	next   uint32 // in the list of free slots, plus one
	self   uint16 // the slot's index

	kind   kind
	domain uint8 // of a socket
	typ    uint8
	proto  uint16 // of a socket, or which device
	access uint8  // O_RDONLY, O_WRONLY or O_RDWR
	state  atomic.Uint32
}

// Bits of a file's state. The host's description was once in a mode: that, and
// not the mode it is in, decides whether EAGAIN or EINTR is possible, whatever
// another thread does with fcntl while a call is on its way.
const (
	nonblock = 1 << iota
	listening
	everNonblock
	everBlocking
)

func (f *file) is(state uint32) bool { return f.state.Load()&state != 0 }

func (f *file) remote() bool { return f.kind != device }
func (f *file) dgram() bool  { return f.kind == socket && f.typ == sockDgram }

// number is a descriptor. A used number without a file is reserved by a call
// that will have one when the host has answered.
type number struct {
	file    uint16 // index plus one
	cloexec bool
}

// Table is the descriptor table of the Keep's one process.
type Table struct {
	// Abort ends the Keep. If it returns, which only tests let it do, the call
	// fails with EIO.
	Abort func(code uint64)
	// Random fills n bytes of user memory and returns n or -errno.
	Random func(cpu uint32, addr, n uint64) int64

	lock      spin.Lock // for all that follows; no call to the host is made under it
	used      [MaxFiles / 64]uint64
	numbers   [MaxFiles]number
	files     [MaxFiles]file
	handles   [sallyport.MaxHandles / 64]uint64 // indices of live handles
	watches   [maxWatches]watch
	freeFile  uint32 // first free slot, plus one
	freeWatch uint32
}

// Init makes the table of a new process: descriptors 0 to n-1 are handles 0 to
// n-1 of the host.
func (t *Table) Init(n int) {
	for i := MaxFiles - 1; i >= 0; i-- {
		t.files[i].next, t.files[i].self = t.freeFile, uint16(i)
		t.freeFile = uint32(i) + 1
	}
	for i := maxWatches - 1; i >= 0; i-- {
		t.watches[i].next = t.freeWatch
		t.freeWatch = uint32(i) + 1
	}
	for i := range min(max(n, 0), sallyport.MaxDescriptors) {
		fd, f := t.reserve(0, false)
		f.kind, f.access = stream, oRdwr
		f.state.Store(everBlocking | everNonblock) // shared with the host's other processes
		t.adopt(f, uint64(i))
		t.install(fd, f)
	}
}

func (t *Table) abort(code uint64) int64 {
	if t.Abort != nil {
		t.Abort(code)
	}
	return -abi.EIO
}

// reserve takes the lowest free number that is at least from, and a file. It
// returns -EMFILE or -ENFILE without.
func (t *Table) reserve(from uint32, cloexec bool) (int64, *file) {
	t.lock.Lock()
	fd := t.lowest(from)
	if fd < 0 {
		t.lock.Unlock()
		return -abi.EMFILE, nil
	}
	if t.freeFile == 0 { // possible while closed files still have calls in flight
		t.lock.Unlock()
		return -abi.ENFILE, nil
	}
	f := &t.files[t.freeFile-1]
	t.freeFile = f.next
	*f = file{refs: 1, fds: 1, self: f.self}
	t.take(uint32(fd), number{cloexec: cloexec})
	t.lock.Unlock()
	return fd, f
}

// lowest returns the lowest free number that is at least from, or -1.
func (t *Table) lowest(from uint32) int64 {
	if from >= MaxFiles {
		return -1
	}
	mask := ^uint64(0) << (from % 64)
	for w := from / 64; w < uint32(len(t.used)); w++ {
		if room := ^t.used[w] & mask; room != 0 {
			return int64(w*64) + int64(bits.TrailingZeros64(room))
		}
		mask = ^uint64(0)
	}
	return -1
}

func (t *Table) take(fd uint32, n number) {
	t.used[fd/64%uint32(len(t.used))] |= 1 << (fd % 64)
	t.numbers[fd%MaxFiles] = n
}

func (t *Table) untake(fd uint32) {
	t.used[fd/64%uint32(len(t.used))] &^= 1 << (fd % 64)
	t.numbers[fd%MaxFiles] = number{}
}

// install gives the reserved number fd its file.
func (t *Table) install(fd int64, f *file) {
	t.lock.Lock()
	t.numbers[fd%MaxFiles].file = f.self + 1
	t.lock.Unlock()
}

// cancel gives back what reserve took.
func (t *Table) cancel(fd int64, f *file) {
	t.lock.Lock()
	t.untake(uint32(fd))
	f.fds = 0
	t.unref(f)
	t.lock.Unlock()
}

// adopt makes f the owner of handle, which the host has just given. It reports
// false for what is no handle, or is somebody's already (B.4, rule 3).
func (t *Table) adopt(f *file, handle uint64) bool {
	if !sallyport.ValidHandle(handle) {
		return false
	}
	i := sallyport.HandleIndex(handle)
	t.lock.Lock()
	taken := t.handles[i/64]&(1<<(i%64)) != 0
	if !taken {
		t.handles[i/64] |= 1 << (i % 64)
		f.handle = handle
	}
	t.lock.Unlock()
	return !taken
}

// acquire returns the file of descriptor fd, which stays until release.
func (t *Table) acquire(fd uint32) *file {
	if fd >= MaxFiles {
		return nil
	}
	t.lock.Lock()
	i := t.numbers[fd%MaxFiles].file
	if i == 0 {
		t.lock.Unlock()
		return nil
	}
	f := &t.files[(i-1)%MaxFiles]
	f.refs++
	t.lock.Unlock()
	return f
}

func (t *Table) release(f *file) {
	t.lock.Lock()
	t.unref(f)
	t.lock.Unlock()
}

// unref drops one reference. The caller holds the lock.
func (t *Table) unref(f *file) {
	if f.refs--; f.refs == 0 {
		*f = file{next: t.freeFile, self: f.self}
		t.freeFile = uint32(f.self) + 1
	}
}

// drop removes descriptor fd and returns the handle to close, if that was the
// file's last. Calls in flight keep the file, but not the handle: the host may
// give its index to another file from here on, with another generation. The
// caller holds the lock.
func (t *Table) drop(fd uint32) (handle uint64, last bool) {
	f := &t.files[(t.numbers[fd%MaxFiles].file-1)%MaxFiles]
	t.untake(fd)
	handle = f.handle
	if f.fds--; f.fds == 0 && f.remote() {
		last = true
		i := sallyport.HandleIndex(handle)
		t.handles[i/64] &^= 1 << (i % 64)
		t.forget(f)
	}
	t.unref(f)
	return handle, last
}
