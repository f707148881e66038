// SPDX-License-Identifier: Apache-2.0

// Package layout is the initial memory of a virtual machine Keep: which bytes
// lie at which guest physical address, of which kind, and in which state a vCPU
// starts. It is a function of the shim's and the program's image alone, so that for
// SEV-SNP, where the same pages are measured, anybody can compute the
// measurement. Addresses are those of internal/shim/kvm; see docs/sallyport.md
// for what host and guest share.
package layout

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"enarx.dev/enarx/internal/sallyport"
)

// PageSize is the size of a page in bytes.
const PageSize = 4096

const (
	mib       = 1 << 20
	largePage = 2 * mib
)

// Guest physical addresses.
const (
	TablesGPA = 0x8000              // boot page tables; the PML4 is the first
	ShimGPA   = 0x20_0000           // the shim's segments, at the distance from ShimVA that they have there
	CPUGPA    = 0x80_0000           // the first vCPU's area
	LowSize   = 0x200_0000          // what precedes the program
	ExecGPA   = sallyport.ExecGPA   // the program's file
	HeapGPA   = sallyport.HeapGPA   // memory that the shim gives out
	HeapSize  = sallyport.MinHeap   // as much of it as there is at the start
	SharedGPA = sallyport.SharedGPA // the sallyport: the only memory that the host may see
)

// Guest virtual addresses, all in the upper half and the shim's alone.
const (
	ShimVA   = 0xffff_ffff_8000_0000
	CPUVA    = 0xffff_ffff_9000_0000 // vCPU areas
	DirectVA = 0xffff_8880_0000_0000 // private memory, at its physical address
	SharedVA = 0xffff_fe00_0000_0000 // the sallyport
)

// MaxCPUs is the most vCPUs a Keep can have; MaxExec the largest program.
const (
	MaxCPUs = sallyport.MaxCPUs
	MaxExec = 512 * mib
)

// bootSize is the boot page, and the arguments behind it.
const bootSize = PageSize + sallyport.ArgsSize

// Kind says what a page holds when the Keep starts, with SEV-SNP's page types
// in mind (56860 rev 1.55, table 67).
type Kind uint8

// The kinds of pages.
const (
	Normal     Kind = iota // bytes that are part of the measurement
	Zero                   // zeroes
	Unmeasured             // bytes from the host, which the shim checks
)

// A Region is a run of pages.
type Region struct {
	Name string
	GPA  uint64
	Kind Kind
	Data []byte // of a Normal region; its last page is padded with zeroes
	Size uint64 // bytes, whole pages
}

// An Image is the memory and state that all vCPUs of a Keep start with.
type Image struct {
	Regions  []Region // in the order of their addresses; the program's is not among them
	ExecSize uint64   // bytes of the program's file
	Entry    uint64   // RIP
	CR3      uint64
}

// Pages returns how many pages of kind the image has.
func (i *Image) Pages(kind Kind) (n uint64) {
	for _, r := range i.Regions {
		if r.Kind == kind {
			n += r.Size / PageSize
		}
	}
	return n
}

// ErrShim says that an ELF file is not a shim that this package can lay out.
var ErrShim = errors.New("layout: not a usable shim image")

// A vCPU's area, as internal/shim/kvm divides it: runs of pages, with unmapped
// ones between.
const (
	CPUShift = 17
	cpuArea  = 1 << CPUShift
)

var cpuRuns = [][2]uint64{{0, 4}, {5, 2}, {8, 2}, {12, 8}} // first page, pages

// New lays out the memory of a Keep that runs a program of execSize bytes.
func New(shim []byte, execSize uint64) (*Image, error) {
	if execSize == 0 || execSize > MaxExec {
		return nil, fmt.Errorf("layout: a program of %d bytes; a Keep takes up to %d", execSize, uint64(MaxExec))
	}
	img := &Image{ExecSize: execSize, CR3: TablesGPA}
	t := newTables()
	segments, entry, err := shimSegments(shim)
	if err != nil {
		return nil, err
	}
	img.Entry = entry
	for _, s := range segments {
		t.mapPages(ShimVA+s.GPA-ShimGPA, s.GPA, s.Size, s.flags)
		img.Regions = append(img.Regions, s.Region)
	}
	for _, run := range cpuRuns {
		t.mapPages(CPUVA+run[0]*PageSize, CPUGPA+run[0]*PageSize, run[1]*PageSize, pteWrite|pteNX)
		img.Regions = append(img.Regions, Region{Name: "vCPU 0", GPA: CPUGPA + run[0]*PageSize, Kind: Zero, Size: run[1] * PageSize})
	}
	t.mapPages(DirectVA+sallyport.BootGPA, sallyport.BootGPA, bootSize, pteNX)
	img.Regions = append(img.Regions, Region{Name: "boot parameters", GPA: sallyport.BootGPA, Kind: Unmeasured, Size: bootSize})
	t.mapLarge(DirectVA+ExecGPA, ExecGPA, RoundUp(execSize, largePage), pteNX)
	t.mapLarge(DirectVA+HeapGPA, HeapGPA, HeapSize, pteWrite|pteNX)
	t.mapLarge(SharedVA, SharedGPA, RoundUp(MaxCPUs*sallyport.SlotSize, largePage), pteWrite|pteNX)
	data := t.finish()
	img.Regions = append(img.Regions, Region{Name: "page tables", GPA: TablesGPA, Data: data, Size: uint64(len(data))})
	slices.SortFunc(img.Regions, func(a, b Region) int { return int(int64(a.GPA) - int64(b.GPA)) })
	return img, img.check()
}

// check says whether two regions overlap, or one is where the program goes.
func (i *Image) check() error {
	end := uint64(0)
	for _, r := range i.Regions {
		if r.GPA < end || r.GPA%PageSize != 0 || r.Size%PageSize != 0 || uint64(len(r.Data)) > r.Size || r.GPA+r.Size > LowSize {
			return fmt.Errorf("%w: %s at %#x, %d bytes, does not fit", ErrShim, r.Name, r.GPA, r.Size)
		}
		end = r.GPA + r.Size
	}
	return nil
}

type segment struct {
	Region
	flags uint64
}

// shimSegments returns the shim's segments as pages. What a segment has beyond
// its bytes in the file is a region of zeroes.
func shimSegments(shim []byte) (segments []segment, entry uint64, err error) {
	f, err := elf.NewFile(bytes.NewReader(shim))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrShim, err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 {
		return nil, 0, fmt.Errorf("%w: %v for %v", ErrShim, f.Type, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Vaddr < ShimVA {
			continue // the linker puts the ELF header into a page before the text
		}
		if p.Vaddr%PageSize != 0 || p.Filesz > p.Memsz || p.Off > uint64(len(shim)) || p.Filesz > uint64(len(shim))-p.Off ||
			p.Vaddr-ShimVA+p.Memsz > CPUGPA-ShimGPA {
			return nil, 0, fmt.Errorf("%w: segment at %#x, %d bytes", ErrShim, p.Vaddr, p.Memsz)
		}
		flags := uint64(pteNX)
		name := "shim rodata"
		switch {
		case p.Flags&elf.PF_X != 0 && p.Flags&elf.PF_W != 0:
			return nil, 0, fmt.Errorf("%w: segment at %#x is writable and executable", ErrShim, p.Vaddr)
		case p.Flags&elf.PF_X != 0:
			flags, name = 0, "shim text"
		case p.Flags&elf.PF_W != 0:
			flags, name = pteWrite|pteNX, "shim data"
		}
		gpa := ShimGPA + p.Vaddr - ShimVA
		inFile := RoundUp(p.Filesz, PageSize)
		if inFile > 0 {
			data := shim[p.Off : p.Off+p.Filesz]
			segments = append(segments, segment{Region{Name: name, GPA: gpa, Data: data, Size: inFile}, flags})
		}
		if zero := RoundUp(p.Memsz, PageSize) - min(inFile, RoundUp(p.Memsz, PageSize)); zero > 0 {
			segments = append(segments, segment{Region{Name: "shim bss", GPA: gpa + inFile, Kind: Zero, Size: zero}, flags})
		}
	}
	if len(segments) == 0 {
		return nil, 0, fmt.Errorf("%w: it has no segment at %#x", ErrShim, uint64(ShimVA))
	}
	return segments, f.Entry, nil
}

// RoundUp returns the least multiple of to that is at least n.
func RoundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// Page table entry bits (AMD APM volume 2, 5.4).
const (
	ptePresent  = 1 << 0
	pteWrite    = 1 << 1
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteLarge    = 1 << 7
	pteGlobal   = 1 << 8
	pteNX       = 1 << 63

	pteAddress = 0x000f_ffff_ffff_f000
)

// tables is page tables that will lie at TablesGPA, one after the other.
type tables struct {
	pages [][512]uint64
}

func newTables() *tables { return &tables{pages: make([][512]uint64, 1)} }

// entry returns the entry for va at a level, 0 being that of 4 KiB pages, and
// makes the tables above it.
func (t *tables) entry(va uint64, level int) *uint64 {
	page := 0
	for l := 3; l > level; l-- {
		i := va >> (12 + 9*l) & 511
		if t.pages[page][i] == 0 {
			t.pages = append(t.pages, [512]uint64{})
			t.pages[page][i] = t.gpa(len(t.pages)-1) | ptePresent | pteWrite | pteAccessed
		}
		page = int((t.pages[page][i]&pteAddress - TablesGPA) / PageSize)
	}
	return &t.pages[page][va>>(12+9*level)&511]
}

func (t *tables) gpa(page int) uint64 { return TablesGPA + uint64(page)*PageSize }

// leaf is the bits of every mapping: nothing here is a program's, and the CPU need
// not write accessed and dirty bits into measured pages.
const leaf = ptePresent | pteAccessed | pteDirty | pteGlobal

func (t *tables) mapPages(va, gpa, size, flags uint64) {
	for o := uint64(0); o < size; o += PageSize {
		*t.entry(va+o, 0) = gpa + o | flags | leaf
	}
}

func (t *tables) mapLarge(va, gpa, size, flags uint64) {
	for o := uint64(0); o < size; o += largePage {
		*t.entry(va+o, 1) = gpa + o | flags | leaf | pteLarge
	}
}

// finish maps the tables themselves, so that the shim can extend them, and
// returns their bytes.
func (t *tables) finish() []byte {
	for done := 0; done < len(t.pages); done++ {
		gpa := t.gpa(done)
		t.mapPages(DirectVA+gpa, gpa, PageSize, pteWrite|pteNX)
	}
	data := make([]byte, 0, len(t.pages)*PageSize)
	for i := range t.pages {
		for _, e := range t.pages[i] {
			data = binary.LittleEndian.AppendUint64(data, e)
		}
	}
	return data
}
