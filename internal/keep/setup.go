// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"enarx.dev/enarx/internal/keep/proxy"
	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/sallyport"
)

// Procs is what GOMAXPROCS should at least be in a process that holds a Keep.
// A thread that comes back from KVM_RUN or a blocking call needs one of the
// scheduler's Ps to go on. Threads that run a guest keep theirs until somebody
// else wants it, and then it is the scheduler's monitor that takes it away, up
// to 10 ms later. No more guests run at a time than there are processors; with
// two Ps more, a request is served about twice as fast as with one for all
// (BenchmarkExit), and Ps beyond that bring nothing.
func Procs() int { return max(4, runtime.NumCPU()+2) }

// complete checks what KVM would not, and fills in what was left out.
func (c *Config) complete() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HostCPUs <= 0 {
		c.HostCPUs = runtime.NumCPU()
	}
	if c.Memory < sallyport.MinHeap || c.Memory > sallyport.MaxHeap || c.Memory%sallyport.HeapChunk != 0 {
		return fmt.Errorf("%w: %d bytes of memory: want a multiple of %d, from %d", ErrConfig, c.Memory, sallyport.HeapChunk, sallyport.MinHeap)
	}
	if c.MaxCPUs < 0 || c.MaxCPUs > sallyport.MaxCPUs {
		return fmt.Errorf("%w: %d vCPUs: want 1 to %d", ErrConfig, c.MaxCPUs, sallyport.MaxCPUs)
	}
	if len(c.Files) > sallyport.MaxDescriptors {
		return fmt.Errorf("%w: %d files", ErrConfig, len(c.Files))
	}
	for i, r := range c.Regions {
		if err := r.check(); err != nil {
			return fmt.Errorf("%w: region %d: %w", ErrConfig, i, err)
		}
	}
	return nil
}

// setup makes everything but the threads. What it has made when it fails,
// free takes away.
func (k *Keep) setup() error {
	if err := k.open(); err != nil {
		return err
	}
	if err := k.populate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	first, err := k.newCPU()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	if err := k.boot(first); err != nil {
		return fmt.Errorf("%w: boot page: %w", ErrSetup, err)
	}
	if err := k.fail("proxy"); err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	k.proxy, err = proxy.New(k.cfg.Files, k.log)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return nil
}

// open makes the empty VM.
func (k *Keep) open() error {
	if err := k.fail("open"); err != nil {
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	sys, err := kvm.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	defer sys.Close()
	limit := min(sys.MaxVCPUs(), sallyport.MaxCPUs)
	if k.cfg.MaxCPUs == 0 || k.cfg.MaxCPUs > limit {
		k.cfg.MaxCPUs = limit
	}
	k.owners = make([]atomic.Pointer[cpu], k.cfg.MaxCPUs)
	if k.cpuid, err = sys.KeepCPUID(); err != nil {
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if err := k.cpuid.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if err := k.fail("vm"); err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	if k.vm, err = sys.CreateVM(); err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return nil
}

// boot fills in the boot page and the strings after it.
func (k *Keep) boot(c *cpu) error {
	if err := k.fail("boot"); err != nil {
		return err
	}
	khz, err := c.vcpu.TSCKHz()
	if err != nil {
		return err
	}
	page := k.mem.bytes(sallyport.BootGPA, sallyport.PageSize)
	blob := k.mem.bytes(sallyport.ArgsGPA, sallyport.ArgsSize)
	if page == nil || blob == nil {
		return fmt.Errorf("%w: no region holds it", ErrConfig)
	}
	strs, err := stringBlob(k.cfg.Args, k.cfg.Env)
	if err != nil {
		return err
	}
	copy(blob, strs)
	sallyport.EncodeBoot(&sallyport.Boot{
		MaxCPUs:     uint32(k.cfg.MaxCPUs),
		HostCPUs:    uint32(k.cfg.HostCPUs),
		Descriptors: uint32(len(k.cfg.Files)),
		HeapLimit:   k.cfg.Memory,
		TSCKHz:      uint64(khz),
		Wall:        uint64(time.Now().UnixNano()),
		ExecGPA:     k.cfg.ExecGPA,
		ExecSize:    k.cfg.ExecSize,
		Argc:        uint32(len(k.cfg.Args)),
		Envc:        uint32(len(k.cfg.Env)),
		ArgsLength:  uint32(len(strs)),
		Flags:       k.cfg.Flags,
	}, page)
	return nil
}

// stringBlob is the arguments, then the environment, each ended by a NUL.
func stringBlob(args, env []string) ([]byte, error) {
	var out []byte
	for _, list := range [][]string{args, env} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return nil, fmt.Errorf("%w: a NUL in %q", ErrConfig, s)
			}
			out = append(append(out, s...), 0)
		}
	}
	if len(out) > sallyport.ArgsSize {
		return nil, fmt.Errorf("%w: arguments and environment of %d bytes: at most %d fit", ErrConfig, len(out), sallyport.ArgsSize)
	}
	return out, nil
}

// fail is where tests make a stage fail.
func (k *Keep) fail(stage string) error {
	if k.cfg.testOnlyFail == nil {
		return nil
	}
	return k.cfg.testOnlyFail(stage)
}
