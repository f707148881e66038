// SPDX-License-Identifier: Apache-2.0

// Package platform looks at a machine and says what it has of the things that
// Keeps are made of: CPU features, kernel drivers, device permissions, caches.
//
// It only looks. Every answer comes from files that the kernel provides
// (/proc, /sys, /dev) and may be read without rights where the kernel allows
// it; a fact that cannot be had reads as absent, never as present. Whether a
// Keep can really be started is the loader's question, which asks by trying.
package platform

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Probe is one fact about the machine that a backend depends on.
type Probe struct {
	Name string
	Pass bool
	Info string // what was found, or ""
	Help string // what to do when it does not pass, or ""
	Sub  []Probe
}

// Passed says whether p and everything under it passes.
func (p Probe) Passed() bool { return p.Pass && Passed(p.Sub) }

// Passed says whether all probes pass, with all that is under them.
func Passed(probes []Probe) bool {
	for _, p := range probes {
		if !p.Passed() {
			return false
		}
	}
	return true
}

// Machine is the machine that is looked at.
type Machine struct {
	root string // "/" but in tests
	cpu  cpuInfo
	now  time.Time // of the look
}

// Host returns the machine this program runs on.
func Host() *Machine { return at("/") }

func at(root string) *Machine {
	m := &Machine{root: root, now: time.Now()}
	m.cpu = m.readCPU()
	return m
}

// System returns the kernel's description of itself, as uname -srvm prints it.
func System() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return strings.Join([]string{unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:])}, " ")
}

func (m *Machine) path(name string) string { return filepath.Join(m.root, name) }

// text returns a small kernel file without its final newline, or "".
func (m *Machine) text(name string) string {
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// opens passes when the file opens with the given flags.
func (m *Machine) opens(label, name string, flags int, sub ...Probe) Probe {
	f, err := os.OpenFile(m.path(name), flags, 0)
	if err == nil {
		f.Close()
	}
	return Probe{Name: label, Pass: err == nil, Info: name, Help: missing(name, err), Sub: sub}
}

// exists passes when there is such a file; whether it opens is another probe.
func (m *Machine) exists(label, name string, sub ...Probe) Probe {
	_, err := os.Stat(m.path(name))
	return Probe{Name: label, Pass: err == nil, Info: name, Sub: sub}
}

func missing(name string, err error) string {
	switch {
	case err == nil:
		return ""
	case os.IsPermission(err):
		return "you may not open " + name + ": add yourself to its group, or change its mode"
	default:
		return ""
	}
}
