// SPDX-License-Identifier: Apache-2.0

// Command init is the first and only program of an emulated machine. It sets the
// kernel up, then runs what the host asks for over a virtio port until the host
// closes it. It trusts the host, which is the test that started the machine.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/lanes/emulated/wire"
)

func main() {
	err := serve()
	fmt.Fprintln(os.Stderr, "init:", err)
	// With QEMU's -no-reboot this is its end.
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
}

func serve() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"mounting", mounts},
		{"loading modules", loadModules},
		{"virtual machine", holdMachine},
		{"network", loopback},
		{"files", files},
		{"host name", func() error { return syscall.Sethostname([]byte("emulated")) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	channel, err := openPort()
	if err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	c := newCommands(wire.NewSender(channel))
	if err := c.to.Send(wire.Ready, 0, []byte(unix.ByteSliceToString(name.Release[:]))); err != nil {
		return err
	}
	in := bufio.NewReaderSize(channel, wire.MaxData)
	for {
		f, err := wire.Read(in)
		if err != nil {
			return fmt.Errorf("the host is gone: %w", err)
		}
		c.handle(f)
	}
}

// openPort waits for the port, whose number depends on the other virtio devices.
func openPort() (*os.File, error) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		names, err := filepath.Glob("/dev/vport*p1")
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			return os.OpenFile(names[0], os.O_RDWR, 0)
		}
		if time.Now().After(deadline) {
			return nil, errors.New("no virtio port")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func mounts() error {
	for _, m := range []struct {
		kind, dir, options string
		optional           bool
	}{
		{kind: "devtmpfs", dir: "/dev"},
		{kind: "proc", dir: "/proc"},
		{kind: "sysfs", dir: "/sys"},
		{kind: "devpts", dir: "/dev/pts", options: "ptmxmode=0666"},
		{kind: "tmpfs", dir: "/dev/shm"},
		{kind: "tmpfs", dir: "/tmp", options: "mode=1777,size=100%"},
		{kind: "tmpfs", dir: "/run"},
		{kind: "cgroup2", dir: "/sys/fs/cgroup", optional: true},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil && !m.optional {
			return err
		}
		if err := syscall.Mount(m.kind, m.dir, m.kind, 0, m.options); err != nil && !m.optional {
			return fmt.Errorf("%s: %w", m.dir, err)
		}
	}
	return nil
}

// loadModules loads those of /modules, whose names give the order. That one has
// no use here, such as the other vendor's, is no error.
func loadModules() error {
	names, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			fmt.Fprintf(os.Stderr, "init: %s: %v\n", name, err)
		}
		f.Close()
	}
	return os.RemoveAll("/modules")
}

// held is a virtual machine that never runs and is never closed.
var held struct {
	vm   *kvm.VM
	vcpu *kvm.VCPU
}

// holdMachine makes that machine. Its kernel patches its own code when the first
// virtual machine appears and when the last one goes (static branches in the scheduler
// and in KVM). QEMU's emulation sometimes goes on executing the breakpoint that stands
// there meanwhile, for ever, with a lock of the scheduler held. With one machine
// there at all times, nothing is patched.
func holdMachine() error {
	sys, err := kvm.Open()
	if err != nil {
		return err
	}
	if held.vm, err = sys.CreateVM(); err != nil {
		return err
	}
	held.vcpu, err = held.vm.CreateVCPU(0)
	return err
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// files writes what programs expect of any machine.
func files() error {
	for name, text := range map[string]string{
		"/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":         "root:x:0:\nnogroup:x:65534:\n",
		"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 emulated\n",
		"/etc/resolv.conf":   "nameserver 127.0.0.1\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
		"/etc/hostname":      "emulated\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		if err := os.Symlink(target, name); err != nil {
			return err
		}
	}
	return os.MkdirAll("/root", 0o700)
}
