// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// everything is a processor that has every feature there could be.
func everything() []CPUIDEntry {
	var out []CPUIDEntry
	for _, base := range []uint32{0, 0x40000000, 0x80000000} {
		for f := base; f < base+0x30; f++ {
			for i := range uint32(4) {
				out = append(out, CPUIDEntry{Function: f, Index: i, EAX: all, EBX: all, ECX: all, EDX: all})
			}
		}
	}
	return out
}

func TestProfile(t *testing.T) {
	c := applyProfile(profileV1, everything())
	at := func(function, index uint32) *CPUIDEntry {
		for i := range c {
			if c[i].Function == function && c[i].Index == index {
				return &c[i]
			}
		}
		return &CPUIDEntry{}
	}
	for name, bit := range map[string]bool{
		"MONITOR": at(1, 0).ECX&(1<<3) != 0, "VMX": at(1, 0).ECX&(1<<5) != 0, "x2APIC": at(1, 0).ECX&(1<<21) != 0,
		"TSC deadline": at(1, 0).ECX&(1<<24) != 0, "OSXSAVE": at(1, 0).ECX&(1<<27) != 0,
		"INVPCID": at(7, 0).EBX&(1<<10) != 0, "RTM": at(7, 0).EBX&(1<<11) != 0,
		"AVX512F": at(7, 0).EBX&(1<<16) != 0, "AVX512BW": at(7, 0).EBX&(1<<30) != 0, "PKU": at(7, 0).ECX&(1<<3) != 0,
		"OSPKE": at(7, 0).ECX&(1<<4) != 0, "SHSTK": at(7, 0).ECX&(1<<7) != 0, "LA57": at(7, 0).ECX&(1<<16) != 0,
		"IBT": at(7, 0).EDX&(1<<20) != 0, "AMX": at(7, 0).EDX&(1<<24) != 0, "SVM": at(0x80000001, 0).ECX&(1<<2) != 0,
		"XSAVES": at(0xd, 1).EAX&(1<<3) != 0, "performance counters": at(0xa, 0).EAX != 0,
		"AVX-512 state": at(0xd, 5).EAX != 0, "KVM's signature": at(0x40000000, 0).EBX != 0, "KVM's features": at(0x40000001, 0).EAX != 0,
		"SEV": at(0x8000001f, 0).EAX != 0, "sub-leaf of 7": at(7, 1).EAX != 0,
	} {
		if bit {
			t.Errorf("a Keep sees %s", name)
		}
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if got, want := c.CR4(), uint64(0x350ea0); got != want {
		t.Errorf("CR4 %#x, want %#x", got, want)
	}
	if got := c.XCR0(); got != 7 {
		t.Errorf("XCR0 %#x", got)
	}
	if e := at(0xd, 0); e.EBX != 0x340 || e.ECX != 0x340 {
		t.Errorf("XSAVE area %#x, %#x", e.EBX, e.ECX)
	}
	if at(0, 0).EAX != maxBasic || at(0x80000000, 0).EAX != maxExtended {
		t.Errorf("highest leaves %#x, %#x", at(0, 0).EAX, at(0x80000000, 0).EAX)
	}
	for _, e := range c {
		if e.Function > maxBasic && e.Function < 0x80000000 || e.Function > maxExtended {
			t.Errorf("leaf %#x is above the highest", e.Function)
		}
	}

	before := append(CPUID(nil), c...)
	c = c.ForVCPU(5)
	if id := at(1, 0).EBX >> 24; id != 5 || at(0xb, 1).EDX != 5 || at(0x8000001e, 0).EAX != 5 {
		t.Errorf("APIC ids %d, %d, %d, want 5", id, at(0xb, 1).EDX, at(0x8000001e, 0).EAX)
	}
	again := before.ForVCPU(5)
	if diff := cmp.Diff([]CPUIDEntry(c), again, cmpopts.IgnoreUnexported(CPUIDEntry{})); diff != "" {
		t.Error("ForVCPU changed what it was called on:", diff)
	}
}

func TestMissingFeatures(t *testing.T) {
	for name, change := range map[string]func(*CPUIDEntry){
		"RDRAND":    func(e *CPUIDEntry) { e.ECX &^= 1 << 30 },
		"FSGSBASE":  func(e *CPUIDEntry) { e.EBX &^= 1 << 0 },
		"SMAP":      func(e *CPUIDEntry) { e.EBX &^= 1 << 20 },
		"NX":        func(e *CPUIDEntry) { e.EDX &^= 1 << 20 },
		"XSAVE":     func(e *CPUIDEntry) { e.ECX &^= 1 << 26 },
		"AVX":       func(e *CPUIDEntry) { e.EAX &^= 1 << 2 },
		"long mode": func(e *CPUIDEntry) { e.EDX &^= 1 << 29 },
	} {
		c := applyProfile(profileV1, everything())
		for i := range c {
			change(&c[i])
		}
		if err := c.Check(); !errors.Is(err, ErrProcessor) || !strings.HasSuffix(err.Error(), "no "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (CPUID)(nil).Check(); !errors.Is(err, ErrProcessor) {
		t.Error(err)
	}
	old := applyProfile(profileV1, everything())
	for i := range old {
		old[i].ECX &^= 1 << 2 // UMIP, among others
	}
	if err := old.Check(); err != nil || old.CR4()&cr4UMIP != 0 {
		t.Errorf("without UMIP: %v, CR4 %#x", err, old.CR4())
	}
}
