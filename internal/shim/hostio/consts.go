// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Numbers of the Linux ABI, compared with x/sys by TestConstants.
const (
	afUnspec, afInet, afInet6 = 0, 2, 10
	sockStream, sockDgram     = 1, 2
	sockNonblock, sockCloexec = 0x800, 0x80000
	ipprotoTCP, ipprotoUDP    = 6, 17
	ipprotoIPv6               = 41
	solSocket                 = 1

	soReuseaddr, soType, soError, soBroadcast        = 2, 3, 4, 6
	soSndbuf, soRcvbuf, soKeepalive, soLinger        = 7, 8, 9, 13
	soReuseport, soAcceptconn                        = 15, 30
	soProtocol, soDomain                             = 38, 39
	tcpNodelay, tcpKeepidle, tcpKeepintvl            = 1, 4, 5
	tcpKeepcnt, tcpUserTimeout                       = 6, 18
	ipv6V6only                                       = 26
	msgPeek, msgTrunc, msgDontwait, msgWaitall       = 0x2, 0x20, 0x40, 0x100
	msgNosignal                                      = 0x4000
	oRdonly, oRdwr, oAccmode                         = 0, 2, 3
	oAppend, oNonblock, oAsync                       = 0x400, 0x800, 0x2000
	oLargefile, oCloexec                             = 0x8000, 0x80000
	oDirectory, oNofollow, oPath                     = 0x10000, 0x20000, 0x200000
	fDupfd, fGetfd, fSetfd, fGetfl, fSetfl           = 0, 1, 2, 3, 4
	fDupfdCloexec, fdCloexec                         = 1030, 1
	fionread, fionbio                                = 0x541B, 0x5421
	atFdcwd, atEmptyPath                             = -100, 0x1000
	seekSet, seekCur, seekEnd                        = 0, 1, 2
	pollin, pollpri, pollout, pollerr                = 0x1, 0x2, 0x4, 0x8
	pollhup, pollnval, pollrdnorm, pollwrnorm        = 0x10, 0x20, 0x40, 0x100
	epollAdd, epollDel, epollMod                     = 1, 2, 3
	efdSemaphore                                     = 1
	iovMax, rwMax                                    = 1024, 0x7ffff000
	sIFIFO, sIFCHR, sIFREG, sIFSOCK            int64 = 0x1000, 0x2000, 0x8000, 0xC000
)

// What epoll_ctl passes on of the events it is given, and what of them can be
// reported. Left out is EPOLLWAKEUP, which keeps a host awake.
const (
	epollBits  = 0x2000 | 0x7df // the poll bits, RDHUP with them
	epollModes = 1<<31 | 1<<30 | 1<<28
)

// errnos is a set of errors that a call may fail with. What the host gives
// beside it becomes EIO.
type errnos [3]uint64

func (e errnos) has(errno int64) bool {
	return errno > 0 && errno < 64*int64(len(e)) && e[uint64(errno)/64%uint64(len(e))]&(1<<(uint64(errno)%64)) != 0
}

// The parts of the sets, one word per 64 errors. The network's own errors are
// those that an ICMP message or a peer can cause on any call.
const (
	lowMemory = 1 << abi.ENOMEM
	midMemory = 1 << (abi.ENOBUFS - 64)
	midPeer   = 1<<(abi.ECONNRESET-64) | 1<<(abi.ETIMEDOUT-64) | 1<<(abi.ENOTCONN-64) // standard input may be a socket
	lowFile   = 1<<abi.EIO | 1<<abi.EINVAL | 1<<abi.EPIPE
	lowNet    = lowFile | lowMemory | 1<<abi.EPERM | 1<<abi.EACCES
	midNet    = midMemory | 1<<(abi.ENONET-64) | 1<<(abi.EPROTO-64) | 1<<(abi.ENOPROTOOPT-64) | 1<<(abi.EOPNOTSUPP-64) |
		1<<(abi.EMSGSIZE-64) | 1<<(abi.ENETDOWN-64) | 1<<(abi.ENETUNREACH-64) | 1<<(abi.ECONNABORTED-64) |
		1<<(abi.ECONNRESET-64) | 1<<(abi.ENOTCONN-64) | 1<<(abi.ETIMEDOUT-64) | 1<<(abi.ECONNREFUSED-64) |
		1<<(abi.EHOSTDOWN-64) | 1<<(abi.EHOSTUNREACH-64)
	midAddr = midNet | 1<<(abi.EDESTADDRREQ-64) | 1<<(abi.EADDRINUSE-64) | 1<<(abi.EADDRNOTAVAIL-64) |
		1<<(abi.EAFNOSUPPORT-64) | 1<<(abi.EISCONN-64) | 1<<(abi.EALREADY-64)
	midConnect = 1 << (abi.EINPROGRESS - 64)
)

// Sets of errors, by what is called.
var (
	errNone   = errnos{}
	errRead   = errnos{lowFile | lowMemory | 1<<abi.EISDIR, midMemory | midPeer}
	errWrite  = errnos{lowFile | lowMemory | 1<<abi.ENOSPC | 1<<abi.EFBIG | 1<<abi.EPERM, midMemory | midPeer | 1<<(abi.EDQUOT-64)}
	errReceiv = errnos{lowNet, midNet}
	errSend   = errnos{lowNet, midAddr}
	errName   = errnos{1 << abi.EINVAL, midMemory | 1<<(abi.ENOTCONN-64)}
	errBind   = errnos{1<<abi.EINVAL | 1<<abi.EACCES | 1<<abi.EPERM | lowMemory, midMemory | 1<<(abi.EADDRINUSE-64) |
		1<<(abi.EADDRNOTAVAIL-64) | 1<<(abi.EAFNOSUPPORT-64) | 1<<(abi.EOPNOTSUPP-64)}
	errConnect = errnos{lowNet, midAddr | midConnect}
	errSocket  = errnos{1<<abi.EACCES | 1<<abi.EMFILE | 1<<abi.ENFILE | lowMemory | 1<<abi.EPERM,
		midMemory | 1<<(abi.EAFNOSUPPORT-64) | 1<<(abi.EPROTONOSUPPORT-64)}
	errAccept = errnos{lowNet | 1<<abi.EMFILE | 1<<abi.ENFILE, midNet}
	errOption = errnos{1<<abi.EINVAL | 1<<abi.EPERM | 1<<abi.EACCES | lowMemory,
		midMemory | 1<<(abi.ENOPROTOOPT-64) | 1<<(abi.EOPNOTSUPP-64) | 1<<(abi.EISCONN-64) | 1<<(abi.ENOTCONN-64)}
	errShut  = errnos{1 << abi.EINVAL, 1 << (abi.ENOTCONN - 64)}
	errMake  = errnos{1<<abi.EMFILE | 1<<abi.ENFILE | lowMemory | 1<<abi.ENODEV}
	errWatch = errnos{1<<abi.EPERM | 1<<abi.EEXIST | 1<<abi.ENOSPC | 1<<abi.EINVAL | 1<<abi.ELOOP | lowMemory}
	errWait  = errnos{1<<abi.EINTR | lowMemory}
	errFlags = errnos{1<<abi.EPERM | 1<<abi.EINVAL}
	errCount = errnos{1<<abi.EINVAL | 1<<abi.ENOTTY}
	errOpen  = errnos{1<<abi.ENOENT | 1<<abi.EACCES | 1<<abi.EMFILE | 1<<abi.ENFILE | lowMemory}
)

// maxDatagram is the most bytes of one datagram: UDP's length field.
const maxDatagram = 0xffff

// A datagram fits the block in one piece, whatever it holds.
const _ = uint(sallyport.PayloadSize - maxDatagram)
