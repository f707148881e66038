// SPDX-License-Identifier: Apache-2.0

package vdso

import (
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A mapped vDSO is one that this process can call, with its data page.
type mapped struct {
	data *Data
	page []byte
	// Two views of the adapter. Pointers are passed as such, so that what they point
	// to is on the heap and does not move.
	byID  func(fn, id uintptr, p unsafe.Pointer) int64
	byPtr func(fn uintptr, p, q unsafe.Pointer) int64
}

// adapter calls a C function from Go: its arguments arrive in AX, BX
// and CX, the C function wants DI and SI. No register that Go keeps is touched.
var adapter = []byte{
	0x48, 0x89, 0xdf, // MOVQ BX, DI
	0x48, 0x89, 0xce, // MOVQ CX, SI
	0xff, 0xe0, // JMP AX
}

// mapVDSO maps data, code and the adapter, one page each.
func mapVDSO(t *testing.T) *mapped {
	t.Helper()
	all, err := unix.Mmap(-1, 0, 3*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(all) })
	m := &mapped{data: (*Data)(unsafe.Pointer(&all[0])), page: all[pageSize : 2*pageSize]}
	if !Build(m.page) {
		t.Fatal("Build refused")
	}
	copy(all[2*pageSize:], adapter)
	if err := unix.Mprotect(all[pageSize:], unix.PROT_READ|unix.PROT_EXEC); err != nil {
		t.Fatal(err)
	}
	// A func value points to a word with the address of the code.
	code := &struct{ pc *byte }{&all[2*pageSize]}
	m.byID = *(*func(fn, id uintptr, p unsafe.Pointer) int64)(unsafe.Pointer(&code))
	m.byPtr = *(*func(fn uintptr, p, q unsafe.Pointer) int64)(unsafe.Pointer(&code))
	return m
}

func (m *mapped) fn(t *testing.T, name string) uintptr {
	t.Helper()
	at := lookup(t, m.page, name)
	if at == 0 {
		t.Fatalf("no %s", name)
	}
	return uintptr(unsafe.Pointer(&m.page[at]))
}

// tsc reads the counter through the vDSO itself, with a clock of one tick a nanosecond.
func (m *mapped) tsc(t *testing.T) uint64 {
	m.data.Set(Clock{Mult: 1 << shift})
	var ts unix.Timespec
	m.byID(m.fn(t, "__vdso_clock_gettime"), unix.CLOCK_MONOTONIC, unsafe.Pointer(&ts))
	return uint64(ts.Sec)*1e9 + uint64(ts.Nsec)
}

func now(t *testing.T, id int32) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// calibrate gives the data page a clock that agrees with this machine's.
func (m *mapped) calibrate(t *testing.T) {
	t.Helper()
	tsc1, ns1 := m.tsc(t), now(t, unix.CLOCK_MONOTONIC)
	time.Sleep(100 * time.Millisecond)
	tsc2, ns2 := m.tsc(t), now(t, unix.CLOCK_MONOTONIC)
	mult, ok := Mult((tsc2 - tsc1) * 1_000_000 / uint64(ns2-ns1))
	if !ok {
		t.Skipf("skipped: the TSC ticks %d times in %d ns, outside what the vDSO is for", tsc2-tsc1, ns2-ns1)
	}
	m.data.Set(Clock{Mult: mult, TSC: tsc2, NS: uint64(ns2), Offset: now(t, unix.CLOCK_REALTIME) - now(t, unix.CLOCK_MONOTONIC)})
}

// tolerance takes in a machine that pauses us between two readings.
const tolerance = 20 * time.Millisecond

func near(t *testing.T, what string, got, want int64) {
	t.Helper()
	if d := time.Duration(got - want); d.Abs() > tolerance {
		t.Errorf("%s is off by %v", what, d)
	}
}

func TestClockGettime(t *testing.T) {
	m := mapVDSO(t)
	m.calibrate(t)
	gettime := m.fn(t, "__vdso_clock_gettime")
	mono := []uintptr{unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME}
	for _, id := range append(mono, unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE) {
		var ts unix.Timespec
		if ret := m.byID(gettime, id, unsafe.Pointer(&ts)); ret != 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
			t.Errorf("clock %d: returns %d, %+v", id, ret, ts)
		}
		want := now(t, unix.CLOCK_MONOTONIC)
		if id == unix.CLOCK_REALTIME || id == unix.CLOCK_REALTIME_COARSE {
			want = now(t, unix.CLOCK_REALTIME)
		}
		near(t, "clock", ts.Nano(), want)
	}
	// What the vDSO does not know goes to the kernel.
	var ts unix.Timespec
	if ret := m.byID(gettime, unix.CLOCK_PROCESS_CPUTIME_ID, unsafe.Pointer(&ts)); ret != 0 {
		t.Errorf("CPU time: %d", ret)
	}
	near(t, "CPU time", ts.Nano(), now(t, unix.CLOCK_PROCESS_CPUTIME_ID))
	for _, id := range []uint32{8 + 24, 31, 32, 33, 63, 64, 1 << 31} {
		if ret := m.byID(gettime, uintptr(id), unsafe.Pointer(&ts)); ret != -int64(unix.EINVAL) {
			t.Errorf("clock %d: returns %d", id, ret)
		}
	}
}

func TestOtherFunctions(t *testing.T) {
	m := mapVDSO(t)
	m.calibrate(t)
	var tv unix.Timeval
	zone := [2]int32{7, 7}
	if ret := m.byPtr(m.fn(t, "__vdso_gettimeofday"), unsafe.Pointer(&tv), unsafe.Pointer(&zone)); ret != 0 || zone != [2]int32{} || tv.Usec >= 1e6 {
		t.Errorf("gettimeofday: returns %d, %+v, zone %v", ret, tv, zone)
	}
	near(t, "gettimeofday", tv.Nano(), now(t, unix.CLOCK_REALTIME))
	zone = [2]int32{7, 7}
	if ret := m.byPtr(m.fn(t, "__vdso_gettimeofday"), nil, unsafe.Pointer(&zone)); ret != 0 || zone != [2]int32{} {
		t.Errorf("gettimeofday of a zone: returns %d, zone %v", ret, zone)
	}
	if ret := m.byPtr(m.fn(t, "__vdso_gettimeofday"), nil, nil); ret != 0 {
		t.Errorf("gettimeofday of nothing returns %d", ret)
	}
	var sec int64
	got := m.byPtr(m.fn(t, "__vdso_time"), unsafe.Pointer(&sec), nil)
	if want := time.Now().Unix(); got != sec || got > want || got < want-1 {
		t.Errorf("time: returns %d, stores %d, want %d", got, sec, want)
	}
	if got := m.byPtr(m.fn(t, "__vdso_time"), nil, nil); got < sec {
		t.Errorf("time of nothing returns %d", got)
	}
	getres := m.fn(t, "__vdso_clock_getres")
	ts := unix.Timespec{Sec: 9, Nsec: 9}
	if ret := m.byID(getres, unix.CLOCK_MONOTONIC, unsafe.Pointer(&ts)); ret != 0 || ts.Sec != 0 || ts.Nsec != 1 {
		t.Errorf("clock_getres: returns %d, %+v", ret, ts)
	}
	if ret := m.byID(getres, unix.CLOCK_REALTIME, nil); ret != 0 {
		t.Errorf("clock_getres of nothing returns %d", ret)
	}
	if ret := m.byID(getres, 32, unsafe.Pointer(&ts)); ret != -int64(unix.EINVAL) {
		t.Errorf("clock_getres of no clock returns %d", ret)
	}
}

// A page that nobody has written, or that is being written, sends the program to the kernel.
func TestUnset(t *testing.T) {
	m := mapVDSO(t)
	for _, seq := range []uint32{0, 1, 1<<32 - 1} {
		m.data.seq.Store(seq)
		var ts unix.Timespec
		if ret := m.byID(m.fn(t, "__vdso_clock_gettime"), unix.CLOCK_MONOTONIC, unsafe.Pointer(&ts)); ret != 0 {
			t.Errorf("seq %d: returns %d", seq, ret)
		}
		near(t, "the kernel's clock", ts.Nano(), now(t, unix.CLOCK_MONOTONIC))
	}
	m.data.seq.Store(1<<32 - 2)
	m.data.Set(Clock{})
	if got := m.data.seq.Load(); got != 2 {
		t.Errorf("after the last number comes %d", got)
	}
}

// The functions compute what Monotonic computes, bit for bit: with a multiplier of 0
// nothing but the constants is left, and with a clock far ahead of the counter the
// reading counts as that of the clock.
func TestExact(t *testing.T) {
	m := mapVDSO(t)
	gettime := m.fn(t, "__vdso_clock_gettime")
	for _, c := range []Clock{
		{NS: 0}, {NS: 999_999_999}, {NS: 1_000_000_000}, {NS: 1<<63 + 12345, Offset: -5},
		{Mult: 1 << 63, TSC: 1 << 63, NS: 42, Offset: 1_700_000_000_123_456_789},
	} {
		m.data.Set(c)
		var ts unix.Timespec
		m.byID(gettime, unix.CLOCK_MONOTONIC, unsafe.Pointer(&ts))
		if want := c.Monotonic(0); uint64(ts.Sec) != want/1e9 || uint64(ts.Nsec) != want%1e9 {
			t.Errorf("%+v: %+v, want %d", c, ts, want)
		}
		m.byID(gettime, unix.CLOCK_REALTIME, unsafe.Pointer(&ts))
		if want := c.Monotonic(0) + uint64(c.Offset); uint64(ts.Sec) != want/1e9 || uint64(ts.Nsec) != want%1e9 {
			t.Errorf("%+v: real time %+v, want %d", c, ts, want)
		}
	}
}

// No reader sees half of an update: both clocks that alternate say the same in
// NS and Offset, a mixture would not.
func TestUpdate(t *testing.T) {
	m := mapVDSO(t)
	const far = 1 << 63
	a, b := Clock{TSC: far, NS: 1e9, Offset: 2e9}, Clock{TSC: far, NS: 5e9, Offset: -2e9}
	m.data.Set(a)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.data.Set(b)
				m.data.Set(a)
			}
		}
	})
	gettime := m.fn(t, "__vdso_clock_gettime")
	var seen [6]int
	fallen := 0
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
		var ts unix.Timespec
		m.byID(gettime, unix.CLOCK_REALTIME, unsafe.Pointer(&ts))
		if ts.Sec > 1_000_000 {
			fallen++ // the kernel's own clock: an update was under way
		} else if ts.Sec != 3 || ts.Nsec != 0 {
			t.Fatalf("%+v", ts)
		}
		m.byID(gettime, unix.CLOCK_MONOTONIC, unsafe.Pointer(&ts))
		if ts.Nsec == 0 && (ts.Sec == 1 || ts.Sec == 5) {
			seen[ts.Sec]++
		}
	}
	close(stop)
	writer.Wait()
	t.Logf("one clock was read %d times, the other %d times; an update was met %d times", seen[1], seen[5], fallen)
}
