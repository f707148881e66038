// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"math"
	"math/bits"
	"syscall"
)

const (
	blockSize = 64 << 10
	minBlock  = 512
)

// block holds up to blockSize bytes of a file. A missing block, and what lies
// past the end of a short one, reads as zeros. Bytes past the end of the file
// are zero in every block, so that extending a file needs no clearing.
type block struct {
	data []byte
	size int64 // bytes charged: len(data), or more when reserved by Allocate
}

// ReadAt reads from offset off. At or past the end of the file it returns 0
// and no error.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := n.checkData(off); err != nil {
		return 0, err
	}
	got, stale := n.readAt(p, off)
	if stale {
		n.accessed()
	}
	return got, nil
}

func (n *Node) readAt(p []byte, off int64) (got int, stale bool) {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	if len(p) == 0 || off >= n.size {
		return 0, false
	}
	p = p[:min(int64(len(p)), n.size-off)]
	for got < len(p) {
		at := (off + int64(got)) % blockSize
		chunk := p[got:min(int64(len(p)), int64(got)+blockSize-at)]
		c := 0
		if b := n.blocks[(off+int64(got))/blockSize].data; at < int64(len(b)) {
			c = copy(chunk, b[at:])
		}
		clear(chunk[c:])
		got += len(chunk)
	}
	return got, n.staleAtime()
}

// WriteAt writes at offset off, extending the file when needed. Like write(2)
// it returns a short count, and no error, when space runs out part of the way.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := n.checkData(off); err != nil {
		return 0, err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.writeAt(p, off)
}

// Append writes at the end of the file and returns the offset after what it
// wrote. The end cannot move between finding it and writing there.
func (n *Node) Append(p []byte) (written int, end int64, err error) {
	if err := n.checkData(0); err != nil {
		return 0, 0, err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	written, err = n.writeAt(p, n.size)
	return written, n.size, err
}

func (n *Node) writeAt(p []byte, off int64) (int, error) {
	if off > math.MaxInt64-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	done := 0
	for done < len(p) {
		pos := off + int64(done)
		c, err := n.writeBlock(p[done:], pos/blockSize, pos%blockSize)
		done += c
		if err != nil {
			if done == 0 {
				return 0, err
			}
			break
		}
	}
	if done > 0 {
		n.size = max(n.size, off+int64(done))
		n.modified()
	}
	return done, nil
}

// writeBlock writes the part of p that falls into block index, from offset at
// in it. It writes at least one byte or fails.
func (n *Node) writeBlock(p []byte, index, at int64) (int, error) {
	p = p[:min(int64(len(p)), blockSize-at)]
	need := at + int64(len(p))
	b, ok := n.blocks[index]
	if need > int64(len(b.data)) {
		// Powers of two keep a run of small appends from copying the block
		// each time; near the limit, whatever is left is used to the last byte.
		want := roundBlock(need)
		cost := int64(0)
		if !ok {
			cost = blockCost
		}
		if want > b.size {
			want = min(want, b.size+max(n.fs.room()-cost, 0))
		}
		if want <= at {
			return 0, syscall.ENOSPC
		}
		if err := n.charge(cost + max(want-b.size, 0)); err != nil {
			return 0, err
		}
		data := make([]byte, want)
		copy(data, b.data)
		b = block{data: data, size: max(b.size, want)}
		if n.blocks == nil {
			n.blocks = make(map[int64]block)
		}
		n.blocks[index] = b
	}
	return copy(b.data[at:], p), nil
}

// roundBlock returns the length of the block that is made to hold need bytes.
func roundBlock(need int64) int64 {
	return max(minBlock, int64(1)<<bits.Len64(uint64(need-1)))
}

// Truncate sets the size of the file. Growing it makes a hole, which takes no
// space and reads as zeros.
func (n *Node) Truncate(size int64) error {
	if err := n.checkData(size); err != nil {
		return err
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.truncate(size)
	return nil
}

func (n *Node) truncate(size int64) {
	if size < n.size {
		n.dropFrom(size)
	}
	n.size = size
	n.modified()
}

// dropFrom removes the data from size on, visiting whichever is fewer: the
// blocks that can exist in the range, or those of the whole file.
func (n *Node) dropFrom(size int64) {
	first := size / blockSize
	if at := size % blockSize; at > 0 {
		if b := n.blocks[first].data; at < int64(len(b)) {
			clear(b[at:])
		}
		first++
	}
	last := (n.size - 1) / blockSize
	if last-first < int64(len(n.blocks)) {
		for i := first; i <= last; i++ {
			n.dropBlock(i)
		}
		return
	}
	for i := range n.blocks {
		if i >= first {
			n.dropBlock(i)
		}
	}
}

func (n *Node) dropBlock(index int64) {
	if b, ok := n.blocks[index]; ok {
		delete(n.blocks, index)
		_ = n.charge(-blockCost - b.size) // giving back cannot fail
	}
}

// Allocate makes sure that writing to the range will not run out of space, and
// extends the file to hold it. Space is reserved, not filled: an allocated
// range costs memory only as it is written.
func (n *Node) Allocate(off, length int64) error {
	if err := n.checkData(off); err != nil {
		return err
	}
	if length <= 0 {
		return syscall.EINVAL
	}
	if off > math.MaxInt64-length {
		return syscall.EFBIG
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	end := off + length
	if n.fs.max > 0 { // without a bound there is nothing to reserve
		if err := n.reserve(off/blockSize, (end-1)/blockSize); err != nil {
			return err
		}
	}
	n.size = max(n.size, end)
	n.modified()
	return nil
}

// reserve charges whole blocks first to last, all or none.
func (n *Node) reserve(first, last int64) error {
	// The range comes from the guest and may span 2^47 blocks: refuse before
	// walking it if those that cannot exist yet would not fit.
	if last-first+1-int64(len(n.blocks)) > n.fs.room()/(blockSize+blockCost) {
		return syscall.ENOSPC
	}
	cost := int64(0)
	for i := first; i <= last; i++ {
		b, ok := n.blocks[i]
		if !ok {
			cost += blockCost
		}
		cost += blockSize - b.size
	}
	if err := n.charge(cost); err != nil {
		return err
	}
	if n.blocks == nil {
		n.blocks = make(map[int64]block)
	}
	for i := first; i <= last; i++ {
		n.blocks[i] = block{data: n.blocks[i].data, size: blockSize}
	}
	return nil
}

// checkData refuses what no data operation accepts: a node without contents and
// a negative offset or size.
func (n *Node) checkData(off int64) error {
	switch {
	case n.typ == Directory:
		return syscall.EISDIR
	case n.typ != Regular || off < 0:
		return syscall.EINVAL
	}
	return nil
}
