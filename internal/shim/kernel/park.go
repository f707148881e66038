// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/sallyport"
)

// A wakeup says why a wait is over.
type wakeup uint8

const (
	woke wakeup = iota
	timedOut
	interrupted
)

// park waits until another thread makes flag other than 0, the clock passes
// deadline, or there is a signal to take. The host's answers only say when to look again: a
// wait that it ends early is repeated, and one that it never ends is its
// privilege, since it need not run us at all.
func (k *Kernel) park(t *Thread, flag *atomic.Uint32, deadline uint64, signals bool) wakeup {
	for {
		t.where.Store(inPark) // before looking: see where
		seq := t.parkWord().Load()
		left := never
		w := timedOut
		switch {
		case flag.Load() != 0:
			t.where.Store(inShim)
			return woke
		case signals && k.hasSignal(t):
			w, left = interrupted, 0
		case deadline != never:
			if now := k.clock.now(k.hooks.TSC()); now < deadline {
				left = deadline - now
			} else {
				left = 0
			}
		}
		if left == 0 {
			t.where.Store(inShim)
			return w
		}
		k.host(t, sallyport.OpPark, uint64(seq), left)
	}
}

// unpark ends the host's part of another thread's wait, if there is one. What
// the wait is for has been stored already, so a thread that is not parked yet
// will see it.
func (k *Kernel) unpark(self, t *Thread) {
	if t.where.Load() == inPark {
		t.parkWord().Add(1)
		k.host(self, sallyport.OpUnpark, uint64(t.Index), 0)
	}
}
