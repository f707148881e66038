// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// What futex(2) says about arguments, one call at a time.
func TestFutexTable(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		w, ms, bad, past := page, page+64, page+128, page+192
		u.word(w).Store(7)
		u.store(ms, 0, 1_000_000)
		u.store(bad, 0, second)
		u.store(past, 0, 1)
		const private = futexPrivate
		for i, c := range []struct {
			want                      int64
			addr, op, val, v2, a2, v3 uint64
		}{
			{-abi.EAGAIN, w, futexWait, 8, 0, 0, 0},
			{-abi.EAGAIN, w, futexWait | private, 8, ms, 0, 0},
			{-abi.ETIMEDOUT, w, futexWait, 7, ms, 0, 0},
			{-abi.ETIMEDOUT, w, futexWait | private, 1<<32 | 7, ms, 0, 0},
			{-abi.EINVAL, w, futexWait, 7, bad, 0, 0},
			{-abi.EFAULT, w, futexWait, 7, 8, 0, 0},
			{-abi.EINVAL, w + 1, futexWait, 7, 0, 0, 0},
			{-abi.EFAULT, 0x2_0000, futexWait, 7, 0, 0, 0},
			{-abi.EFAULT, ^uint64(3), futexWait, 7, 0, 0, 0},
			{-abi.ENOSYS, w, futexWait | futexRealtime, 7, ms, 0, 0},
			{-abi.ETIMEDOUT, w, futexWaitBitset, 7, past, 0, matchAny},
			{-abi.ETIMEDOUT, w, futexWaitBitset | futexRealtime | private, 7, past, 0, 1},
			{-abi.EINVAL, w, futexWaitBitset, 7, past, 0, 0},
			{-abi.EAGAIN, w, futexWaitBitset, 6, past, 0, 1},
			{0, w, futexWake, 1, 0, 0, 0},
			{0, 0x2_0000, futexWake, 1, 0, 0, 0}, // Linux does not look whether it is mapped
			{-abi.EINVAL, w + 2, futexWake, 1, 0, 0, 0},
			{-abi.EFAULT, abi.UserEnd, futexWake, 1, 0, 0, 0},
			{0, w, futexWakeBitset, 1, 0, 0, 1},
			{-abi.EINVAL, w, futexWakeBitset, 1, 0, 0, 0},
			{0, w, futexRequeue, 1, 1, w + 4, 0},
			{-abi.EINVAL, w, futexRequeue, 1 << 31, 1, w + 4, 0},
			{-abi.EINVAL, w, futexRequeue, 1, 1 << 31, w + 4, 0},
			{-abi.EINVAL, w, futexRequeue, 1, 1, w + 5, 0},
			{0, w, futexCmpRequeue, 1, 1, w + 4, 7},
			{-abi.EAGAIN, w, futexCmpRequeue, 1, 1, w + 4, 8},
			{-abi.EFAULT, 0x2_0000, futexCmpRequeue, 1, 1, w + 4, 8},
			{-abi.ENOSYS, w, 2, 0, 0, 0, 0},  // FD
			{-abi.ENOSYS, w, 5, 1, 1, w, 0},  // WAKE_OP
			{-abi.ENOSYS, w, 6, 0, 0, 0, 0},  // LOCK_PI
			{-abi.ENOSYS, w, 11, 0, 0, 0, 0}, // WAIT_REQUEUE_PI
		} {
			if got := u.sys(abi.SYS_FUTEX, c.addr, c.op, c.val, c.v2, c.a2, c.v3); got != c.want {
				t.Errorf("%d: futex(%#x, %d, %d) = %d, want %d", i, c.addr, c.op, c.val, got, c.want)
			}
		}
	})
}

// waiters starts n threads that wait at addr with the bits of their number, and
// returns when all of them do. Each adds its bit to done when it is woken.
func waiters(u *user, n int, addr, ctid uint64, done *atomic.Uint64) {
	for i := range uint64(n) {
		tid := u.spawn(0x1000_0000+i*16, ctid+4*i, func(u *user) {
			u.want(0, abi.SYS_FUTEX, addr, futexWaitBitset|futexPrivate, 0, 0, 0, 1<<i)
			done.Or(1 << i)
		})
		if tid < 0 {
			u.m.t.Errorf("thread %d: %d", i, tid)
		}
		for queued(u.m, addr) <= int(i) { // one after another, so that their order is known
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// queued counts who waits at addr.
func queued(m *machine, addr uint64) (n int) {
	b := &m.buckets[bucketOf(addr)]
	b.lock.Lock()
	for w := b.head; w != nil; w = w.node.next {
		if w.node.key == addr {
			n++
		}
	}
	b.lock.Unlock()
	return n
}

func TestFutexWakeAndRequeue(t *testing.T) {
	for _, lie := range []lie{honest, early, late, nowakes} {
		m := newMachine(t)
		m.lie = lie
		m.run(func(u *user) {
			page := u.mmap(2 * 4096)
			w, w2, ctid := page, page+8, page+4096
			var done atomic.Uint64
			waiters(u, 30, w, ctid, &done)
			expect := func(want uint64) {
				t.Helper()
				for range 20_000 {
					if done.Load() == want {
						break
					}
					time.Sleep(100 * time.Microsecond)
				}
				time.Sleep(time.Millisecond)
				if got := done.Load(); got != want {
					t.Errorf("host %d: woken: %b, want %b", lie, got, want)
				}
			}
			u.want(2, abi.SYS_FUTEX, w, futexWake, 2)
			expect(0b11) // oldest first
			u.want(1, abi.SYS_FUTEX, w, futexWakeBitset, 100, 0, 0, 0b100011)
			expect(0b100011)
			u.want(1+3, abi.SYS_FUTEX, w, futexRequeue, 1, 3, w2)
			expect(0b100111)
			if a, b := queued(m, w), queued(m, w2); a != 23 || b != 3 {
				t.Errorf("%d stayed and %d moved", a, b)
			}
			u.want(3, abi.SYS_FUTEX, w2, futexWake, 1<<31-1)
			expect(0b1111111)
			u.want(23, abi.SYS_FUTEX, w, futexCmpRequeue, 20, 10, w, 0)
			u.want(3, abi.SYS_FUTEX, w, futexWake|futexPrivate, 1<<30)
			expect(1<<30 - 1)
			for i := range uint64(30) {
				u.join(ctid + 4*i)
			}
		})
	}
}

// A mutex of three states (Drepper, "Futexes Are Tricky") under many threads: a lost
// wake-up hangs it, and two holders at once are seen.
func TestFutexStress(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for _, lie := range []lie{honest, early, late} {
		m := newMachine(t)
		m.lie = lie
		n := rounds
		if lie == late {
			n /= 30
		}
		m.run(func(u *user) {
			page := u.mmap(2 * 4096)
			w, ctid := page, page+4096
			var count, inside atomic.Int64
			for i := range uint64(8) {
				u.spawn(0x1000_0000+i*16, ctid+4*i, func(u *user) {
					l := u.word(w)
					for range n {
						if !l.CompareAndSwap(0, 1) {
							for l.Swap(2) != 0 {
								u.sys(abi.SYS_FUTEX, w, futexWait|futexPrivate, 2, 0)
							}
						}
						if inside.Add(1) != 1 {
							t.Error("two hold the mutex")
						}
						count.Store(count.Load() + 1) // loses some when two are inside
						if rand.IntN(4) == 0 {
							u.sys(abi.SYS_SCHED_YIELD)
						}
						inside.Add(-1)
						if l.Swap(0) == 2 {
							u.sys(abi.SYS_FUTEX, w, futexWake|futexPrivate, 1)
						}
					}
				})
			}
			for i := range uint64(8) {
				u.join(ctid + 4*i)
			}
			if got := count.Load(); got != int64(8*n) {
				t.Errorf("count %d, want %d", got, 8*n)
			}
		})
	}
}

// Time-outs race with wake-ups: whoever is woken is not timed out, and the other
// way round, so the numbers add up.
func TestFutexTimeouts(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(2 * 4096)
		w, ts, ctid := page, page+512, page+4096
		u.store(ts, 0, 200_000)
		var woken, timedOut atomic.Int64
		var stop atomic.Bool
		for i := range uint64(4) {
			u.spawn(0x1000_0000+i*16, ctid+4*i, func(u *user) {
				for range 200 {
					switch ret := u.sys(abi.SYS_FUTEX, w+4*(i%2), futexWait, 0, ts); ret {
					case 0:
						woken.Add(1)
					case -abi.ETIMEDOUT:
						timedOut.Add(1)
					default:
						t.Errorf("wait: %d", ret)
					}
				}
			})
		}
		u.spawn(0x1000_0000+64*16, ctid+64, func(u *user) {
			for !stop.Load() {
				u.sys(abi.SYS_FUTEX, w, futexRequeue, 0, 2, w+4)
			}
		})
		sum := int64(0)
		for i := range uint64(4) {
			for u.word(ctid+4*i).Load() != 0 {
				sum += u.sys(abi.SYS_FUTEX, w+4, futexWake, 1)
				time.Sleep(50 * time.Microsecond)
			}
		}
		stop.Store(true)
		u.join(ctid + 64)
		if woken.Load() != sum || woken.Load()+timedOut.Load() != 800 {
			t.Errorf("%d woken and %d timed out of 800, by %d wake-ups", woken.Load(), timedOut.Load(), sum)
		}
		for i := range m.buckets {
			if b := &m.buckets[i]; b.head != nil || b.tail != nil {
				t.Errorf("bucket %d is not empty", i)
			}
		}
	})
}

// Sleeps last as long as they should by the Keep's clock, whatever the host does.
func TestSleep(t *testing.T) {
	for _, lie := range []lie{honest, early, late, nowakes} {
		m := newMachine(t)
		m.lie = lie
		m.run(func(u *user) {
			page := u.mmap(4096)
			u.store(page, 0, 3_000_000)
			start := m.clock.now(m.hooks.TSC())
			u.want(0, abi.SYS_NANOSLEEP, page, 0)
			u.want(0, abi.SYS_CLOCK_NANOSLEEP, clockMonotonic, 0, page, 0)
			if d := m.clock.now(m.hooks.TSC()) - start; d < 6_000_000 {
				t.Errorf("host %d: two sleeps of 3 ms took %d ns", lie, d)
			}
			for _, clock := range []uint64{clockMonotonic, clockRealtime} {
				ns, _ := m.Kernel.read(clock)
				ns += 2_000_000
				u.store(page, ns/second, ns%second)
				u.want(0, abi.SYS_CLOCK_NANOSLEEP, clock, 1, page, 0)
				if now, _ := m.Kernel.read(clock); now < ns || now > ns+2*second {
					t.Errorf("host %d: clock %d: woken %d ns late", lie, clock, int64(now-ns))
				}
			}
			u.store(page, 0, second)
			u.want(-abi.EINVAL, abi.SYS_NANOSLEEP, page, 0)
			u.store(page, ^uint64(0), 0)
			u.want(-abi.EINVAL, abi.SYS_NANOSLEEP, page, 0)
			u.want(-abi.EFAULT, abi.SYS_NANOSLEEP, 8, 0)
			u.want(-abi.EINVAL, abi.SYS_CLOCK_NANOSLEEP, 99, 0, page, 0)
			u.want(-abi.EOPNOTSUPP, abi.SYS_CLOCK_NANOSLEEP, clockCoarse, 0, page, 0)
		})
	}
}

func TestSpawnWhenHostLies(t *testing.T) {
	for _, lie := range []lie{early, late, nowakes} {
		m := newMachine(t)
		m.lie = lie
		m.run(func(u *user) {
			ctid := u.mmap(4096)
			for i := range uint64(10) {
				u.spawn(0x1000_0000+i*16, ctid, func(u *user) {})
				u.join(ctid)
			}
		})
		if m.calls[sallyport.OpSpawn-sallyport.OpFirst].Load() > 3 {
			t.Errorf("host %d: vCPUs are not reused", lie)
		}
	}
}
