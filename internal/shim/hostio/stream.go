// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// buffers is the walk over the program's buffers of read, write and their
// vector forms, and how many bytes they hold.
func (r *req) buffers(v *vector, vectored bool) int64 {
	if vectored {
		return r.vector(v, r.a[1], r.a[2])
	}
	return v.single(r.a[1], r.a[2])
}

func (r *req) read(f *file, vectored bool) int64 {
	var v vector
	n := r.buffers(&v, vectored)
	if n < 0 {
		return n
	}
	switch f.kind {
	case epoll:
		return -abi.EINVAL
	case device:
		return r.readDevice(f, &v, n)
	case text:
		return r.readText(f, &v, n)
	case pipe:
		if f.access != oRdonly {
			return -abi.EBADF
		}
	case event:
		return r.readEvent(f, &v, n)
	case socket:
		return r.receive(f, &v, n, 0)
	}
	return r.take(f, &v, abi.SYS_READ, n, 0, 0, may(f, errRead, false))
}

// take has the host read up to n bytes and gives the program what came: a short
// read, if the block is smaller.
func (r *req) take(f *file, v *vector, nr uint64, n int64, a2, a3 uint64, errs errnos) int64 {
	n = min(n, sallyport.PayloadSize)
	ret := r.on(f, nr, uint64(n), a2, a3, 0, n, errs)
	if ret > 0 && !r.scatter(v, uint64(ret)) {
		return -abi.EFAULT
	}
	return ret
}

func (r *req) readEvent(f *file, v *vector, n int64) int64 {
	if n < 8 {
		return -abi.EINVAL
	}
	ret := r.on(f, abi.SYS_READ, 8, 0, 0, 0, 8, may(f, errRead, false))
	switch {
	case ret < 0:
		return ret
	case ret != 8:
		return r.t.abort(sallyport.AbortHost)
	case !r.scatter(v, 8):
		return -abi.EFAULT
	}
	return ret
}

func (r *req) write(f *file, vectored bool) int64 {
	var v vector
	n := r.buffers(&v, vectored)
	if n < 0 {
		return n
	}
	if f.access == oRdonly {
		return -abi.EBADF // text and devices, and one end of a pipe
	}
	switch f.kind {
	case epoll:
		return -abi.EINVAL
	case event:
		if n != 8 { // as Linux since 6.9; before, more was taken for 8
			return -abi.EINVAL
		}
	case socket:
		return r.send(f, &v, n, 0, 0)
	}
	return r.give(f, &v, abi.SYS_WRITE, n, 0, may(f, errWrite, false))
}

// give has the host write n bytes of the program's, a block at a time: programs
// that wait for their writes seldom expect a short one.
func (r *req) give(f *file, v *vector, nr uint64, n int64, flags uint64, errs errnos) int64 {
	for done := int64(0); ; {
		part := min(n-done, sallyport.PayloadSize)
		if !r.gather(v, uint64(part)) {
			return progress(done, -abi.EFAULT)
		}
		ret := r.on(f, nr, uint64(part), flags, 0, 0, part, errs)
		if ret < 0 {
			return progress(done, ret)
		}
		if done += ret; ret < part || done == n {
			return done
		}
	}
}

// progress is the result of a call that failed after done bytes.
func progress(done, errno int64) int64 {
	if done > 0 {
		return done
	}
	return errno
}
