// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// archive is an initramfs: a cpio archive in the "newc" format of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst, not compressed
// because unpacking costs an emulated machine more than reading.
type archive struct {
	buf  bytes.Buffer
	dirs map[string]bool
	ino  int
}

const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
)

// add appends a file, and the folders above it.
func (a *archive) add(name string, mode int, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.mkdir(path.Dir(name))
	a.entry(name, cpioFile|mode, data)
}

func (a *archive) mkdir(dir string) {
	if dir == "." || a.dirs[dir] {
		return
	}
	a.mkdir(path.Dir(dir))
	if a.dirs == nil {
		a.dirs = map[string]bool{}
	}
	a.dirs[dir] = true
	a.entry(dir, cpioDir|0o755, nil)
}

func (a *archive) entry(name string, mode int, data []byte) {
	a.ino++
	a.buf.WriteString("070701")
	// inode, mode, uid, gid, links, mtime, size, device, rdevice, name length, check
	for _, v := range []int{a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&a.buf, "%08X", v)
	}
	a.buf.WriteString(name)
	a.buf.WriteByte(0)
	a.pad()
	a.buf.Write(data)
	a.pad()
}

// pad aligns to four bytes, as the header's 110 and the data each must.
func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// bytes ends the archive and returns it.
func (a *archive) bytes() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}
