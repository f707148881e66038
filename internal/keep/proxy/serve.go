// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

const (
	msgOK    = unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT | unix.MSG_PEEK | unix.MSG_WAITALL
	readable = stream | pipe | event
)

// Serve does what one request asks and writes the reply. req is the caller's
// private copy of the block's header; block is memory that the guest can change
// at any time.
func (p *Proxy) Serve(block []byte, req *sallyport.Request) {
	data := sallyport.Data(block)
	a := &req.Args
	var ret int64
	switch req.Nr {
	case unix.SYS_CLOSE:
		ret = p.close(a[0])
	case unix.SYS_SOCKET:
		ret = p.socket(a[0], a[1], a[2])
	case unix.SYS_EVENTFD2:
		ret = p.eventfd(a[0], a[1])
	case unix.SYS_EPOLL_CREATE1:
		ret = p.epollCreate()
	case unix.SYS_PIPE2:
		ret = p.pipe(data, a[0])
	case unix.SYS_OPEN:
		ret = p.open(a[0])
	case unix.SYS_POLL:
		ret = p.poll(data, a[0], a[1])
	default:
		ret = p.onHandle(data, req)
	}
	sallyport.Reply(block, req.Seq, ret)
}

// kinds returns what a call may be made on; nothing for one that is not served.
func kinds(nr uint64) kind {
	switch nr {
	case unix.SYS_READ, unix.SYS_WRITE:
		return readable
	case unix.SYS_PREAD64, unix.SYS_FSTAT:
		return text
	case unix.SYS_FCNTL:
		return stream | pipe | event | socket | epoll
	case unix.SYS_IOCTL:
		return stream | pipe | socket
	case unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_WAIT:
		return epoll
	case unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SHUTDOWN,
		unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT:
		return socket
	}
	return 0
}

func (p *Proxy) onHandle(data []byte, req *sallyport.Request) int64 {
	want := kinds(req.Nr)
	if want == 0 {
		p.log.Debug("refused a forwarded call", "nr", req.Nr)
		return -int64(unix.ENOSYS)
	}
	e, errno := p.acquire(req.Args[0], want)
	if errno != 0 {
		return errno
	}
	ret := p.call(data, int(e.fd), e.kind, req)
	p.release(e)
	return ret
}

func (p *Proxy) call(data []byte, fd int, k kind, req *sallyport.Request) int64 {
	a := &req.Args
	switch req.Nr {
	case unix.SYS_READ, unix.SYS_WRITE:
		if a[1] > sallyport.PayloadSize {
			return -int64(unix.EINVAL)
		}
		return onPayload(uintptr(req.Nr), fd, data, a[1], 0)
	case unix.SYS_PREAD64:
		if a[1] > sallyport.PayloadSize || a[2] > sallyport.MaxFileSize {
			return -int64(unix.EINVAL)
		}
		return onPayload(unix.SYS_PREAD64, fd, data, a[1], uintptr(a[2]))
	case unix.SYS_FSTAT:
		return size(fd)
	case unix.SYS_FCNTL:
		return fcntl(fd, k, a[1], a[2])
	case unix.SYS_IOCTL:
		if a[1] != unix.TIOCINQ {
			return -int64(unix.ENOTTY)
		}
		return inQueue(fd)
	case unix.SYS_EPOLL_CTL:
		return p.epollCtl(fd, a)
	case unix.SYS_EPOLL_WAIT:
		if a[1] == 0 || a[1] > sallyport.MaxPoll {
			return -int64(unix.EINVAL)
		}
		return epollWait(fd, data, a[1], millis(a[2]))
	}
	return p.onSocket(data, fd, req)
}

// millis is a timeout as epoll_wait takes it.
func millis(ms uint64) int {
	if ms > 1<<31-1 {
		return -1
	}
	return int(ms)
}

// fcntl reads flags, or sets O_NONBLOCK and leaves the rest.
func fcntl(fd int, k kind, cmd, arg uint64) int64 {
	flags := rawFcntl(fd, unix.F_GETFL, 0)
	switch {
	case flags < 0 || cmd == unix.F_GETFL && k == stream:
		return flags
	case cmd != unix.F_SETFL || arg&^unix.O_NONBLOCK != 0:
		return -int64(unix.EINVAL)
	}
	return rawFcntl(fd, unix.F_SETFL, uintptr(flags)&^unix.O_NONBLOCK|uintptr(arg))
}

func (p *Proxy) eventfd(value, flags uint64) int64 {
	if value > 1<<32-1 || flags&^(unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK) != 0 {
		return -int64(unix.EINVAL)
	}
	return p.made(raw(unix.SYS_EVENTFD2, uintptr(value), uintptr(flags|unix.EFD_CLOEXEC), 0), event)
}

func (p *Proxy) epollCreate() int64 {
	return p.made(raw(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0), epoll)
}

// made gives a descriptor that a call has returned a handle.
func (p *Proxy) made(fd int64, k kind) int64 {
	if fd < 0 {
		return fd
	}
	return p.add(int(fd), k)
}

func (p *Proxy) pipe(data []byte, flags uint64) int64 {
	if flags&^unix.O_NONBLOCK != 0 {
		return -int64(unix.EINVAL)
	}
	var fds [2]int32
	if errno := rawPipe(&fds, int(flags)|unix.O_CLOEXEC); errno < 0 {
		return errno
	}
	in := p.add(int(fds[0]), pipe)
	if in < 0 {
		unix.Close(int(fds[1]))
		return in
	}
	out := p.add(int(fds[1]), pipe)
	if out < 0 {
		p.close(uint64(in))
		return out
	}
	sallyport.Store64(data, sallyport.PayloadOffset, uint64(in))
	sallyport.Store64(data, sallyport.PayloadOffset+8, uint64(out))
	return 0
}

// names are the files that a Keep may read, in the order of sallyport's numbers.
var names = [sallyport.FileCount]string{
	sallyport.FileResolvConf: "/etc/resolv.conf",
	sallyport.FileHosts:      "/etc/hosts",
	sallyport.FileNSSwitch:   "/etc/nsswitch.conf",
}

func (p *Proxy) open(number uint64) int64 {
	if number >= sallyport.FileCount {
		return -int64(unix.ENOENT)
	}
	// Without O_NONBLOCK a pipe of that name would hold up the thread here.
	fd, err := unix.Open(names[number], unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return -int64(unix.ENOENT)
	}
	if err != nil {
		return -int64(unix.EACCES)
	}
	if size(fd) < 0 {
		unix.Close(fd)
		return -int64(unix.EACCES)
	}
	return p.add(fd, text)
}

// size returns the length of a regular file, as far as the shim believes it.
func size(fd int) int64 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -int64(unix.EINVAL)
	}
	return min(st.Size, sallyport.MaxFileSize)
}
