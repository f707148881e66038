// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// pathMax is longer than any name that exists in a Keep.
const pathMax = 32

// special are the files that exist. What the host's contain is as trustworthy
// as the network that they describe.
var special = [...]struct {
	name string
	kind kind
	what uint16
}{
	{"/dev/null", device, devNull},
	{"/dev/zero", device, devZero},
	{"/dev/random", device, devRandom},
	{"/dev/urandom", device, devRandom},
	{"/etc/resolv.conf", text, sallyport.FileResolvConf},
	{"/etc/hosts", text, sallyport.FileHosts},
	{"/etc/nsswitch.conf", text, sallyport.FileNSSwitch},
}

// openRead are the flags that a file may be opened with, as in internal/confine:
// to read it and no more.
const openRead = oCloexec | oLargefile | oNonblock | oNofollow | oDirectory

func (r *req) open(path, flags uint64) int64 {
	// A name can be looked for with O_PATH, which nil refuses because its names
	// are the host's; what exists is not to be had without being opened.
	if uint32(flags)&^(openRead|oPath) != 0 {
		return -abi.EACCES
	}
	var buf [pathMax]byte
	n, ok := r.sp.CopyInString(r.cpu, buf[:], path)
	if !ok {
		if n < len(buf) {
			return -abi.EFAULT
		}
		return -abi.ENOENT
	}
	for i := range special {
		if s := &special[i]; n <= len(buf) && string(buf[:n]) == s.name {
			return r.openSpecial(s.kind, s.what, uint32(flags))
		}
	}
	return -abi.ENOENT
}

func (r *req) openSpecial(k kind, what uint16, flags uint32) int64 {
	switch {
	case flags&oPath != 0:
		return -abi.EACCES
	case flags&oDirectory != 0:
		return -abi.ENOTDIR
	}
	fd, f := r.t.reserve(0, flags&oCloexec != 0)
	if fd < 0 {
		return fd
	}
	f.kind, f.proto, f.access = k, what, oRdonly
	f.mode(flags&oNonblock == 0)
	if k == device {
		r.t.install(fd, f)
		return fd
	}
	return r.adopt(fd, f, r.host(abi.SYS_OPEN, uint64(what), 0, 0, 0, 0, sallyport.MaxHandle, errOpen))
}

func (r *req) readDevice(f *file, v *vector, n int64) int64 {
	if f.proto == devNull {
		return 0
	}
	// One buffer is enough of a read that may be short.
	for v.left == 0 && v.count > 0 {
		if !r.advance(v) {
			return -abi.EFAULT
		}
	}
	n = int64(min(v.left, uint64(n)))
	switch {
	case n == 0:
	case f.proto == devRandom:
		if r.t.Random == nil {
			return -abi.EIO
		}
		return r.t.Random(r.cpu, v.base, uint64(n))
	case !r.sp.Zero(r.cpu, v.base, uint64(n)):
		return -abi.EFAULT
	}
	return n
}

// readText reads at the file's own position, which the host does not know.
func (r *req) readText(f *file, v *vector, n int64) int64 {
	r.t.lock.Lock()
	pos := f.pos
	r.t.lock.Unlock()
	if pos > sallyport.MaxFileSize {
		return 0
	}
	ret := r.take(f, v, abi.SYS_PREAD64, n, pos, 0, errRead)
	if ret > 0 {
		r.t.lock.Lock()
		f.pos = pos + uint64(ret)
		r.t.lock.Unlock()
	}
	return ret
}

func (r *req) pread(f *file, vectored bool) int64 {
	var v vector
	n := r.buffers(&v, vectored)
	if n < 0 {
		return n
	}
	pos := r.a[3]
	switch {
	case int64(pos) < 0:
		return -abi.EINVAL
	case f.kind == device:
		return r.readDevice(f, &v, n)
	case f.kind != text:
		return -abi.ESPIPE
	case pos > sallyport.MaxFileSize:
		return 0
	}
	return r.take(f, &v, abi.SYS_PREAD64, n, pos, 0, errRead)
}

// size asks for the length of one of the host's files.
func (r *req) size(f *file) int64 {
	return r.on(f, abi.SYS_FSTAT, 0, 0, 0, 0, sallyport.MaxFileSize, errRead)
}

func (r *req) lseek(f *file) int64 {
	off, from := int64(r.a[1]), int64(0)
	switch f.kind {
	case device, event, epoll:
		return 0 // which Linux takes for seeking
	case text:
	default:
		return -abi.ESPIPE
	}
	switch uint32(r.a[2]) {
	case seekSet:
	case seekCur:
		r.t.lock.Lock()
		from = int64(f.pos)
		r.t.lock.Unlock()
	case seekEnd:
		if from = r.size(f); from < 0 {
			return from
		}
	default:
		return -abi.EINVAL
	}
	if off > sallyport.MaxFileSize || off < -from || from+off > sallyport.MaxFileSize {
		return -abi.EINVAL
	}
	r.t.lock.Lock()
	f.pos = uint64(from + off)
	r.t.lock.Unlock()
	return from + off
}

// Offsets of struct stat.
const (
	statDev, statIno, statNlink, statMode   = 0, 8, 16, 24
	statUID, statGID, statRdev, statSize    = 28, 32, 40, 48
	statBlksize, statBlocks, statTime, sLen = 56, 64, 72, 144
)

// owner is the user and group that a program in a Keep is.
const owner = 1000

// fstat describes a descriptor by what the shim knows of it. Standard input and
// output are pipes, whatever they are outside.
func (r *req) fstat(f *file, addr uint64) int64 {
	var st [sLen]byte
	mode, size := uint32(sIFIFO|0o600), int64(0)
	switch f.kind {
	case socket:
		mode = uint32(sIFSOCK | 0o777)
	case event, epoll:
		mode = 0o600
	case device:
		mode = uint32(sIFCHR | 0o666)
		// Major 1, minor 3, 5 and 9, as on Linux.
		put64(st[statRdev:], 1<<8|uint64([...]uint16{devNull: 3, devZero: 5, devRandom: 9}[f.proto%3]))
	case text:
		mode = uint32(sIFREG | 0o444)
		if size = r.size(f); size < 0 {
			return size
		}
	}
	put64(st[statDev:], 1)
	put64(st[statIno:], uint64(f.self)+1)
	put64(st[statNlink:], 1)
	put32(st[statMode:], mode)
	put32(st[statUID:], owner)
	put32(st[statGID:], owner)
	put64(st[statSize:], uint64(size))
	put64(st[statBlksize:], abi.PageSize)
	put64(st[statBlocks:], uint64(size+511)/512)
	if !r.sp.CopyOut(r.cpu, addr, st[:]) {
		return -abi.EFAULT
	}
	return 0
}

// fstatat is fstat if the path is empty and may be; no path exists otherwise,
// since a question about one is a question about the host.
func (r *req) fstatat() int64 {
	var b [1]byte
	if uint32(r.a[3])&atEmptyPath == 0 {
		return -abi.ENOENT
	}
	if !r.sp.CopyIn(r.cpu, b[:], r.a[1]) {
		return -abi.EFAULT
	}
	if b[0] != 0 {
		return -abi.ENOENT
	}
	f := r.t.acquire(uint32(r.a[0]))
	if f == nil {
		return -abi.EBADF
	}
	ret := r.fstat(f, r.a[2])
	r.t.release(f)
	return ret
}
