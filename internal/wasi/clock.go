// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// monotonicStart is what the monotonic clock shows when a Host is made. Its
// origin is unspecified; zero would make Go's runtime think there is no clock.
const monotonicStart = int64(time.Second)

// clock tells the guest's time. The host's clocks are not trusted to go
// forward, so each remembers the last value it gave and never gives less.
type clock struct {
	now      func() time.Time
	start    time.Time
	startCPU int64
	lastReal int64
	lastMono int64
	lastCPU  int64
}

func newClock(now func() time.Time) clock {
	if now == nil {
		now = time.Now
	}
	return clock{now: now, start: now(), startCPU: processCPU(), lastMono: monotonicStart}
}

// realtime returns nanoseconds since 1970.
func (c *clock) realtime() int64 {
	c.lastReal = max(c.lastReal, c.now().UnixNano(), 0)
	return c.lastReal
}

// monotonic returns nanoseconds since an arbitrary moment.
func (c *clock) monotonic() int64 {
	c.lastMono = max(c.lastMono, monotonicStart+int64(c.now().Sub(c.start)))
	return c.lastMono
}

// cpu returns the CPU time used since the Host was made. It is the clock of the
// process for the guest's one thread too: a goroutine has no CPU clock.
func (c *clock) cpu() int64 {
	c.lastCPU = max(c.lastCPU, processCPU()-c.startCPU)
	return c.lastCPU
}

func processCPU() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// get reads the clock with a WASI id.
func (c *clock) get(id uint32) (int64, errno) {
	switch id {
	case clockRealtime:
		return c.realtime(), success
	case clockMonotonic:
		return c.monotonic(), success
	case clockProcessCPU, clockThreadCPU:
		return c.cpu(), success
	}
	return 0, eInval
}

// deadline converts a timeout of poll_oneoff to a moment of the monotonic
// clock. An absolute time of the real-time clock is converted once: a step of
// that clock during the wait is not noticed.
func (c *clock) deadline(id uint32, timeout uint64, absolute bool) (int64, errno) {
	if id != clockRealtime && id != clockMonotonic {
		return 0, eInval // waiting for CPU time to be used would be for ever
	}
	t := int64(min(timeout, math.MaxInt64))
	switch {
	case absolute && id == clockMonotonic:
		return t, success
	case absolute:
		t = max(t-c.realtime(), 0)
	}
	now := c.monotonic()
	if t > math.MaxInt64-now {
		return math.MaxInt64, success
	}
	return now + t, success
}

func (h *Host) clockResGet(mem Memory, p []uint64) errno {
	if uint32(p[0]) > clockThreadCPU {
		return eInval
	}
	return putUint64(mem, uint32(p[1]), 1)
}

// clockTimeGet ignores the precision, which only permits to be less exact.
func (h *Host) clockTimeGet(mem Memory, p []uint64) errno {
	t, e := h.clock.get(uint32(p[0]))
	if e != success {
		return e
	}
	return putUint64(mem, uint32(p[2]), uint64(t))
}
