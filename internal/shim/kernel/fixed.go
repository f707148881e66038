// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/hostio"
)

// uid is the user and group that every program in a Keep has.
const uid = 1000

const (
	prSetName = 15 // PR_SET_NAME

	rlimitStack    = 3
	rlimitFiles    = 7 // RLIMIT_NOFILE
	numLimits      = 16
	stackLimit     = 8 << 20
	infinity       = ^uint64(0)
	rusageSize     = 144
	utsField       = 65
	utsSize        = 6 * utsField
	rusageChildren = 0xffff_ffff // RUSAGE_CHILDREN
	rusageThread   = 1
)

// fixedCall serves calls whose answers are constants.
func (k *Kernel) fixedCall(t *Thread, nr uint64, a *[6]uint64) (ret int64, ok bool) {
	switch nr {
	case abi.SYS_GETPID:
		return pid, true
	case abi.SYS_GETPPID:
		return ppid, true
	case abi.SYS_GETUID, abi.SYS_GETGID, abi.SYS_GETEUID, abi.SYS_GETEGID:
		return uid, true
	case abi.SYS_GETRESUID, abi.SYS_GETRESGID:
		return k.getres(t, a), true
	case abi.SYS_UNAME:
		return k.uname(t, a[0]), true
	case abi.SYS_GETRLIMIT:
		return k.getrlimit(t, a[0], a[1]), true
	case abi.SYS_PRLIMIT64:
		if uint32(a[0]) != 0 || a[2] != 0 {
			return -abi.EPERM, true
		}
		return k.getrlimit(t, a[1], a[3]), true
	case abi.SYS_GETRUSAGE:
		return k.getrusage(t, a[0], a[1]), true
	case abi.SYS_SCHED_GETAFFINITY:
		return k.getaffinity(t, a[1], a[2]), true
	case abi.SYS_GETCPU:
		return k.getcpu(t, a[0], a[1]), true
	case abi.SYS_PRCTL:
		if uint32(a[0]) == prSetName {
			return 0, true
		}
		return -abi.EINVAL, true
	case abi.SYS_MEMBARRIER:
		return membarrier(uint32(a[0]))
	}
	return constant(nr)
}

// constant serves calls that are answered alike whatever their arguments are.
func constant(nr uint64) (ret int64, ok bool) {
	switch nr {
	case abi.SYS_MSYNC, abi.SYS_SCHED_SETAFFINITY, sysAttest:
		return 0, true
	case abi.SYS_STAT, abi.SYS_LSTAT, abi.SYS_NEWFSTATAT, abi.SYS_ACCESS, abi.SYS_FACCESSAT, abi.SYS_FACCESSAT2,
		abi.SYS_GETCWD, abi.SYS_READLINK, abi.SYS_READLINKAT:
		return -abi.ENOENT, true
	case abi.SYS_MINCORE:
		return -abi.ENOMEM, true
	case abi.SYS_WAIT4, abi.SYS_WAITID:
		return -abi.ECHILD, true
	case abi.SYS_FSYNC, abi.SYS_FDATASYNC:
		return -abi.EINVAL, true
	case abi.SYS_GETDENTS64:
		return -abi.ENOTDIR, true
	case abi.SYS_PWRITE64, abi.SYS_PWRITEV:
		return -abi.ESPIPE, true
	}
	return 0, false
}

// membarrier answers the query and the registrations with success, which says that
// there are no expedited commands.
func membarrier(cmd uint32) (ret int64, ok bool) {
	switch cmd {
	case 0, 1 << 2, 1 << 4, 1 << 6, 1 << 8:
		return 0, true
	}
	return -abi.ENOSYS, true
}

func (k *Kernel) getres(t *Thread, a *[6]uint64) int64 {
	for _, addr := range a[:3] {
		if !k.storeInt(t, addr, uid) {
			return -abi.EFAULT
		}
	}
	return 0
}

// uname names a kernel that has everything which is served here.
func (k *Kernel) uname(t *Thread, addr uint64) int64 {
	b := t.scratch[:utsSize]
	clear(b)
	copy(b[0*utsField:], "Linux")
	copy(b[1*utsField:], "localhost")
	copy(b[2*utsField:], "6.1.0")
	copy(b[3*utsField:], "#1 SMP")
	copy(b[4*utsField:], "x86_64")
	copy(b[5*utsField:], "(none)")
	if !k.Space.CopyOut(t.Index, addr, b) {
		return -abi.EFAULT
	}
	return 0
}

// getrlimit also answers prlimit64, which may be asked for nothing.
func (k *Kernel) getrlimit(t *Thread, resource, addr uint64) int64 {
	limit := infinity
	switch r := uint32(resource); {
	case r >= numLimits:
		return -abi.EINVAL
	case r == rlimitStack:
		limit = stackLimit
	case r == rlimitFiles:
		limit = hostio.MaxFiles
	}
	if addr == 0 && t.nr == abi.SYS_PRLIMIT64 {
		return 0
	}
	return k.storeTime(t, addr, limit, limit) // two words, as struct rlimit
}

func (k *Kernel) getrusage(t *Thread, who, addr uint64) int64 {
	switch uint32(who) {
	case 0, rusageThread, rusageChildren:
	default:
		return -abi.EINVAL
	}
	if !k.Space.Zero(t.Index, addr, rusageSize) {
		return -abi.EFAULT
	}
	return 0
}

// getaffinity tells the program of the CPUs that the host gives; all threads
// may run on all of them.
func (k *Kernel) getaffinity(t *Thread, size, addr uint64) int64 {
	size = uint64(uint32(size))
	if size%8 != 0 || size*8 < uint64(k.ncpu) {
		return -abi.EINVAL
	}
	var mask [MaxThreads / 8]byte
	for i := range min(k.ncpu, MaxThreads) {
		mask[i/8] |= 1 << (i % 8)
	}
	n := min(uint64(k.ncpu+63)/64*8, MaxThreads/8)
	if !k.Space.CopyOut(t.Index, addr, mask[:n]) {
		return -abi.EFAULT
	}
	return int64(n)
}

func (k *Kernel) getcpu(t *Thread, cpu, node uint64) int64 {
	if cpu != 0 && !k.storeInt(t, cpu, t.Index%max(k.ncpu, 1)) || node != 0 && !k.storeInt(t, node, 0) {
		return -abi.EFAULT
	}
	return 0
}
