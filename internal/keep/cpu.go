// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/sallyport"
)

// kickVector is the interrupt that brings a vCPU from ring 3 into the shim.
const kickVector = 0x30

// What the thread of a vCPU is doing, for whoever wants to interrupt it.
const (
	outside = iota // on its way from one of the others to the next
	running        // KVM_RUN
	calling        // a forwarded call, which may block
	parked         // waiting for its park word; kicks do not end that
)

// cpu is a vCPU and its thread.
type cpu struct {
	keep   *Keep
	id     int // order of creation
	vcpu   *kvm.VCPU
	thread kvm.Thread
	req    sallyport.Request

	bound bool // block, slot and index are set: it exited once
	index uint32
	slot  []byte // its memory in the shared slots,
	block []byte // and its block in there

	kicked atomic.Bool   // a kick is on its way to ring 3
	doing  atomic.Uint32 // outside, running, calling, parked
}

// newCPU makes a vCPU. Only setup, and after it holders of mu, call it.
func (k *Keep) newCPU() (*cpu, error) {
	if err := k.fail("vcpu"); err != nil {
		return nil, err
	}
	vcpu, err := k.vm.CreateVCPU(len(k.cpus))
	if err != nil {
		return nil, err
	}
	c := &cpu{keep: k, id: vcpu.ID, vcpu: vcpu}
	if err := c.prepare(); err != nil {
		vcpu.Close()
		return nil, fmt.Errorf("vCPU %d: %w", c.id, err)
	}
	k.cpus = append(k.cpus, c)
	return c, nil
}

// prepare sets the registers. All vCPUs of a Keep have one TSC offset: the
// shim compares times that it took on different ones.
func (c *cpu) prepare() (err error) {
	k := c.keep
	if err := c.vcpu.Prepare(k.cpuid, &k.start); err != nil {
		return err
	}
	if c.id == 0 {
		k.tsc, k.haveTSC, err = c.vcpu.TSCOffset()
		return err
	}
	if k.haveTSC {
		return c.vcpu.SetTSCOffset(k.tsc)
	}
	return nil
}

// run starts the thread of a vCPU.
func (k *Keep) run(c *cpu) {
	k.live++
	k.threads.Add(1)
	go func() {
		defer k.threads.Done()
		if err := c.main(); err != nil {
			k.end(AbortCode, err)
		}
		k.left()
	}()
}

// left notes the end of a thread. When the last one ends and nobody said that
// the Keep is to end, nothing will ever happen in it again.
func (k *Keep) left() {
	k.mu.Lock()
	k.live--
	last := k.live == 0
	k.mu.Unlock()
	if last {
		k.end(AbortCode, fmt.Errorf("%w: every vCPU has halted", ErrRun))
	}
}

func (c *cpu) main() error {
	if err := c.thread.Enter(); err != nil {
		return fmt.Errorf("%w: vCPU %d: %w", ErrSetup, c.id, err)
	}
	defer c.thread.Leave()
	if confine := c.keep.cfg.Confine; confine != nil {
		if err := confine(); err != nil {
			return fmt.Errorf("%w: confining the thread of vCPU %d: %w", ErrSetup, c.id, err)
		}
	}
	for !c.keep.stopping.Load() {
		if err := c.deliver(); err != nil {
			return fmt.Errorf("%w: vCPU %d: %w", ErrRun, c.id, err)
		}
		c.doing.Store(running)
		errno := c.vcpu.Run()
		c.doing.Store(outside)
		switch errno {
		case 0:
		case syscall.EINTR, syscall.EAGAIN:
			continue
		default:
			return c.runError(errno)
		}
		e := c.vcpu.Exit()
		switch e.Reason {
		case kvm.ExitIO:
			if err := c.exit(e); err != nil {
				return err
			}
		case kvm.ExitIRQWindowOpen, kvm.ExitIntr:
		case kvm.ExitHLT:
			return nil // the shim halts with interrupts off: this vCPU is done
		default:
			return c.exitError(e.Reason)
		}
	}
	return nil
}

// runError is for KVM_RUN that fails. Only with EFAULT does the exit reason
// belong to this run.
func (c *cpu) runError(errno syscall.Errno) error {
	text := c.vcpu.Registers()
	if errno == syscall.EFAULT {
		text = "; " + c.vcpu.Describe()
	}
	return fmt.Errorf("%w: vCPU %d: KVM_RUN: %w%s", ErrRun, c.id, errno, text)
}

// exitError is for an exit that nobody serves. What the shim asked for last is
// often the best clue to where it was.
func (c *cpu) exitError(reason uint32) error {
	last := "it had made no request"
	if c.bound {
		last = fmt.Sprintf("its last request was %#x, number %d of block %d", c.req.Nr, c.req.Seq, c.index)
	}
	err := fmt.Errorf("%w: vCPU %d: %s; %s", ErrRun, c.id, c.vcpu.Describe(), last)
	if reason == kvm.ExitInternalError {
		return diag.Hint(err, "this machine's KVM may be one that cannot run a Keep: see `enarx platform info`")
	}
	return err
}

// deliver injects a kick, or has KVM say when the guest takes one: in the shim
// interrupts are off. The request to exit is taken back before the flag is
// read, and kick sets them in the other order, so no kick is lost.
func (c *cpu) deliver() error {
	c.vcpu.ClearExit()
	if !c.kicked.Load() {
		return nil
	}
	if !c.vcpu.Ready() {
		c.vcpu.RequestWindow(true)
		return nil
	}
	c.vcpu.RequestWindow(false)
	c.kicked.Store(false)
	return c.vcpu.Interrupt(kickVector)
}

// kick makes the vCPU take vector 0x30 the next time it is in ring 3, and a
// forwarded call that blocks return EINTR until then. Several kicks may become
// one.
func (c *cpu) kick() {
	c.kicked.Store(true)
	c.vcpu.RequestExit()
	switch c.doing.Load() {
	case running:
		c.thread.Interrupt() // if it comes before the ioctl, RequestExit does it
	case calling:
		c.thread.Interrupt() // if it comes before the call blocks, nobody else
		c.keep.wakeNag()
	}
}

// bind ties the vCPU to the block that it names at its first exit. The shim
// hands out numbers; another one later, or one that is taken, is an attack.
func (c *cpu) bind(index uint32) error {
	if c.bound && c.index == index {
		return nil
	}
	k := c.keep
	if c.bound || index >= uint32(len(k.owners)) || !k.owners[index].CompareAndSwap(nil, c) {
		return fmt.Errorf("%w: vCPU %d uses block %d", ErrProtocol, c.id, index)
	}
	c.bound, c.index = true, index
	c.slot = k.slot(index)
	c.block = c.slot[sallyport.BlockPage*sallyport.PageSize:][:sallyport.BlockSize:sallyport.BlockSize]
	return nil
}

// slot returns the shared memory of the vCPU with the given index.
func (k *Keep) slot(index uint32) []byte {
	return k.mem.shared[uint64(index)*sallyport.SlotSize:][:sallyport.SlotSize:sallyport.SlotSize]
}
