// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
)

// req is one system call of the program.
type req struct {
	t   *Table
	sp  *mem.Space
	p   *sallyport.Port
	cpu uint32
	a   [6]uint64
}

// Call serves system call nr. It reports false for a call that is not about
// descriptors.
func (t *Table) Call(sp *mem.Space, p *sallyport.Port, nr uint64, a *[6]uint64) (ret int64, known bool) {
	r := req{t: t, sp: sp, p: p, cpu: p.Index(), a: *a}
	switch nr {
	case abi.SYS_OPEN:
		return r.open(a[0], a[1]), true
	case abi.SYS_OPENAT:
		return r.open(a[1], a[2]), true
	case abi.SYS_CLOSE:
		return r.close(), true
	case abi.SYS_DUP:
		return r.dup(0, false), true
	case abi.SYS_DUP2:
		return r.dup2(), true
	case abi.SYS_DUP3:
		return r.dup3(), true
	case abi.SYS_FCNTL:
		return r.fcntl(), true
	case abi.SYS_SOCKET:
		return r.socket(), true
	case abi.SYS_POLL:
		return r.poll(), true
	case abi.SYS_PPOLL:
		return r.ppoll(), true
	case abi.SYS_EPOLL_CREATE:
		return r.epollCreate(), true
	case abi.SYS_EPOLL_CREATE1:
		return r.epollCreate1(a[0]), true
	case abi.SYS_EVENTFD:
		return r.eventfd(0), true
	case abi.SYS_EVENTFD2:
		return r.eventfd(a[1]), true
	case abi.SYS_PIPE:
		return r.pipe(0), true
	case abi.SYS_PIPE2:
		return r.pipe(a[1]), true
	case abi.SYS_NEWFSTATAT:
		return r.fstatat(), true
	case abi.SYS_PWRITE64, abi.SYS_PWRITEV:
		return -abi.ESPIPE, true
	}
	if !onFile(nr) {
		return 0, false
	}
	f := t.acquire(uint32(a[0]))
	if f == nil {
		return -abi.EBADF, true
	}
	ret = r.onFile(nr, f)
	t.release(f)
	return ret, true
}

// onFile reports whether nr is a call on the descriptor in its first argument.
func onFile(nr uint64) bool {
	switch nr {
	case abi.SYS_READ, abi.SYS_WRITE, abi.SYS_READV, abi.SYS_WRITEV, abi.SYS_PREAD64, abi.SYS_PREADV,
		abi.SYS_FSTAT, abi.SYS_LSEEK, abi.SYS_IOCTL, abi.SYS_EPOLL_CTL, abi.SYS_EPOLL_WAIT, abi.SYS_EPOLL_PWAIT:
		return true
	}
	return onSocket(nr)
}

func onSocket(nr uint64) bool {
	switch nr {
	case abi.SYS_CONNECT, abi.SYS_ACCEPT, abi.SYS_ACCEPT4, abi.SYS_SENDTO, abi.SYS_RECVFROM, abi.SYS_SENDMSG, abi.SYS_RECVMSG,
		abi.SYS_SHUTDOWN, abi.SYS_BIND, abi.SYS_LISTEN, abi.SYS_GETSOCKNAME, abi.SYS_GETPEERNAME,
		abi.SYS_SETSOCKOPT, abi.SYS_GETSOCKOPT:
		return true
	}
	return false
}

func (r *req) onFile(nr uint64, f *file) int64 {
	switch nr {
	case abi.SYS_READ, abi.SYS_READV:
		return r.read(f, nr == abi.SYS_READV)
	case abi.SYS_WRITE, abi.SYS_WRITEV:
		return r.write(f, nr == abi.SYS_WRITEV)
	case abi.SYS_PREAD64, abi.SYS_PREADV:
		return r.pread(f, nr == abi.SYS_PREADV)
	case abi.SYS_FSTAT:
		return r.fstat(f, r.a[1])
	case abi.SYS_LSEEK:
		return r.lseek(f)
	case abi.SYS_IOCTL:
		return r.ioctl(f)
	case abi.SYS_EPOLL_CTL:
		return r.epollCtl(f)
	case abi.SYS_EPOLL_WAIT, abi.SYS_EPOLL_PWAIT:
		return r.epollWait(f)
	}
	if f.kind != socket {
		return -abi.ENOTSOCK
	}
	return r.onSocket(nr, f)
}

func (r *req) onSocket(nr uint64, f *file) int64 {
	switch nr {
	case abi.SYS_CONNECT:
		return r.connect(f)
	case abi.SYS_ACCEPT:
		return r.accept(f, 0)
	case abi.SYS_ACCEPT4:
		return r.accept(f, uint32(r.a[3]))
	case abi.SYS_SENDTO:
		return r.sendto(f)
	case abi.SYS_RECVFROM:
		return r.recvfrom(f)
	case abi.SYS_SENDMSG:
		return r.sendmsg(f)
	case abi.SYS_RECVMSG:
		return r.recvmsg(f)
	case abi.SYS_SHUTDOWN:
		return r.shutdown(f)
	case abi.SYS_BIND:
		return r.bind(f)
	case abi.SYS_LISTEN:
		return r.listen(f)
	case abi.SYS_GETSOCKNAME, abi.SYS_GETPEERNAME:
		return r.name(f, nr)
	case abi.SYS_SETSOCKOPT:
		return r.setsockopt(f)
	}
	return r.getsockopt(f)
}

// host forwards a call that is on no file, or whose file is not at stake.
func (r *req) host(nr, a0, a1, a2, a3, a4 uint64, most int64, errs errnos) int64 {
	return r.check(r.p.Call(nr, a0, a1, a2, a3, a4, 0), most, errs)
}

// on forwards a call on f. The host no longer knows the handle of a file that
// another thread closes meanwhile, which is what EBADF says on Linux too.
func (r *req) on(f *file, nr, a1, a2, a3, a4 uint64, most int64, errs errnos) int64 {
	if f.kind == stream {
		errs[0] |= 1 << abi.EBADF // the shim does not know what it is open for
	}
	ret := r.p.Call(nr, f.handle, a1, a2, a3, a4, 0)
	if ret == -abi.EBADF && !r.p.Broken && r.closed(f) {
		return ret
	}
	return r.check(ret, most, errs)
}

// check is what makes the host's result the program's (B.4, rules 1 and 2): it
// is between 0 and most, or an error of the set; another error becomes EIO; and
// what no kernel returns is not believed at all.
func (r *req) check(ret, most int64, errs errnos) int64 {
	switch {
	case r.p.Broken:
		return r.t.abort(sallyport.AbortBroken)
	case ret > most || ret < -4095:
		return r.t.abort(sallyport.AbortHost)
	case ret < 0 && !errs.has(-ret):
		return -abi.EIO
	}
	return ret
}

// may adds to errs what only a call on f that waits, or declines to, fails with.
func may(f *file, errs errnos, dontwait bool) errnos {
	if dontwait || f.is(everNonblock) {
		errs[0] |= 1 << abi.EAGAIN
	}
	if !dontwait && f.is(everBlocking) {
		errs[0] |= 1 << abi.EINTR
	}
	return errs
}

func (r *req) closed(f *file) bool {
	r.t.lock.Lock()
	closed := f.fds == 0
	r.t.lock.Unlock()
	return closed
}

// adopt gives f the handle that the host has returned, and f the number fd,
// which was reserved for it.
func (r *req) adopt(fd int64, f *file, handle int64) int64 {
	if handle < 0 {
		r.t.cancel(fd, f)
		return handle
	}
	if !r.t.adopt(f, uint64(handle)) {
		r.t.cancel(fd, f)
		return r.t.abort(sallyport.AbortHost)
	}
	r.t.install(fd, f)
	return fd
}

// discard closes a descriptor that the call under way has made.
func (r *req) discard(fd int64) {
	r.closeNumber(uint32(fd))
}

// mode sets whether calls on f, which is new, wait.
func (f *file) mode(wait bool) {
	if wait {
		f.state.Store(everBlocking)
	} else {
		f.state.Store(nonblock | everNonblock)
	}
}
