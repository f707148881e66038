// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

// fewPolls is how many entries most polls have at most; more take a larger
// stack frame, which has to be cleared first.
const fewPolls = 16

func (p *Proxy) poll(data []byte, count, timeout uint64) int64 {
	if count > sallyport.MaxPoll {
		return -int64(unix.EINVAL)
	}
	if count > fewPolls {
		return p.pollMany(data, int(count), timeout)
	}
	var fds [fewPolls]unix.PollFd
	var held [fewPolls]*entry
	return p.pollOn(data, fds[:count], held[:count], timeout)
}

func (p *Proxy) pollMany(data []byte, count int, timeout uint64) int64 {
	var fds [sallyport.MaxPoll]unix.PollFd
	var held [sallyport.MaxPoll]*entry
	return p.pollOn(data, fds[:count], held[:count], timeout)
}

// pollOn polls the entries of the block by private copies. The guest may change
// its own meanwhile: what was acquired is released all the same. A handle that
// is none gets POLLNVAL, and then nothing waits.
func (p *Proxy) pollOn(data []byte, fds []unix.PollFd, held []*entry, timeout uint64) int64 {
	invalid := int64(0)
	for i := range fds {
		at := sallyport.PayloadOffset + i*sallyport.PollEntry
		handle := sallyport.Load64(data, at+sallyport.PollHandle)
		fds[i] = unix.PollFd{Fd: -1, Events: int16(sallyport.Load32(data, at+sallyport.PollEvents))}
		sallyport.Store32(data, at+sallyport.PollRevents, 0)
		if handle == ^uint64(0) {
			continue
		}
		e, errno := p.acquire(handle, readable|socket|epoll)
		if errno != 0 {
			sallyport.Store32(data, at+sallyport.PollRevents, unix.POLLNVAL)
			invalid++
			continue
		}
		held[i], fds[i].Fd = e, e.fd
	}
	if invalid > 0 {
		timeout = 0
	}
	ret := rawPoll(fds, timeout)
	for i, e := range held {
		if e == nil {
			continue
		}
		if ret >= 0 {
			at := sallyport.PayloadOffset + i*sallyport.PollEntry
			sallyport.Store32(data, at+sallyport.PollRevents, uint32(uint16(fds[i].Revents)))
		}
		p.release(e)
	}
	if ret < 0 {
		return ret
	}
	return ret + invalid
}

// epollCtl watches a handle. The token is the guest's, and means nothing here.
func (p *Proxy) epollCtl(fd int, a *[6]uint64) int64 {
	const modes = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE
	if a[1] != unix.EPOLL_CTL_ADD && a[1] != unix.EPOLL_CTL_MOD && a[1] != unix.EPOLL_CTL_DEL || a[3]&^(0x27df|modes) != 0 {
		return -int64(unix.EINVAL)
	}
	e, errno := p.acquire(a[2], readable|socket|epoll)
	if errno != 0 {
		return errno
	}
	ret := rawEpollCtl(fd, int(a[1]), int(e.fd), uint32(a[3]), a[4])
	p.release(e)
	return ret
}
