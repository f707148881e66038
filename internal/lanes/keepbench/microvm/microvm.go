// SPDX-License-Identifier: Apache-2.0

// Package microvm boots Linux in the smallest virtual machine that runs it: one
// processor, memory, KVM's interrupt controllers and timer, nothing to drive. It is
// what the benchmark compares a Keep with, so it does what makes a boot fast: an
// uncompressed kernel entered in 64-bit mode, memory in large pages (mapping the
// kernel's file instead of reading it was seen to be slower), one program in an
// uncompressed initramfs, and no device whose absence a driver would wait for.
//
// The processor is KVM's with all that it supports. The guest is trusted.
//
// The boot protocol is Documentation/arch/x86/boot.rst of the kernel, the API
// Documentation/virt/kvm/api.rst.
package microvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"enarx.dev/enarx/internal/kvm"
)

// SignalPort is the port that a program writes a byte to when it has begun. On any
// other machine that is harmless: Linux itself writes there to pass time.
const SignalPort = 0xed

// CommandLine is the kernel's: what Firecracker's documentation gives, and what
// else was seen to make a boot shorter. It says nothing and probes for nothing
// that is not there; the clock is KVM's, so that nothing is calibrated.
const CommandLine = "quiet loglevel=0 reboot=k panic=-1 nomodule mitigations=off nokaslr " +
	"acpi=off pci=off noapic no_timer_check tsc=reliable nowatchdog audit=0 lsm= cryptomgr.notests " +
	"random.trust_cpu=on rcupdate.rcu_expedited=1 ipv6.disable=1 8250.nr_uarts=0 " +
	"i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd"

// Config says what to boot.
type Config struct {
	Kernel      *os.File // an uncompressed vmlinux, see Extract
	Initramfs   []byte   // see Initramfs
	CommandLine string
	Memory      int       // bytes, a multiple of 2 MiB
	Console     io.Writer // gets what the first serial port is sent; nil discards it
}

// machine is a VM with its one vCPU.
type machine struct {
	sys, vm, vcpu int
	run           []byte // kvm_run
	mem           []byte // of the guest
	serial        serial
}

// ErrBoot is wrapped by each error of Boot with its cause.
var ErrBoot = errors.New("microvm: boot")

// Boot makes a machine, boots it, and returns how long it took from the call to
// the signal of the first program. The machine is gone when it returns.
func Boot(ctx context.Context, cfg Config) (time.Duration, error) {
	start := time.Now()
	m := &machine{sys: -1, vm: -1, vcpu: -1, serial: serial{out: cfg.Console}}
	defer m.close()
	if err := m.create(cfg.Memory); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBoot, err)
	}
	entry, err := m.load(cfg)
	if err == nil {
		err = m.enter(entry)
	}
	if err == nil {
		err = m.runUntilSignal(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBoot, err)
	}
	return time.Since(start), nil
}

// runUntilSignal runs the vCPU on a thread of its own, which can be interrupted.
func (m *machine) runUntilSignal(ctx context.Context) error {
	var thread kvm.Thread
	done := make(chan error, 1)
	go func() {
		err := thread.Enter()
		if err == nil {
			err = m.loop(ctx)
			thread.Leave()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for {
		thread.Interrupt() // lost if it comes just before the thread blocks
		select {
		case <-done:
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// loop runs the guest until it signals.
func (m *machine) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		switch errno := runVCPU(m.vcpu); errno {
		case 0:
		case syscall.EINTR, syscall.EAGAIN:
			continue
		default:
			return fmt.Errorf("KVM_RUN: %w", errno)
		}
		e := decodeExit(m.run)
		switch {
		case e.reason == kvm.ExitIO && e.out && e.address == SignalPort:
			return nil
		case e.reason == kvm.ExitIO:
			m.port(e)
		case e.reason == kvm.ExitMMIO && !e.out:
			// Nothing answers there, which the kernel reads as ones.
			for i := range e.data {
				e.data[i] = 0xff
			}
		case e.reason == kvm.ExitMMIO:
		default:
			return fmt.Errorf("the guest stopped with exit reason %d", e.reason)
		}
	}
	return ctx.Err()
}

// port serves a port access that KVM's own devices do not.
func (m *machine) port(e exit) {
	for i := range e.data {
		b := &e.data[i]
		switch {
		case e.address >= serialPort && e.address < serialPort+serialPorts:
			if e.out {
				m.serial.write(int(e.address-serialPort), *b)
			} else {
				*b = m.serial.read(int(e.address - serialPort))
			}
		case e.out:
		case e.address == cmosData:
			*b = 0 // all ones would mean a clock that is being updated, for ever
		default:
			*b = 0xff
		}
	}
}

const cmosData = 0x71

func (m *machine) close() {
	unmap(m.run)
	for _, fd := range []int{m.vcpu, m.vm, m.sys} {
		if fd >= 0 {
			syscall.Close(fd)
		}
	}
	unmap(m.mem)
}

func unmap(mem []byte) {
	if mem != nil {
		_ = syscall.Munmap(mem) // fails for a bug only
	}
}
