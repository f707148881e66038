// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/spin"
)

// The physical memory of a test: page tables of the boot, an image, the heap.
const (
	testRoot   = 0x8000
	testImage  = 0x10_0000
	imagePages = 64
	testShim   = 0x18_0000
	testHeap   = 0x40_0000
)

func TestMain(m *testing.M) {
	spin.Relax = func(uint32) { runtime.Gosched() }
	os.Exit(m.Run())
}

// tlb is what a vCPU remembers of the page tables, as long as the CPUs' manuals allow.
type tlb struct {
	pages  map[uint64]uint64 // from page to entry
	tables map[uint64]uint64 // from 2 MiB of addresses to their leaf table
}

func (c *tlb) forget() {
	clear(c.pages)
	clear(c.tables)
}

// machine is a Space with vCPUs whose TLBs never forget by themselves.
type machine struct {
	*Space
	t        testing.TB
	ram      []byte
	heap     uint64 // bytes granted
	first    uint64
	limit    uint64
	refuse   bool // the host gives no memory
	released uint64
	flushes  int
	shoots   int
	base     Stats

	mu   sync.Mutex
	tlbs []tlb // of each vCPU
	cpu  int   // the vCPU that is in the shim; single-threaded tests only
}

// newMachine makes a machine with one or more vCPUs.
func newMachine(t testing.TB, first, limit uint64, cpus int) *machine {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, testHeap+int(limit), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(ram); err != nil {
			t.Error(err)
		}
	})
	m := &machine{Space: new(Space), t: t, ram: ram, heap: first, first: first, limit: limit}
	for range cpus {
		m.tlbs = append(m.tlbs, tlb{map[uint64]uint64{}, map[uint64]uint64{}})
	}
	for p := range imagePages {
		at := testImage + p*pageSize
		for i := 0; i < pageSize; i += 8 {
			binary.LittleEndian.PutUint64(ram[at+i:], imageWord(p))
		}
	}
	m.soil(testHeap, first)
	if !m.Init(unsafe.Pointer(&ram[0]), testRoot, testHeap, first, limit, m.hooks()) {
		t.Fatal("Init refused the heap")
	}
	m.base = m.Stats()
	return m
}

func imageWord(p int) uint64 { return 0x1111_0000 + uint64(p) }

// soil fills memory with what a hostile host might leave there.
func (m *machine) soil(gpa, n uint64) {
	for at := gpa; at < gpa+n; at += pageSize {
		m.ram[at], m.ram[at+pageSize-1] = 0xa5, 0x5a
	}
}

func (m *machine) hooks() Hooks {
	return Hooks{
		Flush: func() {
			m.mu.Lock()
			m.flushes++
			m.tlbs[m.cpu].forget()
			m.mu.Unlock()
		},
		Shootdown: func(cpu uint32) {
			m.mu.Lock()
			m.shoots++
			for i := range m.tlbs {
				if i != int(cpu) {
					m.tlbs[i].forget()
				}
			}
			m.mu.Unlock()
		},
		Grow: func(_ uint32, gpa, bytes uint64) bool {
			if gpa != testHeap+m.heap || bytes == 0 || bytes%chunkSize != 0 || m.heap+bytes > m.limit {
				m.t.Errorf("Grow(%#x, %#x) with %#x bytes of heap", gpa, bytes, m.heap)
			}
			if m.refuse {
				return false
			}
			m.heap += bytes
			m.soil(gpa, bytes)
			return true
		},
		Release: func(_ uint32, gpa, bytes uint64) {
			if gpa < testHeap || bytes == 0 || (gpa|bytes)%chunkSize != 0 || gpa+bytes > testHeap+m.heap {
				m.t.Errorf("Release(%#x, %#x)", gpa, bytes)
			}
			for i := (gpa - testHeap) / chunkSize; i < (gpa+bytes-testHeap)/chunkSize; i++ {
				if m.frames.chunk(i).free != chunkFrames {
					m.t.Errorf("chunk %d was released with frames in use", i)
				}
			}
			m.released += bytes
			m.soil(gpa, bytes)
		},
	}
}

// walk is what the CPU does: it returns a cached or newly found entry that allows
// the access, or what the page fault's error code would be.
func (m *machine) walk(cpu int, addr uint64, need uint8) (e, errcode uint64) {
	errcode = 1 << 2
	switch need {
	case abi.ProtWrite:
		errcode |= faultWrite
	case abi.ProtExec:
		errcode |= faultExec
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	page, c := addr&^pageMask, &m.tlbs[cpu]
	if e, ok := c.pages[page]; ok && permits(e, need) {
		return e, 0
	}
	delete(c.pages, page) // a fault drops the entry
	leaf, ok := c.tables[addr>>chunkShift]
	if !ok {
		leaf = testRoot
		for level := uint(topLevel); level > 1; level-- {
			e = m.phys.table(leaf).get(index(addr, level))
			if e&(ptePresent|pteUser) != ptePresent|pteUser {
				return 0, errcode
			}
			leaf = e & addrMask
		}
		c.tables[addr>>chunkShift] = leaf
	}
	e = m.phys.table(leaf).get(index(addr, 1))
	switch {
	case e&(ptePresent|pteUser) != ptePresent|pteUser:
		return 0, errcode
	case !permits(e, need):
		return 0, errcode | 1
	}
	c.pages[page] = e
	return e, 0
}

// touch is an instruction of the program that accesses memory. It returns the entry
// that it used in the end.
func (m *machine) touch(cpu int, addr uint64, need uint8) (uint64, Outcome) {
	for range 3 {
		e, errcode := m.walk(cpu, addr, need)
		if errcode == 0 {
			return e, Handled
		}
		was := m.cpu
		m.cpu = cpu
		out := m.Fault(uint32(cpu), addr, errcode)
		m.cpu = was
		if out != Handled {
			return 0, out
		}
	}
	m.t.Fatalf("access to %#x faults for ever", addr)
	return 0, 0
}

// load reads a word as the program would, and store writes one.
func (m *machine) load(cpu int, addr uint64) (uint64, Outcome) {
	e, out := m.touch(cpu, addr, abi.ProtRead)
	if out != Handled {
		return 0, out
	}
	return *m.phys.word64(e&addrMask, addr&pageMask), out
}

func (m *machine) store(cpu int, addr, v uint64) Outcome {
	e, out := m.touch(cpu, addr, abi.ProtWrite)
	if out == Handled {
		*m.phys.word64(e&addrMask, addr&pageMask) = v
	}
	return out
}

// want fails the test unless a call returned what it should.
func want(t testing.TB, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Fatalf("%s = %#x (%d), want %#x (%d)", what, got, got, want, want)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
