// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// The frame of a handler is struct rt_sigframe to the byte. The offsets are those
// that a C program prints with offsetof for ucontext_t and siginfo_t.
func TestFrame(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		alt := u.mmap(16 * 4096)
		u.store(alt, alt, 0, 16*4096)
		u.want(0, abi.SYS_SIGALTSTACK, alt, 0)
		f, ran := &u.t.Frame, false
		u.handler(sigSEGV, saOnStack|4, 1<<9, func(u *user, sig, info, uc uint64) {
			ran = true
			sp := f.RSP
			if sp%16 != 8 || uc != sp+8 || info != sp+312 || sp < alt || sp >= alt+16*4096 {
				t.Errorf("sig %d at sp %#x, info %#x, ucontext %#x", sig, sp, info, uc)
			}
			fp := u.load(uc + 224)
			want := []uint64{
				0: restorer,
				1: ucXState | ucSigcontextSS | ucStrictRestore, 2: 0,
				3: alt, 4: 0, 5: 16 * 4096,
				6: 8, 7: 9, 8: 10, 9: 11, 10: 12, 11: 13, 12: 14, 13: 15,
				14: 0xd1, 15: 0x51, 16: 0xb9, 17: 0xb8, 18: 0xd8, 19: 0xa8, 20: 0xc8, 21: 0x6fff_ff00,
				22: inLoop, 23: 0x246, 24: userCS | userSS<<48,
				25: 6, 26: 14, 27: 1 << 20, 28: 0xdead_b000, 29: fp,
				38: 1 << 20,
				39: sigSEGV, 40: segvMapErr, 41: 0xdead_b000, 54: 0,
			}
			for i, w := range want {
				if got := u.load(sp + uint64(i)*8); got != w {
					t.Errorf("frame+%d: %#x, want %#x", i*8, got, w)
				}
			}
			if fp%64 != 0 || fp < sp+440 {
				t.Errorf("FXSAVE image at %#x", fp)
			}
			fx := make([]byte, fpFull)
			m.Space.CopyIn(u.t.Index, fx, fp)
			if !slices.Equal(fx[:offSW], u.m.fxBefore[:offSW]) || sallyport.Get32(fx, offSW) != magic1 || sallyport.Get32(fx, offSW+4) != 836 ||
				sallyport.Get64(fx, offSW+8) != 7 || sallyport.Get32(fx, offSW+16) != 832 || sallyport.Get32(fx, 832) != magic2 || fx[576] != 0x77 {
				t.Error("floating-point state in the frame")
			}
			if sallyport.Get32(u.t.FX[:], offMXCSR) != defaultMX || sallyport.Get32(u.t.FX[:], 0) != defaultFCW {
				t.Error("floating-point state of the handler")
			}
			if f.RFLAGS != 0x246&^flagsClear|flagsFixed || f.CS != userCS || f.SS != userSS || f.RAX != 0 || f.Vector == Syscall {
				t.Errorf("handler starts with %+v", f)
			}
			if u.t.sig.mask != 1<<20|1<<9|bit(sigSEGV) {
				t.Errorf("mask in the handler: %#x", u.t.sig.mask)
			}
			m.Kernel.cpus[0].FX[40] = 1 // what the handler leaves is not what it found
			m.cpus[0].ymm[0] = 1
		})
		u.store(alt, 1<<20)
		u.want(0, abi.SYS_RT_SIGPROCMASK, 2, alt, 0, 8)
		*f = Frame{R8: 8, R9: 9, R10: 10, R11: 11, R12: 12, R13: 13, R14: 14, R15: 15, RDI: 0xd1, RSI: 0x51, RBP: 0xb9, RBX: 0xb8,
			RDX: 0xd8, RAX: 0xa8, RCX: 0xc8, RSP: 0x6fff_ff00, RFLAGS: 0x246, CS: userCS, SS: userSS, FSBase: 5}
		for i := range u.t.FX[:416] {
			u.t.FX[i] = byte(i)
		}
		sallyport.Put32(u.t.FX[:], offMXCSR, 0x1f80)
		sallyport.Put32(u.t.FX[:], offMask, 0xffff)
		m.cpus[0].ymm[0] = 0x77
		m.fxBefore = u.t.FX
		before := *f
		u.trap(vecPF, 6, 0xdead_b000)
		before.RIP, before.Error, before.Vector = inLoop, f.Error, 0
		if diff := cmp.Diff(before, *f); diff != "" || !ran {
			t.Errorf("after the handler (ran: %v):\n%s", ran, diff)
		}
		if !slices.Equal(u.t.FX[:416], m.fxBefore[:416]) || m.cpus[0].ymm[0] != 0x77 {
			t.Error("floating-point state after the handler")
		}
		if u.t.sig.mask != 1<<20 || u.t.sig.alt != (altStack{sp: alt, size: 16 * 4096}) {
			t.Errorf("mask %#x, stack %+v after the handler", u.t.sig.mask, u.t.sig.alt)
		}
	})
	if got := m.end(); got != "[0 0]" {
		t.Errorf("end: %s", got)
	}
}

// What the program writes into a frame cannot harm the shim.
func TestSigreturnSanitises(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(u *user, uc uint64)
		check  func(u *user) bool
		end    string
	}{
		{"flags", func(u *user, uc uint64) { u.store(uc+176, ^uint64(0)) },
			func(u *user) bool { return u.t.Frame.RFLAGS == flagsRestore|flagsFixed }, "[0 0]"},
		{"no flags", func(u *user, uc uint64) { u.store(uc+176, 0) },
			func(u *user) bool { return u.t.Frame.RFLAGS == flagsFixed }, "[0 0]"},
		{"selectors", func(u *user, uc uint64) { u.store(uc+184, 0x0010_0000_0000_0008) },
			func(u *user) bool { return u.t.Frame.CS == userCS && u.t.Frame.SS == userSS }, "[0 0]"},
		{"MXCSR", func(u *user, uc uint64) { u.store(u.load(uc+224)+24, ^uint64(0)) },
			func(u *user) bool { return sallyport.Get32(u.t.FX[:], offMXCSR) == defaultMask && u.m.restoredOK() }, "[0 0]"},
		{"XSAVE header", func(u *user, uc uint64) { u.store(u.load(uc+224)+512, ^uint64(0), 1<<63, 5) },
			func(u *user) bool { return u.m.restoredOK() }, "[0 0]"},
		{"no floating point", func(u *user, uc uint64) { u.store(uc+224, 0) },
			func(u *user) bool { return sallyport.Get32(u.t.FX[:], 0) == defaultFCW }, "[0 0]"},
		{"wild floating point", func(u *user, uc uint64) { u.store(uc+224, 0xffff_8000_0000_0000) }, nil, "[139 11]"},
		{"kernel RIP", func(u *user, uc uint64) { u.store(uc+168, 0xffff_ffff_8000_0000) }, nil, "[139 11]"},
		{"non-canonical RIP", func(u *user, uc uint64) { u.store(uc+168, 0x0001_8000_0000_0000) }, nil, "[139 11]"},
		{"last page RIP", func(u *user, uc uint64) { u.store(uc+168, abi.UserEnd) }, nil, "[139 11]"},
		{"kernel RSP", func(u *user, uc uint64) { u.store(uc+160, 0xffff_ffff_8000_0000) }, nil, "[139 11]"},
		{"mask", func(u *user, uc uint64) { u.store(uc+296, ^uint64(0)) },
			func(u *user) bool { return u.t.sig.mask == ^uint64(unblockable) }, "[0 0]"},
		{"no frame", func(u *user, uc uint64) { u.t.Frame.RSP = 0x9000 }, nil, "[139 11]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.run(func(u *user) {
				stack := u.mmap(4 * 4096)
				u.t.Frame.RSP = stack + 4*4096
				u.handler(10, 0, 0, func(u *user, sig, info, uc uint64) {
					// The harness takes the stack pointer before the handler, hence as an argument to change.
					c.change(u, uc)
					if u.t.Frame.RSP == 0x9000 {
						u.sys(abi.SYS_RT_SIGRETURN)
					}
				})
				u.sys(abi.SYS_TKILL, pid, 10)
				if c.check == nil || !c.check(u) {
					t.Errorf("went on with %+v", u.t.Frame)
				}
				u.sys(abi.SYS_EXIT_GROUP, 0)
			})
			if got := m.end(); got != c.end {
				t.Errorf("end: %s, want %s; %q", got, c.end, m.logs)
			}
		})
	}
}

// restoredOK reports whether the CPU could have loaded the latest XSAVE area.
func (m *machine) restoredOK() bool {
	x := m.Kernel.cpus[0].upper[:]
	rest := slices.Equal(x[offXBV+8:offYMM], make([]byte, offYMM-offXBV-8))
	return sallyport.Get64(x, offXBV)&^xstateYMM == 0 && rest && sallyport.Get32(x, offMXCSR) == defaultMX
}

// Exceptions become the signals that Linux makes of them; with the default action
// they end the Keep and the log says where.
func TestExceptions(t *testing.T) {
	for _, c := range []struct {
		vector, code, cr2 uint64
		sig               uint64
		siCode, siAddr    uint64
	}{
		{vecDE, 0, 0, sigFPE, fpeIntDiv, inLoop},
		{vecDB, 0, 0, sigTRAP, trapTrace, inLoop},
		{vecUD, 0, 0, sigILL, illIllOpn, inLoop},
		{vecGP, 0, 0, sigSEGV, siKernel, 0},
		{vecSS, 0, 0, sigBUS, siKernel, 0},
		{vecAC, 0, 0, sigBUS, busAdrAln, 0},
		{vecXM, 0, 0, sigFPE, fpeFltDiv, inLoop},
		{vecMF, 0, 0, sigFPE, fpeFltInv, inLoop},
		{vecPF, 4, 0x20, sigSEGV, segvMapErr, 0x20},
		{vecPF, 7, 0, sigSEGV, segvAccErr, 0},
		{vecPF, 5, 0xffff_ffff_8000_0000, sigSEGV, segvMapErr, 0xffff_ffff_8000_0000},
		{21, 0, 0, sigSEGV, siKernel, 0},
	} {
		t.Run(fmt.Sprint(c.vector, "/", c.code), func(t *testing.T) {
			m := newMachine(t)
			m.run(func(u *user) {
				stack := u.mmap(2 * 4096)
				u.t.Frame.RSP = stack + 2*4096
				if c.code == 7 {
					ro := u.sys(abi.SYS_MMAP, 0, 4096, abi.ProtRead, mapPrivate|mapAnonymous, ^uint64(0), 0)
					c.cr2, c.siAddr = uint64(ro), uint64(ro)
				}
				raise := func() {
					sallyport.Put32(u.t.FX[:], 0, 0x37e|1<<16) // invalid: unmasked, and it happened
					sallyport.Put32(u.t.FX[:], offMXCSR, 0x1f80&^(4<<7)|4)
					u.trap(c.vector, c.code, c.cr2)
				}
				ran := 0
				u.handler(c.sig, 4, 0, func(u *user, sig, info, uc uint64) {
					ran++
					if u.load(info)&0xffff_ffff != c.sig || u.load(info+8)&0xffff_ffff != c.siCode || c.siCode > 0 && u.load(info+16) != c.siAddr {
						t.Errorf("siginfo %#x %#x %#x, want %+v", u.load(info), u.load(info+8), u.load(info+16), c)
					}
				})
				raise()
				if ran != 1 {
					t.Errorf("handler ran %d times", ran)
				}
				u.store(stack, 1<<(c.sig-1))
				u.want(0, abi.SYS_RT_SIGPROCMASK, 0, stack, 0, 8)
				raise()
				t.Error("survived a blocked exception")
			})
			if got, want := m.end(), fmt.Sprintf("[%d %d]", 128+c.sig, c.sig); got != want {
				t.Errorf("end: %s, want %s", got, want)
			}
			if !strings.Contains(strings.Join(m.logs, "\n"), fmt.Sprintf("program ended by signal %d at rip 0x402000", c.sig)) {
				t.Errorf("log: %q", m.logs)
			}
		})
	}
}

func TestBreakpoint(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		u.t.Frame.RSP = page + 4096
		u.word(page).Store(0x9090_90cc)
		u.handler(sigTRAP, 0, 0, func(u *user, sig, info, uc uint64) {
			if rip := u.load(uc + 168); rip != page+1 {
				t.Errorf("rip %#x after a breakpoint at %#x", rip, page)
			}
			u.store(uc+168, inLoop)
		})
		f := &u.t.Frame
		f.RIP, f.Vector, f.Error = page, vecGP, int3Error
		m.Trap(u.t)
		u.resume(inLoop)
	})
	if got := m.end(); got != "[0 0]" {
		t.Errorf("end: %s", got)
	}
}

// count counts a signal in n.
func count(n *atomic.Int64) func(u *user, sig, info, uc uint64) {
	return func(u *user, sig, info, uc uint64) { n.Add(1) }
}

// A signal reaches its thread wherever that is: in ring 3, in a sleep, in a futex wait,
// in a call that the host is waiting in.
func TestSignalsReachThreads(t *testing.T) {
	const usr1, usr2 = 10, 12
	for _, c := range []struct {
		name    string
		restart bool
		wait    func(u *user, page uint64, n *atomic.Int64)
	}{
		{"ring 3", false, func(u *user, page uint64, n *atomic.Int64) {
			for n.Load() == 0 {
				u.poll()
			}
		}},
		{"nanosleep", true, func(u *user, page uint64, n *atomic.Int64) {
			u.store(page, 100, 0)
			u.want(-abi.EINTR, abi.SYS_NANOSLEEP, page, page+16)
			if left := u.load(page + 16); left < 90 || left > 99 {
				t.Errorf("%d seconds left", left)
			}
		}},
		{"futex", false, func(u *user, page uint64, n *atomic.Int64) {
			u.want(-abi.EINTR, abi.SYS_FUTEX, page+64, futexWait, 0, 0)
		}},
		{"futex with time-out", true, func(u *user, page uint64, n *atomic.Int64) {
			u.store(page, 100, 0)
			u.want(-abi.EINTR, abi.SYS_FUTEX, page+64, futexWait, 0, page)
		}},
		{"restarted futex", true, func(u *user, page uint64, n *atomic.Int64) {
			u.want(0, abi.SYS_FUTEX, page+64, futexWait, 0, 0)
		}},
		{"read", false, func(u *user, page uint64, n *atomic.Int64) {
			u.want(-abi.EINTR, abi.SYS_READ, 0, page, 1)
		}},
		{"restarted read", true, func(u *user, page uint64, n *atomic.Int64) {
			u.want(1, abi.SYS_READ, 0, page, 1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.run(func(u *user) {
				page := u.mmap(64 * 4096)
				ctid := page + 4096
				var n atomic.Int64
				var ready, after atomic.Bool
				flags := uint64(0)
				if c.restart {
					flags = saRestart
				}
				u.handler(usr1, flags, 0, count(&n))
				tid := uint64(u.spawn(page+8*4096, ctid, func(u *user) {
					ready.Store(true)
					c.wait(u, page, &n)
					after.Store(true)
				}))
				for !ready.Load() {
					u.poll()
				}
				time.Sleep(2 * time.Millisecond)
				u.want(0, abi.SYS_TGKILL, pid, tid, usr1)
				for n.Load() == 0 {
					u.poll()
				}
				if strings.HasPrefix(c.name, "restarted") {
					time.Sleep(2 * time.Millisecond)
					if after.Load() {
						t.Error("the call was not restarted")
					}
					m.input <- 'x'
					for queued(m, page+64) == 0 && c.name == "restarted futex" {
						u.poll()
					}
					u.sys(abi.SYS_FUTEX, page+64, futexWake, 1)
				}
				u.join(ctid)
				if n.Load() != 1 {
					t.Errorf("handler ran %d times", n.Load())
				}
			})
			if got := m.end(); got != "[0 0]" {
				t.Errorf("end: %s %q", got, m.logs)
			}
		})
	}
}

// Two threads knock at each other as fast as they can, as Go's pre-emption does.
func TestSignalStorm(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(128 * 4096)
		u.t.Frame.RSP = page + 32*4096
		ctid := page + 4096
		var n atomic.Int64
		u.handler(sigURG, saRestart, 0, count(&n))
		var stop atomic.Bool
		for i := range uint64(4) {
			u.spawn(page+(40+16*i)*4096, ctid+4*i, func(u *user) {
				ts := page + 64*(i+1)
				u.store(ts, 0, 50_000)
				for !stop.Load() {
					switch i {
					case 0:
						u.poll()
					case 1:
						u.sys(abi.SYS_FUTEX, page+2048, futexWait, 0, ts)
					case 2:
						u.sys(abi.SYS_NANOSLEEP, ts, 0)
					case 3:
						u.sys(abi.SYS_GETPID)
						u.poll()
					}
				}
			})
		}
		for range 500 {
			for i := range uint64(5) {
				u.sys(abi.SYS_TGKILL, pid, pid+i, sigURG)
			}
		}
		stop.Store(true)
		for i := range uint64(4) {
			u.join(ctid + 4*i)
		}
		if n.Load() < 500 {
			t.Errorf("only %d signals were handled", n.Load())
		}
	})
	if got := m.end(); got != "[0 0]" {
		t.Errorf("end: %s %q", got, m.logs)
	}
}

func TestProcessSignals(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(64 * 4096)
		u.t.Frame.RSP = page + 32*4096
		ctid := page + 4096
		var n atomic.Int64
		u.handler(10, 0, 0, count(&n))
		u.want(0, abi.SYS_KILL, pid, 10)
		if n.Load() != 1 {
			t.Error("kill of oneself")
		}
		u.want(-abi.ESRCH, abi.SYS_KILL, 1, 10)
		u.want(-abi.ESRCH, abi.SYS_KILL, 0, 10)
		u.want(-abi.ESRCH, abi.SYS_KILL, ^uint64(0), 10)
		u.want(-abi.EINVAL, abi.SYS_KILL, pid, 65)
		u.want(0, abi.SYS_KILL, pid, 0)
		u.want(-abi.ESRCH, abi.SYS_TGKILL, pid, pid+77, 10)
		u.want(-abi.EINVAL, abi.SYS_TGKILL, pid, 0, 10)
		u.want(-abi.ESRCH, abi.SYS_TKILL, pid+77, 10)
		u.want(0, abi.SYS_KILL, pid, sigCHLD) // ignored
		// Blocked here: the other thread takes it.
		u.store(page, bit(10))
		var ready, stop atomic.Bool
		u.spawn(page+60*4096, ctid, func(u *user) {
			ready.Store(true)
			for !stop.Load() {
				u.poll()
			}
		})
		for !ready.Load() {
			u.poll()
		}
		u.want(0, abi.SYS_RT_SIGPROCMASK, 0, page, 0, 8)
		u.want(0, abi.SYS_KILL, pid, 10)
		for n.Load() != 2 {
			u.poll()
		}
		stop.Store(true)
		u.join(ctid)
		// Blocked everywhere: it waits, and comes when it is unblocked.
		u.want(0, abi.SYS_KILL, pid, 10)
		u.want(0, abi.SYS_RT_SIGPENDING, page+8, 8)
		if u.load(page+8) != bit(10) || n.Load() != 2 {
			t.Errorf("pending %#x, handled %d", u.load(page+8), n.Load())
		}
		u.want(0, abi.SYS_RT_SIGPROCMASK, 1, page, 0, 8)
		if n.Load() != 3 {
			t.Errorf("handled %d", n.Load())
		}
		// Pending and then ignored: forgotten.
		u.want(0, abi.SYS_RT_SIGPROCMASK, 0, page, 0, 8)
		u.want(0, abi.SYS_KILL, pid, 10)
		u.store(page+64, sigIgnore, 0, 0, 0)
		u.want(0, abi.SYS_RT_SIGACTION, 10, page+64, 0, 8)
		u.want(0, abi.SYS_RT_SIGPENDING, page+8, 8)
		if u.load(page+8) != 0 {
			t.Error("an ignored signal stays pending")
		}
		u.sys(abi.SYS_TKILL, pid, 15)
		t.Error("survived SIGTERM")
	})
	if got := m.end(); got != "[143 15]" {
		t.Errorf("end: %s %q", got, m.logs)
	}
}

// Masks while handlers run: the signal itself unless SA_NODEFER, and sa_mask.
func TestHandlerMasks(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(64 * 4096)
		u.t.Frame.RSP = page + 64*4096
		var trace []uint64
		nest := func(u *user, sig, info, uc uint64) {
			trace = append(trace, sig)
			if len(trace) < 3 {
				u.want(0, abi.SYS_TKILL, pid, 10)
				u.want(0, abi.SYS_TKILL, pid, 12)
			}
			trace = append(trace, 100+sig)
		}
		u.handler(10, 0, bit(12), nest)
		u.handler(12, saNoDefer, 0, nest)
		u.want(0, abi.SYS_TKILL, pid, 10)
		if got, want := fmt.Sprint(trace), "[10 110 10 110 12 112]"; got != want {
			t.Errorf("order %s, want %s", got, want)
		}
		trace = nil
		u.want(0, abi.SYS_TKILL, pid, 12)
		if got, want := fmt.Sprint(trace), "[12 10 110 10 110 12 112 12 112 112]"; got != want {
			t.Errorf("order %s, want %s", got, want)
		}
		// SA_RESETHAND: once only.
		u.handler(10, saResetHand, 0, func(u *user, sig, info, uc uint64) {})
		u.want(0, abi.SYS_TKILL, pid, 10)
		u.sys(abi.SYS_TKILL, pid, 10)
		t.Error("survived")
	})
	if got := m.end(); got != "[138 10]" {
		t.Errorf("end: %s %q", got, m.logs)
	}
}

func TestSigaltstack(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(16 * 4096)
		s := page + 4096
		get := func() string {
			u.want(0, abi.SYS_SIGALTSTACK, 0, page+64)
			return fmt.Sprintf("%#x %d %#x", u.load(page+64), u.load(page+72), u.load(page+80))
		}
		if got := get(); got != "0x0 2 0x0" {
			t.Errorf("at first: %s", got)
		}
		u.store(page, s, 0, minStack-1)
		u.want(-abi.ENOMEM, abi.SYS_SIGALTSTACK, page, 0)
		u.store(page, s, 4, minStack)
		u.want(-abi.EINVAL, abi.SYS_SIGALTSTACK, page, 0)
		u.store(page, s, 0, 2*4096)
		u.want(0, abi.SYS_SIGALTSTACK, page, page+64)
		if got, want := get(), fmt.Sprintf("%#x 0 0x2000", s); got != want {
			t.Errorf("set: %s", got)
		}
		u.t.Frame.RSP = s + 4096
		u.want(-abi.EPERM, abi.SYS_SIGALTSTACK, page, 0)
		if got, want := get(), fmt.Sprintf("%#x 1 0x2000", s); got != want {
			t.Errorf("on it: %s", got)
		}
		u.t.Frame.RSP = 0x7000_0000
		u.want(-abi.EFAULT, abi.SYS_SIGALTSTACK, 8, 0)
		// Too many nested frames for the stack end the program instead of running over it.
		u.handler(10, saOnStack|saNoDefer, 0, func(u *user, sig, info, uc uint64) { u.sys(abi.SYS_TKILL, pid, 10) })
		u.sys(abi.SYS_TKILL, pid, 10)
		t.Error("the stack has no end")
	})
	if got := m.end(); got != "[139 11]" {
		t.Errorf("end: %s %q", got, m.logs)
	}
}

func TestSigaction(t *testing.T) {
	m := newMachine(t)
	m.run(func(u *user) {
		page := u.mmap(4096)
		u.store(page+64, ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0))
		u.want(0, abi.SYS_RT_SIGACTION, 1, 0, page+64, 8)
		if u.load(page+64)|u.load(page+72)|u.load(page+80)|u.load(page+88) != 0 {
			t.Error("the default action is not zero")
		}
		u.store(page, handlerBase, saRestorer|saRestart|4, restorer, ^uint64(0))
		u.want(0, abi.SYS_RT_SIGACTION, 64, page, 0, 8)
		u.want(0, abi.SYS_RT_SIGACTION, 64, 0, page+64, 8)
		if u.load(page+64) != handlerBase || u.load(page+72) != saRestorer|saRestart|4 || u.load(page+80) != restorer || u.load(page+88) != ^uint64(unblockable) {
			t.Error("an action did not come back")
		}
		for _, sig := range []uint64{0, 65, sigKILL, sigSTOP} {
			u.want(-abi.EINVAL, abi.SYS_RT_SIGACTION, sig, page, 0, 8)
		}
		u.want(0, abi.SYS_RT_SIGACTION, sigKILL, 0, page+64, 8)
		u.want(-abi.EINVAL, abi.SYS_RT_SIGACTION, 1, page, 0, 128)
		u.want(-abi.EFAULT, abi.SYS_RT_SIGACTION, 1, 8, 0, 8)
		u.want(-abi.EINVAL, abi.SYS_RT_SIGPROCMASK, 3, page, 0, 8)
		u.want(-abi.EINVAL, abi.SYS_RT_SIGPROCMASK, 0, page, 0, 4)
		u.sys(abi.SYS_KILL, pid, sigKILL)
	})
	if got := m.end(); got != "[137 9]" {
		t.Errorf("end: %s %q", got, m.logs)
	}
}
