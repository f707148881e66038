// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
	"enarx.dev/enarx/internal/shim/vdso"
)

// numbers returns a source of numbers that are different each time.
func numbers(seed uint64) func() (uint64, bool) {
	return func() (uint64, bool) {
		seed = seed*6364136223846793005 + 1442695040888963407
		return seed ^ seed>>29, true
	}
}

func none() (uint64, bool) { return 0, false }

func someArgs() *Args {
	return &Args{Blob: []byte("app\x00-v\x00\x00HOME=/\x00LANG=C\x00"), Argc: 3, Envc: 2, HWCap: 0x178bfbff}
}

func (a *arena) load(t *testing.T, args *Args, seed uint64) (entry, rsp uint64) {
	t.Helper()
	entry, rsp, err := Load(a.space, 0, a.image, args, numbers(seed))
	if err != sallyport.LoadOK {
		t.Fatalf("%d: %s", err, err.Text())
	}
	return entry, rsp
}

// read returns n bytes of the program.
func (a *arena) read(t *testing.T, addr, n uint64) []byte {
	t.Helper()
	b := make([]byte, n)
	if !a.space.CopyIn(0, b, addr) {
		t.Fatalf("%d bytes at %#x are not readable", n, addr)
	}
	return b
}

func (a *arena) string(t *testing.T, addr uint64) string {
	t.Helper()
	b := make([]byte, 256)
	n, ok := a.space.CopyInString(0, b, addr)
	if !ok {
		t.Fatalf("no string at %#x", addr)
	}
	return string(b[:n])
}

// stack is an initial stack, read back as a program reads it.
type stack struct {
	args, env []string
	aux       map[uint64]uint64
}

func (a *arena) stack(t *testing.T, rsp uint64) stack {
	t.Helper()
	word := func() uint64 {
		v, ok := a.space.Load64(0, rsp)
		if !ok {
			t.Fatalf("no word at %#x", rsp)
		}
		rsp += 8
		return v
	}
	s := stack{aux: map[uint64]uint64{}}
	for n := word(); n > 0; n-- {
		s.args = append(s.args, a.string(t, word()))
	}
	if p := word(); p != 0 {
		t.Errorf("argv ends with %#x", p)
	}
	for p := word(); p != 0; p = word() {
		s.env = append(s.env, a.string(t, p))
	}
	for kind := word(); kind != atNull; kind = word() {
		if _, twice := s.aux[kind]; twice {
			t.Errorf("auxiliary entry %d twice", kind)
		}
		s.aux[kind] = word()
	}
	return s
}

// want returns what a segment's memory must hold: the file's bytes, zeroes, and the
// relocations that are ours to apply.
func want(t *testing.T, f *elf.File, p *elf.Prog, bias uint64, relocates bool) []byte {
	t.Helper()
	b := make([]byte, p.Memsz)
	if _, err := p.ReadAt(b[:p.Filesz], 0); err != nil {
		t.Fatal(err)
	}
	rela := f.Section(".rela")
	if !relocates || rela == nil {
		return b
	}
	table, err := rela.Data()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for ; len(table) > 0; table = table[24:] {
		if at := le.Uint64(table); at >= p.Vaddr && at < p.Vaddr+p.Memsz {
			le.PutUint64(b[at-p.Vaddr:], le.Uint64(table[16:])+bias)
		}
	}
	return b
}

// TestLoad compares the memory of loaded programs with what debug/elf reads.
func TestLoad(t *testing.T) {
	for _, name := range []string{"go", "go-pie", "musl", "musl-pie"} {
		t.Run(name, func(t *testing.T) {
			file := realProgram(t, name)
			f, err := elf.NewFile(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			a := newArena(t, file, heapSize)
			entry, rsp := a.load(t, someArgs(), 1)
			bias := entry - f.Entry
			if moves := f.Type == elf.ET_DYN; moves != (bias != 0) {
				t.Errorf("moved by %#x", bias)
			}
			var end uint64
			for _, p := range f.Progs {
				if p.Type != elf.PT_LOAD {
					continue
				}
				end = p.Vaddr + p.Memsz + bias
				got := a.read(t, p.Vaddr+bias, p.Memsz)
				if exp := want(t, f, p, bias, name == "go-pie"); !bytes.Equal(got, exp) {
					t.Errorf("the segment at %#x differs", p.Vaddr)
				}
				a.checkRights(t, p.Vaddr+bias, p.Flags)
				if tail := (p.Vaddr + p.Memsz) % abi.PageSize; p.Flags&elf.PF_W != 0 && p.Memsz > p.Filesz && tail != 0 {
					if rest := a.read(t, end, abi.PageSize-tail); !bytes.Equal(rest, make([]byte, len(rest))) {
						t.Errorf("the last page after %#x is not zero", end)
					}
				}
			}
			if !bytes.Equal(a.image.Data, file) {
				t.Error("loading changed the image")
			}
			s := a.stack(t, rsp)
			header := a.read(t, s.aux[atPhdr], s.aux[atPhent]*s.aux[atPhnum])
			if !bytes.Equal(header, file[headerSize:headerSize+phentSize*len(f.Progs)]) {
				t.Error("AT_PHDR does not point to the program headers")
			}
			if s.aux[atEntry] != entry {
				t.Errorf("AT_ENTRY %#x, entry %#x", s.aux[atEntry], entry)
			}
			brk := uint64(a.space.Brk(0, 0))
			if brk < end || brk-end > (brkPages+1)*abi.PageSize || brk%abi.PageSize != 0 {
				t.Errorf("the heap starts at %#x, the image ends at %#x", brk, end)
			}
			if got := a.space.Brk(0, brk+1<<20); got != int64(brk+1<<20) {
				t.Errorf("brk fails: %#x", got)
			}
		})
	}
}

// checkRights takes page faults of every kind at addr.
func (a *arena) checkRights(t *testing.T, addr uint64, flags elf.ProgFlag) {
	t.Helper()
	const faultUser, faultWrite, faultFetch = 4, 2, 16
	for _, x := range []struct {
		kind uint64
		need elf.ProgFlag
	}{{faultUser, elf.PF_R}, {faultUser | faultWrite, elf.PF_W}, {faultUser | faultFetch, elf.PF_X}} {
		outcome := a.space.Fault(0, addr, x.kind)
		relro := x.need == elf.PF_W && outcome == mem.AccErr && flags&elf.PF_W != 0
		if allowed := flags&x.need != 0; (outcome == mem.Handled) != allowed && !relro {
			t.Errorf("a fault of kind %#x at %#x, where rights are %v: %d", x.kind, addr, flags, outcome)
		}
	}
}

func TestStack(t *testing.T) {
	a := newArena(t, file(someSize, typeExec, sound()), heapSize)
	args := someArgs()
	var code, data []byte
	args.VDSOCode, code = a.frame(t)
	args.VDSOData, data = a.frame(t)
	if !vdso.Build(code) {
		t.Fatal("no vDSO")
	}
	data[0] = 77
	entry, rsp := a.load(t, args, 2)
	if entry != 0x400800 {
		t.Errorf("entry %#x", entry)
	}
	if rsp%16 != 0 {
		t.Errorf("RSP %#x is not aligned", rsp)
	}
	s := a.stack(t, rsp)
	if diff := cmp.Diff([][]string{{"app", "-v", ""}, {"HOME=/", "LANG=C"}}, [][]string{s.args, s.env}); diff != "" {
		t.Error(diff)
	}
	where := map[uint64]uint64{}
	for _, kind := range []uint64{atRandom, atExecfn, atPlatform, atSysinfoEhdr} {
		where[kind] = s.aux[kind]
		delete(s.aux, kind)
	}
	if diff := cmp.Diff(map[uint64]uint64{
		atPhdr: 0x400040, atPhent: 56, atPhnum: 3, atPagesz: 4096, atBase: 0, atFlags: 0, atEntry: 0x400800,
		atUID: 1000, atEUID: 1000, atGID: 1000, atEGID: 1000, atHWCap: 0x178bfbff, atClkTck: 100, atSecure: 0,
		atHWCap2: 2, atMinSigStkSz: 2048,
	}, s.aux); diff != "" {
		t.Error(diff)
	}
	if got := a.string(t, where[atExecfn]); got != "/init" {
		t.Errorf("AT_EXECFN %q", got)
	}
	if got := a.string(t, where[atPlatform]); got != "x86_64" {
		t.Errorf("AT_PLATFORM %q", got)
	}
	if seed := a.read(t, where[atRandom], 16); bytes.Equal(seed[:8], seed[8:]) {
		t.Errorf("AT_RANDOM %x", seed)
	}
	ehdr := where[atSysinfoEhdr]
	if !bytes.Equal(a.read(t, ehdr, abi.PageSize), code) || a.read(t, ehdr-abi.PageSize, 1)[0] != 77 {
		t.Error("the vDSO's pages are not where they must be")
	}
	a.checkRights(t, ehdr, elf.PF_R|elf.PF_X)
	a.checkRights(t, ehdr-abi.PageSize, elf.PF_R)

	// 8 MiB of stack, all of it usable, none of it executable, and a guard.
	top := ehdr - 2*abi.PageSize
	a.checkRights(t, top-8, elf.PF_R|elf.PF_W)
	a.checkRights(t, top-stackSize, elf.PF_R|elf.PF_W)
	a.checkRights(t, top-stackSize-1, 0)
	a.checkRights(t, top-stackSize-stackGuard, 0)
	if top <= rsp || top-rsp > 8<<10 {
		t.Errorf("RSP %#x, top of the stack %#x", rsp, top)
	}
	if got := a.space.Mmap(0, 0, abi.PageSize, abi.ProtRead, mapPrivate|mapAnonymous); uint64(got) >= top-stackSize-stackGuard || got < 0 {
		t.Errorf("mmap places memory at %#x, beside the stack", got)
	}
}

func TestNoVDSO(t *testing.T) {
	a := newArena(t, file(someSize, typeExec, sound()), heapSize)
	_, rsp := a.load(t, someArgs(), 3)
	if ehdr, ok := a.stack(t, rsp).aux[atSysinfoEhdr]; ok {
		t.Errorf("AT_SYSINFO_EHDR %#x", ehdr)
	}
}

// Nothing of where a program lies may be predictable.
func TestRandom(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(8) {
		a := newArena(t, file(someSize, typeDyn, sound()), heapSize)
		entry, rsp := a.load(t, someArgs(), 100+seed)
		for _, v := range []uint64{entry, rsp, uint64(a.space.Brk(0, 0)) - entry, rsp % abi.PageSize} {
			if seen[v] && v > abi.PageSize {
				t.Errorf("%#x again", v)
			}
			seen[v] = true
		}
		if entry < pieBase || entry > pieBase+piePages*abi.PageSize+maxAlign {
			t.Errorf("entry %#x", entry)
		}
	}
}

func TestArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args Args
		want bool
	}{
		"one":           {Args{Blob: []byte("a\x00"), Argc: 1}, true},
		"empty name":    {Args{Blob: []byte("\x00"), Argc: 1}, true},
		"most":          {Args{Blob: bytes.Repeat([]byte{0}, MaxArgs), Argc: 1, Envc: MaxArgs - 1}, true},
		"nothing":       {Args{}, false},
		"no name":       {Args{Blob: []byte("A=B\x00"), Envc: 1}, false},
		"too many":      {Args{Blob: []byte("a\x00b\x00"), Argc: 1}, false},
		"too few":       {Args{Blob: []byte("a\x00"), Argc: 1, Envc: 1}, false},
		"open end":      {Args{Blob: []byte("a\x00b"), Argc: 2}, false},
		"counts wrap":   {Args{Blob: []byte("a\x00"), Argc: 2, Envc: 1<<32 - 1}, false},
		"much too long": {Args{Blob: bytes.Repeat([]byte{0}, MaxArgs+1), Argc: MaxArgs + 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t, file(someSize, typeExec, sound()), heapSize)
			_, rsp, err := Load(a.space, 0, a.image, &test.args, numbers(4))
			if (err == sallyport.LoadOK) != test.want || err != sallyport.LoadOK && err != sallyport.LoadArguments {
				t.Fatal(err.Text())
			}
			if test.want {
				s := a.stack(t, rsp)
				if len(s.args) != int(test.args.Argc) || len(s.env) != int(test.args.Envc) {
					t.Errorf("%d arguments, %d variables", len(s.args), len(s.env))
				}
			}
		})
	}
}

func TestLoadFails(t *testing.T) {
	sane := file(someSize, typeExec, sound())
	t.Run("no random numbers", func(t *testing.T) {
		for n := range 4 {
			a := newArena(t, sane, heapSize)
			next := numbers(5)
			_, _, err := Load(a.space, 0, a.image, someArgs(), func() (uint64, bool) {
				if n--; n < 0 {
					return none()
				}
				return next()
			})
			if err != sallyport.LoadRandom {
				t.Error(err.Text())
			}
		}
	})
	t.Run("image at an odd place", func(t *testing.T) {
		a := newArena(t, sane, heapSize)
		a.image.GPA += 8
		if _, _, err := Load(a.space, 0, a.image, someArgs(), numbers(6)); err != sallyport.LoadImage {
			t.Error(err.Text())
		}
	})
	t.Run("more .bss than memory", func(t *testing.T) {
		headers := sound()
		headers[1].memsz = 2 * heapSize
		a := newArena(t, file(someSize, typeExec, headers), heapSize)
		if _, _, err := Load(a.space, 0, a.image, someArgs(), numbers(7)); err != sallyport.LoadMemory {
			t.Error(err.Text())
		}
	})
	t.Run("not a program", func(t *testing.T) {
		a := newArena(t, []byte("\x00asm\x01\x00\x00\x00"), heapSize)
		if _, _, err := Load(a.space, 0, a.image, someArgs(), numbers(8)); err != sallyport.LoadNotELF {
			t.Error(err.Text())
		}
	})
}

// FuzzLoad loads every kind of file, with every kind of arguments.
func FuzzLoad(f *testing.F) {
	f.Add(file(someSize, typeExec, sound()), []byte("a\x00"), uint32(1), uint32(0))
	f.Add(file(someSize, typeDyn, append(sound(), phdr{kind: ptInterp})), []byte("a\x00b\x00"), uint32(1), uint32(1))
	f.Fuzz(func(t *testing.T, file, blob []byte, argc, envc uint32) {
		if len(file) > 1<<20 {
			return
		}
		a := newArena(t, file, heapSize)
		before := bytes.Clone(file)
		entry, rsp, err := Load(a.space, 0, a.image, &Args{Blob: blob, Argc: argc, Envc: envc}, numbers(9))
		if !bytes.Equal(before, a.image.Data) {
			t.Error("the image changed")
		}
		if err == sallyport.LoadOK && (rsp%16 != 0 || a.space.Fault(0, entry, 4|16) != mem.Handled) {
			t.Errorf("entry %#x, RSP %#x", entry, rsp)
		}
	})
}
