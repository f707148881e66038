// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Exit is why Run returned without an error. The fields from Port on are those
// of ExitIO.
type Exit struct {
	Reason uint32
	Port   uint16
	Size   uint8 // bytes: 1, 2, 4
	Out    bool
	Value  uint32 // of an OUT
}

// Exit decodes the exit that Run returned with. It allocates nothing.
func (c *VCPU) Exit() Exit { return decodeExit(c.state.Reason, &c.state.Union, c.mem) }

// directionOut is KVM_EXIT_IO_OUT.
const directionOut = 1

func decodeExit(reason uint32, union *[0x100]byte, mem []byte) Exit {
	e := Exit{Reason: reason}
	if reason != ExitIO {
		return e
	}
	e.Out = union[0] == directionOut
	e.Size = union[1]
	e.Port = binary.LittleEndian.Uint16(union[2:])
	count := binary.LittleEndian.Uint32(union[4:])
	offset := binary.LittleEndian.Uint64(union[8:])
	// A string instruction asks for more than one transfer at once; no shim
	// of ours does, and Size 0 is no port access that anyone serves.
	if count != 1 || offset > uint64(len(mem)) || uint64(len(mem))-offset < 4 {
		e.Size = 0
		return e
	}
	switch data := mem[offset:]; e.Size {
	case 1:
		e.Value = uint32(data[0])
	case 2:
		e.Value = uint32(binary.LittleEndian.Uint16(data))
	case 4:
		e.Value = binary.LittleEndian.Uint32(data)
	default:
		e.Size = 0
	}
	return e
}

var exitNames = map[uint32]string{
	ExitIO: "port access", ExitDebug: "debug", ExitHLT: "HLT", ExitMMIO: "access to memory that does not exist",
	ExitIRQWindowOpen: "interrupt window", ExitShutdown: "shutdown (triple fault)", ExitFailEntry: "VM entry failed",
	ExitIntr: "interrupt", ExitInternalError: "internal error of KVM", ExitSystemEvent: "system event",
	ExitRDMSR: "RDMSR", ExitWRMSR: "WRMSR", ExitMemoryFault: "memory fault",
}

// Describe tells in words, for an error, what Run returned with, and the
// registers.
func (c *VCPU) Describe() string {
	return describeExit(c.state.Reason, &c.state.Union) + c.Registers()
}

// Registers is the registers for the end of an error text, or nothing if KVM
// does not give them. A vCPU that KVM has reset, which it does after a triple
// fault on AMD, has none that would tell anything.
func (c *VCPU) Registers() string {
	sregs, err := c.Sregs()
	if err != nil {
		return ""
	}
	if sregs.CR0&cr0PG == 0 {
		return "; the registers are lost"
	}
	regs, err := c.Regs()
	if err != nil {
		return ""
	}
	return "; " + describeRegs(&regs, &sregs)
}

func describeExit(reason uint32, union *[0x100]byte) string {
	name, ok := exitNames[reason]
	if !ok {
		name = "unknown"
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(union[at:]) }
	half := func(at int) uint32 { return binary.LittleEndian.Uint32(union[at:]) }
	text := fmt.Sprintf("exit reason %d, %s", reason, name)
	switch reason {
	case ExitIO:
		text += fmt.Sprintf(": direction %d, port %#x, %d bytes, count %d", union[0], half(0)>>16, union[1], half(4))
	case ExitMMIO:
		text += fmt.Sprintf(": physical %#x, %d bytes, write %d", word(0), half(0x10), union[0x14])
	case ExitFailEntry:
		text += fmt.Sprintf(": hardware reason %#x", word(0))
	case ExitMemoryFault:
		text += fmt.Sprintf(": physical %#x, flags %#x", word(8), word(0))
	case ExitInternalError:
		text += fmt.Sprintf(", suberror %d", half(0))
		if insn := emulated(union); insn != nil {
			text += fmt.Sprintf(", instruction % x", insn)
		}
	}
	return text
}

// emulated returns the bytes of the instruction that KVM had to emulate and
// could not: struct kvm_run, emulation_failure.
func emulated(union *[0x100]byte) []byte {
	const hasBytes = 1 // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
	if binary.LittleEndian.Uint32(union[:]) != internalErrorEmulation ||
		binary.LittleEndian.Uint32(union[4:]) < 2 ||
		binary.LittleEndian.Uint64(union[8:])&hasBytes == 0 {
		return nil
	}
	n := min(int(union[0x10]), 15)
	return union[0x11 : 0x11+n]
}

// describeRegs is one line of registers for an error.
func describeRegs(r *Regs, s *Sregs) string {
	var b strings.Builder
	for _, v := range []struct {
		name  string
		value uint64
	}{
		{"rip", r.RIP}, {"rsp", r.RSP}, {"rflags", r.RFLAGS}, {"cs", uint64(s.CS.Selector)},
		{"cr0", s.CR0}, {"cr2", s.CR2}, {"cr3", s.CR3}, {"cr4", s.CR4}, {"efer", s.EFER},
		{"rax", r.RAX}, {"rbx", r.RBX}, {"rcx", r.RCX}, {"rdx", r.RDX}, {"rsi", r.RSI}, {"rdi", r.RDI}, {"rbp", r.RBP},
		{"r8", r.R8}, {"r9", r.R9}, {"r10", r.R10}, {"r11", r.R11}, {"r12", r.R12}, {"r13", r.R13}, {"r14", r.R14}, {"r15", r.R15},
		{"fs", s.FS.Base}, {"gs", s.GS.Base},
	} {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%#x", v.name, v.value)
	}
	return b.String()
}
