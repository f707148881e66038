// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Signals, as Linux numbers them.
const (
	sigILL  = 4
	sigTRAP = 5
	sigBUS  = 7
	sigFPE  = 8
	sigKILL = 9
	sigSEGV = 11
	sigCHLD = 17
	sigCONT = 18
	sigSTOP = 19
	sigTSTP = 20
	sigTTIN = 21
	sigTTOU = 22
	sigURG  = 23
	sigWNCH = 28 // SIGWINCH
	sigSYS  = 31

	numSignals = 64
)

// Sets of signals.
const (
	unblockable = 1<<(sigKILL-1) | 1<<(sigSTOP-1)
	synchronous = 1<<(sigSEGV-1) | 1<<(sigBUS-1) | 1<<(sigILL-1) | 1<<(sigTRAP-1) | 1<<(sigFPE-1) | 1<<(sigSYS-1)
	// Nobody stops or continues a Keep from inside, so those that would are
	// ignored with those that Linux ignores.
	ignoredByDefault = 1<<(sigCHLD-1) | 1<<(sigCONT-1) | 1<<(sigURG-1) | 1<<(sigWNCH-1) |
		1<<(sigSTOP-1) | 1<<(sigTSTP-1) | 1<<(sigTTIN-1) | 1<<(sigTTOU-1)
)

// Handlers that are none.
const (
	sigDefault = 0
	sigIgnore  = 1
)

// Flags of sigaction.
const (
	saRestorer  = 0x0400_0000
	saOnStack   = 0x0800_0000
	saRestart   = 0x1000_0000
	saNoDefer   = 0x4000_0000
	saResetHand = 0x8000_0000
	saKnown     = saRestorer | saOnStack | saRestart | saNoDefer | saResetHand | 0x7 // SA_NOCLDSTOP, NOCLDWAIT, SIGINFO
)

// action is struct kernel_sigaction. Guarded by Kernel.mu.
type action struct {
	handler, flags, restorer, mask uint64
}

const actionSize = 32

func (a *action) ignores(sig uint32) bool {
	return a.handler == sigIgnore || a.handler == sigDefault && bit(sig)&ignoredByDefault != 0
}

func (a *action) handles() bool { return a.handler > sigIgnore }

// signals is what a thread has of its own.
type signals struct {
	pending atomic.Uint64 // set under mu, by anyone
	mask    uint64        // changed under mu, by the thread itself
	alt     altStack      // owned by the thread

	// The latest exception, which every frame shows as Linux does.
	trap, code, addr uint64
}

func bit(sig uint32) uint64 { return 1 << (sig - 1) }

// setMask changes the thread's mask.
func (k *Kernel) setMask(t *Thread, mask uint64) {
	k.mu.Lock()
	t.sig.mask = mask &^ unblockable
	k.mu.Unlock()
}

// hasSignal reports whether the thread t, which is the caller, has a signal to take.
func (k *Kernel) hasSignal(t *Thread) bool {
	return (t.sig.pending.Load()|k.pending.Load())&^t.sig.mask != 0
}

// sigaction answers rt_sigaction(sig, act, old, size).
func (k *Kernel) sigaction(t *Thread, sig, act, old, size uint64) int64 {
	sig = uint64(uint32(sig))
	if size != 8 || sig < 1 || sig > numSignals || act != 0 && (sig == sigKILL || sig == sigSTOP) {
		return -abi.EINVAL
	}
	var b [actionSize]byte
	if act != 0 && !k.Space.CopyIn(t.Index, b[:], act) {
		return -abi.EFAULT
	}
	k.mu.Lock()
	before := k.actions[sig]
	if act != 0 {
		a := &k.actions[sig]
		a.handler, a.flags, a.restorer, a.mask = sallyport.Get64(b[:], 0), sallyport.Get64(b[:], 8)&saKnown, sallyport.Get64(b[:], 16), sallyport.Get64(b[:], 24)&^unblockable
		if a.ignores(uint32(sig)) {
			k.forget(bit(uint32(sig)))
		}
	}
	k.mu.Unlock()
	if old == 0 {
		return 0
	}
	sallyport.Put64(b[:], 0, before.handler)
	sallyport.Put64(b[:], 8, before.flags)
	sallyport.Put64(b[:], 16, before.restorer)
	sallyport.Put64(b[:], 24, before.mask)
	if !k.Space.CopyOut(t.Index, old, b[:]) {
		return -abi.EFAULT
	}
	return 0
}

// forget drops pending signals that are ignored from now on. Called with mu held.
func (k *Kernel) forget(set uint64) {
	k.pending.And(^set)
	for i := range k.count.Load() {
		k.cpus[i].sig.pending.And(^set)
	}
}

// sigprocmask answers rt_sigprocmask(how, set, old, size).
func (k *Kernel) sigprocmask(t *Thread, how, set, old, size uint64) int64 {
	if size != 8 {
		return -abi.EINVAL
	}
	before := t.sig.mask
	if set != 0 {
		var b [8]byte
		if !k.Space.CopyIn(t.Index, b[:], set) {
			return -abi.EFAULT
		}
		mask := sallyport.Get64(b[:], 0)
		switch uint32(how) {
		case 0: // SIG_BLOCK
			mask |= before
		case 1: // SIG_UNBLOCK
			mask = before &^ mask
		case 2: // SIG_SETMASK
		default:
			return -abi.EINVAL
		}
		k.setMask(t, mask)
	}
	if old != 0 && !k.storeWord(t, old, before) {
		return -abi.EFAULT
	}
	return 0
}

// sigpending answers rt_sigpending(set, size).
func (k *Kernel) sigpending(t *Thread, set, size uint64) int64 {
	if size > 8 {
		return -abi.EINVAL
	}
	var b [8]byte
	sallyport.Put64(b[:], 0, (t.sig.pending.Load()|k.pending.Load())&t.sig.mask)
	if !k.Space.CopyOut(t.Index, set, b[:size]) {
		return -abi.EFAULT
	}
	return 0
}

// altStack is a thread's alternate signal stack.
type altStack struct {
	sp, size uint64
	flags    uint32
}

// Flags of stack_t, and its smallest size.
const (
	ssOnStack    = 1
	ssDisable    = 2
	ssAutodisarm = 1 << 31
	minStack     = 2048 // MINSIGSTKSZ
	stackSize    = 24
)

// holds reports whether sp is on the stack.
func (s *altStack) holds(sp uint64) bool { return sp > s.sp && sp-s.sp <= s.size }

// state returns what sigaltstack(2) reports while the stack pointer is sp.
func (s *altStack) state(sp uint64) uint32 {
	switch {
	case s.size == 0:
		return ssDisable
	case s.flags&ssAutodisarm == 0 && s.holds(sp):
		return ssOnStack
	}
	return 0
}

// set makes sp, flags and size the stack of a thread that runs at stack pointer now.
func (s *altStack) set(sp, size uint64, flags uint32, now uint64) int64 {
	if s.state(now) == ssOnStack {
		return -abi.EPERM
	}
	switch flags &^ ssAutodisarm {
	case ssDisable:
		sp, size = 0, 0
	case 0, ssOnStack:
		if size < minStack {
			return -abi.ENOMEM
		}
	default:
		return -abi.EINVAL
	}
	*s = altStack{sp, size, flags}
	return 0
}

// encode writes s as a stack_t.
func (s *altStack) encode(b []byte, flags uint32) {
	sallyport.Put64(b, 0, s.sp)
	sallyport.Put64(b, 8, uint64(flags))
	sallyport.Put64(b, 16, s.size)
}

// sigaltstack answers sigaltstack(new, old).
func (k *Kernel) sigaltstack(t *Thread, set, old uint64) int64 {
	var before, b [stackSize]byte
	s := &t.sig.alt
	s.encode(before[:], s.state(t.Frame.RSP)|s.flags&ssAutodisarm)
	if set != 0 {
		if !k.Space.CopyIn(t.Index, b[:], set) {
			return -abi.EFAULT
		}
		if ret := s.set(sallyport.Get64(b[:], 0), sallyport.Get64(b[:], 16), sallyport.Get32(b[:], 8), t.Frame.RSP); ret != 0 {
			return ret
		}
	}
	if old != 0 && !k.Space.CopyOut(t.Index, old, before[:]) {
		return -abi.EFAULT
	}
	return 0
}
