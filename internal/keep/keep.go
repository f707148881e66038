// SPDX-License-Identifier: Apache-2.0

// Package keep is a live Keep on the host: a virtual machine without firmware,
// devices or kernel, one thread for each of its vCPUs, and the host's side of
// the sallyport. What the guest's memory and blocks hold is hostile: each value
// is copied once and checked before anything is done with it.
//
// A thread of the program in the Keep is a vCPU, and a vCPU is a goroutine
// locked to its OS thread, which runs the guest until it exits with a request
// and then serves that request itself. A vCPU that waits sleeps in the kernel.
package keep

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"enarx.dev/enarx/internal/keep/proxy"
	"enarx.dev/enarx/internal/kvm"
)

// Errors of Start and Wait say at which stage it was; the cause is wrapped too.
var (
	ErrConfig   = errors.New("keep: impossible configuration")
	ErrOpen     = errors.New("keep: KVM cannot be used")
	ErrMemory   = errors.New("keep: memory cannot be given to the Keep")
	ErrSetup    = errors.New("keep: the virtual machine cannot be set up")
	ErrRun      = errors.New("keep: the virtual machine stopped")
	ErrProtocol = errors.New("keep: the shim broke the protocol")
	ErrAbort    = errors.New("keep: the shim gave up")
	ErrKilled   = errors.New("keep: killed")
	ErrProgram  = errors.New("keep: the program cannot be started")
)

// AbortCode is the exit code of a Keep that did not end by itself, and
// ProgramCode that of one whose program is none.
const (
	AbortCode   = 254
	ProgramCode = 1
)

// Region is memory of the guest that is there from the start, besides the heap
// and the shared slots. Each is one memory slot of KVM, page aligned.
type Region struct {
	GPA, Size uint64
	Parts     []Part   // copied into it; the rest is zero
	File      *os.File // instead of Parts: mapped, private to the Keep
	Offset    int64    // of the mapping in File, page aligned
	ReadOnly  bool     // the guest cannot write
}

// Part is bytes at an offset in a region.
type Part struct {
	Offset uint64
	Data   []byte
}

// Config is what a Keep is made of.
type Config struct {
	// Start is where every vCPU begins, all alike.
	Start kvm.Start

	// Regions are the initial memory, without what New makes itself: the boot
	// page at sallyport.BootGPA and the strings after it (which must lie in
	// one region with Parts), the heap, and the shared slots.
	Regions []Region

	// ExecGPA and ExecSize say where among the Regions the program's ELF file
	// is; Args and Env are what it is started with.
	ExecGPA, ExecSize uint64
	Args, Env         []string

	// Files are the program's first descriptors. The Keep duplicates them.
	Files []*os.File

	// Memory is the most bytes of heap, a multiple of 2 MiB and at least 32 MiB.
	Memory uint64

	// MaxCPUs is the most threads that the program may have; 0 means as many
	// as KVM and the protocol allow.
	MaxCPUs int

	// HostCPUs is how many processors the program is told of; 0 means all.
	HostCPUs int

	// Flags are the flags of the boot page.
	Flags uint64

	// Log gets what the shim logs, and notable events. Nil means nowhere.
	Log *slog.Logger

	// Confine, if not nil, is called first on the thread of each vCPU, to give
	// up what a thread that runs a hostile guest does not need. The threads
	// end with the Keep.
	Confine func() error

	// testOnlyFail makes the named stage of Start fail.
	testOnlyFail func(stage string) error
}

// Keep is a running Keep.
type Keep struct {
	cfg     Config
	log     *slog.Logger
	vm      *kvm.VM
	cpuid   kvm.CPUID
	mem     memory
	proxy   *proxy.Proxy
	start   kvm.Start
	tsc     uint64 // the vCPUs' common TSC offset,
	haveTSC bool   // if the kernel tells it
	logged  atomic.Int64

	owners   []atomic.Pointer[cpu] // by index of block, once it was used
	stopping atomic.Bool           // set with ended
	nag      chan struct{}         // capacity 1: a kicked vCPU may be blocked in a call
	stop     chan struct{}         // closed with ended
	gone     chan struct{}         // closed when nothing of the Keep is left
	threads  sync.WaitGroup

	mu    sync.Mutex
	cpus  []*cpu // in order of creation
	live  int    // of them, those whose thread has not ended
	ended bool
	code  int
	err   error
}

// Start makes a Keep and lets its first vCPU run. When ctx ends the Keep is
// killed, and Wait returns the cause.
func Start(ctx context.Context, cfg Config) (*Keep, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	k := &Keep{
		cfg: cfg, log: cfg.Log, start: cfg.Start,
		nag: make(chan struct{}, 1), stop: make(chan struct{}), gone: make(chan struct{}),
	}
	if err := k.setup(); err != nil {
		k.free()
		return nil, err
	}
	k.run(k.cpus[0])
	go k.supervise(ctx)
	return k, nil
}

// Wait waits until the Keep has ended and nothing of it is left. It returns
// the program's exit code, 128 and the signal's number if one ended it, or
// AbortCode and why the Keep ended early. It may be called more than once.
func (k *Keep) Wait() (code int, err error) {
	<-k.gone
	return k.code, k.err
}

// Kill ends the Keep; Wait returns the cause, or ErrKilled if that is nil. It
// does not wait. A Keep that has ended stays as it ended.
func (k *Keep) Kill(cause error) {
	if cause == nil {
		cause = ErrKilled
	}
	k.end(AbortCode, cause)
}

// end decides, once, how the Keep ended, and starts its end.
func (k *Keep) end(code int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return
	}
	k.ended, k.code, k.err = true, code, err
	k.stopping.Store(true)
	close(k.stop)
}
