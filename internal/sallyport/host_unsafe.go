// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"sync/atomic"
	"unsafe"
)

// Request is the host's private copy of a request.
type Request struct {
	Seq  uint64
	Nr   uint64
	Args [6]uint64
}

// ReadRequest copies the request out of block, each word once: a guest that
// changes it meanwhile gets an answer to one mixture or another, and can make
// the host check one value and use another in none.
func ReadRequest(block []byte, r *Request) bool {
	if len(block) < BlockSize {
		return false
	}
	r.Seq, r.Nr = load64(block, offSeq), load64(block, offNr)
	for i := range r.Args {
		r.Args[i] = load64(block, offArgs+8*i)
	}
	return r.Nr < MaxNr || r.Nr >= OpFirst && r.Nr < opEnd
}

// Reply writes the result of the request that carried seq into block.
func Reply(block []byte, seq uint64, ret int64) {
	store64(block, offRet, uint64(ret))
	store64(block, offReplySeq, seq)
}

// Data returns the data of block, which is BlockSize bytes.
func Data(block []byte) []byte { return block[DataOffset:BlockSize:BlockSize] }

// Load32 reads the word at off of data once, as [Port.Load32] does.
func Load32(data []byte, off int) uint32 {
	_ = data[off : off+4]
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[off]))) // Sound: four bytes are there.
}

// Load64 reads the double word at off of data once.
func Load64(data []byte, off int) uint64 { return load64(data, off) }

// Store32 writes the word at off of data.
func Store32(data []byte, off int, v uint32) {
	_ = data[off : off+4]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&data[off])), v) // Sound: four bytes are there.
}

// Store64 writes the double word at off of data.
func Store64(data []byte, off int, v uint64) { store64(data, off, v) }

func load64(p []byte, off int) uint64 {
	_ = p[off : off+8]
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&p[off]))) // Sound: eight bytes are there.
}

func store64(p []byte, off int, v uint64) {
	_ = p[off : off+8]
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&p[off])), v) // Sound: eight bytes are there.
}
