// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/sallyport"
)

// shimFile is an ELF file of one text and one data segment.
func shimFile(t *testing.T, change func(*elf.Header64, []elf.Prog64)) []byte {
	t.Helper()
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: 0x1000, Vaddr: ShimVA, Filesz: 0x1800, Memsz: 0x1800},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: 0x3000, Vaddr: ShimVA + 0x2000, Filesz: 0x10, Memsz: 0x5000},
	}
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: ShimVA + 0x40,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	if change != nil {
		change(&h, progs)
	}
	var b bytes.Buffer
	for _, part := range []any{h, progs} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	file := make([]byte, 0x4000)
	for i := range file {
		file[i] = byte(i>>8) | 1
	}
	copy(file, b.Bytes())
	return file
}

// translate walks the page tables of img like a CPU.
func translate(img *Image, va uint64) (gpa, flags uint64, ok bool) {
	var tables []byte
	for _, r := range img.Regions {
		if r.GPA == TablesGPA {
			tables = r.Data
		}
	}
	table := img.CR3
	for level := 3; ; level-- {
		e := binary.LittleEndian.Uint64(tables[table-TablesGPA+va>>(12+9*level)&511*8:])
		if e&ptePresent == 0 {
			return 0, 0, false
		}
		if level == 0 || e&pteLarge != 0 {
			mask := uint64(1)<<(12+9*level) - 1
			return e&pteAddress&^mask | va&mask, e, true
		}
		table = e & pteAddress
	}
}

func TestNew(t *testing.T) {
	const execSize = 5 << 20
	img, err := New(shimFile(t, nil), execSize)
	if err != nil {
		t.Fatal(err)
	}
	if img.Entry != ShimVA+0x40 || img.CR3 != TablesGPA || img.ExecSize != execSize {
		t.Errorf("entry %#x, CR3 %#x, program %d", img.Entry, img.CR3, img.ExecSize)
	}
	const none = ^uint64(0)
	for _, test := range []struct {
		what         string
		va, gpa      uint64
		write, exec_ bool
	}{
		{"text", ShimVA + 0x1040, ShimGPA + 0x1040, false, true},
		{"data", ShimVA + 0x2008, ShimGPA + 0x2008, true, false},
		{"bss", ShimVA + 0x6ff8, ShimGPA + 0x6ff8, true, false},
		{"after bss", ShimVA + 0x7000, none, false, false},
		{"before text", ShimVA - 8, none, false, false},
		{"vCPU 0", CPUVA, CPUGPA, true, false},
		{"guard below the trap stack", CPUVA + 0x4000, none, false, false},
		{"trap stack", CPUVA + 0x6ff8, CPUGPA + 0x6ff8, true, false},
		{"guard below the fault stack", CPUVA + 0x7000, none, false, false},
		{"guard below the system call stack", CPUVA + 0xb000, none, false, false},
		{"system call stack", CPUVA + 0x13ff8, CPUGPA + 0x13ff8, true, false},
		{"above it", CPUVA + 0x14000, none, false, false},
		{"page tables", DirectVA + TablesGPA, TablesGPA, true, false},
		{"boot page", DirectVA + sallyport.BootGPA, sallyport.BootGPA, false, false},
		{"arguments", DirectVA + sallyport.ArgsGPA + sallyport.ArgsSize - 8, sallyport.ArgsGPA + sallyport.ArgsSize - 8, false, false},
		{"shim in the direct map", DirectVA + ShimGPA, none, false, false},
		{"program", DirectVA + ExecGPA + execSize - 8, ExecGPA + execSize - 8, false, false},
		{"heap", DirectVA + HeapGPA, HeapGPA, true, false},
		{"end of the heap", DirectVA + HeapGPA + HeapSize - 8, HeapGPA + HeapSize - 8, true, false},
		{"after the heap", DirectVA + HeapGPA + HeapSize, none, false, false},
		{"last block", SharedVA + MaxCPUs*sallyport.SlotSize - 8, SharedGPA + MaxCPUs*sallyport.SlotSize - 8, true, false},
		{"lower half", 0x40_0000, none, false, false},
		{"zero", 0, none, false, false},
	} {
		gpa, flags, ok := translate(img, test.va)
		if !ok {
			gpa = none
		}
		if gpa != test.gpa || ok && (flags&pteWrite != 0 != test.write || flags&pteNX == 0 != test.exec_) {
			t.Errorf("%s: %#x is at %#x, flags %#x; want %#x", test.what, test.va, gpa, flags, test.gpa)
		}
	}
	if n := img.Pages(Zero); n != 16+4 {
		t.Errorf("%d pages of zeroes", n)
	}
	if n := img.Pages(Unmeasured); n != 5 {
		t.Errorf("%d unmeasured pages", n)
	}
	again, err := New(shimFile(t, nil), execSize)
	if err != nil || fmt.Sprint(img) != fmt.Sprint(again) {
		t.Error("two layouts of one shim differ", err)
	}
}

func TestRefuses(t *testing.T) {
	for name, change := range map[string]func(*elf.Header64, []elf.Prog64){
		"not ELF":         func(h *elf.Header64, _ []elf.Prog64) { h.Ident[0] = 0 },
		"other machine":   func(h *elf.Header64, _ []elf.Prog64) { h.Machine = uint16(elf.EM_AARCH64) },
		"position":        func(h *elf.Header64, _ []elf.Prog64) { h.Type = uint16(elf.ET_DYN) },
		"no segment":      func(h *elf.Header64, _ []elf.Prog64) { h.Phnum = 0 },
		"W+X":             func(_ *elf.Header64, p []elf.Prog64) { p[0].Flags |= uint32(elf.PF_W) },
		"unaligned":       func(_ *elf.Header64, p []elf.Prog64) { p[1].Vaddr += 8 },
		"overlap":         func(_ *elf.Header64, p []elf.Prog64) { p[1].Vaddr = ShimVA + 0x1000 },
		"beyond the file": func(_ *elf.Header64, p []elf.Prog64) { p[1].Off = 0x3ff1 },
		"huge":            func(_ *elf.Header64, p []elf.Prog64) { p[1].Memsz = 1 << 40 },
		"file > memory":   func(_ *elf.Header64, p []elf.Prog64) { p[1].Filesz = p[1].Memsz + 1 },
	} {
		if _, err := New(shimFile(t, change), 1); !errors.Is(err, ErrShim) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, size := range []uint64{0, MaxExec + 1} {
		if _, err := New(shimFile(t, nil), size); err == nil {
			t.Errorf("a program of %d bytes is accepted", size)
		}
	}
}

// TestShimAgrees holds the addresses of this package to those in the shim's
// source, which it cannot import.
func TestShimAgrees(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(need.Root(t), "internal/shim/kvm/cpu_unsafe.go"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"cpuBase": CPUVA, "cpuShift": CPUShift, "sharedBase": SharedVA, "cpuPages": cpuRuns[0][1]} {
		m := regexp.MustCompile(`(?m)^\s+` + name + `\s+= (\S+)`).FindSubmatch(src)
		if m == nil {
			t.Errorf("%s is not in the source", name)
			continue
		}
		if got, err := strconv.ParseUint(strings.ReplaceAll(string(m[1]), "_", ""), 0, 64); err != nil || got != want {
			t.Errorf("%s: %#x there, %#x here; %v", name, got, want, err)
		}
	}
	direct, err := os.ReadFile(filepath.Join(need.Root(t), "internal/shim/mem/mem.go"))
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^const DirectBase = (\S+)$`).FindSubmatch(direct); m == nil {
		t.Error("DirectBase is not in the source")
	} else if got, err := strconv.ParseUint(strings.ReplaceAll(string(m[1]), "_", ""), 0, 64); err != nil || got != DirectVA {
		t.Errorf("DirectBase: %#x there, %#x here; %v", got, uint64(DirectVA), err)
	}
	for _, line := range []string{"trapStack  = 5 << pageShift", "faultStack = 8 << pageShift", "stackBase  = 12 << pageShift"} {
		if !bytes.Contains(src, []byte(line)) {
			t.Errorf("%q is not in the source: change cpuRuns with it", line)
		}
	}
}
