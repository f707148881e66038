// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"fmt"
)

// Initramfs makes an archive with one program, which the kernel runs first. The
// kernel has a /dev/console of its own.
func Initramfs(program []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(program) + 512)
	newc(&b, "init", 0o100755, program)
	newc(&b, "TRAILER!!!", 0, nil)
	return b.Bytes()
}

// newc appends a member in the format of
// Documentation/driver-api/early-userspace/buffer-format.rst.
func newc(b *bytes.Buffer, name string, mode int, data []byte) {
	b.WriteString("070701")
	// inode, mode, uid, gid, links, mtime, size, device, rdevice, name length, check
	for _, v := range []int{1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(b, "%08X", v)
	}
	b.WriteString(name + "\x00")
	align(b)
	b.Write(data)
	align(b)
}

func align(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
