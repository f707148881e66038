// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// watch is one file that an epoll descriptor watches, under one of its numbers.
// The host knows it by a token: the slot's index with the slot's generation,
// which tells an event that was under way when the watch ended from one of its
// successor's. Go keeps pointers in data; the host must neither learn nor make
// them up.
type watch struct {
	data  uint64 // epoll_event.data, for the program alone
	gen   uint64
	mask  uint32 // events that may be reported; 0 in a free slot
	fd    uint32
	next  uint32 // of the same file, or in the list of free slots; plus one
	ep    uint16 // index of the epoll file
	file  uint16
	ready bool   // the host has been asked to watch, and has agreed
	mods  uint16 // EPOLL_CTL_MOD calls under way
	wide  bool   // they overlapped: which came last, only the host knows
}

func (r *req) epollCreate() int64 {
	if int32(r.a[0]) <= 0 {
		return -abi.EINVAL
	}
	return r.epollCreate1(0)
}

func (r *req) epollCreate1(flags uint64) int64 {
	if uint32(flags)&^oCloexec != 0 {
		return -abi.EINVAL
	}
	fd, f := r.t.reserve(0, uint32(flags) != 0)
	if fd < 0 {
		return fd
	}
	f.kind, f.access = epoll, oRdwr
	f.mode(true)
	return r.adopt(fd, f, r.host(abi.SYS_EPOLL_CREATE1, 0, 0, 0, 0, 0, sallyport.MaxHandle, errMake))
}

func (r *req) epollCtl(ep *file) int64 {
	op, fd := uint32(r.a[1]), uint32(r.a[2])
	var b [sallyport.EventEntry]byte
	if op != epollDel && !r.sp.CopyIn(r.cpu, b[:], r.a[3]) {
		return -abi.EFAULT
	}
	f := r.t.acquire(fd)
	if f == nil {
		return -abi.EBADF
	}
	ret := int64(-abi.EINVAL)
	switch {
	case f.kind == device || f.kind == text:
		ret = -abi.EPERM
	case ep.kind != epoll || ep == f:
	case op == epollAdd:
		ret = r.epollAdd(ep, f, fd, get32(b[:]), get64(b[4:]))
	case op == epollMod:
		ret = r.epollMod(ep, f, fd, get32(b[:]), get64(b[4:]))
	case op == epollDel:
		ret = r.epollDel(ep, f, fd)
	}
	r.t.release(f)
	return ret
}

// reportable is what the host may report for a watch of events.
func reportable(events uint32) uint32 { return events&epollBits | pollerr | pollhup }

// genShift leaves a generation 48 bits: a slot could change hands a million
// times a second for eight years.
const genShift = 16

func token(i uint32, gen uint64) uint64 { return uint64(i) | gen<<genShift }

// find returns the index of a watch plus one, or 0. The caller holds the lock.
func (t *Table) find(ep, f *file, fd uint32) uint32 {
	for i := f.watch; i != 0; i = t.watches[(i-1)%maxWatches].next {
		w := &t.watches[(i-1)%maxWatches]
		if w.ep == ep.self && w.fd == fd {
			return i
		}
	}
	return 0
}

func (r *req) epollAdd(ep, f *file, fd, events uint32, data uint64) int64 {
	t := r.t
	t.lock.Lock()
	if t.find(ep, f, fd) != 0 {
		t.lock.Unlock()
		return -abi.EEXIST
	}
	if ep.fds == 0 || f.fds == 0 { // another thread has just closed one
		t.lock.Unlock()
		return -abi.EBADF
	}
	i := t.freeWatch
	if i == 0 {
		t.lock.Unlock()
		return -abi.ENOSPC
	}
	w := &t.watches[(i-1)%maxWatches]
	t.freeWatch = w.next
	gen := w.gen
	*w = watch{data: data, gen: gen, mask: reportable(events), fd: fd, next: f.watch, ep: ep.self, file: f.self}
	f.watch = i
	t.lock.Unlock()

	ret := r.on(ep, abi.SYS_EPOLL_CTL, epollAdd, f.handle, uint64(events&(epollBits|epollModes)), token(i-1, gen), 0, errWatch)
	t.lock.Lock()
	if w.gen == gen && w.mask != 0 { // not forgotten meanwhile
		if ret < 0 {
			t.end(i)
		} else {
			w.ready = true
		}
	}
	t.lock.Unlock()
	return ret
}

func (r *req) epollMod(ep, f *file, fd, events uint32, data uint64) int64 {
	t := r.t
	t.lock.Lock()
	i := t.find(ep, f, fd)
	if i == 0 || !t.watches[(i-1)%maxWatches].ready {
		t.lock.Unlock()
		return -abi.ENOENT
	}
	// From here on the host may report either kind of events, and waiting
	// threads pass both on; it is narrowed again when it is known which.
	w := &t.watches[(i-1)%maxWatches]
	old := *w
	w.wide = w.mods > 0
	w.mods++
	w.data, w.mask = data, w.mask|reportable(events)
	t.lock.Unlock()

	errs := errWatch
	errs[0] |= 1 << abi.ENOENT
	ret := r.on(ep, abi.SYS_EPOLL_CTL, epollMod, f.handle, uint64(events&(epollBits|epollModes)), token(i-1, old.gen), 0, errs)
	t.lock.Lock()
	if w.gen == old.gen && w.mask != 0 {
		w.mods--
		switch {
		case w.wide:
		case ret < 0:
			w.data, w.mask = old.data, old.mask
		default:
			w.mask = reportable(events)
		}
	}
	t.lock.Unlock()
	return ret
}

func (r *req) epollDel(ep, f *file, fd uint32) int64 {
	t := r.t
	t.lock.Lock()
	i := t.find(ep, f, fd)
	if i == 0 || !t.watches[(i-1)%maxWatches].ready {
		t.lock.Unlock()
		return -abi.ENOENT
	}
	t.end(i) // whatever the host says: from here on, its events are stale
	t.lock.Unlock()
	errs := errWatch
	errs[0] |= 1 << abi.ENOENT
	return r.on(ep, abi.SYS_EPOLL_CTL, epollDel, f.handle, 0, 0, 0, errs)
}

// end removes the watch with index i, less one. The caller holds the lock.
func (t *Table) end(i uint32) {
	w := &t.watches[(i-1)%maxWatches]
	link := &t.files[w.file%MaxFiles].watch
	for *link != i && *link != 0 {
		link = &t.watches[(*link-1)%maxWatches].next
	}
	if *link == i {
		*link = w.next
	}
	*w = watch{gen: w.gen + 1, next: t.freeWatch}
	t.freeWatch = i
}

// forget ends the watches of a file that is closed, and those by it. The caller
// holds the lock.
func (t *Table) forget(f *file) {
	for f.watch != 0 {
		t.end(f.watch)
	}
	if f.kind != epoll {
		return
	}
	for i := range uint32(maxWatches) {
		if w := &t.watches[i]; w.mask != 0 && w.ep == f.self {
			t.end(i + 1)
		}
	}
}

const eventBatch = 16

func (r *req) epollWait(ep *file) int64 {
	if ep.kind != epoll || int32(r.a[2]) <= 0 || uint32(r.a[2]) > 1<<31/sallyport.EventEntry {
		return -abi.EINVAL
	}
	most := int64(min(uint32(r.a[2]), sallyport.MaxPoll))
	timeout := uint64(sallyport.Forever)
	if ms := int32(r.a[3]); ms >= 0 {
		timeout = uint64(ms)
	}
	for range maxSpurious {
		ret := r.on(ep, abi.SYS_EPOLL_WAIT, uint64(most), timeout, 0, 0, most, errWait)
		if ret <= 0 {
			return ret
		}
		if n := r.events(ep, uint32(ret)); n != 0 {
			return n
		}
	}
	return r.spurious(timeout)
}

// events gives the program the events that the host has left in the block, and
// returns how many there were for it: an event of a watch that has ended since
// is for nobody.
func (r *req) events(ep *file, count uint32) int64 {
	var batch [eventBatch * sallyport.EventEntry]byte
	n, done := uint32(0), uint64(0)
	for i := range count {
		at := sallyport.PayloadOffset + i*sallyport.EventEntry
		got := r.p.Load32(at + sallyport.EventMask)
		tok := uint64(r.p.Load32(at+sallyport.EventToken)) | uint64(r.p.Load32(at+sallyport.EventToken+4))<<32
		mask, data, ok := r.t.event(ep, got, tok)
		if !ok {
			return r.t.abort(sallyport.AbortHost)
		}
		if mask != 0 {
			put32(batch[n*sallyport.EventEntry%uint32(len(batch)):], mask)
			put64(batch[(n*sallyport.EventEntry+4)%uint32(len(batch)):], data)
			n++
		}
		if n == eventBatch || i+1 == count {
			bytes := uint64(n * sallyport.EventEntry)
			if !r.sp.CopyOut(r.cpu, r.a[1]+done, batch[:bytes%(uint64(len(batch))+1)]) {
				return -abi.EFAULT
			}
			done += bytes
			n = 0
		}
	}
	return int64(done / sallyport.EventEntry)
}

// event translates one event. It reports false for a token that was never
// given, or not for ep; mask is 0 if the watch is over.
func (t *Table) event(ep *file, got uint32, tok uint64) (mask uint32, data uint64, ok bool) {
	i, gen := uint32(tok&(1<<genShift-1)), tok>>genShift
	if i >= maxWatches {
		return 0, 0, false
	}
	t.lock.Lock()
	w := &t.watches[i%maxWatches]
	switch {
	case gen > w.gen || gen == w.gen && (w.mask == 0 || w.ep != ep.self):
	case gen < w.gen:
		ok = true
	default:
		mask, data, ok = got&w.mask, w.data, true
	}
	t.lock.Unlock()
	return mask, data, ok
}
