// SPDX-License-Identifier: Apache-2.0

// Package spin is the shim's lock. Interrupts are off in the shim, so a holder is
// only ever delayed by the host taking its vCPU away; a waiter that has spun for
// a while gives its own time to the host.
package spin

import "sync/atomic"

// Lock is a mutual exclusion lock; its zero value is unlocked.
type Lock struct{ held atomic.Uint32 }

// Relax is called with the number of tries so far while a lock is waited for:
// a PAUSE instruction, or now and then a call to the host.
var Relax func(tries uint32)

// Lock takes the lock.
func (l *Lock) Lock() {
	for tries := uint32(1); !l.held.CompareAndSwap(0, 1); tries++ {
		for ; l.held.Load() != 0; tries++ {
			if Relax != nil {
				Relax(tries)
			}
		}
	}
}

// Unlock releases the lock, which the caller holds.
func (l *Lock) Unlock() { l.held.Store(0) }
