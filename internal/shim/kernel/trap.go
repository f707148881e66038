// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/mem"
)

// Exceptions (AMD APM volume 2, table 8-1).
const (
	vecDE  = 0
	vecDB  = 1
	vecNMI = 2
	vecBP  = 3
	vecUD  = 6
	vecDF  = 8
	vecTS  = 10
	vecNP  = 11
	vecSS  = 12
	vecGP  = 13
	vecPF  = 14
	vecMF  = 16
	vecAC  = 17
	vecMC  = 18
	vecXM  = 19
	vecVC  = 29

	numExceptions = 32
)

// Values of si_code.
const (
	segvMapErr = 1 // SEGV_MAPERR
	segvAccErr = 2 // SEGV_ACCERR
	illIllOpn  = 2 // ILL_ILLOPN
	busAdrAln  = 1 // BUS_ADRALN
	trapTrace  = 2 // TRAP_TRACE
	fpeIntDiv  = 1 // FPE_INTDIV
	fpeFltDiv  = 3
	fpeFltOvf  = 4
	fpeFltUnd  = 5
	fpeFltRes  = 6
	fpeFltInv  = 7
)

// Trap serves what brought the thread from ring 3 into the shim: a system call,
// an exception, or a kick. t.Frame and t.FX hold the program's state; when Trap
// returns they hold the state to resume.
func (k *Kernel) Trap(t *Thread) {
	t.where.Store(inShim)
	switch v := t.Frame.Vector; {
	case v == Syscall:
		k.syscall(t)
	case v < numExceptions:
		t.restart = 0
		k.exception(t, v)
	default:
		t.restart = 0 // a kick, or an interrupt that nobody asked for: Leave does what is due
	}
	k.Leave(t)
}

// Leave is what is due before the return to ring 3.
func (k *Kernel) Leave(t *Thread) {
	for {
		if t.restart != 0 || k.hasSignal(t) {
			k.work(t)
		}
		k.checkReturn(t)
		t.where.Store(inUser) // before looking: see where
		gen := k.gen.Load()
		if t.seen.Load() == gen && !k.hasSignal(t) {
			return
		}
		t.where.Store(inShim)
		if t.seen.Load() != gen {
			k.hooks.Flush()
			t.seen.Store(gen)
		}
	}
}

// exception turns an exception of the program into a page or a signal.
func (k *Kernel) exception(t *Thread, vector uint64) {
	f := &t.Frame
	s := &t.sig
	s.trap, s.code = vector, f.Error
	here := origin{addr: f.RIP}
	switch vector {
	case vecPF:
		k.pageFault(t)
	case vecDE:
		here.code = fpeIntDiv
		k.force(t, sigFPE, here)
	case vecDB:
		here.code = trapTrace
		k.force(t, sigTRAP, here)
	case vecBP:
		k.force(t, sigTRAP, origin{code: siKernel})
	case vecUD:
		here.code = illIllOpn
		k.force(t, sigILL, here)
	case vecTS, vecNP, vecSS:
		k.force(t, sigBUS, origin{code: siKernel})
	case vecAC:
		k.force(t, sigBUS, origin{code: busAdrAln})
	case vecMF:
		fcw, fsw := sallyport.Get32(t.FX[:], 0)&0xffff, sallyport.Get32(t.FX[:], 0)>>16
		here.code = fpeCode(fsw &^ fcw)
		k.force(t, sigFPE, here)
	case vecXM:
		mx := sallyport.Get32(t.FX[:], offMXCSR)
		here.code = fpeCode(mx &^ (mx >> 7))
		k.force(t, sigFPE, here)
	case vecNMI, vecDF, vecMC, vecVC:
		k.Fatal(t, &Exception{vector, f.Error, f.RIP, f.CS, f.RFLAGS, f.RSP, 0, k.hooks.CR2()})
	case vecGP:
		k.generalProtection(t)
	default:
		k.force(t, sigSEGV, origin{code: siKernel})
	}
}

// fpeCode returns the si_code for the unmasked exceptions of x87 or SSE, whose
// bits are in the same places.
func fpeCode(flags uint32) int32 {
	switch {
	case flags&1 != 0:
		return fpeFltInv
	case flags&4 != 0:
		return fpeFltDiv
	case flags&8 != 0:
		return fpeFltOvf
	case flags&0x12 != 0:
		return fpeFltUnd
	case flags&0x20 != 0:
		return fpeFltRes
	}
	return siKernel
}

// pageFault gives the program a page, or the signal that it has earned.
func (k *Kernel) pageFault(t *Thread) {
	addr := k.hooks.CR2()
	t.sig.addr = addr
	switch k.Space.Fault(t.Index, addr, t.Frame.Error) {
	case mem.Handled:
	case mem.AccErr:
		k.force(t, sigSEGV, origin{segvAccErr, addr})
	case mem.NoMemory:
		l := line{b: t.text[:]}
		l.hex("out of memory at address ", addr)
		k.log(t, levelError, &l)
		k.terminate(t, sigKILL) // as Linux does
	default:
		k.force(t, sigSEGV, origin{segvMapErr, addr})
	}
}

// The error code of INT 3 through a gate that ring 3 may not use: index 3, IDT.
const (
	int3Error = 3<<3 | 2
	int3      = 0xcc
)

// generalProtection also serves breakpoints. All gates are for ring 0, so that
// a program cannot fake an exception, and INT3 ends up here.
func (k *Kernel) generalProtection(t *Thread) {
	f := &t.Frame
	if f.Error == int3Error {
		var b [1]byte
		if k.Space.CopyIn(t.Index, b[:], f.RIP) && b[0] == int3 {
			f.RIP++
			t.sig.trap, t.sig.code = vecBP, 0
			k.force(t, sigTRAP, origin{code: siKernel})
			return
		}
	}
	k.force(t, sigSEGV, origin{code: siKernel})
}
