// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

func (p *Proxy) socket(domain, typ, proto uint64) int64 {
	if domain != unix.AF_INET && domain != unix.AF_INET6 {
		return -int64(unix.EAFNOSUPPORT)
	}
	switch base := typ &^ unix.SOCK_NONBLOCK; {
	case base == unix.SOCK_STREAM && proto == unix.IPPROTO_TCP:
	case base == unix.SOCK_DGRAM && proto == unix.IPPROTO_UDP:
	default:
		return -int64(unix.EPROTONOSUPPORT)
	}
	return p.made(raw(unix.SYS_SOCKET, uintptr(domain), uintptr(typ|unix.SOCK_CLOEXEC), uintptr(proto)), socket)
}

func (p *Proxy) onSocket(data []byte, fd int, req *sallyport.Request) int64 {
	a := &req.Args
	switch req.Nr {
	case unix.SYS_CONNECT, unix.SYS_BIND:
		return p.withAddress(data, fd, uintptr(req.Nr), a[1])
	case unix.SYS_LISTEN:
		if a[1] > 65535 {
			return -int64(unix.EINVAL)
		}
		return raw(unix.SYS_LISTEN, uintptr(fd), uintptr(a[1]), 0)
	case unix.SYS_ACCEPT4:
		if a[1]&^unix.SOCK_NONBLOCK != 0 {
			return -int64(unix.EINVAL)
		}
		return p.accept(data, fd, a[1])
	case unix.SYS_SENDTO:
		if a[1] > sallyport.PayloadSize || a[2]&^msgOK != 0 {
			return -int64(unix.EINVAL)
		}
		return send(data, fd, a[1], a[2]|unix.MSG_NOSIGNAL, a[3])
	case unix.SYS_RECVFROM:
		if a[1] > sallyport.PayloadSize || a[2]&^(msgOK|unix.MSG_TRUNC) != 0 || a[3] > 1 {
			return -int64(unix.EINVAL)
		}
		return receive(data, fd, a[1], a[2], a[3] != 0)
	case unix.SYS_SHUTDOWN:
		if a[1] > unix.SHUT_RDWR {
			return -int64(unix.EINVAL)
		}
		return raw(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(a[1]), 0)
	case unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME:
		return name(data, fd, uintptr(req.Nr))
	case unix.SYS_SETSOCKOPT:
		return setOption(data, fd, a[1], a[2], a[3])
	}
	// Numbers may be read if they may be set; and the pending error.
	if optionSize(a[1], a[2]) != 4 && !(a[1] == unix.SOL_SOCKET && a[2] == unix.SO_ERROR) {
		return -int64(unix.ENOPROTOOPT)
	}
	return option(fd, a[1], a[2])
}

// withAddress makes a call whose argument is the address in the block.
func (p *Proxy) withAddress(data []byte, fd int, nr uintptr, length uint64) int64 {
	var addr [sallyport.AddrMax]byte
	if errno := takeAddress(data, &addr, length, nr == unix.SYS_CONNECT); errno < 0 {
		return errno
	}
	return onAddress(nr, fd, &addr, uintptr(length))
}

// takeAddress copies the block's socket address once and checks the copy. Only
// connect may be given the family 0, which ends a datagram socket's connection.
func takeAddress(data []byte, addr *[sallyport.AddrMax]byte, length uint64, unspec bool) int64 {
	if length != unix.SizeofSockaddrInet4 && length != unix.SizeofSockaddrInet6 {
		return -int64(unix.EINVAL)
	}
	copy(addr[:length], data[sallyport.AddrBytes:])
	family := uint16(addr[0]) | uint16(addr[1])<<8
	switch {
	case family == unix.AF_INET && length == unix.SizeofSockaddrInet4:
	case family == unix.AF_INET6 && length == unix.SizeofSockaddrInet6:
	case family == unix.AF_UNSPEC && unspec:
	default:
		return -int64(unix.EAFNOSUPPORT)
	}
	return 0
}

// putAddress leaves an address for the guest.
func putAddress(data []byte, addr *unix.RawSockaddrAny, length uint32) {
	n := min(length, sallyport.AddrMax)
	copyAddress(data[sallyport.AddrBytes:sallyport.AddrBytes+sallyport.AddrMax], addr, n)
	sallyport.Store32(data, sallyport.AddrLength, length)
}

// optionSize returns the length of an option that may be set, or 0.
func optionSize(level, name uint64) uint64 {
	switch level {
	case unix.SOL_SOCKET:
		switch name {
		case unix.SO_REUSEADDR, unix.SO_BROADCAST, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_KEEPALIVE, unix.SO_REUSEPORT:
			return 4
		case unix.SO_LINGER:
			return 8
		}
	case unix.IPPROTO_TCP:
		switch name {
		case unix.TCP_NODELAY, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT, unix.TCP_USER_TIMEOUT:
			return 4
		}
	case unix.IPPROTO_IPV6:
		if name == unix.IPV6_V6ONLY {
			return 4
		}
	}
	return 0
}

func setOption(data []byte, fd int, level, name, length uint64) int64 {
	if size := optionSize(level, name); size == 0 || size != length {
		return -int64(unix.ENOPROTOOPT)
	}
	value := sallyport.Load64(data, sallyport.PayloadOffset)
	return onOption(fd, level, name, &value, length)
}
