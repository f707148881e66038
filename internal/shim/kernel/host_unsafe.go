// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"
	"unsafe"

	"enarx.dev/enarx/internal/sallyport"
)

// parkWord returns the word, shared with the host, that changes when the thread
// is to stop waiting. The host can change it too: it is a hint and nothing else.
func (t *Thread) parkWord() *atomic.Uint32 {
	// Sound: the park page follows the block, whose last part is the data.
	return (*atomic.Uint32)(unsafe.Add(t.Port.Data(), sallyport.DataSize))
}

// send copies text to the data of t's block.
func (t *Thread) send(text []byte) {
	// Sound: the block has room for DataSize bytes, far more than a line.
	copy(unsafe.Slice((*byte)(t.Port.Data()), sallyport.DataSize), text)
}
