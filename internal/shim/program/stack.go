// SPDX-License-Identifier: Apache-2.0

package program

import (
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
)

// Args is what a program finds when it starts.
type Args struct {
	Blob       []byte // argv, then the environment: strings that each end with a NUL
	Argc, Envc uint32
	HWCap      uint32 // CPUID leaf 1, EDX
	// VDSOData and VDSOCode are the frames of package vdso's two pages; 0: no vDSO.
	VDSOData, VDSOCode uint64
}

// MaxArgs bounds Args.Blob, and with it the words of the initial stack.
const MaxArgs = 64 << 10

// valid reports whether Blob holds exactly the strings that it is said to hold,
// the program's name among them.
func (a *Args) valid() bool {
	n := len(a.Blob)
	if a.Argc == 0 || n == 0 || n > MaxArgs || a.Blob[n-1] != 0 {
		return false
	}
	var count uint64
	for _, c := range a.Blob {
		if c == 0 {
			count++
		}
	}
	return count == uint64(a.Argc)+uint64(a.Envc)
}

// Types of the auxiliary vector's entries, and what is always the same in a Keep.
const (
	atNull        = 0
	atPhdr        = 3
	atPhent       = 4
	atPhnum       = 5
	atPagesz      = 6
	atBase        = 7
	atFlags       = 8
	atEntry       = 9
	atUID         = 11
	atEUID        = 12
	atGID         = 13
	atEGID        = 14
	atPlatform    = 15
	atHWCap       = 16
	atClkTck      = 17
	atSecure      = 23
	atRandom      = 25
	atHWCap2      = 26
	atExecfn      = 31
	atSysinfoEhdr = 33
	atMinSigStkSz = 51

	user = 1000 // what getuid and its like answer
	// hwcap2 says that ring 3 may use RDFSBASE and WRFSBASE (HWCAP2_FSGSBASE).
	hwcap2 = 2
	// minSigStack is Linux's MINSIGSTKSZ. Our frames hold FXSAVE's image, not XSAVE's, and fit.
	minSigStack = 2048
)

var (
	execfn   = [...]byte{'/', 'i', 'n', 'i', 't', 0}
	platform = [...]byte{'x', '8', '6', '_', '6', '4', 0}
)

// places is where in user space things go that are not the program's own:
//
//	code         vDSO code, at the end of user space less a random number of pages
//	code-4096    vDSO data
//	code-8192    not mapped
//	top          end of the stack
//	guard        nothing that grows may come closer; mmap works downwards from here
//	brk          start of the heap, a random number of pages above the image
type places struct {
	code, top, brk uint64
	skew           uint64 // between top and the first string
	seed           [2]uint64
}

func (p *places) guard() uint64 { return p.top - stackSize - stackGuard }

// choose decides where everything goes in the memory above the image.
func choose(imageEnd uint64, random func() (uint64, bool)) (places, bool) {
	r, ok1 := random()
	seed1, ok2 := random()
	seed2, ok3 := random()
	code := abi.UserEnd - abi.PageSize - r%stackPages*abi.PageSize
	return places{
		code: code,
		top:  code - 2*abi.PageSize,
		brk:  imageEnd + r>>24%brkPages*abi.PageSize,
		skew: r >> 40 % 256 * 16,
		seed: [2]uint64{seed1, seed2},
	}, ok1 && ok2 && ok3
}

// reserve maps the vDSO, the stack, whose pages come when they are used, and its guard.
func (p *places) reserve(sp *mem.Space, cpu uint32, args *Args) bool {
	if args.VDSOCode != 0 &&
		(sp.MapShimPage(cpu, p.code, args.VDSOCode, abi.ProtRead|abi.ProtExec) < 0 ||
			sp.MapShimPage(cpu, p.code-abi.PageSize, args.VDSOData, abi.ProtRead) < 0) {
		return false
	}
	return reserve(sp, cpu, p.top-stackSize, stackSize, abi.ProtRead|abi.ProtWrite, mapStack) &&
		reserve(sp, cpu, p.guard(), stackGuard, 0, mapNoReserve)
}

// fill writes the initial stack: from RSP upwards argc, argv, the environment, the
// auxiliary vector, AT_RANDOM's bytes, and the strings.
func (p *places) fill(sp *mem.Space, cpu uint32, l *layout, bias uint64, args *Args) (rsp uint64, ok bool) {
	w := writer{sp: sp, cpu: cpu, at: p.top - p.skew, ok: true}
	name := w.push(execfn[:])
	strings := w.push(args.Blob)
	machine := w.push(platform[:])
	seed := w.at&^15 - 16
	w.at = seed
	w.word(p.seed[0])
	w.word(p.seed[1])

	words := 1 + uint64(args.Argc) + 1 + uint64(args.Envc) + 1 + 2*auxEntries
	rsp = (seed - 8*words) &^ 15
	w.at = rsp
	w.word(uint64(args.Argc))
	rest := w.pointers(args.Blob, strings, args.Argc)
	w.pointers(rest, strings+uint64(len(args.Blob)-len(rest)), args.Envc)
	w.aux(l, bias, args)
	w.pair(atRandom, seed)
	w.pair(atExecfn, name)
	w.pair(atPlatform, machine)
	if args.VDSOCode != 0 {
		w.pair(atSysinfoEhdr, p.code)
	}
	w.pair(atNull, 0)
	return rsp, w.ok
}

// auxEntries is at least the number of pairs that fill writes.
const auxEntries = 22

// aux writes the pairs that do not point to the stack.
func (w *writer) aux(l *layout, bias uint64, args *Args) {
	w.pair(atPhdr, l.headers+bias)
	w.pair(atPhent, phentSize)
	w.pair(atPhnum, l.number)
	w.pair(atPagesz, abi.PageSize)
	w.pair(atBase, 0)
	w.pair(atFlags, 0)
	w.pair(atEntry, l.entry+bias)
	w.pair(atUID, user)
	w.pair(atEUID, user)
	w.pair(atGID, user)
	w.pair(atEGID, user)
	w.pair(atHWCap, uint64(args.HWCap))
	w.pair(atClkTck, 100)
	w.pair(atSecure, 0)
	w.pair(atHWCap2, hwcap2)
	w.pair(atMinSigStkSz, minSigStack)
}

// A writer writes to the stack of a program that does not run yet.
type writer struct {
	sp  *mem.Space
	cpu uint32
	at  uint64
	ok  bool
}

// push puts bytes below everything so far and returns their address.
func (w *writer) push(b []byte) uint64 {
	w.at -= uint64(len(b))
	w.ok = w.ok && w.sp.CopyOut(w.cpu, w.at, b)
	return w.at
}

// word writes a word and moves up.
func (w *writer) word(v uint64) {
	w.ok = w.ok && w.sp.Store64(w.cpu, w.at, v)
	w.at += 8
}

func (w *writer) pair(kind, value uint64) {
	w.word(kind)
	w.word(value)
}

// pointers writes the addresses of the first n strings of blob, which the program
// sees at addr, and a null pointer. It returns the rest of blob.
func (w *writer) pointers(blob []byte, addr uint64, n uint32) []byte {
	for ; n > 0; n-- {
		w.word(addr)
		end := 0
		for blob[end] != 0 { // there are n more: see Args.valid
			end++
		}
		blob = blob[end+1:]
		addr += uint64(end) + 1
	}
	w.word(0)
	return blob
}
