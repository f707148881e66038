// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// maxSpurious is how often a wait starts again because the host has reported
// nothing that the program asked for. An honest host does so at most when
// another thread closes a file at the same time.
const maxSpurious = 16

const noHandle = ^uint64(0)

func (r *req) poll() int64 {
	timeout := uint64(sallyport.Forever)
	if ms := int32(r.a[2]); ms >= 0 {
		timeout = uint64(ms) * 1e6
	}
	return r.pollFor(timeout)
}

func (r *req) ppoll() int64 {
	timeout := uint64(sallyport.Forever)
	if r.a[2] != 0 {
		var b [16]byte
		if !r.sp.CopyIn(r.cpu, b[:], r.a[2]) {
			return -abi.EFAULT
		}
		sec, nsec := get64(b[:8]), get64(b[8:])
		if sec > 1<<63-1 || nsec >= 1e9 {
			return -abi.EINVAL
		}
		if sec < 1<<32 {
			timeout = sec*1e9 + nsec
		}
	}
	return r.pollFor(timeout)
}

// pollFor waits for events on an array of struct pollfd. The signal mask of
// ppoll is the caller's business.
func (r *req) pollFor(timeout uint64) int64 {
	count := uint32(r.a[1])
	if count > sallyport.MaxPoll {
		return -abi.EINVAL
	}
	for range maxSpurious {
		ready := r.pollAsk(count)
		if ready < 0 {
			return ready
		}
		wait := timeout
		if ready > 0 {
			wait = 0 // some are the shim's own, and always ready
		}
		ret := r.host(abi.SYS_POLL, uint64(count), wait, 0, 0, 0, int64(count), errWait)
		if ret < 0 {
			return ret
		}
		if n := r.pollAnswer(count); n != 0 || ret == 0 {
			return n
		}
	}
	return r.spurious(timeout)
}

// spurious is the result of a wait that a host keeps ending for nothing: what
// Linux gives at the end of the time, or for a signal. Every program that waits
// can take either.
func (r *req) spurious(timeout uint64) int64 {
	if timeout == sallyport.Forever {
		return -abi.EINTR
	}
	return 0
}

// pollEntry reads entry i of the program's array. The answer's filter reads it
// again: that memory is the program's, and the copy in the block is not.
func (r *req) pollEntry(i uint32) (fd int32, events uint32, ok bool) {
	var b [8]byte
	if !r.sp.CopyIn(r.cpu, b[:], r.a[0]+uint64(i)*8) {
		return 0, 0, false
	}
	return int32(get32(b[:])), get32(b[4:]) & 0xffff, true
}

// pollLocal answers for what the host has no handle of.
func (t *Table) pollLocal(fd int32, events uint32) (revents uint32, handle uint64) {
	if fd < 0 {
		return 0, noHandle
	}
	f := t.acquire(uint32(fd))
	if f == nil {
		return pollnval, noHandle
	}
	handle = f.handle
	if f.kind == device || f.kind == text {
		revents, handle = events&(pollin|pollout|pollrdnorm|pollwrnorm), noHandle
	}
	t.release(f)
	return revents, handle
}

// pollAsk writes the request and returns how many entries need no host.
func (r *req) pollAsk(count uint32) (ready int64) {
	for i := range count {
		fd, events, ok := r.pollEntry(i)
		if !ok {
			return -abi.EFAULT
		}
		revents, handle := r.t.pollLocal(fd, events)
		if revents != 0 {
			ready++
		}
		at := sallyport.PayloadOffset + i*sallyport.PollEntry
		r.p.Store64(at+sallyport.PollHandle, handle)
		r.p.Store32(at+sallyport.PollEvents, events)
		r.p.Store32(at+sallyport.PollRevents, 0)
	}
	return ready
}

// pollAnswer gives the program the events that are among those it asked for,
// and counts the entries itself.
func (r *req) pollAnswer(count uint32) (n int64) {
	for i := range count {
		fd, events, ok := r.pollEntry(i)
		if !ok {
			return -abi.EFAULT
		}
		revents, handle := r.t.pollLocal(fd, events)
		if handle != noHandle {
			got := r.p.Load32(sallyport.PayloadOffset + i*sallyport.PollEntry + sallyport.PollRevents)
			revents = got & (events | pollerr | pollhup | pollnval)
		}
		if revents != 0 {
			n++
		}
		b := [2]byte{byte(revents), byte(revents >> 8)}
		if !r.sp.CopyOut(r.cpu, r.a[0]+uint64(i)*8+6, b[:]) {
			return -abi.EFAULT
		}
	}
	return n
}
