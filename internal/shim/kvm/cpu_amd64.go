// SPDX-License-Identifier: Apache-2.0

package main

import "enarx.dev/enarx/internal/shim/kernel"

// exit leaves the guest: the host is to serve the block of vCPU index.
func exit(index uint32)

// halt never returns. The host sees a vCPU that waits for an interrupt with
// interrupts off, which is how a vCPU says that it is dead.
func halt()

// pause is for loops that wait for another vCPU.
func pause()

// flushTLB drops this vCPU's translations of the lower half.
func flushTLB()

// readCR0, readCR2, readCR3 and readCR4 return the control registers.
func readCR0() uint64
func readCR2() uint64
func readCR3() uint64
func readCR4() uint64

// rdmsr and wrmsr access a model-specific register that the CPU has; any other
// would fault, and that is fatal.
func rdmsr(msr uint32) uint64
func wrmsr(msr uint32, value uint64)

// loadTables loads GDT, IDT and task register. The code and stack segments
// stay as they are: the boot state has the same descriptors.
func loadTables(gdt, idt *descriptor, tss uint16)

// tsc returns the time stamp counter, not read before what precedes it.
func tsc() uint64

// random returns a number of the CPU's generator, or false when it has none
// ready (Intel SDM volume 1, 7.3.17).
func random() (value uint64, ok bool)

// addrSyscallEntry, addrStubs and addrHalt return the addresses of code.
func addrSyscallEntry() uint64
func addrStubs() uint64
func addrHalt() uint64

// this returns the running vCPU.
func this() *cpu

// ymmUpper is the XSAVE state component of the upper halves of the YMM registers.
//
//lint:ignore U1000 for the assembly
const ymmUpper = 1 << 2

// saveUpper and restoreUpper access that component alone.
func saveUpper(area *kernel.Upper)
func restoreUpper(area *kernel.Upper)

// features returns EDX of CPUID leaf 1, which programs find in AT_HWCAP.
func features() uint32
