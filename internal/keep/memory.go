// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"enarx.dev/enarx/internal/sallyport"
)

// mapping is one memory slot: guest memory and where the host has it.
type mapping struct {
	gpa uint64
	mem []byte
}

func (m *mapping) end() uint64 { return m.gpa + uint64(len(m.mem)) }

// memory is all memory of a Keep. It is mapped outside Go's heap and backed
// page by page when the guest first touches it.
type memory struct {
	shared []byte // the slots of the vCPUs, at sallyport.SharedGPA
	limit  uint64 // of the heap's bytes

	mu    sync.Mutex
	slots []mapping // by number of slot
	heap  uint64    // end of the heap
}

func (r *Region) check() error {
	switch {
	case r.GPA%sallyport.PageSize != 0 || r.Size%sallyport.PageSize != 0 || r.Size == 0:
		return fmt.Errorf("%#x bytes at %#x are not whole pages", r.Size, r.GPA)
	case r.GPA+r.Size < r.GPA || r.GPA+r.Size > sallyport.HeapGPA:
		return fmt.Errorf("%#x bytes at %#x reach into the heap", r.Size, r.GPA)
	case r.File != nil && r.Parts != nil:
		return errors.New("both data and a file")
	case r.Offset%sallyport.PageSize != 0:
		return fmt.Errorf("offset %#x in the file is not a whole page", r.Offset)
	}
	for _, p := range r.Parts {
		if p.Offset > r.Size || uint64(len(p.Data)) > r.Size-p.Offset {
			return fmt.Errorf("%d bytes of data at %#x of %#x", len(p.Data), p.Offset, r.Size)
		}
	}
	return nil
}

// populate maps the regions, the first chunk of the heap, and the shared slots.
func (k *Keep) populate() error {
	if err := k.fail("memory"); err != nil {
		return err
	}
	for i := range k.cfg.Regions {
		r := &k.cfg.Regions[i]
		mem, err := r.mmap()
		if err != nil {
			return fmt.Errorf("region %d: %w", i, err)
		}
		if err := k.addSlot(r.GPA, mem, r.ReadOnly); err != nil {
			return err
		}
	}
	k.mem.limit = k.cfg.Memory
	k.mem.heap = sallyport.HeapGPA
	if err := k.grow(sallyport.HeapGPA, sallyport.MinHeap); err != nil {
		return err
	}
	mem, err := anonymous(uint64(k.cfg.MaxCPUs) * sallyport.SlotSize)
	if err != nil {
		return err
	}
	if err := k.addSlot(sallyport.SharedGPA, mem, false); err != nil {
		return err
	}
	k.mem.shared = mem
	return nil
}

// mmap gives a region its memory.
func (r *Region) mmap() ([]byte, error) {
	if r.File == nil {
		mem, err := anonymous(r.Size)
		if err == nil {
			for _, p := range r.Parts {
				copy(mem[p.Offset:], p.Data)
			}
		}
		return mem, err
	}
	info, err := r.File.Stat()
	if err != nil {
		return nil, err
	}
	// Beyond the page with the file's last byte there is no memory.
	if last := (info.Size() + sallyport.PageSize - 1) &^ (sallyport.PageSize - 1); r.Offset < 0 || uint64(last) < uint64(r.Offset)+r.Size {
		return nil, fmt.Errorf("%s has %d bytes, not %d from %d", r.File.Name(), info.Size(), r.Size, r.Offset)
	}
	prot := syscall.PROT_READ
	if !r.ReadOnly {
		prot |= syscall.PROT_WRITE
	}
	mem, err := syscall.Mmap(int(r.File.Fd()), r.Offset, int(r.Size), prot, syscall.MAP_PRIVATE)
	return mem, os.NewSyscallError("mmap", err)
}

// anonymous maps memory that costs nothing before it is used.
func anonymous(size uint64) ([]byte, error) {
	mem, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("%d bytes: %w", size, os.NewSyscallError("mmap", err))
	}
	return mem, nil
}

// addSlot gives mem, which it then owns, to the guest.
func (k *Keep) addSlot(gpa uint64, mem []byte, readOnly bool) error {
	if err := k.vm.SetMemory(uint32(len(k.mem.slots)), gpa, mem, readOnly); err != nil {
		syscall.Munmap(mem)
		return err
	}
	k.mem.slots = append(k.mem.slots, mapping{gpa, mem})
	return nil
}

// errRange means an address or a length that the shim has no business with.
var errRange = errors.New("outside the heap")

// errLimit means that the Keep has all the memory it may have.
var errLimit = errors.New("no more memory for this Keep")

// grow appends a chunk to the heap. The shim says where it expects it, so
// that both sides cannot come to disagree.
func (k *Keep) grow(gpa, size uint64) error {
	m := &k.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case gpa != m.heap || size == 0 || size%sallyport.HeapChunk != 0:
		return errRange
	case size > m.limit-(m.heap-sallyport.HeapGPA):
		return errLimit
	}
	mem, err := anonymous(size)
	if err != nil {
		return err
	}
	if err := k.addSlot(gpa, mem, false); err != nil {
		return err
	}
	m.heap += size
	return nil
}

// release gives pages of the heap back to the host. The guest may use them
// again, and then finds zeroes.
func (k *Keep) release(gpa, size uint64) error {
	m := &k.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	end := gpa + size
	if gpa%sallyport.PageSize != 0 || size%sallyport.PageSize != 0 || size == 0 ||
		end < gpa || gpa < sallyport.HeapGPA || end > m.heap {
		return errRange
	}
	for i := range m.slots {
		s := &m.slots[i]
		from, to := max(gpa, s.gpa), min(end, s.end())
		if from >= to {
			continue
		}
		if err := syscall.Madvise(s.mem[from-s.gpa:to-s.gpa], syscall.MADV_DONTNEED); err != nil {
			return os.NewSyscallError("madvise", err)
		}
	}
	return nil
}

// bytes returns the host's view of guest memory that lies in one slot, or nil.
func (m *memory) bytes(gpa, size uint64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.slots {
		s := &m.slots[i]
		if gpa >= s.gpa && gpa < s.end() && size <= s.end()-gpa {
			return s.mem[gpa-s.gpa:][:size:size]
		}
	}
	return nil
}

// unmap ends all memory. No vCPU is left.
func (m *memory) unmap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.slots {
		syscall.Munmap(m.slots[i].mem)
	}
	m.slots, m.shared = nil, nil
}
