// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
	"enarx.dev/enarx/internal/shim/program"
	"enarx.dev/enarx/internal/shim/spin"
	"enarx.dev/enarx/internal/shim/vdso"
)

// Machine is what the shim's start knows of the machine it is on.
type Machine struct {
	Direct  unsafe.Pointer // where guest-physical address 0 is mapped
	Root    uint64         // GPA of the top page table
	Heap    uint64         // GPA of the first chunk of heap, mapped already
	HeapLen uint64
	CPUs    uint32        // CPUs that the program is told of; 0: as many as vCPUs
	Exec    program.Image // the program
	Args    program.Args  // its arguments; Boot adds the vDSO
}

// Boot makes t the program's main thread, on vCPU 0, and loads the program. b has been
// range-checked by its decoder. What Boot returns with in t.Frame and t.FX is the state
// to resume.
func (k *Kernel) Boot(t *Thread, b *sallyport.Boot, m *Machine, h *Hooks) {
	k.Start(t, b, m, h)
	k.load(t, m)
	k.Leave(t)
}

// Start is Boot without a program: the Keep is ready for one.
func (k *Kernel) Start(t *Thread, b *sallyport.Boot, m *Machine, h *Hooks) {
	active = k
	k.hooks = *h
	k.cpus[0] = t
	k.count.Store(1)
	t.Index = 0
	k.limit = min(b.MaxCPUs, MaxThreads)
	if k.ncpu = m.CPUs; k.ncpu == 0 {
		k.ncpu = k.limit
	}
	k.trace = b.Flags&sallyport.FlagTrace != 0
	k.steady = b.Flags&sallyport.FlagSteadyTSC != 0
	k.live, k.lastTID = 1, pid
	t.tid.Store(pid)
	t.sig.alt.flags = ssDisable
	spin.Relax = relax
	k.Files.Abort = abortCurrent
	k.Files.Random = fillDevice
	hooks := mem.Hooks{Flush: h.Flush, Shootdown: shootdownFrom, Grow: growHeap, Release: releaseHeap}
	if !k.clock.init(h.TSC(), b.TSCKHz, b.Wall) {
		k.abort(t, sallyport.AbortBoot)
	}
	if !k.Space.Init(m.Direct, m.Root, m.Heap, m.HeapLen, b.HeapLimit, hooks) {
		k.abort(t, sallyport.AbortMemory)
	}
	k.Files.Init(int(b.Descriptors))
	t.initFX()
	t.Frame = Frame{CS: userCS, SS: userSS, RFLAGS: flagsFixed}
}

// load brings the program into user space, with the vDSO.
func (k *Kernel) load(t *Thread, m *Machine) {
	if k.steady {
		k.makeVDSO(t, &m.Args)
	}
	entry, rsp, err := program.Load(&k.Space, t.Index, m.Exec, &m.Args, randomOnce)
	if err != sallyport.LoadOK {
		k.abort(t, sallyport.AbortLoad+uint64(err))
	}
	t.Frame.RIP, t.Frame.RSP = entry, rsp
}

// makeVDSO makes the two pages of the vDSO. A program can do without, and must
// where the counters of two vCPUs may differ: a system call goes through a clock
// that all of them share and that never goes backwards.
func (k *Kernel) makeVDSO(t *Thread, args *program.Args) {
	data, ok := k.Space.AllocFrame(t.Index)
	if !ok {
		return
	}
	code, ok := k.Space.AllocFrame(t.Index)
	if !ok {
		return
	}
	// Sound: a frame is a page, aligned to one, and these two are nobody else's.
	page := unsafe.Slice((*byte)(k.Space.Frame(code)), abi.PageSize)
	if !vdso.Build(page) {
		return
	}
	(*vdso.Data)(k.Space.Frame(data)).Set(k.clock.Clock)
	args.VDSOData, args.VDSOCode = data, code
}
