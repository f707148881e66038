// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

const msgOK = msgNosignal | msgDontwait | msgPeek | msgWaitall

// Offsets of struct msghdr.
const (
	msgName, msgNamelen, msgIov, msgIovlen    = 0, 8, 16, 24
	msgControl, msgControllen, msgFlags, mLen = 32, 40, 48, 56
)

func (r *req) sendto(f *file) int64 {
	flags := uint32(r.a[3])
	if flags&^msgOK != 0 {
		return -abi.EOPNOTSUPP
	}
	var v vector
	n := v.single(r.a[1], r.a[2])
	if n < 0 {
		return n
	}
	return r.sendTo(f, &v, n, flags, r.a[4], r.a[5])
}

// sendTo sends to an address of the program's, or to the peer.
func (r *req) sendTo(f *file, v *vector, n int64, flags uint32, addr, length uint64) int64 {
	put := int64(0)
	if addr != 0 && uint32(length) != 0 && f.dgram() { // TCP has its peer, and Linux does not look
		if put = r.addressIn(f, addr, length); put < 0 {
			return put
		}
	}
	return r.send(f, v, n, flags, uint64(put))
}

// send sends n bytes with an address of length put, which is in the block.
func (r *req) send(f *file, v *vector, n int64, flags uint32, put uint64) int64 {
	errs := may(f, errSend, flags&msgDontwait != 0)
	if !f.dgram() {
		return r.give(f, v, abi.SYS_SENDTO, n, uint64(flags), errs)
	}
	if n > sallyport.PayloadSize {
		return -abi.EMSGSIZE
	}
	if !r.gather(v, uint64(n)) {
		return -abi.EFAULT
	}
	return r.on(f, abi.SYS_SENDTO, uint64(n), uint64(flags), put, 0, n, errs)
}

func (r *req) recvfrom(f *file) int64 {
	flags := uint32(r.a[3])
	if flags&^msgOK != 0 {
		return -abi.EOPNOTSUPP
	}
	var v vector
	n := v.single(r.a[1], r.a[2])
	if n < 0 {
		return n
	}
	if r.a[4] == 0 {
		return r.receive(f, &v, n, flags)
	}
	var from address
	ret, _ := r.receiveFrom(f, &v, n, flags, &from)
	if ret < 0 {
		return ret
	}
	if errno := r.addressOut(&from, r.a[4], r.a[5]); errno < 0 {
		return errno
	}
	return ret
}

// receive receives up to n bytes from anybody.
func (r *req) receive(f *file, v *vector, n int64, flags uint32) int64 {
	if f.dgram() {
		ret, _ := r.receiveFrom(f, v, n, flags, nil)
		return ret
	}
	errs := may(f, errReceiv, flags&msgDontwait != 0)
	if flags&(msgWaitall|msgPeek) != msgWaitall {
		return r.take(f, v, abi.SYS_RECVFROM, n, uint64(flags), 0, errs)
	}
	for done := int64(0); ; {
		part := min(n-done, sallyport.PayloadSize)
		ret := r.take(f, v, abi.SYS_RECVFROM, part, uint64(flags), 0, errs)
		if ret < 0 {
			return progress(done, ret)
		}
		if done += ret; ret < part || done == n {
			return done
		}
	}
}

// receiveFrom receives one datagram, and where it comes from if from is not
// nil. The host returns the whole length (MSG_TRUNC), so that a datagram that
// was cut is known to be.
func (r *req) receiveFrom(f *file, v *vector, n int64, flags uint32, from *address) (ret int64, cut bool) {
	if !f.dgram() {
		return r.receive(f, v, n, flags), false // the address of a stream is empty
	}
	n = min(n, sallyport.PayloadSize)
	want := uint64(0)
	if from != nil {
		want = 1
	}
	ret = r.on(f, abi.SYS_RECVFROM, uint64(n), uint64(flags|msgTrunc), want, 0, maxDatagram, may(f, errReceiv, flags&msgDontwait != 0))
	if ret < 0 {
		return ret, false
	}
	if from != nil && !r.addressFrom(f, from) {
		return r.t.abort(sallyport.AbortHost), false
	}
	got := min(ret, n)
	if !r.scatter(v, uint64(got)) {
		return -abi.EFAULT, false
	}
	return got, ret > n
}

// header reads a struct msghdr and makes v the walk over its buffers.
func (r *req) header(h *[mLen]byte, v *vector) int64 {
	if !r.sp.CopyIn(r.cpu, h[:], r.a[1]) {
		return -abi.EFAULT
	}
	count := get64(h[msgIovlen:])
	if count > iovMax {
		return -abi.EMSGSIZE
	}
	return r.vector(v, get64(h[msgIov:]), count)
}

// sendmsg is sendto with vectors. Ancillary data could only be descriptors and
// routing tricks.
func (r *req) sendmsg(f *file) int64 {
	flags := uint32(r.a[2])
	if flags&^msgOK != 0 {
		return -abi.EOPNOTSUPP
	}
	var h [mLen]byte
	var v vector
	n := r.header(&h, &v)
	if n < 0 {
		return n
	}
	if get64(h[msgControllen:]) != 0 {
		return -abi.EOPNOTSUPP
	}
	return r.sendTo(f, &v, n, flags, get64(h[msgName:]), uint64(get32(h[msgNamelen:])))
}

const msgCmsgCloexec = 0x40000000 // no descriptor ever comes

func (r *req) recvmsg(f *file) int64 {
	flags := uint32(r.a[2]) &^ msgCmsgCloexec
	if flags&^msgOK != 0 {
		return -abi.EOPNOTSUPP
	}
	var h [mLen]byte
	var v vector
	n := r.header(&h, &v)
	if n < 0 {
		return n
	}
	name := get64(h[msgName:])
	var from address
	var ret int64
	var cut bool
	if name != 0 {
		ret, cut = r.receiveFrom(f, &v, n, flags, &from)
	} else {
		ret, cut = r.receiveFrom(f, &v, n, flags, nil)
	}
	if ret < 0 {
		return ret
	}
	if name != 0 {
		if errno := r.addressOut(&from, name, r.a[1]+msgNamelen); errno < 0 {
			return errno
		}
	}
	var tail [mLen - msgControllen]byte // no control data; flags
	if cut {
		put32(tail[msgFlags-msgControllen:], msgTrunc)
	}
	if !r.sp.CopyOut(r.cpu, r.a[1]+msgControllen, tail[:12]) {
		return -abi.EFAULT
	}
	return ret
}
