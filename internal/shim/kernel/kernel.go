// SPDX-License-Identifier: Apache-2.0

// Package kernel is the Linux personality of a shim: threads, futexes, signals,
// clocks, and the dispatch of system calls and exceptions. It runs at CPL 0 with
// no Go runtime below it (no heap, no goroutines), yet everything but privileged
// instructions is ordinary code, and those come in as [Hooks].
//
// One thread of the program is one vCPU for its whole life. A thread that waits
// does so inside its system call, in the host call PARK; there are no context
// switches. The host is not trusted: whether a wait is over is decided by a
// private flag and the shim's own clock, so that a host which lies about a park
// can make the program late, and never wrong.
//
// Locks, in the order in which they may be taken: Kernel.mu (threads and
// signals), then a futex bucket (two of them in order of their index), then the
// lock of mem.Space. Nothing that runs under the lock of mem.Space takes one.
package kernel

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/hostio"
	"enarx.dev/enarx/internal/shim/mem"
	"enarx.dev/enarx/internal/shim/spin"
)

// MaxThreads is the largest number of threads, and so of vCPUs, of one Keep.
const MaxThreads = sallyport.MaxCPUs

// Vectors that are not exceptions.
const (
	// Kick is the interrupt that brings a vCPU from ring 3 into the shim.
	Kick = 0x30
	// Syscall is Frame.Vector of a SYSCALL, and of a return by SYSRET.
	Syscall = 256
)

// Selectors of the program's segments, as the shim's GDT has them.
const (
	userCS = 0x2b
	userSS = 0x23
)

// Frame is the state of a program that entered the shim. The entry assembly
// stores and loads it in this order.
type Frame struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RBP    uint64
	R8, R9, R10, R11, R12, R13, R14, R15 uint64
	RIP, CS, RFLAGS, RSP, SS             uint64
	Vector                               uint64 // Syscall: return by SYSRET; anything else: by IRET
	Error                                uint64
	FSBase                               uint64
}

// Upper is an XSAVE area of which only the upper halves of the YMM registers
// are used. The shim itself never changes them, but a signal handler does.
type Upper [832]byte

// Exception is an exception that the shim itself raised.
type Exception struct {
	Vector, Error, RIP, CS, RFLAGS, RSP, RBP, CR2 uint64
}

// Thread is a vCPU and the program thread that it runs, if any. It must lie on a
// multiple of 64 bytes: FX and upper are operands of FXSAVE and XSAVE.
type Thread struct {
	Frame Frame
	_     [8]byte
	FX    [512]byte
	upper Upper

	// Port is the vCPU's connection to the host, ready before Boot or Enter.
	Port sallyport.Port
	// Index is the number of the vCPU.
	Index uint32

	where atomic.Uint32 // what the vCPU does: inShim...
	seen  atomic.Uint64 // the last TLB generation that this vCPU has flushed for

	woken atomic.Uint32 // the private truth about a wait
	node  waiter        // owned by the futex bucket that it is in

	// tid is 0 while the vCPU is idle. Written under Kernel.mu.
	tid atomic.Uint32

	// Owned by the thread itself, or by who makes the thread.
	clearTID uint64 // where exit stores 0
	robust   uint64 // head of the list of robust futexes
	gs       uint64 // GS base to start with
	nr       uint64 // number of the system call, which its restart needs
	restart  int64  // what becomes of a system call that a signal ended: restartSys... or 0

	sig     signals
	scratch [frameMax]byte // a signal frame on its way to or from user memory
	text    [logMax]byte   // a line for the host's log
}

// What a vCPU does. Who has work for another thread stores it first and looks at
// where afterwards; the thread stores where first and looks for work afterwards.
const (
	inShim uint32 = iota // will look for work before it leaves the shim
	inUser               // in ring 3, or about to be: a kick is needed
	inHost               // in a forwarded call: a kick makes it return
	inPark               // parked: an unpark makes it return
)

// Hooks are what needs a privileged instruction or knowledge of the machine.
type Hooks struct {
	Flush   func()                     // drops this vCPU's translations of the lower half
	Pause   func()                     // PAUSE
	Stop    func()                     // ends this vCPU; does not return
	TSC     func() uint64              // time stamp counter
	Random  func() (uint64, bool)      // RDRAND, one try
	CR2     func() uint64              // address of the page fault just taken
	SetGS   func(base uint64)          // GS base of ring 3
	GetGS   func() uint64              //
	Current func() *Thread             // the vCPU that calls
	Map     func(index uint32) *Thread // makes the memory of a vCPU ready, with its Port; nil: impossible

	// SaveUpper and RestoreUpper are XSAVE64 and XRSTOR64 of component 2
	// (YMM_Hi128). Both are nil where the program has no AVX.
	SaveUpper    func(*Upper)
	RestoreUpper func(*Upper)

	// Word reads a word of the stacks of a vCPU, for a backtrace.
	Word func(index uint32, address uint64) (uint64, bool)
}

// Kernel is everything that the threads share. There is one, a static variable.
type Kernel struct {
	Space mem.Space
	Files hostio.Table

	hooks Hooks
	clock clock

	mu      spin.Lock
	cpus    [MaxThreads]*Thread // those below count have been mapped
	count   atomic.Uint32
	limit   uint32        // most vCPUs that the host gives
	ncpu    uint32        // CPUs that the program is told of
	trace   bool          // log calls that are not there
	steady  bool          // the TSCs of all vCPUs agree
	live    uint32        // threads of the program, under mu
	lastTID uint32        // under mu
	ending  atomic.Uint32 // threads in exit that still have their vCPU
	leader  uint64        // status of the main thread, once it has ended; under mu

	gen     atomic.Uint64 // TLB generation
	actions [numSignals + 1]action
	pending atomic.Uint64 // signals of the process; set under mu
	buckets [numBuckets]bucket
	unknown [numCounted]atomic.Uint32 // how often, by number; the last is for all others
}

// active is the Kernel that functions without a receiver serve: hooks of mem,
// hostio and spin, which cannot be closures.
var active *Kernel
