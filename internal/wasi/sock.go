// SPDX-License-Identifier: Apache-2.0

package wasi

import "enarx.dev/enarx/internal/socket"

// sockAccept makes a descriptor for the next connection of a listener, blocking
// unless the flags say otherwise.
func (h *Host) sockAccept(mem Memory, p []uint64) errno {
	d, e := h.getSocket(p[0])
	if e != success {
		return e
	}
	result, ok := view(mem, uint32(p[2]), 4)
	flags := uint32(p[1])
	switch {
	case !ok:
		return eFault
	case flags&^flagNonblock != 0 || d.kind != kindListener:
		return eInval
	case d.base&rightSockAccept == 0:
		return eNotcapable
	}
	fd, e := h.nextFD()
	if e != success {
		return e
	}
	conn, e := h.accept(d)
	if e != success {
		return e
	}
	accepted := newConn(conn)
	accepted.flags = uint16(flags)
	h.install(fd, accepted)
	le.PutUint32(result, fd)
	return success
}

func (h *Host) accept(d *desc) (*socket.Conn, errno) {
	for {
		conn, err := d.listener.Accept()
		if err != socket.ErrAgain {
			return conn, errnoOf(err)
		}
		if e := h.block(d); e != success {
			return nil, e
		}
	}
}

func (h *Host) sockRecv(mem Memory, p []uint64) errno {
	d, e := h.getConn(p[0], rightRead)
	if e != success {
		return e
	}
	flags := uint32(p[3])
	if flags&^(recvPeek|recvWaitall) != 0 {
		return eNotsup
	}
	count, ok1 := view(mem, uint32(p[4]), 4)
	roflags, ok2 := view(mem, uint32(p[5]), 2)
	if !ok1 || !ok2 {
		return eFault
	}
	bufs, _, e := h.buffers(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return e
	}
	n, e := h.recv(d, bufs, flags)
	h.dropBuffers()
	if e == success {
		le.PutUint32(count, n)
		le.PutUint16(roflags, 0) // a stream is never truncated
	}
	return e
}

func (h *Host) sockSend(mem Memory, p []uint64) errno {
	d, e := h.getConn(p[0], rightWrite)
	if e != success {
		return e
	}
	if uint32(p[3]) != 0 {
		return eNotsup
	}
	count, ok := view(mem, uint32(p[4]), 4)
	if !ok {
		return eFault
	}
	bufs, _, e := h.buffers(mem, uint32(p[1]), uint32(p[2]))
	if e != success {
		return e
	}
	n, e := h.send(d, bufs)
	h.dropBuffers()
	if e == success {
		le.PutUint32(count, n)
	}
	return e
}

func (h *Host) sockShutdown(_ Memory, p []uint64) errno {
	d, e := h.getConn(p[0], 0)
	how := uint32(p[1])
	switch {
	case e != success:
		return e
	case how == 0 || how&^(shutRead|shutWrite) != 0:
		return eInval
	case d.base&rightSockShutdown == 0:
		return eNotcapable
	}
	return errnoOf(d.conn.Shutdown(how&shutRead != 0, how&shutWrite != 0))
}

// getConn is getSocket for connections.
func (h *Host) getConn(fd, rights uint64) (*desc, errno) {
	d, e := h.getSocket(fd)
	switch {
	case e != success:
		return nil, e
	case d.kind != kindConn:
		return nil, eNotconn
	}
	return d, d.lacks(rights)
}

// recv reads from a connection: what there is, waiting for at least one byte,
// or with recvWaitall for as much as fits. A look with recvPeek fills the first
// buffer only, and waits for one byte only: more may never fit behind it.
func (h *Host) recv(d *desc, bufs [][]byte, flags uint32) (uint32, errno) {
	peek, all := flags&recvPeek != 0, flags&recvWaitall != 0
	got := uint32(0)
	for len(bufs) > 0 {
		n, err := d.conn.Recv(bufs[0], peek)
		switch {
		case err == socket.ErrAgain:
			if got > 0 && !all {
				return got, success
			}
			if e := h.block(d); e != success {
				return got, unlessDone(got, e)
			}
			continue
		case err != nil:
			return got, unlessDone(got, errnoOf(err))
		case n == 0:
			return got, success
		}
		got += uint32(n)
		switch {
		case peek:
			return got, success
		case n == len(bufs[0]):
			bufs = bufs[1:]
		case !all:
			return got, success
		default:
			bufs[0] = bufs[0][n:]
		}
	}
	return got, success
}

// send writes to a connection: all of it, or without waiting what there is room
// for.
func (h *Host) send(d *desc, bufs [][]byte) (uint32, errno) {
	sent := uint32(0)
	for len(bufs) > 0 {
		n, err := d.conn.Send(bufs[0])
		if err != nil && err != socket.ErrAgain {
			return sent, unlessDone(sent, errnoOf(err))
		}
		sent += uint32(n)
		if n == len(bufs[0]) {
			bufs = bufs[1:]
			continue
		}
		bufs[0] = bufs[0][n:]
		if n > 0 {
			continue
		}
		if e := h.block(d); e != success {
			return sent, unlessDone(sent, e)
		}
	}
	return sent, success
}
