// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// check verifies what must hold whenever a thread is in ring 3.
func (u *user) check() {
	t, f := u.t, &u.t.Frame
	bad := ""
	switch {
	case f.RIP >= abi.UserEnd:
		bad = "RIP"
	case f.CS != userCS || f.SS != userSS:
		bad = "selectors"
	case f.RFLAGS&flagsFixed != flagsFixed || f.RFLAGS&^(flagsRestore|flagsFixed) != 0:
		bad = "RFLAGS"
	case f.FSBase >= abi.UserEnd:
		bad = "FS base"
	case sallyport.Get32(t.FX[:], offMXCSR)&^0xffff != 0:
		bad = "MXCSR"
	case t.sig.mask&unblockable != 0:
		bad = "signal mask"
	case t.where.Load() != inUser:
		bad = "where"
	case t.node.in.Load() != 0 || t.node.next != nil:
		bad = "in a futex queue"
	case t.tid.Load() == 0:
		bad = "thread number"
	case t.restart != 0:
		bad = "restart"
	}
	if bad != "" {
		u.m.t.Errorf("%s in ring 3: %+v", bad, *f)
		u.m.die()
	}
}

// A program in bytes: 12 for each call or exception of one of two threads.
type script []byte

// step makes one call. Arguments are small numbers, addresses in a page or near the
// ends of address space, or any byte repeated.
func (u *user) step(b []byte, page uint64) {
	var a [6]uint64
	for i := range a {
		v := uint64(b[2+i])
		switch b[8+i%4] >> (i / 4 * 4) & 7 {
		case 0:
			a[i] = v
		case 1:
			a[i] = page + v*16
		case 2:
			a[i] = v * 0x0101_0101_0101_0101
		case 3:
			a[i] = abi.UserEnd - 128 + v
		case 4:
			a[i] = 1 << (v % 64)
		case 5:
			a[i] = pid + v%4
		case 6:
			a[i] = [...]uint64{cloneGo, cloneGlibc, cloneMusl, 0x22, 0x32, 0x8022, 128, 256, 137}[v%9]
		case 7:
			a[i] = -v
		}
	}
	if b[0]&0x80 != 0 {
		u.trap(uint64(b[1]&31), a[0], a[1])
	} else {
		u.sys(uint64(b[0]&3)<<8|uint64(b[1]), a[:]...)
	}
	u.check()
}

// Whatever a program does, the shim neither panics nor hangs, nor lets it go on in a
// state that ring 3 must not have.
func FuzzProgram(f *testing.F) {
	for _, nr := range []uint16{abi.SYS_FUTEX, abi.SYS_RT_SIGACTION, abi.SYS_RT_SIGRETURN, abi.SYS_CLONE, abi.SYS_TGKILL, abi.SYS_NANOSLEEP,
		abi.SYS_MMAP, abi.SYS_MUNMAP, abi.SYS_SIGALTSTACK, abi.SYS_RT_SIGPROCMASK, abi.SYS_EXIT, abi.SYS_GETRANDOM, abi.SYS_READ} {
		call := []byte{byte(nr >> 8), byte(nr), 10, 1, 2, 3, 4, 5, 0x10, 0x11, 0x11, 0x01}
		raise := []byte{0, abi.SYS_TKILL, 0, 10, 0, 0, 0, 0, 5, 0, 0, 0}
		f.Add(append(append([]byte{}, call...), raise...))
		f.Add(append(append(append([]byte{}, raise...), call...), 0x80, 14, 4, 9, 0, 0, 0, 0, 0, 1, 0, 0))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 12*200 {
			return
		}
		m := newMachine(t)
		m.fuzz = true
		for range cap(m.input) {
			m.input <- 1
		}
		half := len(data) / 24 * 12
		play := func(u *user, s script, page uint64) {
			for ; len(s) >= 12; s = s[12:] {
				u.step(s, page)
			}
		}
		m.run(func(u *user) {
			page := u.mmap(4 * 4096)
			u.t.Frame.RSP = page + 2*4096
			m.entries.Store(page+4*4096-64, func(u *user) { play(u, data[half:], page) })
			u.sys(abi.SYS_CLONE, cloneGo, page+4*4096-64, 0, 0, 0)
			play(u, data[:half], page)
		})
	})
}
