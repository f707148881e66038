// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"sync/atomic"
	"unsafe"
)

// maxTries is how often a request without its reply is put to the host again.
// An honest host needs one; the limit turns a dead gate into an error instead
// of a loop.
const maxTries = 16

// Port is the guest's side of one vCPU's block. Everything that decides whether
// a reply is believed is here, in private memory, and not in the block.
type Port struct {
	block  unsafe.Pointer
	exit   func(index uint32)
	seq    uint64 // of the latest request; never taken from the block
	index  uint32
	Broken bool // the host left a request without its reply
}

// Init makes p the port of vCPU index, whose block of BlockSize bytes is at
// block. The hook exit has the host look at it.
func (p *Port) Init(block unsafe.Pointer, index uint32, exit func(index uint32)) {
	*p = Port{block: block, exit: exit, index: index}
}

// Index returns the number of the vCPU.
func (p *Port) Index() uint32 { return p.index }

// Call puts one request to the host and returns its result. It accepts the
// reply that carries this request's sequence number, so neither an old reply
// nor that of another vCPU (B.4, rule 8), and reads the result once.
func (p *Port) Call(nr, a0, a1, a2, a3, a4, a5 uint64) int64 {
	p.seq++
	p.store64(offNr, nr)
	p.store64(offArgs+0x00, a0)
	p.store64(offArgs+0x08, a1)
	p.store64(offArgs+0x10, a2)
	p.store64(offArgs+0x18, a3)
	p.store64(offArgs+0x20, a4)
	p.store64(offArgs+0x28, a5)
	p.store64(offSeq, p.seq)
	for range maxTries {
		p.exit(p.index)
		if p.load64(offReplySeq) == p.seq {
			return int64(p.load64(offRet))
		}
	}
	p.Broken = true
	return -5 // EIO
}

// Data returns the block's data, DataSize bytes. Only bulk copies use it; what
// is decided upon comes from Load32 and Load64.
func (p *Port) Data() unsafe.Pointer {
	// Sound: the block is BlockSize bytes long.
	return unsafe.Add(p.block, DataOffset)
}

// Payload returns the part of the data behind the address record, PayloadSize
// bytes.
func (p *Port) Payload() unsafe.Pointer {
	return unsafe.Add(p.block, DataOffset+PayloadOffset)
}

// Load32 reads the data's word at off, which is at most DataSize-4. The load is
// atomic, so that the compiler can neither split nor repeat it: the host may
// write at any time, and two reads of one word may differ.
func (p *Port) Load32(off uint32) uint32 {
	if off > DataSize-4 {
		return 0
	}
	return atomic.LoadUint32((*uint32)(unsafe.Add(p.block, DataOffset+uintptr(off))))
}

// Load64 reads the data's double word at off, which is at most DataSize-8.
func (p *Port) Load64(off uint32) uint64 {
	if off > DataSize-8 {
		return 0
	}
	return p.load64(DataOffset + uintptr(off))
}

// Store32 writes the data's word at off, which is at most DataSize-4.
func (p *Port) Store32(off, v uint32) {
	if off <= DataSize-4 {
		atomic.StoreUint32((*uint32)(unsafe.Add(p.block, DataOffset+uintptr(off))), v)
	}
}

// Store64 writes the data's double word at off, which is at most DataSize-8.
func (p *Port) Store64(off uint32, v uint64) {
	if off <= DataSize-8 {
		p.store64(DataOffset+uintptr(off), v)
	}
}

// Report leaves r in the data for OpAbort.
func (p *Port) Report(r *Report) {
	// Sound: the block has room, and nothing is read back.
	r.Encode(unsafe.Slice((*byte)(p.Data()), ReportSize))
}

func (p *Port) load64(off uintptr) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Add(p.block, off)))
}

func (p *Port) store64(off uintptr, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Add(p.block, off)), v)
}
