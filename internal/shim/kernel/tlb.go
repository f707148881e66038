// SPDX-License-Identifier: Apache-2.0

package kernel

import "enarx.dev/enarx/internal/sallyport"

// How often a vCPU that waits for another's flush gives up its time, and how
// often it kicks again, should a kick have come to nothing.
const (
	yieldEvery = 1 << 10
	kickEvery  = 1 << 16
)

// shootdown makes all vCPUs drop their translations of the lower half before it
// returns, or see to it that they will before they are in ring 3 again: the shim
// itself uses none. The caller holds the lock of the Space, so no lock is
// taken here and nothing waits for one that may be held.
//
// Either a vCPU on its way to ring 3 sees the new generation, or it is seen to
// be there and gets a kick: it stores where before it loads gen, and here it is the
// other way round.
func (k *Kernel) shootdown(self *Thread) {
	gen := k.gen.Add(1)
	k.hooks.Flush()
	self.seen.Store(gen)
	n := k.count.Load()
	for i := range n {
		if t := k.cpus[i]; t != self && t.stale(gen) {
			k.host(self, sallyport.OpKick, uint64(i), 0)
		}
	}
	for i := range n {
		t := k.cpus[i]
		if t == self {
			continue
		}
		for tries := 1; t.stale(gen); tries++ {
			switch {
			case tries%kickEvery == 0:
				k.host(self, sallyport.OpKick, uint64(i), 0)
			case tries%yieldEvery == 0:
				k.host(self, sallyport.OpYield, 0, 0)
			default:
				k.hooks.Pause()
			}
		}
	}
}

// stale reports whether t may use translations from before gen.
func (t *Thread) stale(gen uint64) bool {
	return t.where.Load() == inUser && t.seen.Load() < gen
}

// shootdownFrom is shootdown for package mem.
func shootdownFrom(cpu uint32) { active.shootdown(active.cpus[cpu]) }
