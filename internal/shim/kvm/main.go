// SPDX-License-Identifier: Apache-2.0

// Enarx-shim-kvm is the shim of a virtual machine Keep: what runs at CPL 0
// below enarx-exec, and the only other program in there. It is Go linked by the
// stock toolchain for the upper half of the address space, with nothing below it:
// no Go runtime is initialised, there is no heap, no goroutine, no scheduler.
// This package is the entry code and the wiring; the logic is in the packages
// beside it, which any machine can test.
//
// The host starts vCPUs and answers requests in the sallyport. It is not trusted
// with anything else: this program sets up its own tables and never acts on what the
// host says without checking it.
package main

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/kernel"
	"enarx.dev/enarx/internal/shim/mem"
	"enarx.dev/enarx/internal/shim/program"
)

// keep is the Keep. It is far too large for anything but static memory.
var keep kernel.Kernel

// ticket counts the vCPUs that have started.
//
//lint:ignore U1000 the assembly counts
var ticket uint32

var hooks = kernel.Hooks{
	Flush: flushTLB, Pause: pause, Stop: halt, TSC: tsc, Random: random, CR2: readCR2,
	SetGS: setGS, GetGS: getGS, Current: current, Map: mapCPU,
	SaveUpper: saveUpper, RestoreUpper: restoreUpper, Word: stackWord,
}

// boot is what the host said when it started the Keep, checked, and args a copy
// of the program's arguments that the host cannot change any more.
var (
	boot    sallyport.Boot
	args    [sallyport.ArgsSize]byte
	machine = kernel.Machine{Heap: sallyport.HeapGPA, HeapLen: sallyport.MinHeap}
)

// main is what the linker wants every program to have; the entry point is start.
// It never runs, and names what only the assembly calls.
func main() {
	start()
	enter(nil)
	trap(nil)
	fatal(nil)
}

// enter is called once on every vCPU, with a zeroed cpu. The thread that it
// leaves in there goes to ring 3 when it returns.
func enter(c *cpu) {
	if c.index == 0 {
		initIDT()
		c.thread.Port.Init(block(0), 0, exit)
	}
	c.init()
	if c.index != 0 {
		keep.Enter(&c.thread)
		return
	}
	code := uint64(sallyport.AbortBoot)
	if protected() {
		code = readBoot()
	}
	if code != 0 {
		c.thread.Port.Call(sallyport.OpAbort, code, 0, 0, 0, 0, 0)
		halt()
	}
	keep.Boot(&c.thread, &boot, &machine, &hooks)
}

// readBoot takes in what the host says of the machine. It returns why that is
// unusable, as a code of OpAbort, or 0.
func readBoot() (code uint64) {
	var ok bool
	if boot, ok = sallyport.DecodeBoot(bytesAt(mem.DirectBase+sallyport.BootGPA, sallyport.PageSize)); !ok || boot.ExecGPA != sallyport.ExecGPA {
		return sallyport.AbortBoot
	}
	copy(args[:], bytesAt(mem.DirectBase+sallyport.ArgsGPA, sallyport.ArgsSize))
	if !boot.CheckArgs(args[:]) {
		return sallyport.AbortProgram
	}
	machine.Direct = at(mem.DirectBase)
	machine.Root = readCR3()
	machine.CPUs = boot.HostCPUs
	machine.Exec = program.At(at(mem.DirectBase+boot.ExecGPA), boot.ExecGPA, boot.ExecSize)
	machine.Args.Blob = args[:boot.ArgsLength]
	machine.Args.HWCap = features()
	machine.Args.Argc, machine.Args.Envc = boot.Argc, boot.Envc
	return 0
}

// trap is called on every entry from ring 3.
func trap(c *cpu) { keep.Trap(&c.thread) }

// fatal is called after an exception in ring 0.
func fatal(c *cpu) { keep.Fatal(&c.thread, &c.fault) }

func current() *kernel.Thread { return &this().thread }

func setGS(base uint64) { wrmsr(msrKernelGSBase, base) }
func getGS() uint64     { return rdmsr(msrKernelGSBase) }

// runs is which pages of a vCPU's area are mapped: its cpu and its stacks. What
// lies between would be hit by a stack that overflows.
var runs = [4]struct{ first, pages uint64 }{
	{0, cpuPages}, {trapStack >> pageShift, 2}, {faultStack >> pageShift, 2}, {stackBase >> pageShift, 8},
}

// mapCPU makes ready the area of a vCPU that has not started yet.
func mapCPU(index uint32) *kernel.Thread {
	if index == 0 || index >= maxCPUs {
		return nil
	}
	area := uint64(cpuBase) + uint64(index)<<cpuShift
	caller := this().index
	for i := range runs {
		for p := range runs[i].pages {
			frame, ok := keep.Space.AllocFrame(caller)
			va := area + (runs[i].first+p)<<pageShift
			if !ok || !keep.Space.KernelMap(caller, va, frame, mem.KernelWrite|mem.KernelGlobal|mem.KernelNX) {
				return nil
			}
		}
	}
	t := &cpuAt(index).thread
	t.Index = index
	t.Port.Init(block(index), index, exit)
	return t
}

// stackWord reads from the stacks of a vCPU, for the backtrace of a report.
func stackWord(index uint32, address uint64) (word uint64, ok bool) {
	if index >= maxCPUs || address&7 != 0 {
		return 0, false
	}
	offset := address - (cpuBase + uint64(index)<<cpuShift)
	for i := range runs[1:] {
		first := runs[1+i].first << pageShift
		if offset >= first && offset < first+runs[1+i].pages<<pageShift {
			return *wordAt(address), true
		}
	}
	return 0, false
}
