// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"math/bits"

	"enarx.dev/enarx/internal/shim/abi"
)

// What becomes of a system call that a signal ended, by Linux's numbers, which
// the program never sees.
const (
	restartSys       = 512 // repeated after a handler with SA_RESTART
	restartAlways    = 513
	restartNoHandler = 514 // repeated only when no handler ran
)

// Values of si_code.
const (
	siUser   = 0
	siKernel = 0x80
	siTkill  = -6
)

// origin is what a siginfo_t says beside the number of the signal.
type origin struct {
	code int32
	addr uint64 // with code > 0; otherwise the sender is the program itself
}

// work does what is due before the thread returns to ring 3: signals, and then the
// repetition of a system call that ended only because of them.
func (k *Kernel) work(t *Thread) {
	for {
		sig, a, from := k.next(t)
		if sig == 0 {
			break
		}
		if a.handles() {
			k.handle(t, sig, &a, from)
		} else {
			k.logSignal(t, sig, from)
			k.terminate(t, sig)
		}
	}
	if t.restart != 0 {
		t.again()
	}
}

// next takes the next signal that is not blocked or ignored: synchronous ones first, for
// their frame must show what was done, then by number.
func (k *Kernel) next(t *Thread) (sig uint32, a action, from origin) {
	k.mu.Lock()
	blocked := t.sig.mask
	for sig == 0 {
		own, all := t.sig.pending.Load()&^blocked, k.pending.Load()&^blocked
		set := own | all
		if set == 0 {
			break
		}
		if set&synchronous != 0 {
			set &= synchronous
		}
		sig = uint32(bits.TrailingZeros64(set)) + 1
		if own&bit(sig) != 0 {
			t.sig.pending.And(^bit(sig))
			from = origin{code: siTkill}
		} else {
			k.pending.And(^bit(sig))
			from = origin{code: siUser}
		}
		if k.actions[sig].ignores(sig) {
			sig = 0
			continue
		}
		a = k.take(sig)
	}
	k.mu.Unlock()
	return sig, a, from
}

// take returns the action for a signal about to be handled. Called with mu held.
func (k *Kernel) take(sig uint32) action {
	a := k.actions[sig]
	if a.handles() && a.flags&saResetHand != 0 {
		k.actions[sig].handler = sigDefault
	}
	return a
}

// force delivers a signal that the thread's own instruction caused. One that is blocked
// or ignored would only cause it again: it ends the program.
func (k *Kernel) force(t *Thread, sig uint32, from origin) {
	k.mu.Lock()
	a := k.actions[sig]
	fatal := !a.handles() || t.sig.mask&bit(sig) != 0
	if !fatal {
		a = k.take(sig)
	}
	k.mu.Unlock()
	if fatal {
		k.logSignal(t, sig, from)
		k.terminate(t, sig)
		return
	}
	k.handle(t, sig, &a, from)
}

// handle makes the thread run a handler: a frame on its stack, the signals of the
// handler's mask blocked, and the handler's address to go on at.
func (k *Kernel) handle(t *Thread, sig uint32, a *action, from origin) {
	switch {
	case t.restart == 0:
	case t.restart == restartAlways, t.restart == restartSys && a.flags&saRestart != 0:
		t.again()
	default:
		t.restart = 0 // -EINTR stays
	}
	if !k.pushFrame(t, sig, a, from) {
		if sig == sigSEGV {
			k.logSignal(t, sig, from)
			k.terminate(t, sig)
			return
		}
		k.force(t, sigSEGV, origin{code: siKernel})
		return
	}
	mask := t.sig.mask | a.mask
	if a.flags&saNoDefer == 0 {
		mask |= bit(sig)
	}
	k.setMask(t, mask)
}

// syscallSize is the length of the SYSCALL instruction.
const syscallSize = 2

// again makes the thread repeat its system call.
func (t *Thread) again() {
	t.restart = 0
	t.Frame.RAX = t.nr
	t.Frame.RIP -= syscallSize
	t.Frame.Vector = 0
}

// checkReturn ends a program that wants to go on where it cannot be: IRET would
// fault at CPL 0.
func (k *Kernel) checkReturn(t *Thread) {
	for tries := 0; t.Frame.Vector != Syscall && t.Frame.RIP >= abi.UserEnd; tries++ {
		if tries == 2 { // the handler's address is no better
			k.terminate(t, sigSEGV)
			return
		}
		k.force(t, sigSEGV, origin{code: siKernel})
	}
}
