// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

const (
	grndNonblock = 1
	grndRandom   = 2
	grndInsecure = 4
	grndAll      = grndNonblock | grndRandom | grndInsecure

	maxIO = 0x7fff_f000 // MAX_RW_COUNT

	randomTries = 10 // after so many the generator is broken (Intel SDM volume 1, 7.3.17.1)
)

// random returns 64 bits of the CPU's generator. There is no other source that
// the host does not control, so without it the Keep ends.
func (k *Kernel) random(t *Thread) uint64 {
	for range randomTries {
		if v, ok := k.hooks.Random(); ok {
			return v
		}
		k.hooks.Pause()
	}
	k.abort(t, sallyport.AbortRandom)
	return 0
}

// getrandom answers getrandom(buf, n, flags).
func (k *Kernel) getrandom(t *Thread, addr, n, flags uint64) int64 {
	if flags&^grndAll != 0 || flags&(grndRandom|grndInsecure) == grndRandom|grndInsecure {
		return -abi.EINVAL
	}
	return k.fillRandom(t, addr, min(n, maxIO))
}

// fillRandom fills user memory. As on Linux, a fault after the first bytes
// makes it short.
func (k *Kernel) fillRandom(t *Thread, addr, n uint64) int64 {
	b := t.scratch[:512]
	done := uint64(0)
	for done < n {
		m := min(n-done, uint64(len(b)))
		for i := 0; i < int(m); i += 8 {
			sallyport.Put64(b, i, k.random(t))
		}
		if !k.Space.CopyOut(t.Index, addr+done, b[:m]) {
			if done == 0 {
				return -abi.EFAULT
			}
			break
		}
		done += m
		if done < n && k.hasSignal(t) {
			break
		}
	}
	clear(b)
	return int64(done)
}

// randomOnce and fillDevice are random and fillRandom for packages program and
// hostio, on whichever vCPU calls.
func randomOnce() (uint64, bool) {
	return active.random(active.hooks.Current()), true
}

func fillDevice(cpu uint32, addr, n uint64) int64 {
	return active.fillRandom(active.cpus[cpu], addr, n)
}
