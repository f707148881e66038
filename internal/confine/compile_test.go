// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// The compiler of the list. It is here, and not in the package, because
// nothing needs it at run time; see zprogram.go.

// Offsets into struct seccomp_data, linux/seccomp.h.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16

	x32Bit = 0x40000000 // __X32_SYSCALL_BIT: the same table under other numbers
)

// compile turns [Calls] into a filter, and returns where in it the number of
// the process belongs.
func compile() (program []unix.SockFilter, ownPID []int) {
	a := &assembler{}
	unknown := a.ret(errnoRet(unix.ENOSYS))
	search := a.search(Calls(), unknown)
	a.jump(unix.BPF_JGE, x32Bit, unknown, search)
	nr := a.load(dataNr)
	kill := a.ret(unix.SECCOMP_RET_KILL_PROCESS)
	a.jump(unix.BPF_JEQ, unix.AUDIT_ARCH_X86_64, nr, kill)
	a.load(dataArch)
	slices.Reverse(a.code)
	for _, at := range a.pids {
		ownPID = append(ownPID, len(a.code)-int(at))
	}
	slices.Sort(ownPID)
	return a.code, ownPID
}

func errnoRet(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func (an Answer) ret() uint32 {
	if an == Serve {
		return unix.SECCOMP_RET_ALLOW
	}
	return errnoRet(an.Errno())
}

// assembler emits a classic BPF program from its end to its start: jumps only
// go forwards, so each target is in place when the jump to it is written.
type assembler struct {
	code []unix.SockFilter // last instruction first
	rets map[uint32]label
	pids []label // comparisons with the number of the process
}

// label is an instruction's distance from the end of the program; the last is 1.
type label int

// farthest is how far a conditional jump reaches: its offsets are one byte.
const farthest = 255

func (a *assembler) emit(code uint16, k uint32, jt, jf uint8) label {
	a.code = append(a.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	return label(len(a.code))
}

// ret returns an instruction that ends the filter with value, near the front.
func (a *assembler) ret(value uint32) label {
	if at, ok := a.rets[value]; ok && len(a.code)-int(at) < farthest/2 {
		return at
	}
	if a.rets == nil {
		a.rets = make(map[uint32]label)
	}
	a.rets[value] = a.emit(unix.BPF_RET|unix.BPF_K, value, 0, 0)
	return a.rets[value]
}

func (a *assembler) load(offset uint32) label {
	return a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0)
}

// jump compares the accumulator with k and goes to yes or no.
func (a *assembler) jump(op uint16, k uint32, yes, no label) label {
	// A trampoline pushes the other target away by one, so leave room for two.
	if len(a.code)-int(yes) > farthest-2 {
		yes = a.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(a.code)-int(yes)), 0, 0)
	}
	if len(a.code)-int(no) > farthest-2 {
		no = a.emit(unix.BPF_JMP|unix.BPF_JA, uint32(len(a.code)-int(no)), 0, 0)
	}
	return a.emit(unix.BPF_JMP|op|unix.BPF_K, k, uint8(len(a.code)-int(yes)), uint8(len(a.code)-int(no)))
}

// search finds the call number, which is in the accumulator, by halves: the
// calls whose arguments are looked at cost seven jumps and not a hundred. (For
// the others the kernel remembers the answer per number.)
func (a *assembler) search(calls []Call, unknown label) label {
	if len(calls) == 1 {
		return a.jump(unix.BPF_JEQ, calls[0].Nr, a.call(calls[0]), unknown)
	}
	mid := len(calls) / 2
	above := a.search(calls[mid:], unknown)
	below := a.search(calls[:mid], unknown)
	return a.jump(unix.BPF_JGE, calls[mid].Nr, above, below)
}

func (a *assembler) call(c Call) label {
	next := a.ret(c.Else.ret())
	for i := len(c.Rules) - 1; i >= 0; i-- {
		yes := a.ret(c.Rules[i].Then.ret())
		for j := len(c.Rules[i].If) - 1; j >= 0; j-- {
			yes = a.cond(c.Rules[i].If[j], yes, next)
		}
		next = yes
	}
	return next
}

// cond looks at the halves of a 64-bit argument that its mask touches: BPF
// words are 32 bits.
func (a *assembler) cond(c Cond, yes, no label) label {
	offset := uint32(dataArgs + 8*c.Arg)
	yes = a.half(offset+4, uint32(c.Mask>>32), uint32(c.Value>>32), yes, no)
	yes = a.half(offset, uint32(c.Mask), uint32(c.Value), yes, no)
	if c.OwnPID {
		a.pids = append(a.pids, yes-1) // its mask is [low]: a load, then the comparison
	}
	return yes
}

func (a *assembler) half(offset, mask, value uint32, yes, no label) label {
	if mask == 0 {
		return yes
	}
	a.jump(unix.BPF_JEQ, value, yes, no)
	if mask != ^uint32(0) {
		a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0)
	}
	return a.load(offset)
}

var update = flag.Bool("update", false, "write zprogram.go")

// TestGenerated holds zprogram.go to the list.
func TestGenerated(t *testing.T) {
	compiled, pids := compile()
	if *update {
		writeProgram(t, compiled, pids)
		return
	}
	if !slices.Equal(compiled, Program(0)) || !slices.Equal(pids, ownPID[:]) {
		t.Error("zprogram.go is not what the list compiles to: run go generate")
	}
}

func writeProgram(t *testing.T, compiled []unix.SockFilter, pids []int) {
	var out bytes.Buffer
	fmt.Fprint(&out, "// SPDX-License-Identifier: Apache-2.0\n\n"+
		"// Code generated by TestGenerated -update from the list in table.go. DO NOT EDIT.\n\npackage confine\n\n")
	fmt.Fprintf(&out, "// program is the filter, an instruction to a number (code, jt, jf, k), with 0\n"+
		"// for the number of the process.\nvar program = [...]uint64{\n")
	for i, in := range compiled {
		end := " "
		if i%5 == 4 || i == len(compiled)-1 {
			end = "\n"
		}
		fmt.Fprintf(&out, "%#04x_%02x_%02x_%08x,%s", in.Code, in.Jt, in.Jf, in.K, end)
	}
	fmt.Fprintf(&out, "}\n\n// ownPID is where that number belongs.\nvar ownPID = [...]int{")
	for i, at := range pids {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprint(&out, at)
	}
	out.WriteString("}\n")
	src, err := format.Source(out.Bytes())
	if err == nil {
		err = os.WriteFile("zprogram.go", src, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
