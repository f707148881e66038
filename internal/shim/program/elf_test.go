// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// phdr is a program header for file to write.
type phdr struct {
	kind, flags                              uint32
	offset, addr, filesz, memsz, align, phys uint64
}

// sound are the headers of a program that loads: code with the headers in it, and data with .bss.
func sound() []phdr {
	return []phdr{
		{kind: ptLoad, flags: flagRead | flagExec, offset: 0, addr: 0x400000, filesz: 0x1000, memsz: 0x1000, align: 0x1000},
		{kind: ptLoad, flags: flagRead | flagWrite, offset: 0x1100, addr: 0x401100, filesz: 0x200, memsz: 0x5000, align: 0x1000},
		{kind: ptGNUStack, flags: flagRead | flagWrite},
	}
}

// file writes an ELF file of size bytes with the given type and program headers,
// and its entry point at the start of the second half of the first page.
func file(size int, kind uint16, headers []phdr) []byte {
	b := make([]byte, size)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], kind)
	le.PutUint16(b[18:], machineX86)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], headerSize)
	le.PutUint16(b[54:], phentSize)
	le.PutUint16(b[56:], uint16(len(headers)))
	if len(headers) > 0 {
		le.PutUint64(b[24:], headers[0].addr+0x800)
	}
	for i, h := range headers {
		p := b[headerSize+i*phentSize:]
		le.PutUint32(p, h.kind)
		le.PutUint32(p[4:], h.flags)
		for j, v := range []uint64{h.offset, h.addr, h.phys, h.filesz, h.memsz, h.align} {
			le.PutUint64(p[8+8*j:], v)
		}
	}
	return b
}

const someSize = 0x2000

func TestParse(t *testing.T) {
	tests := []struct {
		name   string
		kind   uint16
		change func(h []phdr) []phdr
		patch  func(b []byte) []byte
		want   sallyport.LoadError
	}{
		{name: "sound", want: sallyport.LoadOK},
		{name: "sound, moving", kind: typeDyn, want: sallyport.LoadOK},
		{name: "empty", patch: func([]byte) []byte { return nil }, want: sallyport.LoadNotELF},
		{name: "short", patch: func(b []byte) []byte { return b[:63] }, want: sallyport.LoadNotELF},
		{name: "script", patch: func(b []byte) []byte { return append([]byte("#!/bin/sh\n"), b...) }, want: sallyport.LoadNotELF},
		{name: "32 bit", patch: set(4, 1), want: sallyport.LoadClass},
		{name: "big endian", patch: set(5, 2), want: sallyport.LoadClass},
		{name: "FreeBSD", patch: set(7, 9), want: sallyport.LoadClass},
		{name: "aarch64", patch: set(18, 183), want: sallyport.LoadMachine},
		{name: "object file", kind: 1, want: sallyport.LoadType},
		{name: "core", kind: 4, want: sallyport.LoadType},
		{name: "entry size", patch: set(54, 32), want: sallyport.LoadHeaders},
		{name: "no headers", patch: set(56, 0), want: sallyport.LoadHeaders},
		{name: "65 headers", patch: set(56, 65), want: sallyport.LoadHeaders},
		{name: "headers beyond the end", patch: set(33, 0x20), want: sallyport.LoadHeaders},
		{name: "headers wrap around", patch: fill(32, 8, 0xff), want: sallyport.LoadHeaders},
		{name: "headers not loaded", patch: func(b []byte) []byte {
			copy(b[0x1800:], b[headerSize:headerSize+4*phentSize])
			binary.LittleEndian.PutUint64(b[32:], 0x1800)
			return b
		}, want: sallyport.LoadHeadersHidden},
		{name: "nothing to load", change: func(h []phdr) []phdr { return h[2:] }, want: sallyport.LoadNoSegments},
		{name: "empty segment", change: func(h []phdr) []phdr { return append(h, phdr{kind: ptLoad}) }, want: sallyport.LoadOK},
		{name: "17 segments", change: func(h []phdr) []phdr {
			h = h[:1]
			for i := range uint64(maxSegments) {
				h = append(h, phdr{kind: ptLoad, addr: 0x500000 + i*0x1000, filesz: 1, memsz: 1})
			}
			return h
		}, want: sallyport.LoadTooMany},
		{name: "16 segments", change: func(h []phdr) []phdr {
			h = h[:1]
			for i := range uint64(maxSegments - 1) {
				h = append(h, phdr{kind: ptLoad, addr: 0x500000 + i*0x1000, filesz: 1, memsz: 1})
			}
			return h
		}, want: sallyport.LoadOK},
		{name: "segment beyond the end", change: with(1, func(p *phdr) { p.filesz = 0xf01 }), want: sallyport.LoadTruncated},
		{name: "offset wraps around", change: with(1, func(p *phdr) { p.offset = 1<<64 - 0xf00 }), want: sallyport.LoadTruncated},
		{name: "more in the file", change: with(1, func(p *phdr) { p.memsz = 0x1ff }), want: sallyport.LoadSegmentSize},
		{name: "read-only zeroes", change: with(1, func(p *phdr) { p.flags = flagRead }), want: sallyport.LoadSegmentSize},
		{name: "unaligned", change: with(1, func(p *phdr) { p.addr++ }), want: sallyport.LoadUnaligned},
		{name: "odd alignment", change: with(1, func(p *phdr) { p.align = 3 << 12 }), want: sallyport.LoadUnaligned},
		{name: "huge alignment", change: with(1, func(p *phdr) { p.align = 1 << 30 }), want: sallyport.LoadUnaligned},
		{name: "low address", change: with(0, func(p *phdr) { p.addr = 0 }), want: sallyport.LoadAddress},
		{name: "kernel address", change: with(1, func(p *phdr) { p.addr = 0xffffffff80000100 }), want: sallyport.LoadAddress},
		{name: "huge", change: with(1, func(p *phdr) { p.memsz = maxAddress }), want: sallyport.LoadAddress},
		{name: "size wraps around", change: with(1, func(p *phdr) { p.memsz = 1<<64 - 1 }), want: sallyport.LoadAddress},
		{name: "wide", kind: typeDyn, change: with(1, func(p *phdr) { p.addr += maxSpan }), want: sallyport.LoadAddress},
		{name: "wide but fixed", change: with(1, func(p *phdr) { p.addr += maxSpan }), want: sallyport.LoadOK},
		{name: "overlap", change: with(1, func(p *phdr) { p.addr = 0x400100 }), want: sallyport.LoadOverlap},
		{name: "out of order", change: func(h []phdr) []phdr { h[0], h[1] = h[1], h[0]; return h }, want: sallyport.LoadOverlap},
		{name: "one page for two", change: with(1, func(p *phdr) { p.addr, p.offset = 0x400f00, 0xf00 }), want: sallyport.LoadOverlap},
		{name: "writable code", change: with(0, func(p *phdr) { p.flags |= flagWrite }), want: sallyport.LoadWriteExec},
		{name: "executable data", change: with(1, func(p *phdr) { p.flags |= flagExec }), want: sallyport.LoadWriteExec},
		{name: "executable stack", change: with(2, func(p *phdr) { p.flags |= flagExec }), want: sallyport.LoadExecStack},
		{name: "entry in data", patch: set(25, 0x11), want: sallyport.LoadEntry},
		{name: "entry nowhere", patch: fill(24, 8, 0), want: sallyport.LoadEntry},
		{name: "dynamic beyond the end", change: func(h []phdr) []phdr {
			return append(h, phdr{kind: ptDynamic, offset: someSize - 8, filesz: 16})
		}, want: sallyport.LoadDynamic},
		{name: "two dynamic sections", change: func(h []phdr) []phdr {
			return append(h, phdr{kind: ptDynamic, filesz: 16}, phdr{kind: ptDynamic, filesz: 16})
		}, want: sallyport.LoadDynamic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			headers := sound()
			if test.change != nil {
				headers = test.change(headers)
			}
			kind := uint16(typeExec)
			if test.kind != 0 {
				kind = test.kind
			}
			b := file(someSize, kind, headers)
			if test.patch != nil {
				b = test.patch(b)
			}
			var l layout
			if got := parse(b, &l); got != test.want {
				t.Errorf("%d (%s), want %d (%s)", got, got.Text(), test.want, test.want.Text())
			}
		})
	}
}

func set(at int, value byte) func([]byte) []byte { return fill(at, 1, value) }

func fill(at, n int, value byte) func([]byte) []byte {
	return func(b []byte) []byte {
		copy(b[at:at+n], bytes.Repeat([]byte{value}, n))
		return b
	}
}

func with(i int, change func(*phdr)) func([]phdr) []phdr {
	return func(h []phdr) []phdr {
		change(&h[i])
		return h
	}
}

// TestDynamic decides over programs with an interpreter by their dynamic section.
func TestDynamic(t *testing.T) {
	const table, relocs = 0x1100, 0x1200 // in the writable segment, as are the words relocated
	const where = 0x401180
	tests := []struct {
		name     string
		entries  []uint64 // tag, value, …
		noInterp bool
		relocs   []uint64 // r_offset, r_info, r_addend, …
		count    uint64
		want     sallyport.LoadError
	}{
		{name: "none"},
		{name: "as go build makes it", entries: []uint64{dtRela, 0x401200, dtRelaSz, 48, dtRelaEnt, 24, dtNull, 0},
			relocs: []uint64{where, relRelative, 0x400800, where + 8, relRelative, 0}, count: 2},
		{name: "in .bss", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{0x4060f8, relRelative, 0}, count: 1},
		{name: "after .bss", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{0x4060f9, relRelative, 0}, want: sallyport.LoadRelocation},
		{name: "a library", entries: []uint64{dtNeeded, 1, dtNull, 0}, want: sallyport.LoadShared},
		{name: "a library, no interpreter", noInterp: true, entries: []uint64{dtNeeded, 1, dtNull, 0}, want: sallyport.LoadShared},
		{name: "static PIE", noInterp: true, entries: []uint64{dtRela, 1, dtRelaSz, 1 << 40, dtInit, 5, dtNull, 0}},
		{name: "symbol", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{where, 1<<32 | relRelative, 0}, want: sallyport.LoadInterpreter},
		{name: "GLOB_DAT", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{where, 1<<32 | 6, 0}, want: sallyport.LoadInterpreter},
		{name: "IRELATIVE", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{where, 37, 0}, want: sallyport.LoadInterpreter},
		{name: "in code", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{0x400800, relRelative, 0}, want: sallyport.LoadTextRelocation},
		{name: "nowhere", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtNull, 0}, relocs: []uint64{1<<64 - 4, relRelative, 0}, want: sallyport.LoadRelocation},
		{name: "table outside the file", entries: []uint64{dtRela, 0x4012f0, dtRelaSz, 24, dtNull, 0}, want: sallyport.LoadRelocation},
		{name: "table wraps around", entries: []uint64{dtRela, 0x401200, dtRelaSz, 1<<64 - 16, dtNull, 0}, want: sallyport.LoadRelocation},
		{name: "half an entry", entries: []uint64{dtRela, 0x401200, dtRelaSz, 23, dtNull, 0}, want: sallyport.LoadRelocation},
		{name: "entry size", entries: []uint64{dtRela, 0x401200, dtRelaSz, 24, dtRelaEnt, 0, dtNull, 0}, want: sallyport.LoadRelocation},
		{name: "DT_TEXTREL", entries: []uint64{dtTextRel, 0, dtNull, 0}, want: sallyport.LoadTextRelocation},
		{name: "DF_TEXTREL", entries: []uint64{dtFlags, flagTextRel, dtNull, 0}, want: sallyport.LoadTextRelocation},
		{name: "DT_INIT", entries: []uint64{dtInit, 0x400900, dtNull, 0}, want: sallyport.LoadInterpreter},
		{name: "DT_JMPREL", entries: []uint64{dtPltRelSz, 24, dtNull, 0}, want: sallyport.LoadInterpreter},
		{name: "DT_RELR", entries: []uint64{dtRelrSz, 8, dtNull, 0}, want: sallyport.LoadInterpreter},
		{name: "endless", entries: []uint64{dtFlags, 0, dtFlags, 0}, want: sallyport.LoadDynamic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			headers := sound()
			if len(test.entries) > 0 {
				headers = append(headers, phdr{kind: ptDynamic, offset: table, addr: 0x401100, filesz: uint64(8 * len(test.entries))})
			}
			if !test.noInterp {
				headers = append(headers, phdr{kind: ptInterp})
			}
			b := file(someSize, typeDyn, headers)
			for i, v := range test.entries {
				binary.LittleEndian.PutUint64(b[table+8*i:], v)
			}
			for i, v := range test.relocs {
				binary.LittleEndian.PutUint64(b[relocs+8*i:], v)
			}
			var l layout
			if err := parse(b, &l); err != sallyport.LoadOK {
				t.Fatalf("parse: %s", err.Text())
			}
			got, err := findRelocations(b, &l)
			if err != test.want || got.count != test.count {
				t.Errorf("%d relocations, %d (%s), want %d, %d (%s)", got.count, err, err.Text(), test.count, test.want, test.want.Text())
			}
		})
	}
}

func TestTexts(t *testing.T) {
	seen := map[string]bool{}
	for e := sallyport.LoadOK; ; e++ {
		text := e.Text()
		if text == "" || seen[text] {
			t.Errorf("error %d: %q", e, text)
		}
		seen[text] = true
		if strings.HasPrefix(text, "for a reason") {
			break
		}
	}
	if len(seen) != int(sallyport.LoadImage)+2 {
		t.Errorf("%d texts", len(seen))
	}
}

// FuzzParse gives the reader every kind of file. Whatever it accepts must be safe to
// map: within the file, within user space, in order, never writable code.
func FuzzParse(f *testing.F) {
	f.Add(file(someSize, typeExec, sound()))
	f.Add(file(someSize, typeDyn, append(sound(), phdr{kind: ptInterp}, phdr{kind: ptDynamic, offset: 0x1100, addr: 0x401100, filesz: 64})))
	f.Add(file(0x1000, typeExec, sound()[:1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l layout
		if parse(b, &l) != sallyport.LoadOK {
			return
		}
		var last uint64
		for i := range l.count {
			s := l.segments[i]
			if s.first() < last || s.end() > pageUp(maxAddress) || s.end() <= s.first() {
				t.Errorf("segment %d: %+v", i, s)
			}
			if s.offset+s.file > uint64(len(b)) || s.offset+s.file < s.offset || s.file > s.memory {
				t.Errorf("segment %d of %d bytes: %+v", i, len(b), s)
			}
			if s.prot&abi.ProtWrite != 0 && s.prot&abi.ProtExec != 0 {
				t.Errorf("segment %d is writable code", i)
			}
			last = s.end()
		}
		for _, random := range []uint64{0, 12345, 1<<64 - 1} {
			if bias := l.bias(random); l.moves && (l.low()+bias < pieBase-maxAlign || l.high()+bias > maxAddress || bias%l.align != 0) {
				t.Errorf("moved by %#x: %#x to %#x", bias, l.low()+bias, l.high()+bias)
			}
		}
		r, err := findRelocations(b, &l)
		if err == sallyport.LoadOK && (r.count > uint64(len(b)) || !within(r.offset, r.count*relaSize, uint64(len(b)))) {
			t.Errorf("relocations %+v in %d bytes", r, len(b))
		}
	})
}
