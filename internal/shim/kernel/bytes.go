// SPDX-License-Identifier: Apache-2.0

package kernel

// put16, put32 and put64 store a little-endian value at off.
func put16(b []byte, off int, v uint16) {
	b = b[off : off+2]
	b[0], b[1] = byte(v), byte(v>>8)
}

func put32(b []byte, off int, v uint32) {
	b = b[off : off+4]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

func put64(b []byte, off int, v uint64) {
	put32(b, off, uint32(v))
	put32(b, off+4, uint32(v>>32))
}

// get32 and get64 load a little-endian value at off.
func get32(b []byte, off int) uint32 {
	b = b[off : off+4]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func get64(b []byte, off int) uint64 {
	return uint64(get32(b, off)) | uint64(get32(b, off+4))<<32
}
