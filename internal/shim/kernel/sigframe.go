// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// The frame that a handler finds on its stack: struct rt_sigframe (Linux,
// arch/x86/include/asm/sigframe.h), that is a return address, a struct ucontext and
// a siginfo_t. The FXSAVE image lies above it.
const (
	offUCFlags = 8
	offUCStack = 24
	offRegs    = 48  // struct sigcontext: the registers in the order of context
	offRIP     = 176 // after 16 registers
	offEFLAGS  = 184
	offCS      = 192 // cs, gs, fs, ss: 16 bits each
	offSS      = 198
	offErr     = 200
	offTrapNo  = 208
	offOldMask = 216
	offCR2     = 224
	offFP      = 232
	offSigMask = 304
	offInfo    = 312
	frameSize  = 440

	offSICode = offInfo + 8
	offSIAddr = offInfo + 16 // or si_pid and si_uid

	ucXState        = 1 // UC_FP_XSTATE: more than FXSAVE's state follows the image
	ucSigcontextSS  = 2
	ucStrictRestore = 4
)

// The floating-point part: an XSAVE area with a mark before and behind it.
const (
	fxSize      = 512
	offMXCSR    = 24
	offMask     = 28 // MXCSR_MASK
	offSW       = 464
	offXBV      = 512 // XSTATE_BV
	offYMM      = 576
	magic1      = 0x4650_5853
	magic2      = 0x4650_5845
	xsaveSize   = 832
	xstateAll   = 7 // x87, SSE, AVX
	xstateYMM   = 4
	fpFull      = xsaveSize + 4 // with the mark behind it
	redZone     = 128
	frameMax    = fpStart + fpFull
	fpStart     = 448 // in Thread.scratch: after the frame
	defaultFCW  = 0x37f
	defaultMX   = 0x1f80
	defaultMask = 0xffbf // where the CPU gives none (Intel SDM volume 1, 11.6.6)
)

// Flags in RFLAGS.
const (
	flagsFixed   = 0x202   // IF, and the bit that is always 1
	flagsRestore = 0x50dd5 // what sigreturn may set: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF
	flagsClear   = 0x10500 // what a handler does not inherit: RF, DF, TF
)

// context lists the registers of a struct sigcontext in its order.
func (f *Frame) context() [16]*uint64 {
	return [16]*uint64{
		&f.R8, &f.R9, &f.R10, &f.R11, &f.R12, &f.R13, &f.R14, &f.R15,
		&f.RDI, &f.RSI, &f.RBP, &f.RBX, &f.RDX, &f.RAX, &f.RCX, &f.RSP,
	}
}

// pushFrame saves the thread's state on its stack and makes it run the handler.
// False: there is no room for a frame, or no way back from the handler.
func (k *Kernel) pushFrame(t *Thread, sig uint32, a *action, from origin) bool {
	f, alt := &t.Frame, &t.sig.alt
	if a.flags&saRestorer == 0 {
		return false
	}
	sp := f.RSP - redZone
	onStack := alt.state(f.RSP) == ssOnStack
	if a.flags&saOnStack != 0 && alt.state(f.RSP) == 0 && alt.size != 0 {
		sp, onStack = alt.sp+alt.size, true
	}
	fp, size := k.saveFP(t)
	fpAt := (sp - size) &^ 63
	sp = (fpAt-frameSize)&^15 - 8
	if onStack && !alt.holds(sp) {
		return false
	}
	b := t.scratch[:frameSize]
	t.fill(b, sig, a, from)
	sallyport.Put64(b, offFP, fpAt)
	if size > fxSize {
		sallyport.Put64(b, offUCFlags, ucXState|ucSigcontextSS|ucStrictRestore)
	}
	if !k.Space.CopyOut(t.Index, fpAt, fp) || !k.Space.CopyOut(t.Index, sp, b) {
		return false
	}
	if alt.flags&ssAutodisarm != 0 {
		*alt = altStack{flags: ssDisable}
	}
	f.RDI, f.RSI, f.RDX, f.RAX = uint64(sig), sp+offInfo, sp+offUCFlags, 0
	f.RIP, f.RSP, f.CS, f.SS = a.handler, sp, userCS, userSS
	f.RFLAGS = f.RFLAGS&^flagsClear&(flagsRestore|flagsFixed) | flagsFixed
	f.Vector = 0
	t.initFX()
	return true
}

// fill writes a frame but for what depends on the floating-point part.
func (t *Thread) fill(b []byte, sig uint32, a *action, from origin) {
	f := &t.Frame
	clear(b)
	sallyport.Put64(b, 0, a.restorer)
	sallyport.Put64(b, offUCFlags, ucSigcontextSS|ucStrictRestore)
	t.sig.alt.encode(b[offUCStack:], t.sig.alt.flags)
	for i, r := range f.context() {
		sallyport.Put64(b, offRegs+8*i, *r)
	}
	sallyport.Put64(b, offRIP, f.RIP)
	sallyport.Put64(b, offEFLAGS, f.RFLAGS)
	put16(b, offCS, userCS)
	put16(b, offSS, userSS)
	sallyport.Put64(b, offErr, t.sig.code)
	sallyport.Put64(b, offTrapNo, t.sig.trap)
	sallyport.Put64(b, offOldMask, t.sig.mask)
	sallyport.Put64(b, offCR2, t.sig.addr)
	sallyport.Put64(b, offSigMask, t.sig.mask)
	sallyport.Put32(b, offInfo, sig)
	sallyport.Put32(b, offSICode, uint32(from.code))
	if from.code > 0 {
		sallyport.Put64(b, offSIAddr, from.addr)
	} else {
		sallyport.Put32(b, offSIAddr, pid)
		sallyport.Put32(b, offSIAddr+4, uid)
	}
}

// saveFP makes the floating-point part of a frame and returns it with its size.
func (k *Kernel) saveFP(t *Thread) (fp []byte, size uint64) {
	fp = t.scratch[fpStart:]
	copy(fp, t.FX[:])
	clear(fp[offSW:fxSize])
	if k.hooks.SaveUpper == nil {
		return fp[:fxSize], fxSize
	}
	clear(t.upper[:])
	k.hooks.SaveUpper(&t.upper)
	clear(fp[fxSize:])
	sallyport.Put64(fp, offXBV, sallyport.Get64(t.upper[:], offXBV)&xstateYMM|3)
	copy(fp[offYMM:xsaveSize], t.upper[offYMM:])
	sallyport.Put32(fp, offSW, magic1)
	sallyport.Put32(fp, offSW+4, fpFull)
	sallyport.Put64(fp, offSW+8, xstateAll)
	sallyport.Put32(fp, offSW+16, xsaveSize)
	sallyport.Put32(fp, xsaveSize, magic2)
	return fp, fpFull
}

// initFX gives the thread the floating-point state with which programs start.
func (t *Thread) initFX() {
	mask := sallyport.Get32(t.FX[:], offMask)
	clear(t.FX[:])
	put16(t.FX[:], 0, defaultFCW)
	sallyport.Put32(t.FX[:], offMXCSR, defaultMX)
	sallyport.Put32(t.FX[:], offMask, mask)
}

// sigreturn undoes a signal frame, or what the program made look like one.
func (k *Kernel) sigreturn(t *Thread) {
	f := &t.Frame
	b := t.scratch[:offInfo]
	if !k.Space.CopyIn(t.Index, b, f.RSP-8) { // the handler's RET has taken the return address
		k.force(t, sigSEGV, origin{code: siKernel})
		return
	}
	k.setMask(t, sallyport.Get64(b, offSigMask))
	for i, r := range f.context() {
		if i != 15 {
			*r = sallyport.Get64(b, offRegs+8*i)
		}
	}
	now := f.RSP
	f.RSP, f.RIP = sallyport.Get64(b, offRegs+8*15), sallyport.Get64(b, offRIP)
	f.RFLAGS = f.RFLAGS&^flagsRestore&flagsFixed | sallyport.Get64(b, offEFLAGS)&flagsRestore | flagsFixed
	f.CS, f.SS, f.Vector = userCS, userSS, 0
	t.restart = 0
	flags, fp := sallyport.Get64(b, offUCFlags), sallyport.Get64(b, offFP)
	sp, size, mode := sallyport.Get64(b, offUCStack), sallyport.Get64(b, offUCStack+16), sallyport.Get32(b, offUCStack+8)
	if !k.loadFP(t, fp, flags) || f.RSP > abi.UserEnd {
		k.force(t, sigSEGV, origin{code: siKernel})
		return
	}
	t.sig.alt.set(sp, size, mode, now) // as on Linux, a bad one changes nothing
}

// loadFP restores the floating-point part. Whatever the program has written there,
// the CPU must be able to load without a fault at CPL 0: MXCSR has reserved bits, and
// of the XSAVE header nothing is taken over but one bit.
func (k *Kernel) loadFP(t *Thread, fp, flags uint64) bool {
	mask := sallyport.Get32(t.FX[:], offMask)
	if mask == 0 {
		mask = defaultMask
	}
	if fp == 0 {
		t.initFX()
		return true
	}
	if !k.Space.CopyIn(t.Index, t.FX[:], fp) {
		t.initFX()
		return false
	}
	sallyport.Put32(t.FX[:], offMXCSR, sallyport.Get32(t.FX[:], offMXCSR)&mask)
	sallyport.Put32(t.FX[:], offMask, mask)
	if flags&ucXState == 0 || k.hooks.RestoreUpper == nil || sallyport.Get32(t.FX[:], offSW) != magic1 || sallyport.Get32(t.FX[:], offSW+16) != xsaveSize {
		return true
	}
	clear(t.upper[:])
	if !k.Space.CopyIn(t.Index, t.upper[fxSize:], fp+fxSize) {
		return false
	}
	bv := sallyport.Get64(t.upper[:], offXBV) & xstateYMM
	clear(t.upper[fxSize:offYMM])
	sallyport.Put64(t.upper[:], offXBV, bv)
	sallyport.Put32(t.upper[:], offMXCSR, defaultMX)
	k.hooks.RestoreUpper(&t.upper)
	return true
}
