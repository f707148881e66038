// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// The list of calls is that of internal/confine: none of them is unknown here, and
// where confine gives a constant for all arguments, so does the kernel.
func TestDispatchComplete(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		for _, c := range confine.Calls() {
			if c.Class == confine.Kernel {
				continue
			}
			switch c.Nr {
			case abi.SYS_EXIT, abi.SYS_EXIT_GROUP, abi.SYS_RT_SIGRETURN:
				continue // other tests make these
			}
			u.m.input <- 0 // or read would wait
			before := m.unknown[c.Nr].Load()
			got := u.sys(uint64(c.Nr), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0))
			if m.unknown[c.Nr].Load() != before {
				t.Errorf("%s (%d) is not served", c.Name, c.Nr)
			}
			if c.Class == confine.Fixed && len(c.Rules) == 0 && c.Else != confine.Serve && got != -int64(c.Else.Errno()) && got != -abi.EBADF && got != -abi.EFAULT {
				t.Errorf("%s (%d) = %d, want %v", c.Name, c.Nr, got, c.Else.Errno())
			}
		}
	})
}

// Where a rule of confine refuses arguments, the kernel gives the same answer.
func TestSameAnswers(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		seed := uint64(1)
		next := func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 33 }
		values := []uint64{0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 20, 22, 32, 34, 64, 128, 0x1000, 0x1002, 0x1003, 0x4022, 0x100022, 0x28, 0x0d0f00, 0x3d0f00, 1 << 32, ^uint64(0)}
		for _, c := range confine.Calls() {
			switch {
			case c.Class == confine.Forward || c.Class == confine.Kernel || len(c.Rules) == 0:
				continue
			case c.Nr == abi.SYS_OPEN || c.Nr == abi.SYS_OPENAT: // which names exist is Landlock's business there
				continue
			}
			for range 300 {
				var a [6]uint64
				for i := range a {
					a[i] = values[next()%uint64(len(values))]
				}
				want, constant := answer(&c, a)
				if !constant || c.Nr == abi.SYS_KILL || c.Nr == abi.SYS_TGKILL {
					continue // a real call, or one that asks for this process's number
				}
				if got := u.sys(uint64(c.Nr), a[:]...); got != want {
					t.Errorf("%s%#x = %d, want %d", c.Name, a, got, want)
				}
			}
		}
		_ = page
	})
}

// answer evaluates confine's rules.
func answer(c *confine.Call, a [6]uint64) (ret int64, constant bool) {
	for _, r := range c.Rules {
		if !slices.ContainsFunc(r.If, func(c confine.Cond) bool { return c.OwnPID || a[c.Arg]&c.Mask != c.Value }) {
			return -int64(r.Then.Errno()), r.Then != confine.Serve
		}
	}
	return -int64(c.Else.Errno()), c.Else != confine.Serve
}

func TestFixedAnswers(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		u.want(0, abi.SYS_UNAME, page)
		uts := make([]byte, utsSize)
		m.Space.CopyIn(0, uts, page)
		if got, want := strings.ReplaceAll(string(uts), "\x00", " "), "Linux"; strings.Join(strings.Fields(got), ",") != "Linux,localhost,6.1.0,#1,SMP,x86_64,(none)" || !strings.HasPrefix(got, want) {
			t.Errorf("uname: %q", got)
		}
		u.want(0, abi.SYS_GETRLIMIT, rlimitFiles, page)
		if u.load(page) != u.load(page+8) || u.load(page) == 0 {
			t.Error("RLIMIT_NOFILE")
		}
		u.want(0, abi.SYS_PRLIMIT64, 0, rlimitStack, 0, page)
		if u.load(page) != stackLimit {
			t.Error("RLIMIT_STACK")
		}
		u.want(0, abi.SYS_PRLIMIT64, 0, rlimitStack, 0, 0)
		u.want(-abi.EFAULT, abi.SYS_GETRLIMIT, 0, 0)
		u.want(-abi.EINVAL, abi.SYS_GETRLIMIT, 16, page)
		u.want(8, abi.SYS_SCHED_GETAFFINITY, 0, 1024, page)
		if u.load(page) != 3 {
			t.Errorf("affinity %#x", u.load(page))
		}
		u.want(-abi.EINVAL, abi.SYS_SCHED_GETAFFINITY, 0, 0, page)
		u.want(-abi.EFAULT, abi.SYS_SCHED_GETAFFINITY, 0, 8, 8)
		u.want(0, abi.SYS_GETRUSAGE, 0, page)
		u.want(-abi.EINVAL, abi.SYS_GETRUSAGE, 3, page)
		u.want(0, abi.SYS_GETRESUID, page, page+4, page+8)
		if u.load(page) != uid|uid<<32 {
			t.Error("getresuid")
		}
		u.want(0, abi.SYS_GETCPU, page, page+4)
		u.t.Frame.RDX = 9
		u.want(0, sysAttest, 0, 0, 9)
		if u.t.Frame.RDX != 0 {
			t.Error("a Keep without hardware claims some")
		}
		u.want(0, abi.SYS_ARCH_PRCTL, archSetFS, 0x1234)
		u.want(0, abi.SYS_ARCH_PRCTL, archGetFS, page)
		if u.load(page) != 0x1234 || u.t.Frame.FSBase != 0x1234 {
			t.Error("FS base")
		}
		u.want(0, abi.SYS_ARCH_PRCTL, archSetGS, 0x4321)
		u.want(0, abi.SYS_ARCH_PRCTL, archGetGS, page)
		if u.load(page) != 0x4321 {
			t.Error("GS base")
		}
		u.want(-abi.EPERM, abi.SYS_ARCH_PRCTL, archSetFS, abi.UserEnd)
		u.want(-abi.EPERM, abi.SYS_ARCH_PRCTL, archSetGS, ^uint64(0))
		u.want(-abi.EINVAL, abi.SYS_ARCH_PRCTL, 0x3001, 0)
	})
}

func TestGetrandom(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(3 * 4096)
		u.want(0, abi.SYS_MUNMAP, page+2*4096, 4096)
		u.want(5000, abi.SYS_GETRANDOM, page+1, 5000, 0)
		for off := uint64(8); off < 4992; off += 8 {
			if u.load(page+off) == 0 {
				t.Errorf("no random bytes at %d", off)
			}
		}
		if b := u.load(page); b&0xff != 0 {
			t.Error("byte before the buffer was changed")
		}
		u.want(512, abi.SYS_GETRANDOM, page+2*4096-512, 1024, grndNonblock|grndRandom)
		u.want(-abi.EFAULT, abi.SYS_GETRANDOM, 8, 8, 0)
		u.want(-abi.EINVAL, abi.SYS_GETRANDOM, page, 8, 8)
		u.want(-abi.EINVAL, abi.SYS_GETRANDOM, page, 8, grndRandom|grndInsecure)
		u.want(0, abi.SYS_GETRANDOM, page, 0, 0)
		m.noRandom.Store(true)
		u.sys(abi.SYS_GETRANDOM, page, 8, 0)
		t.Error("went on without random numbers")
	})
	if got, want := m.end(), fmt.Sprintf("[254 %d]", sallyport.AbortRandom); got != want {
		t.Errorf("end: %s, want %s", got, want)
	}
}

// Calls that are not served are logged once each, and counted.
func TestUnknownCalls(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		for range 3 {
			u.want(-abi.ENOSYS, abi.SYS_FORK)
			u.want(-abi.ENOSYS, 100_000)
		}
		u.want(-abi.ENOSYS, ^uint64(0))
		u.want(-abi.ENOSYS, abi.SYS_CLONE3)
	})
	want := []string{
		"unsupported system call 57 (ENOSYS)", "unsupported system call 100000 (ENOSYS)", "unsupported system call 435 (ENOSYS)",
		"unsupported system calls: 57×3 435×1 others×4",
	}
	if !slices.Equal(m.logs, want) {
		t.Errorf("log: %q", m.logs)
	}
}

func TestClocks(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		for id := range uint64(12) {
			want := int64(0)
			if id > clockBoottime {
				want = -abi.EINVAL
			}
			u.want(want, abi.SYS_CLOCK_GETTIME, id, page)
			u.want(want, abi.SYS_CLOCK_GETRES, id, page)
			u.want(want, abi.SYS_CLOCK_GETRES, id, 0)
		}
		u.want(-abi.EFAULT, abi.SYS_CLOCK_GETTIME, 1, 8)
		u.want(0, abi.SYS_CLOCK_GETTIME, 0, page)
		if d := time.Now().UnixNano() - int64(u.load(page)*second+u.load(page+8)); d < 0 || d > 5*second {
			t.Errorf("the wall clock is %d ns off", d)
		}
		sec := u.sys(abi.SYS_TIME, page+32)
		u.want(0, abi.SYS_GETTIMEOFDAY, page, page+16)
		if d := int64(u.load(page)) - sec; d < 0 || d > 2 || u.load(page+32) != uint64(sec) || u.load(page+8) >= 1_000_000 {
			t.Error("time and gettimeofday differ")
		}
		u.want(-abi.EFAULT, abi.SYS_TIME, 8)
	})
	var c clock
	if c.init(5000, 100, 0) {
		t.Error("a counter of 100 kHz was accepted")
	}
	c.init(5000, 2_000_000, 1<<60)
	for _, s := range []struct{ tsc, want uint64 }{
		{5000, bootTime}, {7000, bootTime + 1000}, {6000, bootTime + 1000}, {0, bootTime + 1000}, {5000 + 2_000_000_000*3600, bootTime + 3600*second},
	} {
		if got := c.now(s.tsc); got+1 < s.want || got > s.want { // rounded down
			t.Errorf("time at %d: %d, want %d", s.tsc, got, s.want)
		}
	}
}

// What the assembly relies on.
func TestLayout(t *testing.T) {
	var th Thread
	if o := unsafe.Offsetof(th.Frame.FSBase); o != 22*8 {
		t.Errorf("Frame.FSBase at %d", o)
	}
	if o := unsafe.Offsetof(th.FX); o%16 != 0 {
		t.Errorf("FX at %d", o)
	}
	if o := unsafe.Offsetof(th.upper); o%64 != 0 {
		t.Errorf("upper at %d", o)
	}
}

func TestFatal(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		m.Fatal(u.t, &Exception{Vector: 14, Error: 2, RIP: 3, CS: 8, RFLAGS: 5, RSP: 6, RBP: 0x1000, CR2: 7})
		t.Error("survived")
	})
	if got, want := m.end(), fmt.Sprintf("[254 %d]", sallyport.AbortException); got != want {
		t.Errorf("end: %s, want %s", got, want)
	}
	r := m.report
	if r.Vector != 14 || r.Error != 2 || r.RIP != 3 || r.CR2 != 7 || r.RBP != 0x1000 || r.Trace[0] != 0x1028 || r.Trace[1] != 0x1048 || r.Trace[15] != 0 {
		t.Errorf("report %+v", r)
	}
}
