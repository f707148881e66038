// SPDX-License-Identifier: Apache-2.0

package sallyport

// Put32 and Put64 store a little-endian value in p at off. encoding/binary would bring
// a package into the shim that expects a Go runtime.
func Put32(p []byte, off int, v uint32) {
	p = p[off : off+4]
	p[0], p[1], p[2], p[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

// Put64 is described at Put32.
func Put64(p []byte, off int, v uint64) {
	Put32(p, off, uint32(v))
	Put32(p, off+4, uint32(v>>32))
}

// Get32 and Get64 load what they store.
func Get32(p []byte, off int) uint32 {
	p = p[off : off+4]
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
}

// Get64 is described at Get32.
func Get64(p []byte, off int) uint64 {
	return uint64(Get32(p, off)) | uint64(Get32(p, off+4))<<32
}
