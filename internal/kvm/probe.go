// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrUnusable means that KVM is there, accepts requests, and does not run what
// a Keep is made of. Some nested and paravirtual ones are like that.
var ErrUnusable = errors.New("present but unusable")

// UnusableError is what Probe returns for a KVM that does not run its guest. Its
// text is for people; how the failure showed is for a log.
type UnusableError struct {
	Failure string // what does not work: "guest SYSCALL not delivered"
	Cause   error  // how that showed, with registers: for a log
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("%v: %s", ErrUnusable, e.Failure)
}
func (e *UnusableError) Unwrap() []error { return []error{ErrUnusable, e.Cause} }

// probeTime is far more than the few microseconds that the guest takes.
const probeTime = time.Second

// steps are what the guest of Probe reports, in order, and what to say when
// the report does not come.
var steps = []struct {
	port    uint16
	value   uint32
	failure string
}{
	{portSyscall, 1, "guest SYSCALL not delivered"},
	{portFault, guestLazy, "guest page fault not delivered"},
	{portSyscall, 2, "guest page fault not repaired"},
	{portSyscall, 3, "guest time stamp counter does not run"},
	{portSyscall, 4, "guest RDRAND gives nothing"},
}

// Probe finds out whether the KVM of this machine runs a Keep, by running a
// guest of a few instructions: capability bits are no evidence. It takes a
// millisecond where all is well, and a second at most. The error wraps
// [ErrAbsent], [ErrPermission] or [ErrVersion], or is an [UnusableError].
func Probe(ctx context.Context) error {
	sys, err := Open()
	if err != nil {
		return err
	}
	defer sys.Close()
	return sys.probe(ctx, probeTime, nil)
}

// testOnlyPatch, if not nil, breaks the guest.
func (s *System) probe(ctx context.Context, limit time.Duration, testOnlyPatch func(mem []byte)) error {
	step, err := s.runGuest(ctx, limit, testOnlyPatch)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &UnusableError{steps[step].failure, err}
}

// runGuest returns the step that failed, and how. All that it makes is gone
// when it returns.
func (s *System) runGuest(ctx context.Context, limit time.Duration, testOnlyPatch func(mem []byte)) (step int, err error) {
	vm, err := s.CreateVM()
	if err != nil {
		return 0, err
	}
	defer vm.Close()
	mem, err := syscall.Mmap(-1, 0, guestSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	defer syscall.Munmap(mem)
	writeGuest(mem)
	if testOnlyPatch != nil {
		testOnlyPatch(mem)
	}
	if err := vm.SetMemory(0, 0, mem, false); err != nil {
		return 0, err
	}
	vcpu, err := vm.CreateVCPU(0)
	if err != nil {
		return 0, err
	}
	defer vcpu.Close()
	cpuid, err := s.KeepCPUID()
	if err != nil {
		return 0, err
	}
	if err := vcpu.Prepare(cpuid, &Start{Entry: guestKernel, Stack: guestStackTop, CR3: guestPML4}); err != nil {
		return 0, err
	}

	// A thread of its own, because a guest that hangs must be interrupted.
	var thread Thread
	done := make(chan struct{})
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	go func() {
		defer close(done)
		if err = thread.Enter(); err == nil {
			step, err = vcpu.runSteps(ctx)
			thread.Leave()
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		interruptUntil(done, &thread, vcpu)
	}
	return step, err
}

// runSteps runs the guest until the last step, or the first that fails.
func (c *VCPU) runSteps(ctx context.Context) (step int, err error) {
	for step < len(steps) {
		if ctx.Err() != nil {
			return step, context.Cause(ctx)
		}
		switch errno := c.Run(); errno {
		case 0:
		case syscall.EINTR, syscall.EAGAIN:
			continue
		default:
			return step, fmt.Errorf("KVM_RUN: %w", errno)
		}
		e := c.Exit()
		switch {
		case e.Reason != ExitIO || !e.Out || e.Size != 4:
			return step, errors.New(c.Describe())
		case e.Port == portException:
			return step, fmt.Errorf("guest exception %d; %s", e.Value, c.Describe())
		case e.Port != steps[step].port || e.Value != steps[step].value:
			return step, fmt.Errorf("guest wrote %#x to port %#x", e.Value, e.Port)
		}
		step++
	}
	return step, nil
}
