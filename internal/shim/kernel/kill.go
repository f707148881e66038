// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// kill answers kill(pid, sig): the program may signal itself and nobody else.
func (k *Kernel) kill(t *Thread, target, sig uint64) int64 {
	if uint32(target) != pid {
		return -abi.ESRCH
	}
	return k.raise(t, 0, uint32(sig))
}

// tgkill answers tgkill(tgid, tid, sig), and tkill as tgkill(pid, tid, sig).
func (k *Kernel) tgkill(t *Thread, tgid, tid, sig uint64) int64 {
	switch {
	case int32(tgid) <= 0 || int32(tid) <= 0:
		return -abi.EINVAL
	case uint32(tgid) != pid:
		return -abi.ESRCH
	}
	return k.raise(t, uint32(tid), uint32(sig))
}

// raise makes sig pending for thread tid, or for the process when that is 0, and
// sees to it that a thread which can take the signal does so soon. Signal 0 only
// asks whether there is such a thread. Signals do not queue: not even the
// real-time ones, of which C libraries use two to knock.
func (k *Kernel) raise(self *Thread, tid, sig uint32) int64 {
	if sig > numSignals {
		return -abi.EINVAL
	}
	k.mu.Lock()
	target := k.find(tid)
	if tid != 0 && target == nil {
		k.mu.Unlock()
		return -abi.ESRCH
	}
	var knock *Thread
	if sig != 0 && sig != sigKILL {
		knock = k.post(self, target, sig)
	}
	k.mu.Unlock()
	if sig == sigKILL {
		k.terminate(self, sig)
	}
	if knock != nil {
		k.notify(self, knock)
	}
	return 0
}

// post makes sig pending for target, or for the process when that is nil, and
// returns a thread that can take it. Called with mu held.
func (k *Kernel) post(self, target *Thread, sig uint32) *Thread {
	knock := target
	if target == nil {
		knock = k.receiver(self, bit(sig))
	} else if target.sig.mask&bit(sig) != 0 {
		knock = nil
	}
	if knock != nil && k.actions[sig].ignores(sig) {
		return nil // who blocks a signal may yet come to want it; who does not, does not
	}
	if target != nil {
		target.sig.pending.Or(bit(sig))
	} else {
		k.pending.Or(bit(sig))
	}
	return knock
}

// receiver returns a thread that does not block all of set, first if possible.
// Called with mu held.
func (k *Kernel) receiver(first *Thread, set uint64) *Thread {
	if first != nil && set&^first.sig.mask != 0 {
		return first
	}
	for i := range k.count.Load() {
		if t := k.cpus[i]; t.tid.Load() != 0 && set&^t.sig.mask != 0 {
			return t
		}
	}
	return nil
}

// notify makes another thread look for its signals, wherever it is. One that is in
// the shim looks before it leaves, or waits.
func (k *Kernel) notify(self, t *Thread) {
	if t == self {
		return
	}
	switch t.where.Load() {
	case inUser, inHost:
		k.host(self, sallyport.OpKick, uint64(t.Index), 0)
	case inPark:
		k.unpark(self, t)
	}
}

// terminate ends the program as a signal does.
func (k *Kernel) terminate(t *Thread, sig uint32) {
	k.exit(t, 128+uint64(sig), uint64(sig))
}
