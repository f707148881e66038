// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// issue has the security processor carry out a command on data. The kernel is
// handed data's address as a number inside a structure, which the collector
// does not see: data is pinned until the kernel is done.
func issue(f *os.File, command uint32, data []byte) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(unsafe.SliceData(data))

	var cmd [sevIssueSize]byte // packed: command, address, error
	le := binary.LittleEndian
	le.PutUint32(cmd[0:], command)
	le.PutUint64(cmd[4:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))))
	// The conversion is part of the call, so the collector keeps cmd.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), sevIssueCmd, uintptr(unsafe.Pointer(&cmd)))
	if errno != 0 {
		return fmt.Errorf("%w (firmware status %#x)", errno, le.Uint32(cmd[12:]))
	}
	return nil
}

// chipID returns the id of the chip. Firmware that knows two sockets wants
// room for the other's too.
func chipID(f *os.File) (id [64]byte, err error) {
	both := make([]byte, 2*len(id))
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(unsafe.SliceData(both))

	var get [sevGetIDSize]byte // packed: address, length
	le := binary.LittleEndian
	le.PutUint64(get[0:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(both)))))
	le.PutUint32(get[8:], uint32(len(both)))
	err = issue(f, sevGetID2, get[:])
	return [64]byte(both), err
}
