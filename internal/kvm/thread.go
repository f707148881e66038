// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// StopSignal is the real-time signal that pulls a thread out of KVM_RUN or a
// blocking system call. It is none that Go, a shell or a C library uses.
const StopSignal = syscall.Signal(36)

// prepareSignal takes SA_RESTART from Go's handler of StopSignal, so that a
// blocked call returns EINTR instead of going on. The handler itself ignores
// a signal that nobody asked os/signal for.
var prepareSignal = sync.OnceValue(clearRestart)

// Thread is an OS thread that other threads can interrupt. The zero Thread is
// ready for Enter.
type Thread struct {
	mu  sync.Mutex
	tid int // 0 before Enter and after Leave
}

// Enter locks the calling goroutine to its thread, for good: a thread that ran
// a vCPU may be confined, so it ends with its goroutine.
func (t *Thread) Enter() error {
	if err := prepareSignal(); err != nil {
		return err
	}
	runtime.LockOSThread()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tid = syscall.Gettid()
	return nil
}

// Leave is the end of what Interrupt reaches. Without it a signal could reach
// another thread that got the same number.
func (t *Thread) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tid = 0
}

// Interrupt sends StopSignal. A signal that arrives just before a system call
// blocks is lost: a caller that must be heard calls again until it is.
func (t *Thread) Interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tid == 0 {
		return
	}
	if err := tgkill(os.Getpid(), t.tid, StopSignal); err != nil && !errors.Is(err, syscall.EAGAIN) {
		panic("kvm: bug: tgkill of a live thread: " + err.Error())
	}
}

// interruptUntil interrupts the vCPU's thread until done is closed.
func interruptUntil(done <-chan struct{}, t *Thread, c *VCPU) {
	for {
		c.RequestExit()
		t.Interrupt()
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func tgkill(pid, tid int, sig syscall.Signal) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(sig))
	if errno != 0 {
		return errno
	}
	return nil
}
