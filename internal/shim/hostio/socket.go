// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// socket makes TCP and UDP sockets and no others; internal/confine has the same
// table for the nil backend.
func (r *req) socket() int64 {
	domain, typ, proto := uint32(r.a[0]), uint32(r.a[1]), uint32(r.a[2])
	if domain != afInet && domain != afInet6 {
		return -abi.EAFNOSUPPORT
	}
	flags := typ & (sockNonblock | sockCloexec)
	typ &^= flags
	if typ == sockStream && proto == 0 {
		proto = ipprotoTCP
	}
	if typ == sockDgram && proto == 0 {
		proto = ipprotoUDP
	}
	if !(typ == sockStream && proto == ipprotoTCP || typ == sockDgram && proto == ipprotoUDP) {
		return -abi.EPROTONOSUPPORT // Go asks for Multipath TCP first and falls back on this
	}
	fd, f := r.t.reserve(0, flags&sockCloexec != 0)
	if fd < 0 {
		return fd
	}
	f.kind, f.access, f.domain, f.typ, f.proto = socket, oRdwr, uint8(domain), uint8(typ), uint16(proto)
	f.mode(flags&sockNonblock == 0)
	return r.adopt(fd, f, r.host(abi.SYS_SOCKET, uint64(domain), uint64(typ|flags&sockNonblock), uint64(proto), 0, 0,
		sallyport.MaxHandle, errSocket))
}

func (r *req) connect(f *file) int64 {
	n := r.addressIn(f, r.a[1], r.a[2])
	if n < 0 {
		return n
	}
	return r.on(f, abi.SYS_CONNECT, uint64(n), 0, 0, 0, 0, may(f, errConnect, false))
}

func (r *req) bind(f *file) int64 {
	n := r.addressIn(f, r.a[1], r.a[2])
	if n < 0 {
		return n
	}
	return r.on(f, abi.SYS_BIND, uint64(n), 0, 0, 0, 0, errBind)
}

func (r *req) listen(f *file) int64 {
	ret := r.on(f, abi.SYS_LISTEN, uint64(min(uint32(r.a[1]), 65535)), 0, 0, 0, 0, errBind)
	if ret == 0 {
		f.state.Or(listening)
	}
	return ret
}

func (r *req) accept(f *file, flags uint32) int64 {
	if flags&^(sockNonblock|sockCloexec) != 0 {
		return -abi.EINVAL
	}
	fd, c := r.t.reserve(0, flags&sockCloexec != 0)
	if fd < 0 {
		return fd
	}
	c.kind, c.access, c.domain, c.typ, c.proto = socket, oRdwr, f.domain, f.typ, f.proto
	c.mode(flags&sockNonblock == 0)
	ret := r.adopt(fd, c, r.on(f, abi.SYS_ACCEPT4, uint64(flags&sockNonblock), 0, 0, 0, sallyport.MaxHandle, may(f, errAccept, false)))
	if ret < 0 || r.a[1] == 0 {
		return ret
	}
	var peer address
	if !r.addressFrom(f, &peer) {
		r.discard(fd)
		return r.t.abort(sallyport.AbortHost)
	}
	if errno := r.addressOut(&peer, r.a[1], r.a[2]); errno < 0 {
		r.discard(fd)
		return errno
	}
	return ret
}

// name serves getsockname and getpeername.
func (r *req) name(f *file, nr uint64) int64 {
	if ret := r.on(f, nr, 0, 0, 0, 0, 0, errName); ret < 0 {
		return ret
	}
	var a address
	if !r.addressFrom(f, &a) {
		return r.t.abort(sallyport.AbortHost)
	}
	return r.addressOut(&a, r.a[1], r.a[2])
}

func (r *req) shutdown(f *file) int64 {
	how := uint32(r.a[1])
	if how > 2 {
		return -abi.EINVAL
	}
	return r.on(f, abi.SYS_SHUTDOWN, uint64(how), 0, 0, 0, 0, errShut)
}

// optionSize returns the length of the value of an option that may be set, or
// 0 for any other.
func optionSize(level, name uint32) uint32 {
	switch level {
	case solSocket:
		switch name {
		case soReuseaddr, soBroadcast, soSndbuf, soRcvbuf, soKeepalive, soReuseport:
			return 4
		case soLinger:
			return 8
		}
	case ipprotoTCP:
		switch name {
		case tcpNodelay, tcpKeepidle, tcpKeepintvl, tcpKeepcnt, tcpUserTimeout:
			return 4
		}
	case ipprotoIPv6:
		if name == ipv6V6only {
			return 4
		}
	}
	return 0
}

func (r *req) setsockopt(f *file) int64 {
	level, name, length := uint32(r.a[1]), uint32(r.a[2]), uint32(r.a[4])
	size := optionSize(level, name)
	if size == 0 {
		return -abi.ENOPROTOOPT
	}
	if length < size || length > 1<<31-1 {
		return -abi.EINVAL
	}
	var b [8]byte
	if !r.sp.CopyIn(r.cpu, b[:size], r.a[3]) {
		return -abi.EFAULT
	}
	r.p.Store64(sallyport.PayloadOffset, get64(b[:]))
	return r.on(f, abi.SYS_SETSOCKOPT, uint64(level), uint64(name), uint64(size), 0, 0, errOption)
}

// getsockopt answers from the table, except for the pending error and for the
// numbers that setsockopt takes. What the host says those are is its own affair:
// they are about how it sends.
func (r *req) getsockopt(f *file) int64 {
	var v uint32
	level, name := uint32(r.a[1]), uint32(r.a[2])
	if optionSize(level, name) == 4 {
		ret := r.on(f, abi.SYS_GETSOCKOPT, uint64(level), uint64(name), 0, 0, 1<<31-1, errOption)
		if ret < 0 {
			return ret
		}
		return r.optionOut(uint32(ret))
	}
	if level != solSocket {
		return -abi.ENOPROTOOPT
	}
	switch name {
	case soError:
		ret := r.on(f, abi.SYS_GETSOCKOPT, solSocket, soError, 0, 0, 4095, errNone)
		if ret < 0 {
			return ret
		}
		if ret != 0 && !errConnect.has(ret) {
			ret = abi.EIO
		}
		v = uint32(ret)
	case soType:
		v = uint32(f.typ)
	case soAcceptconn:
		if f.is(listening) {
			v = 1
		}
	case soProtocol:
		v = uint32(f.proto)
	case soDomain:
		v = uint32(f.domain)
	default:
		return -abi.ENOPROTOOPT
	}
	return r.optionOut(v)
}

// optionOut stores an int option as far as the program's buffer goes.
func (r *req) optionOut(v uint32) int64 {
	var b [4]byte
	if !r.sp.CopyIn(r.cpu, b[:], r.a[4]) {
		return -abi.EFAULT
	}
	room := get32(b[:])
	if room > 1<<31-1 {
		return -abi.EINVAL
	}
	n := min(room, 4)
	put32(b[:], v)
	if n > 0 && !r.sp.CopyOut(r.cpu, r.a[3], b[:n]) {
		return -abi.EFAULT
	}
	return r.out32(r.a[4], n)
}
