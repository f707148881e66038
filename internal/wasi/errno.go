// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"errors"
	"io/fs"
	"syscall"
)

// errno is WASI's error number, the result of almost every function.
type errno uint16

const (
	success         errno = 0
	eAcces          errno = 2
	eAgain          errno = 6
	eBadf           errno = 8
	eExist          errno = 20
	eFault          errno = 21
	eFbig           errno = 22
	eIntr           errno = 27
	eInval          errno = 28
	eIO             errno = 29
	eIsdir          errno = 31
	eMfile          errno = 33
	eNametoolong    errno = 37
	eNoent          errno = 44
	eNotconn        errno = 53
	eNotdir         errno = 54
	eNotsock        errno = 57
	eNotsup         errno = 58
	eOverflow       errno = 61
	ePipe           errno = 64
	eRofs           errno = 69
	eSpipe          errno = 70
	eNotcapable     errno = 76
	linuxErrnoSlots       = 134
)

// fromLinux translates Linux error numbers; those that WASI has no name for are
// zero here and become EIO.
var fromLinux = [linuxErrnoSlots]errno{
	syscall.E2BIG: 1, syscall.EACCES: eAcces, syscall.EADDRINUSE: 3, syscall.EADDRNOTAVAIL: 4,
	syscall.EAFNOSUPPORT: 5, syscall.EAGAIN: eAgain, syscall.EALREADY: 7, syscall.EBADF: eBadf,
	syscall.EBADMSG: 9, syscall.EBUSY: 10, syscall.ECANCELED: 11, syscall.ECHILD: 12,
	syscall.ECONNABORTED: 13, syscall.ECONNREFUSED: 14, syscall.ECONNRESET: 15, syscall.EDEADLK: 16,
	syscall.EDESTADDRREQ: 17, syscall.EDOM: 18, syscall.EDQUOT: 19, syscall.EEXIST: eExist,
	syscall.EFAULT: eFault, syscall.EFBIG: eFbig, syscall.EHOSTUNREACH: 23, syscall.EIDRM: 24,
	syscall.EILSEQ: 25, syscall.EINPROGRESS: 26, syscall.EINTR: eIntr, syscall.EINVAL: eInval,
	syscall.EIO: eIO, syscall.EISCONN: 30, syscall.EISDIR: eIsdir, syscall.ELOOP: 32,
	syscall.EMFILE: eMfile, syscall.EMLINK: 34, syscall.EMSGSIZE: 35, syscall.EMULTIHOP: 36,
	syscall.ENAMETOOLONG: eNametoolong, syscall.ENETDOWN: 38, syscall.ENETRESET: 39,
	syscall.ENETUNREACH: 40, syscall.ENFILE: 41, syscall.ENOBUFS: 42, syscall.ENODEV: 43,
	syscall.ENOENT: eNoent, syscall.ENOEXEC: 45, syscall.ENOLCK: 46, syscall.ENOLINK: 47,
	syscall.ENOMEM: 48, syscall.ENOMSG: 49, syscall.ENOPROTOOPT: 50, syscall.ENOSPC: 51,
	syscall.ENOSYS: 52, syscall.ENOTCONN: eNotconn, syscall.ENOTDIR: eNotdir,
	syscall.ENOTEMPTY: 55, syscall.ENOTRECOVERABLE: 56, syscall.ENOTSOCK: eNotsock,
	syscall.EOPNOTSUPP: eNotsup, syscall.ENOTTY: 59, syscall.ENXIO: 60, syscall.EOVERFLOW: eOverflow,
	syscall.EOWNERDEAD: 62, syscall.EPERM: 63, syscall.EPIPE: ePipe, syscall.EPROTO: 65,
	syscall.EPROTONOSUPPORT: 66, syscall.EPROTOTYPE: 67, syscall.ERANGE: 68, syscall.EROFS: eRofs,
	syscall.ESPIPE: eSpipe, syscall.ESRCH: 71, syscall.ESTALE: 72, syscall.ETIMEDOUT: 73,
	syscall.ETXTBSY: 74, syscall.EXDEV: 75,
}

// errnoOf gives the number that tells a guest about err. What has none, such as
// a TLS alert, is EIO: the guest learns that it failed, not how.
func errnoOf(err error) errno {
	if err == nil {
		return success
	}
	sys, ok := err.(syscall.Errno)
	if !ok {
		switch {
		case errors.As(err, &sys):
		case errors.Is(err, fs.ErrClosed):
			return eBadf
		default:
			return eIO
		}
	}
	if uintptr(sys) < linuxErrnoSlots && fromLinux[sys] != success {
		return fromLinux[sys]
	}
	return eIO
}
