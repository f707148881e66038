// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"testing"

	"enarx.dev/enarx/internal/shim/abi"
)

const benchAt = 1 << 30

// benchMachine has 256 MiB that the host of the test has backed already.
func benchMachine(b *testing.B) *machine {
	m := newMachine(b, 256<<20, 256<<20, 1)
	m.Space.hooks.Flush = func() {}
	m.Space.hooks.Shootdown = func(uint32) {}
	m.Space.hooks.Release = func(uint32, uint64, uint64) {}
	return m
}

// BenchmarkFault touches each page of 128 MiB, in order and with gaps.
func BenchmarkFault(b *testing.B) {
	for _, c := range []struct {
		name   string
		stride uint64
	}{{"rising", 1}, {"scattered", 3}} {
		b.Run(c.name, func(b *testing.B) {
			m := benchMachine(b)
			const n = 128 << 20 / pageSize
			m.Mmap(0, benchAt, n*pageSize, rw, anon|mapFixed)
			for i := 0; b.Loop(); i++ {
				at := benchAt + uint64(i)*c.stride%n*pageSize
				if m.permitted(at, abi.ProtWrite) == 0 && m.Fault(0, at, faultWrite) != Handled {
					b.Fatal("fault")
				}
				if uint64(i+1)*c.stride%n < c.stride {
					b.StopTimer()
					m.Madvise(0, benchAt, n*pageSize, madvDontNeed)
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkMmap maps and unmaps 64 KiB among many other mappings.
func BenchmarkMmap(b *testing.B) {
	for _, c := range []struct {
		name string
		n    uint64
	}{{"few", 10}, {"many", 10000}} {
		b.Run(c.name, func(b *testing.B) {
			m := benchMachine(b)
			for range c.n {
				addr := m.Mmap(0, 0, 2*pageSize, rw, anon)
				m.Munmap(0, uint64(addr), pageSize)
			}
			for b.Loop() {
				addr := m.Mmap(0, 0, 64<<10, rw, anon)
				m.Munmap(0, uint64(addr), 64<<10)
			}
		})
	}
}

// BenchmarkMmapTouch is the same with all pages touched.
func BenchmarkMmapTouch(b *testing.B) {
	m := benchMachine(b)
	for b.Loop() {
		addr := uint64(m.Mmap(0, 0, 64<<10, rw, anon))
		for at := addr; at < addr+64<<10; at += pageSize {
			if m.permitted(at, abi.ProtWrite) == 0 {
				m.Fault(0, at, faultWrite)
			}
		}
		m.Munmap(0, addr, 64<<10)
	}
}

func BenchmarkMprotect(b *testing.B) {
	m := benchMachine(b)
	m.Mmap(0, benchAt, 1<<20, rw, anon|mapFixed|mapPopulate)
	for b.Loop() {
		m.Mprotect(0, benchAt+4096, 64<<10, abi.ProtRead)
		m.Mprotect(0, benchAt+4096, 64<<10, rw)
	}
}

func BenchmarkCopyOut(b *testing.B) {
	m := benchMachine(b)
	m.Mmap(0, benchAt, 1<<20, rw, anon|mapFixed|mapPopulate)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		m.CopyOut(0, benchAt+100, buf)
	}
}

func BenchmarkLoad32(b *testing.B) {
	m := benchMachine(b)
	m.Mmap(0, benchAt, 1<<20, rw, anon|mapFixed|mapPopulate)
	for b.Loop() {
		m.Load32(0, benchAt+64)
	}
}

// BenchmarkUnmapHuge drops a reservation of 100 GiB with little in it.
func BenchmarkUnmapHuge(b *testing.B) {
	m := benchMachine(b)
	for b.Loop() {
		m.Mmap(0, benchAt, 100<<30, 0, anon|mapFixed)
		m.Mmap(0, benchAt+50<<30, pageSize, rw, anon|mapFixed)
		m.Fault(0, benchAt+50<<30, faultWrite)
		m.Munmap(0, benchAt, 100<<30)
	}
}
