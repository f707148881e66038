// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"
	"testing"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

func TestExit(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		u.want(pid, abi.SYS_GETPID)
		u.want(pid, abi.SYS_GETTID)
		u.want(pid, abi.SYS_SET_TID_ADDRESS, 0)
		u.sys(abi.SYS_EXIT_GROUP, 0x1_2a)
	})
	if got := m.end(); got != "[42 0]" {
		t.Errorf("end: %s", got)
	}
}

// The process ends with its last thread, and as its main thread did.
func TestLastExit(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		ctid := u.mmap(4096)
		u.spawn(0x1000_0000, ctid, func(u *user) {
			u.want(-abi.ESRCH, abi.SYS_TGKILL, pid, pid, 0) // once main has gone
			u.exit(5)
		})
		u.exit(3)
	})
	if got := m.end(); got != "[3 0]" {
		t.Errorf("end: %s", got)
	}
}

// Threads start with what clone(2) promises, two hundred of them one after another on
// two vCPUs, or many at once.
func TestThreads(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		ctid := u.mmap(4096)
		seen := map[int64]bool{}
		for range 200 {
			var ran atomic.Bool
			u.t.Frame.R13, u.t.FX[200] = 77, 99
			tid := u.spawn(0x1000_0000, ctid, func(u *user) {
				f := &u.t.Frame
				if f.R13 != 77 || u.t.FX[200] != 99 || f.FSBase != 0x1234_5000 || f.RAX != 0 || f.Vector == Syscall {
					t.Errorf("child starts with %+v", f)
				}
				ran.Store(true)
			})
			if tid <= pid || seen[tid] {
				t.Errorf("thread number %d", tid)
			}
			seen[tid] = true
			u.join(ctid)
			if !ran.Load() {
				t.Error("join returned before the thread ran")
			}
		}
		if n := m.count.Load(); n > 3 { // the next clone can be earlier than the return to idle
			t.Errorf("%d vCPUs for two threads at a time", n)
		}
		for range 5 {
			for i := range uint64(testCPUs - 1) {
				if tid := u.spawn(0x1000_0000+i, ctid+i*4, func(u *user) { u.sys(abi.SYS_SCHED_YIELD) }); tid < 0 {
					t.Errorf("thread %d: %d", i, tid)
				}
			}
			for i := range uint64(testCPUs - 1) {
				u.join(ctid + i*4)
			}
		}
	})
	if got := m.end(); got != "[0 0]" {
		t.Errorf("end: %s", got)
	}
}

func TestCloneRefused(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		for _, flags := range []uint64{0, 0x11, 0x0d0f01, 0x3d0f00 &^ 0x100, 1<<32 | cloneGo, 0x4111} {
			u.want(-abi.EINVAL, abi.SYS_CLONE, flags, 0x1000_0000)
		}
		u.want(-abi.ENOSYS, abi.SYS_FORK)
		u.want(-abi.ENOSYS, abi.SYS_CLONE3)
		u.want(-abi.EPERM, abi.SYS_CLONE, cloneGo, 0x1000_0000, 0, 0, abi.UserEnd)
		m.noSpawn.Store(true)
		u.want(-abi.EAGAIN, abi.SYS_CLONE, cloneGo, 0x1000_0000, 0, 0, 0)
		m.noSpawn.Store(false)
		ctid := u.mmap(4096)
		var stop atomic.Bool
		for i := range uint64(testCPUs - 1) {
			if tid := u.spawn(0x1000_0000+i, ctid+4*i, func(u *user) {
				for !stop.Load() {
					u.sys(abi.SYS_SCHED_YIELD)
				}
			}); tid < 0 {
				t.Errorf("thread %d: %d", i, tid)
			}
		}
		u.want(-abi.EAGAIN, abi.SYS_CLONE, cloneGo, 0x1000_0000, 0, 0, 0)
		stop.Store(true)
		for i := range uint64(testCPUs - 1) {
			u.join(ctid + 4*i)
		}
	})
}

// A thread that ends marks the robust futexes it holds and wakes who waits for them.
func TestRobustList(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		ctid, head, held, other, pending := page, page+64, page+128, page+192, page+256
		u.store(head, held, 16, pending) // list head, offset of the futex, pending
		u.store(held, other)
		u.store(other, head)
		u.word(held + 16).Store(robustWaiters | 0x3fff_0000)
		tid := u.spawn(0x1000_0000, ctid, func(u *user) {
			tid := uint32(u.sys(abi.SYS_GETTID))
			u.word(held + 16).Store(robustWaiters | tid)
			u.word(other + 16).Store(tid + 1)
			u.word(pending + 16).Store(tid)
			u.want(0, abi.SYS_SET_ROBUST_LIST, head, robustSize)
			u.want(0, abi.SYS_GET_ROBUST_LIST, 0, page+512, page+520)
			if u.load(page+512) != head || u.load(page+520) != robustSize {
				t.Error("get_robust_list")
			}
		})
		u.join(ctid)
		for addr, want := range map[uint64]uint32{
			held: robustWaiters | robustDied, other: uint32(tid) + 1, pending: robustDied,
		} {
			if got := u.word(addr + 16).Load(); got != want {
				t.Errorf("futex %#x after its owner's death: %#x, want %#x", addr, got, want)
			}
		}
		// A list that is a circle, and one that leads nowhere.
		for _, next := range []uint64{held, 0x10, ^uint64(0)} {
			u.store(held, next)
			u.spawn(0x1000_0000, ctid, func(u *user) { u.want(0, abi.SYS_SET_ROBUST_LIST, head, robustSize) })
			u.join(ctid)
		}
	})
}

// Frames are reused only when no vCPU in ring 3 can have an old translation: unmapping
// waits for a thread that makes no system call, until its kick.
func TestShootdown(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		ctid := u.mmap(4096)
		var stop atomic.Bool
		var running atomic.Int32
		for i := range uint64(3) {
			u.spawn(0x1000_0000+i, ctid+4*i, func(u *user) {
				running.Add(1)
				for !stop.Load() {
					u.poll()
				}
			})
		}
		for running.Load() < 3 {
			u.poll()
		}
		for range 100 {
			addr := u.mmap(8 * 4096)
			u.want(0, abi.SYS_MUNMAP, addr, 8*4096)
			for i := range m.count.Load() {
				if o := m.Kernel.cpus[i]; o.stale(m.gen.Load()) {
					t.Errorf("vCPU %d may use what has been unmapped", i)
				}
			}
		}
		stop.Store(true)
		for i := range uint64(3) {
			u.join(ctid + 4*i)
		}
		if m.calls[sallyport.OpKick-sallyport.OpFirst].Load() == 0 {
			t.Error("nobody was kicked")
		}
	})
}
