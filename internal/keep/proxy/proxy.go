// SPDX-License-Identifier: Apache-2.0

// Package proxy does for a Keep what its shim forwards: calls on descriptors,
// on the thread of the vCPU that asks. The shim may be in the hands of its
// workload, so nothing in a request is trusted: descriptors are named by handles
// that this package gave out, lengths are compared with the block, and kinds of
// sockets, options and flags are on the same lists as internal/confine's. What
// a Keep can do to its host is what is written here.
package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

// ErrFiles says that the descriptors of a Keep could not be made ready.
var ErrFiles = errors.New("proxy: the descriptors of the Keep cannot be duplicated")

type kind uint8

const (
	none kind = 1 << iota
	stream
	pipe
	event
	epoll
	socket
	text
)

// A state is a handle's generation, whether it is closed, and how many use the
// descriptor: each call under way, and the table until it is closed. The
// descriptor is closed when nobody is left, as Linux does with a file that a
// blocked call still holds; its number means nothing else before that.
const (
	one      = uint64(1)
	closed   = uint64(1) << 23
	refs     = closed - 1
	genShift = 24
)

type entry struct {
	state atomic.Uint64
	fd    int32 // written while nobody has the handle
	kind  kind
}

// Proxy holds one Keep's descriptors.
type Proxy struct {
	log     *slog.Logger
	entries [sallyport.MaxHandles]entry

	mu    sync.Mutex
	free  []uint16 // indices that no handle has
	flags []int    // of the descriptors at start, before the Keep
}

// New makes handles 0 to len(files)-1 of duplicates of files.
func New(files []*os.File, log *slog.Logger) (*Proxy, error) {
	if len(files) > sallyport.MaxDescriptors {
		return nil, fmt.Errorf("%w: %d, more than %d", ErrFiles, len(files), sallyport.MaxDescriptors)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{log: log, free: make([]uint16, 0, sallyport.MaxHandles)}
	for i := sallyport.MaxHandles - 1; i >= 0; i-- {
		p.free = append(p.free, uint16(i))
	}
	for i, f := range files {
		if err := p.addFile(f); err != nil {
			p.Close()
			return nil, fmt.Errorf("%w: number %d: %w", ErrFiles, i, err)
		}
	}
	return p, nil
}

// addFile duplicates f without os.File.Fd, which would make it blocking.
func (p *Proxy) addFile(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	fd, flags, dupErr := -1, 0, error(nil)
	if err := conn.Control(func(old uintptr) {
		if fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3); dupErr == nil {
			flags, dupErr = unix.FcntlInt(old, unix.F_GETFL, 0)
		}
	}); err != nil {
		return err
	}
	if dupErr != nil {
		return dupErr
	}
	if p.add(fd, stream) < 0 {
		return unix.EMFILE
	}
	p.flags = append(p.flags, flags)
	return nil
}

// add gives fd, which is open, a new handle, or closes it.
func (p *Proxy) add(fd int, k kind) int64 {
	p.mu.Lock()
	n := len(p.free)
	if n == 0 {
		p.mu.Unlock()
		unix.Close(fd)
		return -int64(unix.ENFILE)
	}
	i := p.free[n-1]
	p.free = p.free[:n-1]
	p.mu.Unlock()
	e := &p.entries[i]
	gen := e.state.Load() >> genShift
	e.fd, e.kind = int32(fd), k
	e.state.Store(gen<<genShift | one)
	return int64(uint64(i) | gen<<sallyport.HandleBits)
}

// acquire returns the descriptor of a handle that is of one of the kinds, which
// stays open until release.
func (p *Proxy) acquire(handle uint64, kinds kind) (*entry, int64) {
	if !sallyport.ValidHandle(handle) {
		return nil, -int64(unix.EBADF)
	}
	e := &p.entries[sallyport.HandleIndex(handle)]
	for {
		s := e.state.Load()
		if s>>genShift != handle>>sallyport.HandleBits || s&closed != 0 || s&refs == 0 || s&refs == refs {
			return nil, -int64(unix.EBADF)
		}
		if e.state.CompareAndSwap(s, s+one) {
			break
		}
	}
	if e.kind&kinds == 0 {
		p.release(e)
		return nil, -int64(unix.EINVAL)
	}
	return e, 0
}

// release ends what acquire began.
func (p *Proxy) release(e *entry) {
	if s := e.state.Add(^uint64(0)); s&refs == 0 {
		p.remove(e, s)
	}
}

// remove closes the descriptor of an entry that nobody has any more.
func (p *Proxy) remove(e *entry, s uint64) {
	unix.Close(int(e.fd))
	e.kind = none
	e.state.Store((s>>genShift + 1) << genShift)
	p.mu.Lock()
	p.free = append(p.free, p.index(e))
	p.mu.Unlock()
}

// close takes the table's own reference away.
func (p *Proxy) close(handle uint64) int64 {
	e, errno := p.acquire(handle, ^none)
	if errno != 0 {
		return errno
	}
	for {
		s := e.state.Load()
		if s&closed != 0 { // another vCPU was faster
			p.release(e)
			return -int64(unix.EBADF)
		}
		if e.state.CompareAndSwap(s, (s|closed)-one) {
			break
		}
	}
	p.release(e)
	return 0
}

// Close closes all descriptors; calls under way keep theirs until they return.
// Files that were there at start get their flags back, which other processes
// share.
func (p *Proxy) Close() {
	for i, flags := range p.flags {
		if e, errno := p.acquire(uint64(i), stream); errno == 0 {
			now, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFL, 0)
			if err == nil && (now^flags)&unix.O_NONBLOCK != 0 {
				// Nobody is left to tell of a failure.
				unix.FcntlInt(uintptr(e.fd), unix.F_SETFL, flags)
			}
			p.release(e)
		}
	}
	for i := range p.entries {
		s := p.entries[i].state.Load()
		if s&refs != 0 && s&closed == 0 {
			p.close(uint64(i) | s>>genShift<<sallyport.HandleBits)
		}
	}
}
