// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"encoding/binary"
	"testing"

	"enarx.dev/enarx/internal/shim/abi"
)

// word returns an argument as only a hostile program would choose it.
func (in *script) word() uint64 {
	const at = 1 << 30
	few := [...]uint64{0, 1, 2, 3, 4, 5, 8, 22, 23, 0x22, 0x32, 0x8032, 0x100022, 0x62}
	switch k := in.upTo(8); k {
	case 0, 1, 2:
		return at + in.upTo(256)*pageSize
	case 3:
		return in.upTo(64) * pageSize
	case 4:
		return few[in.upTo(len(few))]
	case 5:
		return abi.UserEnd + in.upTo(5)*pageSize - 2*pageSize
	case 6:
		return -in.upTo(256) * 1024
	}
	if len(in.b) < 8 {
		return uint64(len(in.b))
	}
	v := binary.LittleEndian.Uint64(in.b)
	in.b = in.b[8:]
	return v
}

// raw makes one call with any arguments at all. What it returns is not checked.
func (m *machine) raw(in *script) {
	op, cpu := in.upTo(18), uint32(in.upTo(len(m.tlbs)))
	m.cpu = int(cpu)
	var buf [3 * pageSize]byte
	switch a, b, c, d := in.word(), in.word(), in.word(), in.word(); op {
	case 0, 1:
		m.Mmap(cpu, a, b, c, d|anon)
	case 2:
		m.Mmap(cpu, a, b, c, d)
	case 3:
		m.Munmap(cpu, a, b)
	case 4:
		m.Mprotect(cpu, a, b, c)
	case 5:
		m.Mremap(cpu, a, b, c, d)
	case 6:
		m.Madvise(cpu, a, b, c)
	case 7:
		m.Brk(cpu, a)
	case 8:
		m.Fault(cpu, a, b)
	case 9:
		m.CopyIn(cpu, buf[:b%uint64(len(buf))], a)
	case 10:
		m.CopyOut(cpu, a, buf[:b%uint64(len(buf))])
	case 11:
		m.Zero(cpu, a, b)
	case 12:
		m.CopyInString(cpu, buf[:b%uint64(len(buf))], a)
	case 13:
		m.Load32(cpu, a)
		m.Load64(cpu, a)
	case 14:
		m.Store32(cpu, a, uint32(b))
		m.Store64(cpu, a, b)
	case 15:
		m.MapImage(cpu, a, b%(imagePages*pageSize), c, testImage) // the shim names the image, not the program
	case 16:
		m.load(int(cpu), a%abi.UserEnd&^7)
		m.store(int(cpu), a%abi.UserEnd&^7, b)
	case 17:
		m.refuse = b&1 != 0
	}
}

// FuzzArguments makes calls with any arguments where memory is short.
func FuzzArguments(f *testing.F) {
	r := newRand(5)
	for n := range 12 {
		b := make([]byte, 100*(n+1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMachine(t, 2<<20, 4<<20, 2)
		m.SetBrk(1<<30 + 1<<20)
		in := &script{b[:min(len(b), 4000)]}
		for len(in.b) > 0 {
			m.raw(in)
			m.check(0)
		}
		m.cpu = 0
		want(t, "munmap of all", m.Munmap(0, 0, abi.UserEnd), 0)
		m.check(0)
	})
}
