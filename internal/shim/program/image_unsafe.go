// SPDX-License-Identifier: Apache-2.0

package program

import "unsafe"

// At returns the image of size bytes at guest physical address gpa, which the
// shim sees at base. All of it must be private, mapped, and never change.
func At(base unsafe.Pointer, gpa, size uint64) Image {
	// The layout of a Keep keeps the image in one piece; size was range-checked with the boot page.
	return Image{Data: unsafe.Slice((*byte)(base), size), GPA: gpa}
}
