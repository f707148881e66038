// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// sysAttest is the private call that asks for the hardware below: 0 bytes of
// evidence, and technology 0 in rdx.
const sysAttest = 0xea01

// syscall serves the call in the thread's frame. internal/confine has the list of
// calls, with the same answers.
func (k *Kernel) syscall(t *Thread) {
	f := &t.Frame
	t.nr, t.restart = f.RAX, 0
	args := [6]uint64{f.RDI, f.RSI, f.RDX, f.R10, f.R8, f.R9}
	switch f.RAX {
	// Calls after which the frame is another one.
	case abi.SYS_EXIT:
		k.exitThread(t, f.RDI)
		return
	case abi.SYS_RT_SIGRETURN:
		k.sigreturn(t)
		return
	case sysAttest:
		f.RDX = 0
	}
	ret := k.call(t, f.RAX, &args)
	switch ret {
	case -restartSys, -restartAlways, -restartNoHandler:
		t.restart = -ret
		ret = -abi.EINTR
	}
	f.RAX = uint64(ret)
}

// call tries the groups of calls in turn, the most frequent ones first.
func (k *Kernel) call(t *Thread, nr uint64, a *[6]uint64) int64 {
	if ret, ok := k.threadCall(t, nr, a); ok {
		return ret
	}
	if ret, ok := k.memoryCall(t, nr, a); ok {
		return ret
	}
	if ret, ok := k.forward(t, nr, a); ok {
		return ret
	}
	if ret, ok := k.fixedCall(t, nr, a); ok {
		return ret
	}
	k.countUnknown(t, nr)
	return -abi.ENOSYS
}

// threadCall serves threads, signals, futexes, time and random numbers.
func (k *Kernel) threadCall(t *Thread, nr uint64, a *[6]uint64) (ret int64, ok bool) {
	switch nr {
	case abi.SYS_FUTEX:
		return k.futex(t, a), true
	case abi.SYS_NANOSLEEP:
		return k.nanosleep(t, a[0], a[1]), true
	case abi.SYS_CLOCK_NANOSLEEP:
		return k.clockNanosleep(t, a[0], a[1], a[2], a[3]), true
	case abi.SYS_CLOCK_GETTIME:
		return k.clockGettime(t, a[0], a[1]), true
	case abi.SYS_CLOCK_GETRES:
		return k.clockGetres(t, a[0], a[1]), true
	case abi.SYS_GETTIMEOFDAY:
		return k.gettimeofday(t, a[0], a[1]), true
	case abi.SYS_TIME:
		return k.time(t, a[0]), true
	case abi.SYS_SCHED_YIELD:
		return k.yield(t), true
	case abi.SYS_CLONE:
		return k.clone(t, a), true
	case abi.SYS_EXIT_GROUP:
		k.exit(t, a[0]&0xff, 0)
		return 0, true
	case abi.SYS_GETTID:
		return int64(t.tid.Load()), true
	case abi.SYS_SET_TID_ADDRESS:
		t.clearTID = a[0]
		return int64(t.tid.Load()), true
	case abi.SYS_SET_ROBUST_LIST:
		if a[1] == robustSize {
			t.robust = a[0]
		}
		return 0, true
	case abi.SYS_GET_ROBUST_LIST:
		return k.getRobustList(t, a[0], a[1], a[2]), true
	case abi.SYS_ARCH_PRCTL:
		return k.archPrctl(t, a[0], a[1]), true
	case abi.SYS_GETRANDOM:
		return k.getrandom(t, a[0], a[1], a[2]), true
	}
	return k.signalCall(t, nr, a)
}

func (k *Kernel) signalCall(t *Thread, nr uint64, a *[6]uint64) (ret int64, ok bool) {
	switch nr {
	case abi.SYS_RT_SIGACTION:
		return k.sigaction(t, a[0], a[1], a[2], a[3]), true
	case abi.SYS_RT_SIGPROCMASK:
		return k.sigprocmask(t, a[0], a[1], a[2], a[3]), true
	case abi.SYS_RT_SIGPENDING:
		return k.sigpending(t, a[0], a[1]), true
	case abi.SYS_SIGALTSTACK:
		return k.sigaltstack(t, a[0], a[1]), true
	case abi.SYS_KILL:
		return k.kill(t, a[0], a[1]), true
	case abi.SYS_TKILL:
		return k.tgkill(t, pid, a[0], a[1]), true
	case abi.SYS_TGKILL:
		return k.tgkill(t, a[0], a[1], a[2]), true
	}
	return 0, false
}

// Flags and advice of memory calls.
const (
	protAll       = abi.ProtRead | abi.ProtWrite | abi.ProtExec
	mapPrivate    = 0x02
	mapDroppable  = 0x08
	mapAnonymous  = 0x20
	mapOptional   = 0x10 | 0x4000 | 0x2_0000 | 0x10_0000 // FIXED, NORESERVE, STACK, FIXED_NOREPLACE
	mremapMayMove = 1

	madvDontneed      = 4
	madvFree          = 8
	madvHugepage      = 14
	madvNohugepage    = 15
	madvPopulateWrite = 23
	madvCollapse      = 25
)

// memoryCall serves calls about memory, after the checks of internal/confine.
func (k *Kernel) memoryCall(t *Thread, nr uint64, a *[6]uint64) (ret int64, ok bool) {
	sp, cpu := &k.Space, t.Index
	switch nr {
	case abi.SYS_MMAP:
		return k.mmap(t, a), true
	case abi.SYS_MUNMAP:
		return sp.Munmap(cpu, a[0], a[1]), true
	case abi.SYS_BRK:
		return sp.Brk(cpu, a[0]), true
	case abi.SYS_MPROTECT:
		switch {
		case writeExec(a[2]):
			return -abi.EACCES, true
		case a[2]&^protAll != 0:
			return -abi.EINVAL, true
		}
		return sp.Mprotect(cpu, a[0], a[1], a[2]), true
	case abi.SYS_MREMAP:
		if a[3]&^mremapMayMove != 0 {
			return -abi.EINVAL, true
		}
		return sp.Mremap(cpu, a[0], a[1], a[2], a[3]), true
	case abi.SYS_MADVISE:
		advice := uint64(uint32(a[2]))
		switch advice {
		case madvDontneed, madvFree, madvHugepage, madvNohugepage, madvPopulateWrite, madvCollapse:
			return sp.Madvise(cpu, a[0], a[1], advice), true
		}
		return -abi.EINVAL, true
	}
	return 0, false
}

func writeExec(prot uint64) bool {
	return prot&(abi.ProtWrite|abi.ProtExec) == abi.ProtWrite|abi.ProtExec
}

// mmap maps private anonymous memory, the only kind there is. As on Linux the
// descriptor does not matter then.
func (k *Kernel) mmap(t *Thread, a *[6]uint64) int64 {
	prot, flags := a[2], a[3]
	switch {
	case writeExec(prot):
		return -abi.EACCES
	case prot&^protAll != 0:
		return -abi.ENODEV
	case flags&^mapOptional == mapPrivate|mapAnonymous, flags == mapDroppable|mapAnonymous:
		return k.Space.Mmap(t.Index, a[0], a[1], prot, flags)
	}
	return -abi.ENODEV
}

// forward serves calls on descriptors. While the host may be waiting for something
// on the program's behalf, a signal must be able to make it stop.
func (k *Kernel) forward(t *Thread, nr uint64, a *[6]uint64) (ret int64, ok bool) {
	t.where.Store(inHost)
	if k.hasSignal(t) {
		t.where.Store(inShim)
		return -restartAlways, true // the signal came first, the call comes after it
	}
	ret, ok = k.Files.Call(&k.Space, &t.Port, nr, a)
	t.where.Store(inShim)
	if ok && ret == -abi.EINTR {
		ret = k.afterEINTR(t, nr)
	}
	return ret, ok
}

// afterEINTR says what becomes of a call that the host broke off. Without a signal
// it was a kick for another reason, and the program never learns of it.
func (k *Kernel) afterEINTR(t *Thread, nr uint64) int64 {
	if !k.hasSignal(t) {
		return -restartAlways
	}
	switch nr {
	case abi.SYS_POLL, abi.SYS_PPOLL:
		return -restartNoHandler
	case abi.SYS_EPOLL_WAIT, abi.SYS_EPOLL_PWAIT:
		return -abi.EINTR
	}
	return -restartSys
}

// yield gives the host the choice of which vCPU runs next.
func (k *Kernel) yield(t *Thread) int64 {
	k.host(t, sallyport.OpYield, 0, 0)
	return 0
}
