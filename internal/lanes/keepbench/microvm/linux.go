// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"enarx.dev/enarx/internal/kvm"
)

// What is where in the guest's memory, below the kernel.
const (
	gdtAt         = 0x500
	bootParamsAt  = 0x7000
	stackTop      = 0x8ff0
	pml4At        = 0x9000
	pdptAt        = 0xa000
	pdAt          = 0xb000
	commandLineAt = 0x2_0000
	lowEnd        = 0x9_fc00 // where an old PC's extended BIOS data begins
	highStart     = 0x10_0000

	pageSize  = 0x1000
	hugePage  = 2 << 20
	mappedMem = 1 << 30
)

// Page table entries, and registers as long mode wants them.
const (
	ptePresent, pteWrite, pteHuge = 1, 2, 0x80

	cr0PE, cr0ET, cr0NE, cr0WP, cr0PG = 1, 1 << 4, 1 << 5, 1 << 16, 1 << 31
	cr4PAE                            = 1 << 5
	eferLME, eferLMA                  = 1 << 8, 1 << 10
	flagsReserved                     = 2

	bootCS, bootDS = 0x10, 0x18 // __BOOT_CS, __BOOT_DS
)

// Fields of struct boot_params and of the struct setup_header in it.
const (
	offE820Entries   = 0x1e8
	offBootFlag      = 0x1fe
	offHeader        = 0x202
	offLoaderType    = 0x210
	offLoadFlags     = 0x211
	offRamdiskImage  = 0x218
	offRamdiskSize   = 0x21c
	offCommandLine   = 0x228
	offKernelAlign   = 0x230
	offCommandLength = 0x238
	offE820Table     = 0x2d0

	bootFlag       = 0xaa55
	headerMagic    = 0x5372_6448 // "HdrS"
	loaderUnknown  = 0xff
	loadedHigh     = 1
	kernelAlign    = 0x100_0000
	e820RAM        = 1
	maxCommandLine = 2048
)

var errTooBig = errors.New("the guest's memory is too small")

// load puts the kernel and what it needs into memory and returns the entry.
func (m *machine) load(cfg Config) (entry uint64, err error) {
	file, err := elf.NewFile(cfg.Kernel)
	if err != nil {
		return 0, err
	}
	entry, end, err := loadELF(m.mem, file)
	if err != nil {
		return 0, err
	}
	ramdisk := (uint64(len(m.mem)) - uint64(len(cfg.Initramfs))) &^ (pageSize - 1)
	if uint64(len(cfg.Initramfs)) > uint64(len(m.mem)) || ramdisk < end {
		return 0, fmt.Errorf("initramfs: %w", errTooBig)
	}
	copy(m.mem[ramdisk:], cfg.Initramfs)
	if len(cfg.CommandLine) >= maxCommandLine {
		return 0, errors.New("the command line is too long")
	}
	copy(m.mem[commandLineAt:], cfg.CommandLine)
	bootParams(m.mem[bootParamsAt:], ramdisk, len(cfg.Initramfs), len(cfg.CommandLine), uint64(len(m.mem)))
	pageTables(m.mem)
	segments(m.mem[gdtAt:])
	return entry, nil
}

// loadELF reads the segments to their physical addresses. The entry of a vmlinux
// is a physical address already.
func loadELF(mem []byte, file *elf.File) (entry, end uint64, err error) {
	for _, p := range file.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Paddr < highStart || p.Memsz < p.Filesz || p.Paddr > uint64(len(mem)) || p.Memsz > uint64(len(mem))-p.Paddr {
			return 0, 0, fmt.Errorf("kernel segment of %d bytes at %#x: %w", p.Memsz, p.Paddr, errTooBig)
		}
		if _, err := io.ReadFull(p.Open(), mem[p.Paddr:p.Paddr+p.Filesz]); err != nil {
			return 0, 0, err
		}
		end = max(end, p.Paddr+p.Memsz)
	}
	return file.Entry, end, nil
}

// bootParams fills in the zero page. The memory is zero.
func bootParams(page []byte, ramdisk uint64, ramdiskSize, commandLength int, memory uint64) {
	le := binary.LittleEndian
	le.PutUint16(page[offBootFlag:], bootFlag)
	le.PutUint32(page[offHeader:], headerMagic)
	page[offLoaderType] = loaderUnknown
	page[offLoadFlags] = loadedHigh
	le.PutUint32(page[offRamdiskImage:], uint32(ramdisk))
	le.PutUint32(page[offRamdiskSize:], uint32(ramdiskSize))
	le.PutUint32(page[offCommandLine:], commandLineAt)
	le.PutUint32(page[offCommandLength:], uint32(commandLength))
	le.PutUint32(page[offKernelAlign:], kernelAlign)
	ranges := [][2]uint64{{0, lowEnd}, {highStart, memory - highStart}}
	page[offE820Entries] = byte(len(ranges))
	for i, r := range ranges {
		entry := page[offE820Table+20*i:]
		le.PutUint64(entry, r[0])
		le.PutUint64(entry[8:], r[1])
		le.PutUint32(entry[16:], e820RAM)
	}
}

// pageTables maps the first GiB where it is, for the kernel's first instructions.
func pageTables(mem []byte) {
	le := binary.LittleEndian
	le.PutUint64(mem[pml4At:], pdptAt|pteWrite|ptePresent)
	le.PutUint64(mem[pdptAt:], pdAt|pteWrite|ptePresent)
	for i := range uint64(mappedMem / hugePage) {
		le.PutUint64(mem[pdAt+8*i:], i*hugePage|pteHuge|pteWrite|ptePresent)
	}
}

// segments writes flat 64-bit code and data descriptors.
func segments(gdt []byte) {
	binary.LittleEndian.PutUint64(gdt[bootCS:], 0x00af_9b00_0000_ffff)
	binary.LittleEndian.PutUint64(gdt[bootDS:], 0x00cf_9300_0000_ffff)
}

func longMode(s *kvm.Sregs) {
	code := kvm.Segment{Limit: 0xffff_ffff, Selector: bootCS, Type: 0xb, Present: 1, S: 1, L: 1, G: 1}
	data := kvm.Segment{Limit: 0xffff_ffff, Selector: bootDS, Type: 0x3, Present: 1, S: 1, DB: 1, G: 1}
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = code, data, data, data, data, data
	s.GDT.Base, s.GDT.Limit = gdtAt, bootDS+7
	s.CR0, s.CR3, s.CR4 = cr0PE|cr0ET|cr0NE|cr0WP|cr0PG, pml4At, cr4PAE
	s.EFER = eferLME | eferLMA
}

// adjustCPUID completes what KVM says that it supports: this is APIC 0, in a
// machine whose interrupt controller KVM has.
func adjustCPUID(e *kvm.CPUIDEntry) {
	const tscDeadline, hypervisor = 1 << 24, 1 << 31
	switch e.Function {
	case 1:
		e.EBX &= 0x00ff_ffff
		e.ECX |= tscDeadline | hypervisor
	case 0xb, 0x1f:
		e.EDX = 0
	}
}
