// SPDX-License-Identifier: Apache-2.0

package kernel

// put16 stores a little-endian value at off; for wider ones there is package sallyport.
func put16(b []byte, off int, v uint16) {
	b = b[off : off+2]
	b[0], b[1] = byte(v), byte(v>>8)
}
