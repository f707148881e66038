// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/shim/abi"
)

// BenchmarkForwarded is what the shim, the block and the proxy add to a call of
// 64 bytes, without the exits of a virtual machine; "direct" is the same call.
func BenchmarkForwarded(b *testing.B) {
	r := newProxied(b)
	r.must(abi.SYS_PIPE2, r.user, 0)
	in, out := uint64(r.get32(0)), uint64(r.get32(4))
	b.Run("keep", func(b *testing.B) {
		for b.Loop() {
			r.on(0, abi.SYS_WRITE, out, r.user, 64)
			r.on(0, abi.SYS_READ, in, r.user, 64)
		}
	})
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	buf := make([]byte, 64)
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			unix.Write(fds[1], buf)
			unix.Read(fds[0], buf)
		}
	})
}
