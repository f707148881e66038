// SPDX-License-Identifier: Apache-2.0

package program

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/shim/mem"
)

// Where things are in the physical memory of a test.
const (
	arenaSize = 1 << 30 // address space only
	rootGPA   = 0x1000
	imageGPA  = 0x200_0000
	heapGPA   = 0x800_0000
	heapSize  = 32 << 20
)

// arena is a Keep's memory with a program image in it.
type arena struct {
	space *mem.Space
	image Image
	bytes []byte
}

// newArena gives a program a heap that may grow to limit bytes.
func newArena(t *testing.T, file []byte, limit uint64) *arena {
	t.Helper()
	all, err := unix.Mmap(-1, 0, arenaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(all) })
	copy(all[imageGPA:], file)
	a := &arena{space: new(mem.Space), bytes: all}
	ok := a.space.Init(unsafe.Pointer(&all[0]), rootGPA, heapGPA, min(heapSize, limit), limit, mem.Hooks{
		Flush:     func() {},
		Shootdown: func(uint32) {},
		Grow:      func(_ uint32, gpa, bytes uint64) bool { return gpa+bytes <= arenaSize },
		Release:   func(uint32, uint64, uint64) {},
	})
	if !ok {
		t.Fatal("the heap was refused")
	}
	a.image = At(unsafe.Pointer(&all[imageGPA]), imageGPA, uint64(len(file)))
	return a
}

// frame returns a fresh page of the shim's.
func (a *arena) frame(t *testing.T) (gpa uint64, page []byte) {
	t.Helper()
	gpa, ok := a.space.AllocFrame(0)
	if !ok {
		t.Fatal("no frame")
	}
	return gpa, a.bytes[gpa : gpa+4096]
}
