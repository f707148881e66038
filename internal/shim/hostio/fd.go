// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

func (r *req) close() int64 {
	if !r.closeNumber(uint32(r.a[0])) {
		return -abi.EBADF
	}
	return 0
}

// closeNumber frees a number at once and, with a file's last one, the host's
// descriptor. What the host says to that changes nothing here, as close on
// Linux has always closed when it returns.
func (r *req) closeNumber(fd uint32) bool {
	t := r.t
	t.lock.Lock()
	if fd >= MaxFiles || t.numbers[fd%MaxFiles].file == 0 {
		t.lock.Unlock()
		return false
	}
	handle, last := t.drop(fd)
	t.lock.Unlock()
	if last {
		r.closeHandle(handle)
	}
	return true
}

func (r *req) closeHandle(handle uint64) {
	r.host(abi.SYS_CLOSE, handle, 0, 0, 0, 0, 0, errNone)
}

// dup serves dup and F_DUPFD.
func (r *req) dup(from uint32, cloexec bool) int64 {
	t, old := r.t, uint32(r.a[0])
	t.lock.Lock()
	if old >= MaxFiles || t.numbers[old%MaxFiles].file == 0 {
		t.lock.Unlock()
		return -abi.EBADF
	}
	fd := t.lowest(from)
	if fd < 0 {
		t.lock.Unlock()
		return -abi.EMFILE
	}
	t.share(old, uint32(fd), cloexec)
	t.lock.Unlock()
	return fd
}

// share makes number fd one more of the file of old. The caller holds the lock.
func (t *Table) share(old, fd uint32, cloexec bool) {
	i := t.numbers[old%MaxFiles].file
	f := &t.files[(i-1)%MaxFiles]
	f.refs++
	f.fds++
	t.take(fd, number{file: i, cloexec: cloexec})
}

func (r *req) dup2() int64 {
	t, old, fd := r.t, uint32(r.a[0]), uint32(r.a[1])
	if old != fd {
		return r.replace(old, fd, false)
	}
	t.lock.Lock()
	open := old < MaxFiles && t.numbers[old%MaxFiles].file != 0
	t.lock.Unlock()
	if !open {
		return -abi.EBADF
	}
	return int64(fd)
}

func (r *req) dup3() int64 {
	old, fd, flags := uint32(r.a[0]), uint32(r.a[1]), uint32(r.a[2])
	if flags&^oCloexec != 0 || old == fd {
		return -abi.EINVAL
	}
	return r.replace(old, fd, flags != 0)
}

// replace closes fd, if open, and makes it a duplicate of old in one step.
func (r *req) replace(old, fd uint32, cloexec bool) int64 {
	t := r.t
	t.lock.Lock()
	if old >= MaxFiles || fd >= MaxFiles || t.numbers[old%MaxFiles].file == 0 {
		t.lock.Unlock()
		return -abi.EBADF
	}
	var handle uint64
	var last bool
	switch reserved := t.used[fd/64%uint32(len(t.used))]&(1<<(fd%64)) != 0; {
	case t.numbers[fd%MaxFiles].file != 0:
		// The new reference first: both numbers may be of one file.
		f := &t.files[(t.numbers[old%MaxFiles].file-1)%MaxFiles]
		f.fds++
		f.refs++
		handle, last = t.drop(fd)
		f.fds--
		f.refs--
	case reserved:
		t.lock.Unlock()
		return -abi.EBUSY
	}
	t.share(old, fd, cloexec)
	t.lock.Unlock()
	if last {
		r.closeHandle(handle)
	}
	return int64(fd)
}

func (r *req) fcntl() int64 {
	t, fd, arg := r.t, uint32(r.a[0]), uint32(r.a[2])
	f := t.acquire(fd)
	if f == nil {
		return -abi.EBADF
	}
	ret := int64(-abi.EINVAL)
	switch uint32(r.a[1]) {
	case fDupfd, fDupfdCloexec:
		if arg < MaxFiles {
			ret = r.dup(arg, uint32(r.a[1]) == fDupfdCloexec)
		}
	case fGetfd:
		ret = r.cloexec(fd, false, 0)
	case fSetfd:
		ret = r.cloexec(fd, true, arg)
	case fGetfl:
		ret = r.getFlags(f)
	case fSetfl:
		if arg&oAsync == 0 { // it sends signals
			ret = r.setNonblock(f, arg&oNonblock != 0)
		}
	}
	t.release(f)
	return ret
}

func (r *req) cloexec(fd uint32, set bool, arg uint32) int64 {
	t := r.t
	t.lock.Lock()
	n := &t.numbers[fd%MaxFiles]
	ret := int64(0)
	if set {
		n.cloexec = arg&fdCloexec != 0
	} else if n.cloexec {
		ret = fdCloexec
	}
	t.lock.Unlock()
	return ret
}

// getFlags answers F_GETFL. Only for the descriptors that were there at start
// the host is asked, whose processes share their flags.
func (r *req) getFlags(f *file) int64 {
	if f.kind == stream {
		const known = oAccmode | oAppend | oNonblock | oLargefile
		ret := r.on(f, abi.SYS_FCNTL, fGetfl, 0, 0, 0, 1<<31-1, errNone)
		if ret < 0 {
			return ret
		}
		return ret & known
	}
	flags := int64(f.access)
	if f.is(nonblock) {
		flags |= oNonblock
	}
	if f.kind == text || f.kind == device {
		flags |= oLargefile
	}
	return flags
}

// setNonblock changes the one flag that matters to a program; the others of
// F_SETFL are accepted and mean nothing to what a Keep has open.
func (r *req) setNonblock(f *file, on bool) int64 {
	local := f.kind == device || f.kind == text
	if !local && (f.kind == stream || f.is(nonblock) != on) {
		// Before the host does it: from then on, calls of other threads may fail so.
		flags := uint64(0)
		if on {
			flags = oNonblock
			f.state.Or(everNonblock)
		} else {
			f.state.Or(everBlocking)
		}
		if ret := r.on(f, abi.SYS_FCNTL, fSetfl, flags, 0, 0, 0, errFlags); ret < 0 {
			return ret
		}
	}
	if on {
		f.state.Or(nonblock)
	} else {
		f.state.And(^uint32(nonblock))
	}
	return 0
}

func (r *req) ioctl(f *file) int64 {
	switch uint32(r.a[1]) {
	case fionbio:
		var b [4]byte
		if !r.sp.CopyIn(r.cpu, b[:], r.a[2]) {
			return -abi.EFAULT
		}
		return r.setNonblock(f, get32(b[:]) != 0)
	case fionread:
		if f.kind != socket && f.kind != pipe && f.kind != stream {
			return -abi.ENOTTY
		}
		n := r.on(f, abi.SYS_IOCTL, fionread, 0, 0, 0, 1<<31-1, errCount)
		if n < 0 {
			return n
		}
		return r.out32(r.a[2], uint32(n))
	}
	return -abi.ENOTTY
}

// pipe makes both ends on the host: a thread that waits for one waits there.
func (r *req) pipe(flags uint64) int64 {
	f32 := uint32(flags)
	if f32&^(oNonblock|oCloexec) != 0 {
		return -abi.EINVAL
	}
	in, rf := r.t.reserve(0, f32&oCloexec != 0)
	if in < 0 {
		return in
	}
	out, wf := r.t.reserve(0, f32&oCloexec != 0)
	if out < 0 {
		r.t.cancel(in, rf)
		return out
	}
	rf.kind, wf.kind, wf.access = pipe, pipe, 1
	rf.mode(f32&oNonblock == 0)
	wf.mode(f32&oNonblock == 0)
	ret := r.host(abi.SYS_PIPE2, flags&oNonblock, 0, 0, 0, 0, 0, errMake)
	if ret < 0 {
		r.t.cancel(in, rf)
		r.t.cancel(out, wf)
		return ret
	}
	// Each handle is read once. A bad one ends the Keep; what is open on the
	// host ends with it.
	one, two := r.p.Load64(sallyport.PayloadOffset), r.p.Load64(sallyport.PayloadOffset+8)
	if !r.t.adopt(rf, one) {
		r.t.cancel(in, rf)
		r.t.cancel(out, wf)
		return r.t.abort(sallyport.AbortHost)
	}
	r.t.install(in, rf)
	if !r.t.adopt(wf, two) {
		r.discard(in)
		r.t.cancel(out, wf)
		return r.t.abort(sallyport.AbortHost)
	}
	r.t.install(out, wf)
	var b [8]byte
	put32(b[:4], uint32(in))
	put32(b[4:], uint32(out))
	if !r.sp.CopyOut(r.cpu, r.a[0], b[:]) {
		r.discard(in)
		r.discard(out)
		return -abi.EFAULT
	}
	return 0
}

// eventfd makes an event descriptor. It must be the host's, so that a write to
// it wakes a thread that waits there in epoll_wait.
func (r *req) eventfd(flags uint64) int64 {
	f32 := uint32(flags)
	if f32&^(efdSemaphore|oNonblock|oCloexec) != 0 {
		return -abi.EINVAL
	}
	fd, f := r.t.reserve(0, f32&oCloexec != 0)
	if fd < 0 {
		return fd
	}
	f.kind, f.access = event, oRdwr
	f.mode(f32&oNonblock == 0)
	return r.adopt(fd, f, r.host(abi.SYS_EVENTFD2, uint64(uint32(r.a[0])), uint64(f32&^oCloexec), 0, 0, 0, sallyport.MaxHandle, errMake))
}
