// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// The layout is a contract between two programs: a change here is a new version
// of the protocol.
func TestLayout(t *testing.T) {
	got := []int{BlockSize, DataOffset, DataSize, offSeq, offNr, offArgs, offReplySeq, offRet, PayloadOffset, PayloadSize,
		SlotSize, BlockPage*PageSize + BlockSize, OpSpawn, OpLog, HandleBits, ReportSize, bootSize}
	want := []int{69632, 0x100, 69376, 0, 8, 0x10, 0x40, 0x48, 0x40, 69312,
		24 * 4096, ParkPage * PageSize, 0x10000, 0x10009, 12, 200, 0x58}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if MaxCPUs*SlotSize > 1<<30 || HeapGPA+MaxHeap != SharedGPA || ArgsGPA != BootGPA+PageSize {
		t.Error("regions overlap")
	}
}

func goodBoot() Boot {
	return Boot{MaxCPUs: 64, Descriptors: 5, HeapLimit: 1 << 30, TSCKHz: 2_500_000, Wall: 1_800_000_000_000_000_000,
		ExecGPA: ExecGPA, ExecSize: 123456, Argc: 2, Envc: 1, ArgsLength: 20, Flags: FlagTrace, HostCPUs: 2}
}

func TestBoot(t *testing.T) {
	page := make([]byte, PageSize)
	want := goodBoot()
	EncodeBoot(&want, page)
	got, ok := DecodeBoot(page)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Error(ok, diff)
	}
	for name, change := range map[string]func(*Boot){
		"no vCPU":              func(b *Boot) { b.MaxCPUs = 0 },
		"too many vCPUs":       func(b *Boot) { b.MaxCPUs = MaxCPUs + 1 },
		"too many descriptors": func(b *Boot) { b.Descriptors = MaxDescriptors + 1 },
		"little heap":          func(b *Boot) { b.HeapLimit = MinHeap - HeapChunk },
		"heap into the slots":  func(b *Boot) { b.HeapLimit = MaxHeap + HeapChunk },
		"odd heap":             func(b *Boot) { b.HeapLimit++ },
		"slow clock":           func(b *Boot) { b.TSCKHz = MinTSCKHz - 1 },
		"fast clock":           func(b *Boot) { b.TSCKHz = MaxTSCKHz + 1 },
		"long ago":             func(b *Boot) { b.Wall = minWall - 1 },
		"far future":           func(b *Boot) { b.Wall = maxWall + 1 },
		"exec in the shim":     func(b *Boot) { b.ExecGPA = 0x20_0000 },
		"exec off its page":    func(b *Boot) { b.ExecGPA++ },
		"exec in the heap":     func(b *Boot) { b.ExecGPA = HeapGPA },
		"no exec":              func(b *Boot) { b.ExecSize = 0 },
		"exec into the heap":   func(b *Boot) { b.ExecSize = HeapGPA - b.ExecGPA + 1 },
		"exec around":          func(b *Boot) { b.ExecSize = ^uint64(0) },
		"no argument":          func(b *Boot) { b.Argc = 0 },
		"too many arguments":   func(b *Boot) { b.Argc = 1 << 31 },
		"counts that overflow": func(b *Boot) { b.Argc, b.Envc = 1<<31, 1<<31 },
		"more than bytes":      func(b *Boot) { b.ArgsLength = 2 },
		"too many bytes":       func(b *Boot) { b.ArgsLength = ArgsSize + 1 },
		"no processor":         func(b *Boot) { b.HostCPUs = 0 },
		"unknown flag":         func(b *Boot) { b.Flags |= 1 << 9 },
	} {
		b := goodBoot()
		change(&b)
		EncodeBoot(&b, page)
		if _, ok := DecodeBoot(page); ok {
			t.Errorf("%s is accepted", name)
		}
	}
	EncodeBoot(&want, page)
	for _, off := range []int{offMagic, offVersion} {
		bad := slices.Clone(page)
		bad[off]++
		if _, ok := DecodeBoot(bad); ok {
			t.Errorf("a changed byte at %d is accepted", off)
		}
	}
	if _, ok := DecodeBoot(page[:bootSize-1]); ok {
		t.Error("a short page is accepted")
	}
}

func TestArgs(t *testing.T) {
	b := Boot{Argc: 2, Envc: 1, ArgsLength: 8}
	for blob, want := range map[string]bool{
		"a\x00bc\x00d\x00":     false,
		"a\x00bc\x00dd\x00":    true,
		"a\x00bc\x00dd\x00xyz": true,
		"a\x00bc\x00ddd":       false,
		"a\x00\x00c\x00dd\x00": false,
		"\x00\x00abcde":        false,
	} {
		if got := b.CheckArgs([]byte(blob)); got != want {
			t.Errorf("%q: %v", blob, got)
		}
	}
	if new(Boot).CheckArgs(nil) {
		t.Error("nothing is accepted")
	}
}

func TestReport(t *testing.T) {
	r := Report{1, 2, 3, 4, 5, 6, 7, 8, 9, [16]uint64{10, 15: 11}}
	b := make([]byte, ReportSize)
	var got Report
	if !r.Encode(b) || !got.Decode(b) || got != r {
		t.Errorf("%+v became %+v", r, got)
	}
	if r.Encode(b[1:]) || got.Decode(b[1:]) {
		t.Error("a short report is accepted")
	}
}

// FuzzDecode: whatever a page holds, a decoded boot page is in range, and is
// encoded as the same bytes.
func FuzzDecode(f *testing.F) {
	page := make([]byte, PageSize)
	good := goodBoot()
	EncodeBoot(&good, page)
	f.Add(page[:bootSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Report
		r.Decode(b)
		boot, ok := DecodeBoot(b)
		if !ok {
			return
		}
		if boot.MaxCPUs > MaxCPUs || boot.HeapLimit > MaxHeap || boot.ExecGPA+boot.ExecSize > HeapGPA || boot.ArgsLength > ArgsSize ||
			boot.Argc+boot.Envc > boot.ArgsLength {
			t.Errorf("%+v is accepted", boot)
		}
		boot.CheckArgs(b)
		EncodeBoot(&boot, page)
		if string(page[:bootUsed]) != string(b[:bootUsed]) {
			t.Error("encoded differently")
		}
	})
}

// bootUsed is bootSize without the padding at its end.
const bootUsed = offHostCPUs + 4

// aligned returns a block as shared memory is: on an 8-byte boundary.
func aligned() []byte {
	words := make([]uint64, BlockSize/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), BlockSize)
}

func TestCall(t *testing.T) {
	block := aligned()
	var p Port
	var seqs []uint64
	p.Init(unsafe.Pointer(&block[0]), 3, func(index uint32) {
		var r Request
		if !ReadRequest(block, &r) || index != 3 || r.Nr != OpPark || r.Args != [6]uint64{1, 2, 3, 4, 5, 6} {
			t.Errorf("request %+v of %d", r, index)
		}
		seqs = append(seqs, r.Seq)
		Reply(block, r.Seq, -4)
	})
	for range 3 {
		if ret := p.Call(OpPark, 1, 2, 3, 4, 5, 6); ret != -4 || p.Broken {
			t.Error(ret, p.Broken)
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, seqs); diff != "" {
		t.Error(diff)
	}
}

// A reply is believed once, for the request whose number it carries, and a host
// that gives none is asked a limited number of times.
func TestReplay(t *testing.T) {
	for name, lie := range map[string]func(block []byte, seq uint64){
		"no reply":         func([]byte, uint64) {},
		"the one before":   func(block []byte, seq uint64) { Reply(block, seq-1, 0) },
		"the one to come":  func(block []byte, seq uint64) { Reply(block, seq+1, 0) },
		"request, renamed": func(block []byte, seq uint64) { store64(block, offSeq, seq-1); Reply(block, seq-1, 0) },
	} {
		block, exits, honest := aligned(), 0, true
		var p Port
		p.Init(unsafe.Pointer(&block[0]), 0, func(uint32) {
			exits++
			if seq := load64(block, offSeq); honest {
				Reply(block, seq, 7)
			} else {
				lie(block, p.seq)
			}
		})
		if p.Call(1, 0, 0, 0, 0, 0, 0) != 7 {
			t.Fatal("an honest reply is refused")
		}
		exits, honest = 0, false
		if ret := p.Call(1, 0, 0, 0, 0, 0, 0); ret != -5 || !p.Broken || exits != maxTries {
			t.Errorf("%s: %d, broken %v, %d exits", name, ret, p.Broken, exits)
		}
	}
}

func TestReadRequest(t *testing.T) {
	block := aligned()
	var r Request
	for nr, want := range map[uint64]bool{0: true, MaxNr - 1: true, MaxNr: false, OpFirst - 1: false, OpSpawn: true, OpLog: true, opEnd: false, ^uint64(0): false} {
		store64(block, offNr, nr)
		if got := ReadRequest(block, &r); got != want {
			t.Errorf("number %#x: %v", nr, got)
		}
	}
	if ReadRequest(block[:BlockSize-1], &r) {
		t.Error("a short block is accepted")
	}
}

// Accesses by offset stay in the data.
func TestBounds(t *testing.T) {
	block := aligned()
	var p Port
	p.Init(unsafe.Pointer(&block[0]), 0, func(uint32) {})
	p.Store64(DataSize-8, 1<<56|5)
	p.Store32(0, 9)
	for _, off := range []uint32{DataSize - 7, DataSize, ^uint32(0)} {
		p.Store64(off, ^uint64(0))
		p.Store32(off+4, ^uint32(0))
		if p.Load64(off) != 0 || p.Load32(off+4) != 0 && off+4 > DataSize-4 {
			t.Errorf("offset %#x is served", off)
		}
	}
	if p.Load64(DataSize-8) != 1<<56|5 || p.Load32(0) == 0 || block[DataOffset+DataSize-1] != 1 {
		t.Error("the last word is not where it was put")
	}
}
