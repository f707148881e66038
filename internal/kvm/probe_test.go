// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/need"
)

// Whatever this machine's KVM is, Probe says so at once and leaves nothing.
func TestProbeHere(t *testing.T) {
	runtime.LockOSThread() // Go's own threads come and go less
	defer runtime.UnlockOSThread()
	_ = Probe(t.Context())
	before := descriptors(t)
	begin := time.Now()
	err := Probe(t.Context())
	if took := time.Since(begin); took > need.Scale(2*time.Second) {
		t.Errorf("it took %v", took)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrUnusable):
		if !strings.HasPrefix(err.Error(), "present but unusable: guest ") {
			t.Error(err)
		}
	case errors.Is(err, ErrAbsent), errors.Is(err, ErrPermission), errors.Is(err, ErrVersion):
	default:
		t.Error(err)
	}
	t.Log(err)
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// Where KVM is good, the probe passes, and a guest that is broken in one way
// fails with the text for it.
func TestProbe(t *testing.T) {
	need.KVM(t)
	sys, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	if err := sys.probe(t.Context(), need.Scale(probeTime), nil); err != nil {
		t.Fatal(err)
	}
	hang := []byte{0xeb, 0xfe} // JMP to itself
	for name, tt := range map[string]struct {
		at    int
		bytes []byte
		want  string
	}{
		"#UD at ring 0":   {guestKernel + 0x44, []byte{0x0f, 0x0b}, "guest SYSCALL not delivered: guest exception 6"},
		"hang at ring 0":  {guestKernel, hang, "guest SYSCALL not delivered: no answer within"},
		"hang at ring 3":  {guestUser, hang, "guest SYSCALL not delivered: no answer within"},
		"HLT":             {guestKernel, []byte{0xf4}, "guest SYSCALL not delivered: exit reason 5, HLT"},
		"triple fault":    {guestPointers + 12, make([]byte, 8), "guest page fault not delivered: exit reason 8"},
		"page stays away": {guestPageFault + 5, []byte{0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90}, "guest page fault not repaired: guest wrote 0xa000 to port 0xe1"},
		"no RDRAND":       {guestUser + 0x44, []byte{0x90, 0x90}, "guest RDRAND gives nothing: guest wrote 0x5"},
		"time stands":     {guestUser + 0x28, []byte{0x89, 0xd8}, "guest time stamp counter does not run: guest wrote 0x5"},
	} {
		limit := 300 * time.Millisecond
		if need.Emulated() {
			limit = time.Second
		}
		err := sys.probe(t.Context(), limit, func(mem []byte) { copy(mem[tt.at:], tt.bytes) })
		unusable, ok := errors.AsType[*UnusableError](err)
		if !ok || !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%s: %v", unusable.Failure, unusable.Cause); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if want := "present but unusable: " + unusable.Failure; err.Error() != want {
			t.Errorf("%s: the text is %q, want %q", name, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = sys.probe(ctx, time.Minute, func(mem []byte) { copy(mem[guestUser:], hang) })
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnusable) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := openDevice(dir + "/none"); !errors.Is(err, ErrAbsent) || !strings.HasPrefix(err.Error(), "KVM not present: "+dir) {
		t.Error(err)
	}
	if _, err := openDevice("/dev/null"); !errors.Is(err, ErrVersion) || !errors.Is(err, syscall.ENOTTY) {
		t.Error(err)
	}
	err := openError(Device, syscall.EACCES)
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), Device) || !strings.Contains(diag.HintOf(err), "group") {
		t.Error(err, diag.HintOf(err))
	}
	if err := openError(Device, syscall.ENODEV); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}

// A thread that is interrupted gets EINTR from a call that blocks, although Go
// would have the kernel restart it.
func TestInterrupt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := int(r.Fd())
	var thread Thread
	thread.Interrupt() // nobody to interrupt
	result := make(chan error)
	go func() {
		if err := thread.Enter(); err != nil {
			result <- err
			return
		}
		_, err := syscall.Read(fd, make([]byte, 1))
		thread.Leave()
		result <- err
	}()
	for {
		thread.Interrupt()
		select {
		case err := <-result:
			if err != syscall.EINTR {
				t.Errorf("%v, want EINTR", err)
			}
			thread.Interrupt()
			return
		case <-time.After(time.Millisecond):
		}
	}
}
