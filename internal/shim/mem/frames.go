// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"math/bits"

	"enarx.dev/enarx/internal/shim/abi"
)

const (
	pageSize  = abi.PageSize
	pageMask  = pageSize - 1
	pageShift = 12

	chunkSize   = 2 << 20
	chunkShift  = 21
	chunkFrames = chunkSize / pageSize

	groupChunks = pageSize / chunkBytes // chunks that one frame of metadata describes
	maxHeap     = 1 << 40

	spareFrames = 4 // more than one step of growth takes: two page tables and one frame of metadata
)

// Lists of chunks. A chunk without a free frame is in none, and so is the one for
// frames that stay.
const (
	listPartial  = iota // some frames are free
	listIdle            // all are free, and the host still holds their content
	listReleased        // all are free, and the host holds nothing
	lists
	listNone = lists
)

// chunkBytes is the size of a chunk's metadata, a power of two.
const chunkBytes = 128

// chunk is what there is to know about 2 MiB of heap.
type chunk struct {
	bitmap     [chunkFrames / 64]uint64 // a set bit is a free frame
	next, prev uint32                   // neighbours in the list, as index + 1; 0 is none
	free       uint16
	list       uint8
	_          [chunkBytes - 64 - 11]byte
}

// frames is the allocator of the heap's frames. A frame is found in constant time:
// first in a chunk that is in use anyway, so that others become free as a whole and can
// go back to the host. Chunk metadata lives in frames of the heap, 32 chunks in each,
// which a directory at the start of the heap finds.
type frames struct {
	phys   phys
	heap   uint64 // GPA of the first byte
	chunks uint64 // chunks there are
	most   uint64 // chunks there may be
	step   uint64 // bytes to ask the host for next
	used   uint64 // frames in use
	dir    uint64 // GPA of the directory: a uint32 frame number for each group of chunks
	fixed  uint64 // the chunk from which frames are taken that stay
	head   [lists]uint32
	count  [lists]uint64
	spare  [spareFrames]uint64 // frames set aside for growing, which is wanted when there are no others
	spares int
}

// init takes over the first chunk of the initial heap and places the directory in it.
func (f *frames) init(direct phys, heap, heapLen, limit uint64) bool {
	limit &^= chunkSize - 1
	if heap&(chunkSize-1) != 0 || heapLen&(chunkSize-1) != 0 || heapLen == 0 || heap > physMax-maxHeap ||
		limit < heapLen || limit > maxHeap {
		return false
	}
	*f = frames{phys: direct, heap: heap, most: limit >> chunkShift, step: heapLen}
	// The directory comes first, then the metadata of the first group, which is
	// needed before any frame can be had by asking for it.
	groups := (f.most + groupChunks - 1) / groupChunks
	meta := (groups*4 + pageMask) >> pageShift
	f.dir = heap
	f.phys.zero(heap, meta+1)
	f.setGroup(0, heap+meta<<pageShift)
	f.add()
	f.move(0, f.chunk(0), listNone)
	for i := range meta + 1 {
		f.take(0, f.chunk(0), uint32(i))
	}
	return true
}

// add takes in the chunk behind the last, which is mapped in the direct map.
func (f *frames) add() bool {
	i := f.chunks
	if i%groupChunks == 0 && i != 0 {
		gpa, ok := f.takeSpare()
		if !ok {
			return false
		}
		f.phys.zero(gpa, 1)
		f.setGroup(i/groupChunks, gpa)
	}
	f.chunks++
	c := f.chunk(i)
	for w := range c.bitmap {
		c.bitmap[w] = ^uint64(0)
	}
	c.free = chunkFrames
	c.list = listNone
	f.move(uint32(i), c, listReleased)
	return true
}

// takeSpare returns one of the frames set aside, its content undefined.
func (f *frames) takeSpare() (uint64, bool) {
	if f.spares == 0 {
		return 0, false
	}
	f.spares--
	return f.spare[f.spares], true
}

// fillSpare sets frames aside until there are spareFrames of them.
func (f *frames) fillSpare() bool {
	for f.spares < spareFrames {
		gpa, ok := f.getFixed()
		if !ok {
			return false
		}
		f.spare[f.spares] = gpa
		f.spares++
	}
	return true
}

// get returns a frame, its content undefined. It does not grow the heap.
func (f *frames) get() (uint64, bool) {
	for l := range f.head {
		if f.head[l] != 0 {
			return f.takeFrom(uint64(f.head[l] - 1))
		}
	}
	return 0, false
}

// getFixed returns a frame that will not be freed soon. Such frames have chunks of
// their own: one page table among the pages that it maps would keep 2 MiB from
// going back to the host when they are unmapped.
func (f *frames) getFixed() (uint64, bool) {
	if f.chunk(f.fixed).free == 0 {
		i := f.head[listIdle]
		if i == 0 {
			i = f.head[listReleased]
		}
		if i == 0 {
			return 0, false
		}
		f.fixed = uint64(i - 1)
		f.move(i-1, f.chunk(f.fixed), listNone)
	}
	return f.takeFrom(f.fixed)
}

// takeFrom takes any free frame of a chunk.
func (f *frames) takeFrom(i uint64) (uint64, bool) {
	c := f.chunk(i)
	for w, word := range c.bitmap {
		if word != 0 {
			bit := uint32(w*64 + bits.TrailingZeros64(word))
			f.take(i, c, bit)
			return f.heap + i<<chunkShift + uint64(bit)<<pageShift, true
		}
	}
	return 0, false
}

// run returns n neighbouring zeroed frames of the initial heap. It serves Init only.
func (f *frames) run(n uint64) (uint64, bool) {
	c := f.chunk(0)
	first := uint64(chunkFrames - c.free) // chunk 0 has been used from its start and without holes
	if first+n > chunkFrames {
		return 0, false
	}
	for i := range n {
		f.take(0, c, uint32(first+i))
	}
	gpa := f.heap + first<<pageShift
	f.phys.zero(gpa, n)
	return gpa, true
}

// take marks a free frame as used.
func (f *frames) take(i uint64, c *chunk, bit uint32) {
	c.bitmap[bit/64%uint32(len(c.bitmap))] &^= 1 << (bit % 64)
	c.free--
	f.used++
	switch {
	case i == f.fixed:
	case c.free == 0:
		f.move(uint32(i), c, listNone)
	case c.free == chunkFrames-1:
		f.move(uint32(i), c, listPartial)
	}
}

// free takes back a frame. A number that is not that of a frame in use is a bug of
// ours; it is ignored, because handing out one frame twice would be the worse end.
func (f *frames) free(gpa uint64) {
	off := gpa - f.heap
	i := off >> chunkShift
	if gpa < f.heap || i >= f.chunks {
		return
	}
	c := f.chunk(i)
	bit := off >> pageShift % chunkFrames
	word, mask := &c.bitmap[bit/64], uint64(1)<<(bit%64)
	if *word&mask != 0 {
		return
	}
	*word |= mask
	c.free++
	f.used--
	switch {
	case i == f.fixed:
	case c.free == chunkFrames:
		f.move(uint32(i), c, listIdle)
	case c.free == 1:
		f.move(uint32(i), c, listPartial)
	}
}

// move puts a chunk at the head of a list, or in none.
func (f *frames) move(i uint32, c *chunk, to uint8) {
	if from := c.list; from < lists {
		if c.prev != 0 {
			f.chunk(uint64(c.prev - 1)).next = c.next
		} else {
			f.head[from] = c.next
		}
		if c.next != 0 {
			f.chunk(uint64(c.next - 1)).prev = c.prev
		}
		f.count[from]--
	}
	c.list, c.next, c.prev = to, 0, 0
	if to < lists {
		if c.next = f.head[to]; c.next != 0 {
			f.chunk(uint64(c.next - 1)).prev = i + 1
		}
		f.head[to] = i + 1
		f.count[to]++
	}
}

// chunk returns the metadata of chunk i, which exists.
func (f *frames) chunk(i uint64) *chunk {
	group := uint64(*f.group(i / groupChunks))
	return f.phys.chunk(group<<pageShift, i%groupChunks)
}

// group returns the directory's entry for a group of chunks: the number of the frame
// that holds their metadata.
func (f *frames) group(g uint64) *uint32 { return f.phys.word32(f.dir, g*4) }

func (f *frames) setGroup(g, gpa uint64) { *f.group(g) = uint32(gpa >> pageShift) }
