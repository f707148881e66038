// SPDX-License-Identifier: Apache-2.0

package vdso

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math/big"
	"math/bits"
	"testing"
)

func TestMult(t *testing.T) {
	for _, khz := range []uint64{MinKHz, 1_000_000, 2_594_123, 3_999_999, MaxKHz} {
		mult, ok := Mult(khz)
		if !ok {
			t.Fatalf("Mult(%d) refused", khz)
		}
		want := new(big.Int).Lsh(big.NewInt(1_000_000), shift)
		want.Div(want, new(big.Int).SetUint64(khz))
		if want.Uint64() != mult || bits.Len64(mult) < 58 {
			t.Errorf("Mult(%d) = %d, want %v", khz, mult, want)
		}
	}
	for _, khz := range []uint64{0, 1, MinKHz - 1, MaxKHz + 1, 1 << 63} {
		if _, ok := Mult(khz); ok {
			t.Errorf("Mult(%d) accepted", khz)
		}
	}
}

func TestMonotonic(t *testing.T) {
	mult, _ := Mult(2_500_000)
	c := Clock{Mult: mult, TSC: 1000, NS: 77}
	for _, x := range []struct{ tsc, want uint64 }{
		{0, 77}, {1000, 77}, {1000 + 2_500_000, 77 + 1_000_000 - 1}, // rounded down
		{1000 + 2_500_000_000*86400*365, 77 + 1_000_000_000*86400*365 - 1},
	} {
		// The multiplier is rounded down: by less than 2^-58 of the time.
		if got := c.Monotonic(x.tsc); got > x.want+1 || got+1 < x.want {
			t.Errorf("at %d: %d, want %d", x.tsc, got, x.want)
		}
	}
}

func build(t *testing.T) []byte {
	t.Helper()
	page := make([]byte, pageSize)
	if !Build(page) {
		t.Fatal("Build refused")
	}
	return page
}

func TestBuildRefusesOtherSizes(t *testing.T) {
	for _, n := range []int{0, 1, pageSize - 1, pageSize + 1} {
		if Build(make([]byte, n)) {
			t.Errorf("a page of %d bytes was accepted", n)
		}
	}
}

func TestImage(t *testing.T) {
	page := build(t)
	f, err := elf.NewFile(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 || len(f.Progs) != 2 {
		t.Errorf("type %v, machine %v, %d program headers", f.Type, f.Machine, len(f.Progs))
	}
	load := f.Progs[0]
	if load.Type != elf.PT_LOAD || load.Flags != elf.PF_R|elf.PF_X || load.Vaddr != 0 || load.Off != 0 || load.Memsz != pageSize {
		t.Errorf("first program header: %+v", load.ProgHeader)
	}
	for i, name := range []string{"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_clock_getres"} {
		if got, want := lookup(t, page, name), uint64(textOffset+i*entrySize); got != want {
			t.Errorf("%s at %#x, want %#x", name, got, want)
		}
	}
	if got := lookup(t, page, "__vdso_getrandom"); got != 0 {
		t.Errorf("__vdso_getrandom at %#x: the shim must not offer it", got)
	}
}

// The text must be the same wherever it is: no absolute address, and only one mark.
func TestText(t *testing.T) {
	src := code()
	if len(src) < functions*entrySize || textOffset+len(src) > pageSize {
		t.Fatalf("text has %d bytes", len(src))
	}
	for i := range functions {
		if op := src[i*entrySize]; op != 0xeb && op != 0xe9 {
			t.Errorf("entry %d starts with %#x, not with a jump", i, op)
		}
	}
	// now's LEAQ: its displacement leads back to the start.
	lea := bytes.Index(src, []byte{0x4c, 0x8d, 0x05})
	if lea < 0 {
		t.Fatal("no LEAQ of the text's start")
	}
	if got := int(int32(binary.LittleEndian.Uint32(src[lea+3:]))); got != -(lea + 7) {
		t.Errorf("LEAQ at %d leads to %d", lea, lea+7+got)
	}
}

// lookup finds a function as musl's __vdsosym and Go's vdsoParseSymbols do: by
// name in the chains of DT_HASH, with the right version. It returns 0 for none.
func lookup(t *testing.T, page []byte, name string) uint64 {
	t.Helper()
	le := binary.LittleEndian
	var dyn uint64
	for i := range uint64(le.Uint16(page[56:])) {
		if ph := page[64+56*i:]; le.Uint32(ph) == uint32(elf.PT_DYNAMIC) {
			dyn = le.Uint64(ph[16:])
		}
	}
	tags := map[elf.DynTag]uint64{}
	for ; le.Uint64(page[dyn:]) != 0; dyn += 16 {
		tags[elf.DynTag(le.Uint64(page[dyn:]))] = le.Uint64(page[dyn+8:])
	}
	text := func(off uint32) string {
		s := page[tags[elf.DT_STRTAB]+uint64(off):]
		return string(s[:bytes.IndexByte(s, 0)])
	}
	// The index of version LINUX_2.6, found by the hash that Go has as a constant.
	var version uint16
	for def := page[tags[elf.DT_VERDEF]:]; ; def = def[le.Uint32(def[16:]):] {
		aux := def[le.Uint32(def[12:]):]
		if le.Uint16(def[2:])&1 == 0 && le.Uint32(def[8:]) == 0x3ae75f6 && text(le.Uint32(aux)) == "LINUX_2.6" {
			version = le.Uint16(def[4:])
		}
		if le.Uint32(def[16:]) == 0 {
			break
		}
	}
	if version == 0 {
		t.Fatal("no version LINUX_2.6")
	}
	table := page[tags[elf.DT_HASH]:]
	buckets, chains := le.Uint32(table), le.Uint32(table[4:])
	next := func(i uint32) uint32 { return le.Uint32(table[4*i:]) }
	for b := range buckets {
		for i := next(2 + b); i != 0; i = next(2 + buckets + i) {
			if i >= chains {
				t.Fatalf("symbol %d of %d", i, chains)
			}
			sym := page[tags[elf.DT_SYMTAB]+24*uint64(i):]
			visible := elf.ST_TYPE(sym[4]) == elf.STT_FUNC && elf.ST_BIND(sym[4]) == elf.STB_GLOBAL && le.Uint16(sym[6:]) != 0
			if visible && text(le.Uint32(sym)) == name && le.Uint16(page[tags[elf.DT_VERSYM]+2*uint64(i):])&0x7fff == version {
				return le.Uint64(sym[8:])
			}
		}
	}
	return 0
}
