// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
)

// Vendor strings of CPUID leaf 0.
const (
	intel = "GenuineIntel"
	amd   = "AuthenticAMD"
)

// cpuInfo is what the kernel tells about the first processor.
type cpuInfo struct {
	vendor, brand string
	family, model int
	flags         map[string]bool
	leaf          func(leaf, sub uint32) (r regs, ok bool)
}

// regs is the answer of one CPUID leaf.
type regs struct{ a, b, c, d uint32 }

// maxCPUInfo bounds what is read of /proc/cpuinfo: one processor's paragraph.
const maxCPUInfo = 64 << 10

func (m *Machine) readCPU() cpuInfo {
	c := cpuInfo{flags: make(map[string]bool), leaf: m.cpuid}
	f, err := os.Open(m.path("proc/cpuinfo"))
	if err != nil {
		return c
	}
	defer f.Close()
	buf := make([]byte, maxCPUInfo)
	n, _ := f.Read(buf)
	first, _, _ := strings.Cut(string(buf[:n]), "\n\n")
	for line := range strings.Lines(first) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "vendor_id":
			c.vendor = value
		case "model name":
			c.brand = value
		case "cpu family":
			c.family, _ = strconv.Atoi(value)
		case "model":
			c.model, _ = strconv.Atoi(value)
		case "flags":
			for flag := range strings.FieldsSeq(value) {
				c.flags[flag] = true
			}
		}
	}
	return c
}

// cpuid asks the kernel's cpuid(4) device, which needs root and the module
// cpuid. Most facts do not need it: the kernel's own flag list has them.
func (m *Machine) cpuid(leaf, sub uint32) (r regs, ok bool) {
	f, err := os.Open(m.path("dev/cpu/0/cpuid"))
	if err != nil {
		return regs{}, false
	}
	defer f.Close()
	var b [16]byte
	if _, err := f.ReadAt(b[:], int64(sub)<<32|int64(leaf)); err != nil {
		return regs{}, false
	}
	le := binary.LittleEndian
	return regs{le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}, true
}

// has passes when the kernel lists all the flags, in the spelling of /proc/cpuinfo.
func (c cpuInfo) has(label string, flags ...string) Probe {
	p := Probe{Name: label, Pass: true}
	for _, f := range flags {
		p.Pass = p.Pass && c.flags[f]
	}
	return p
}

func (c cpuInfo) describe() string {
	if c.vendor == "" {
		return ""
	}
	return strings.TrimSpace(c.brand + " | " + c.vendor)
}
