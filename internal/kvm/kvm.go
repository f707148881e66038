// SPDX-License-Identifier: Apache-2.0

// Package kvm is the kernel's KVM API for x86-64 as far as Keeps need it:
// virtual machines with memory slots and vCPUs, no irqchip, no devices. It
// holds no policy but two tables: which CPUID bits a Keep sees (cpuid.go), and
// what a usable KVM must be able to run (Probe). It trusts the kernel it runs
// on and nothing that a guest does.
//
// The API is Documentation/virt/kvm/api.rst of the kernel.
package kvm

//go:generate go run gen.go

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"enarx.dev/enarx/internal/diag"
)

// Errors of Open. Each is wrapped with the path and the cause.
var (
	ErrAbsent     = errors.New("KVM not present")
	ErrPermission = errors.New("KVM present but not permitted")
	ErrVersion    = errors.New("KVM present but of another version")
)

// Device is where the kernel offers KVM.
const Device = "/dev/kvm"

// System is an open /dev/kvm.
type System struct {
	fd      int
	runSize int
}

// Open opens /dev/kvm and checks that it speaks the one version of the API
// that exists, with what every Keep needs of it.
func Open() (*System, error) { return openDevice(Device) }

func openDevice(path string) (*System, error) {
	fd, err := retry(func() (int, error) { return syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, openError(path, err)
	}
	s := &System{fd: fd}
	if err := s.check(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrVersion, path, err)
	}
	return s, nil
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return diag.Hint(fmt.Errorf("%w: %s: %w", ErrPermission, path, err),
			"add yourself to the group of %s (`sudo usermod -aG kvm $USER`) and log in again", path)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return diag.Hint(fmt.Errorf("%w: %s: %w", ErrAbsent, path, err),
			"load the module kvm_amd or kvm_intel; if that fails, enable virtualization in the firmware's settings")
	}
	return fmt.Errorf("%w: %s: %w", ErrAbsent, path, err)
}

func (s *System) check() error {
	version, err := ioctl(s.fd, ioGetAPIVersion, 0)
	if err != nil {
		return fmt.Errorf("KVM_GET_API_VERSION: %w", err)
	}
	if version != apiVersion {
		return fmt.Errorf("API version %d, want %d", version, apiVersion)
	}
	if n, err := s.extension(capImmediateExit); err != nil || n == 0 {
		return errors.New("KVM_CAP_IMMEDIATE_EXIT is missing: Linux 4.13 or later is needed")
	}
	s.runSize, err = ioctl(s.fd, ioGetVCPUMmapSize, 0)
	if err != nil {
		return fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %w", err)
	}
	if s.runSize < runStateSize {
		return fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %d bytes", s.runSize)
	}
	return nil
}

// extension returns what KVM_CHECK_EXTENSION answers, 0 for what is missing.
func (s *System) extension(capability uintptr) (int, error) {
	return ioctl(s.fd, ioCheckExtension, capability)
}

// MaxVCPUs returns how many vCPUs one VM may have.
func (s *System) MaxVCPUs() int {
	n, err := s.extension(capMaxVCPUs)
	if err != nil || n < 1 {
		return 4 // what api.rst says to assume
	}
	return n
}

// Close closes the device. VMs made from it live on.
func (s *System) Close() error { return syscall.Close(s.fd) }

// retry calls again what a signal interrupted: ours may arrive at any time.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
