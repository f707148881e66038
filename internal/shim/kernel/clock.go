// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/vdso"
)

// clock turns the time stamp counter into time, by the same numbers as the vDSO. Its
// frequency and the wall clock come from the host at boot and never again.
type clock struct {
	vdso.Clock
	last atomic.Uint64 // the latest time that was given out
}

const (
	// bootTime is monotonic time at boot. Not 0, which Go's runtime takes for
	// a broken clock.
	bootTime = 1_000_000_000

	second = 1_000_000_000
)

// init starts the clock at counter value tsc. It reports false for a frequency
// that no CPU has.
func (c *clock) init(tsc, khz, wall uint64) bool {
	mult, ok := vdso.Mult(khz)
	c.Clock = vdso.Clock{Mult: mult, TSC: tsc, NS: bootTime, Offset: int64(wall) - bootTime}
	c.last.Store(bootTime)
	return ok
}

// now returns monotonic nanoseconds at counter value tsc. It never goes
// backwards, whichever vCPU asks and whatever the host does to the counter.
func (c *clock) now(tsc uint64) uint64 {
	ns := c.Monotonic(tsc)
	for {
		last := c.last.Load()
		if ns <= last {
			return last
		}
		if c.last.CompareAndSwap(last, ns) {
			return ns
		}
	}
}

// realtime turns monotonic time into time since 1970, and monotonic turns it
// back; what was before boot becomes 0.
func (c *clock) realtime(ns uint64) uint64 { return ns + uint64(c.Offset) }

func (c *clock) monotonic(ns uint64) uint64 {
	if ns < uint64(c.Offset) {
		return 0
	}
	return ns - uint64(c.Offset)
}

// Clocks of clock_gettime.
const (
	clockRealtime       = 0
	clockMonotonic      = 1
	clockProcessCPU     = 2
	clockThreadCPU      = 3
	clockMonotonicRaw   = 4
	clockRealtimeCoarse = 5
	clockCoarse         = 6
	clockBoottime       = 7
)

// read returns the time of a clock. Processor time is estimated as the time
// since boot: who really ran is known to the host alone.
func (k *Kernel) read(id uint64) (ns uint64, ok bool) {
	ns = k.clock.now(k.hooks.TSC())
	switch id {
	case clockRealtime, clockRealtimeCoarse:
		return k.clock.realtime(ns), true
	case clockMonotonic, clockMonotonicRaw, clockCoarse, clockBoottime:
		return ns, true
	case clockProcessCPU, clockThreadCPU:
		return ns - bootTime, true
	}
	return 0, false
}

func (k *Kernel) clockGettime(t *Thread, id, addr uint64) int64 {
	ns, ok := k.read(uint64(uint32(id)))
	if !ok {
		return -abi.EINVAL
	}
	return k.storeTime(t, addr, ns/second, ns%second)
}

func (k *Kernel) clockGetres(t *Thread, id, addr uint64) int64 {
	if _, ok := k.read(uint64(uint32(id))); !ok {
		return -abi.EINVAL
	}
	if addr == 0 {
		return 0
	}
	return k.storeTime(t, addr, 0, 1)
}

// gettimeofday also stores the time zone, which is UTC.
func (k *Kernel) gettimeofday(t *Thread, tv, tz uint64) int64 {
	if tv != 0 {
		ns, _ := k.read(clockRealtime)
		if ret := k.storeTime(t, tv, ns/second, ns%second/1000); ret != 0 {
			return ret
		}
	}
	if tz != 0 && !k.Space.Zero(t.Index, tz, 8) {
		return -abi.EFAULT
	}
	return 0
}

func (k *Kernel) time(t *Thread, addr uint64) int64 {
	ns, _ := k.read(clockRealtime)
	if addr != 0 && !k.storeWord(t, addr, ns/second) {
		return -abi.EFAULT
	}
	return int64(ns / second)
}

// storeTime stores a struct timespec, or timeval.
func (k *Kernel) storeTime(t *Thread, addr, sec, sub uint64) int64 {
	var b [16]byte
	sallyport.Put64(b[:], 0, sec)
	sallyport.Put64(b[:], 8, sub)
	if !k.Space.CopyOut(t.Index, addr, b[:]) {
		return -abi.EFAULT
	}
	return 0
}

// loadTime returns a struct timespec as nanoseconds.
func (k *Kernel) loadTime(t *Thread, addr uint64) (ns uint64, errno int64) {
	var b [16]byte
	if !k.Space.CopyIn(t.Index, b[:], addr) {
		return 0, -abi.EFAULT
	}
	sec, sub := sallyport.Get64(b[:], 0), sallyport.Get64(b[:], 8)
	if int64(sec) < 0 || sub >= second {
		return 0, -abi.EINVAL
	}
	if sec > 1<<62/second {
		return 1 << 62, 0 // 146 years: nobody sees the difference
	}
	return sec*second + sub, 0
}

// storeWord stores 8 bytes at any address.
func (k *Kernel) storeWord(t *Thread, addr, v uint64) bool {
	var b [8]byte
	sallyport.Put64(b[:], 0, v)
	return k.Space.CopyOut(t.Index, addr, b[:])
}

// storeInt stores 4 bytes at any address.
func (k *Kernel) storeInt(t *Thread, addr uint64, v uint32) bool {
	var b [4]byte
	sallyport.Put32(b[:], 0, v)
	return k.Space.CopyOut(t.Index, addr, b[:])
}

func (k *Kernel) nanosleep(t *Thread, req, rem uint64) int64 {
	ns, errno := k.loadTime(t, req)
	if errno != 0 {
		return errno
	}
	return k.sleep(t, k.clock.now(k.hooks.TSC())+ns, rem)
}

// clockNanosleep: flag 1 is TIMER_ABSTIME.
func (k *Kernel) clockNanosleep(t *Thread, id, flags, req, rem uint64) int64 {
	id = uint64(uint32(id))
	switch id {
	case clockRealtime, clockMonotonic, clockBoottime:
	case clockMonotonicRaw, clockRealtimeCoarse, clockCoarse, clockProcessCPU:
		return -abi.EOPNOTSUPP
	default:
		return -abi.EINVAL
	}
	ns, errno := k.loadTime(t, req)
	switch {
	case errno != 0:
		return errno
	case flags&1 == 0:
		return k.sleep(t, k.clock.now(k.hooks.TSC())+ns, rem)
	case id == clockRealtime:
		ns = k.clock.monotonic(ns)
	}
	return k.sleep(t, ns, 0)
}

// sleep waits for deadline. Whoever interrupts it finds what is left at rem.
func (k *Kernel) sleep(t *Thread, deadline, rem uint64) int64 {
	t.woken.Store(0)
	if k.park(t, &t.woken, deadline, true) != interrupted {
		return 0
	}
	if rem != 0 {
		left := uint64(0)
		if now := k.clock.now(k.hooks.TSC()); now < deadline {
			left = deadline - now
		}
		if ret := k.storeTime(t, rem, left/second, left%second); ret != 0 {
			return ret
		}
	}
	return -restartNoHandler
}
