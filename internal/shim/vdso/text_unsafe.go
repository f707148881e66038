// SPDX-License-Identifier: Apache-2.0

package vdso

import "unsafe"

// text is the machine code of the vDSO: four entries of entrySize bytes, in the
// order of names, and what they jump to, up to endMark. It is never called here. It
// finds the data page by its own address, textOffset+pageSize below, which holds
// only for a copy that Build made.
//
//lint:ignore U1000 its address is taken in assembly, by textStart
func text()

// textStart returns the address of text itself. The value of a Go function would be
// that of a wrapper.
func textStart() unsafe.Pointer

const (
	entrySize = 16
	// endMark follows the last instruction: "vDSO end".
	endMark = 0x646e65204f534476
	maxText = 2 << 10
)

// code returns the bytes of text, without its mark.
func code() []byte {
	all := unsafe.Slice((*byte)(textStart()), maxText)
	for n := 0; n+8 <= maxText; n++ {
		if le64(all[n:]) == endMark {
			return all[:n]
		}
	}
	return nil // a bug, which the tests find
}

func le64(b []byte) uint64 {
	var v uint64
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
