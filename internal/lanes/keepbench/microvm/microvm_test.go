// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/kvm"
)

// The numbers are those that a C compiler makes of linux/kvm.h.
func TestRequests(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"KVM_GET_SUPPORTED_CPUID":    {ioCPUID, 0xc008ae05},
		"KVM_SET_USER_MEMORY_REGION": {ioSetMemory, 0x4020ae46},
		"KVM_CREATE_IRQCHIP":         {ioCreateIRQs, 0xae60},
		"KVM_CREATE_PIT2":            {ioCreatePIT, 0x4040ae77},
		"KVM_RUN":                    {ioRun, 0xae80},
		"KVM_SET_REGS":               {ioSetRegs, 0x4090ae82},
		"KVM_GET_SREGS":              {ioGetSregs, 0x8138ae83},
		"KVM_SET_SREGS":              {ioSetSregs, 0x4138ae84},
		"KVM_SET_CPUID2":             {ioSetCPUID, 0x4008ae90},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", name, c.got, c.want)
		}
	}
	var r region
	if at := unsafe.Offsetof(r.gpa); at != 8 {
		t.Errorf("guest_phys_addr at %d", at)
	}
	if at := unsafe.Offsetof(r.memory); at != 24 {
		t.Errorf("userspace_addr at %d", at)
	}
	var c cpuidTable
	if at, size := unsafe.Offsetof(c.entries), unsafe.Sizeof(c.entries[0]); at != 8 || size != 40 {
		t.Errorf("CPUID entries of %d bytes at %d", size, at)
	}
}

func TestBootParams(t *testing.T) {
	page := make([]byte, pageSize)
	bootParams(page, 0x700_0000, 0x1234, 99, 128<<20)
	le := binary.LittleEndian
	for name, c := range map[string]struct{ got, want uint64 }{
		"boot_flag":        {uint64(le.Uint16(page[0x1fe:])), 0xaa55},
		"header":           {uint64(le.Uint32(page[0x202:])), 0x53726448},
		"type_of_loader":   {uint64(page[0x210]), 0xff},
		"ramdisk_image":    {uint64(le.Uint32(page[0x218:])), 0x700_0000},
		"ramdisk_size":     {uint64(le.Uint32(page[0x21c:])), 0x1234},
		"cmd_line_ptr":     {uint64(le.Uint32(page[0x228:])), 0x2_0000},
		"cmdline_size":     {uint64(le.Uint32(page[0x238:])), 99},
		"e820_entries":     {uint64(page[0x1e8]), 2},
		"e820[0].size":     {le.Uint64(page[0x2d0+8:]), 0x9fc00},
		"e820[0].type":     {uint64(le.Uint32(page[0x2d0+16:])), 1},
		"e820[1].addr":     {le.Uint64(page[0x2d0+20:]), 0x10_0000},
		"e820[1].size":     {le.Uint64(page[0x2d0+28:]), 128<<20 - 0x10_0000},
		"e820[1].type":     {uint64(le.Uint32(page[0x2d0+36:])), 1},
		"kernel_alignment": {uint64(le.Uint32(page[0x230:])), 0x100_0000},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", name, c.got, c.want)
		}
	}
}

func TestLongMode(t *testing.T) {
	mem := make([]byte, 0x1_0000)
	pageTables(mem)
	segments(mem[gdtAt:])
	le := binary.LittleEndian
	// As the processor walks: the address 0x1234_5678 is itself.
	const address = 0x1234_5678
	pdpt := le.Uint64(mem[pml4At+8*(address>>39&511):]) &^ 0xfff
	pd := le.Uint64(mem[pdpt+8*(address>>30&511):]) &^ 0xfff
	entry := le.Uint64(mem[pd+8*(address>>21&511):])
	if want := uint64(address&^(hugePage-1) | 0x83); entry != want {
		t.Errorf("page table entry %#x, want %#x", entry, want)
	}
	var s kvm.Sregs
	longMode(&s)
	code := le.Uint64(mem[gdtAt+uint64(s.CS.Selector):])
	if code>>53&1 != 1 || code>>40&0xf != 0xb || s.CS.L != 1 {
		t.Errorf("code segment %#x is not a 64-bit one", code)
	}
	if s.EFER != 0x500 || s.CR4&cr4PAE == 0 || s.CR0&(1<<31|1) != 1<<31|1 || s.CR3 != pml4At {
		t.Errorf("not long mode: CR0 %#x CR3 %#x CR4 %#x EFER %#x", s.CR0, s.CR3, s.CR4, s.EFER)
	}
}

func TestDecodeExit(t *testing.T) {
	le := binary.LittleEndian
	run := make([]byte, 0x2000)
	le.PutUint32(run[8:], kvm.ExitIO)
	run[32], run[33] = 1, 2
	le.PutUint16(run[34:], 0x3f8)
	le.PutUint32(run[36:], 1)
	le.PutUint64(run[40:], 0x1000)
	run[0x1000], run[0x1001] = 7, 8
	e := decodeExit(run)
	if !e.out || e.address != 0x3f8 || !bytes.Equal(e.data, []byte{7, 8}) {
		t.Errorf("port access decoded as %+v", e)
	}
	run = make([]byte, 0x2000)
	le.PutUint32(run[8:], kvm.ExitMMIO)
	le.PutUint64(run[32:], 0xfee0_0000)
	le.PutUint32(run[48:], 4)
	e = decodeExit(run)
	if e.out || e.address != 0xfee0_0000 || len(e.data) != 4 {
		t.Errorf("memory access decoded as %+v", e)
	}
	e.data[0] = 0xff
	if run[40] != 0xff {
		t.Error("what a read returns does not get to KVM")
	}
}

func TestPorts(t *testing.T) {
	var console bytes.Buffer
	m := &machine{serial: serial{out: &console}}
	out := func(port uint64, b byte) { m.port(exit{out: true, address: port, data: []byte{b}}) }
	in := func(port uint64) byte {
		data := []byte{0x55}
		m.port(exit{address: port, data: data})
		return data[0]
	}
	out(serialPort+regLine, latch|3)
	out(serialPort+regData, 1) // divisor
	out(serialPort+regLine, 3)
	out(serialPort+regData, 'a')
	out(serialPort+regData, 'b')
	if diff := cmp.Diff("ab", console.String()); diff != "" {
		t.Errorf("console (-want +got):\n%s", diff)
	}
	for port, want := range map[uint64]byte{
		serialPort + regLine: 3, serialPort + regLineStatus: canSend, serialPort + regID: nothingNew,
		cmosData: 0, 0x64: 0xff, 0xcfc: 0xff,
	} {
		if got := in(port); got != want {
			t.Errorf("IN %#x = %#x, want %#x", port, got, want)
		}
	}
}

func TestAdjustCPUID(t *testing.T) {
	e := kvm.CPUIDEntry{Function: 1, EBX: 0x0102_0304}
	adjustCPUID(&e)
	if e.EBX != 0x0002_0304 || e.ECX != 1<<31|1<<24 {
		t.Errorf("leaf 1: EBX %#x ECX %#x", e.EBX, e.ECX)
	}
}

func TestInitramfs(t *testing.T) {
	const header = 110
	got := Initramfs([]byte("program"))
	if len(got)%4 != 0 || string(got[:6]) != "070701" || string(got[14:22]) != "000081ED" || string(got[54:62]) != "00000007" {
		t.Fatalf("header %q", got[:header])
	}
	if name, data := string(got[header:header+5]), string(got[116:123]); name != "init\x00" || data != "program" {
		t.Errorf("name %q data %q", name, data)
	}
	if !bytes.Contains(got[124:], []byte("TRAILER!!!\x00")) {
		t.Error("no trailer")
	}
}
