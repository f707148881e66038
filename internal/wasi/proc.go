// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"io"
	"runtime"
)

// WASI's signal numbers whose default action is not to end the process.
const (
	sigNone  = 0
	sigChld  = 16
	sigCont  = 17
	sigStop  = 18
	sigTtou  = 21
	sigUrg   = 22
	sigWinch = 27
	sigLast  = 30
)

// procExit does not return.
func procExit(_ *Host, _ Memory, p []uint64) {
	panic(Exit{uint32(p[0])})
}

// procRaise does what a Unix process without handlers does: most signals end
// the guest, with the exit status that a shell would show. It cannot be stopped.
func (h *Host) procRaise(_ Memory, p []uint64) errno {
	switch sig := uint32(p[0]); {
	case sig > sigLast:
		return eInval
	case sig == sigNone || sig == sigChld || sig == sigCont || sig == sigUrg || sig == sigWinch:
		return success
	case sig >= sigStop && sig <= sigTtou:
		return eNotsup
	default:
		panic(Exit{128 + sig})
	}
}

func (h *Host) schedYield(Memory, []uint64) errno {
	runtime.Gosched()
	return success
}

// randomChunk keeps a request for gigabytes from being one call.
const randomChunk = 1 << 20

func (h *Host) randomGet(mem Memory, p []uint64) errno {
	b, ok := view(mem, uint32(p[0]), uint32(p[1]))
	if !ok {
		return eFault
	}
	for len(b) > 0 {
		n := min(len(b), randomChunk)
		if _, err := io.ReadFull(h.random, b[:n]); err != nil {
			return eIO
		}
		b = b[n:]
	}
	return success
}
