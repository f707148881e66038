// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/shim/abi"
)

// twin makes each call twice: in a Keep and on this machine's Linux.
type twin struct {
	*rig
	mem   []byte       // what the rig's user memory is for Linux
	slots []([2]int64) // descriptors: the Keep's, and Linux's
	rnd   *rand.Rand
}

const twinMem = 64 << 10

// slot is an argument that names a descriptor.
type slot int

// at is an argument that is an address, by offset.
type at uint64

// both makes a call and returns the two results.
func (w *twin) both(nr uint64, args ...any) (keep, linux int64) {
	var k, l [6]uint64
	for i, a := range args {
		switch a := a.(type) {
		case slot:
			k[i], l[i] = 4000, 4000 // nobody's
			if int(a) < len(w.slots) {
				k[i], l[i] = uint64(w.slots[a][0]), uint64(w.slots[a][1])
			}
		case at:
			k[i], l[i] = w.user+uint64(a), uint64(uintptr(unsafe.Pointer(&w.mem[a])))
		case int:
			k[i], l[i] = uint64(a), uint64(a)
		}
	}
	keep = w.call(nr, k[:]...)
	r, _, errno := syscall.Syscall6(uintptr(nr), uintptr(l[0]), uintptr(l[1]), uintptr(l[2]), uintptr(l[3]), uintptr(l[4]), uintptr(l[5]))
	if linux = int64(r); errno != 0 {
		linux = -int64(errno)
	}
	return keep, linux
}

// made remembers a pair of new descriptors.
func (w *twin) made(keep, linux int64) (int64, int64) {
	if keep < 0 || linux < 0 {
		return keep, linux
	}
	w.slots = append(w.slots, [2]int64{keep, linux})
	return 0, 0
}

func (w *twin) write(off int, b []byte) {
	w.put(uint64(off), b)
	copy(w.mem[off:], b)
}

// talkToItself connects a pair of new datagram sockets, each to itself.
func (w *twin) talkToItself(pair [2]int64) {
	fd := uint64(pair[0])
	name := w.put(6000, sockaddr(loopback))
	length := w.put(6064, []byte{16, 0, 0, 0})
	w.must(abi.SYS_BIND, fd, name, 16)
	w.must(abi.SYS_GETSOCKNAME, fd, name, length)
	w.must(abi.SYS_CONNECT, fd, name, 16)
	w.write(6000, make([]byte, 80))
	err := unix.Bind(int(pair[1]), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		var self unix.Sockaddr
		if self, err = unix.Getsockname(int(pair[1])); err == nil {
			err = unix.Connect(int(pair[1]), self)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *twin) isEvent(fd slot) bool {
	return int(fd) < len(w.slots) && w.files[w.numbers[w.slots[fd][0]].file-1].kind == event
}

// step makes one random call. Nothing waits, and nothing is left to timing.
func (w *twin) step() (what string, keep, linux int64) {
	n := func(most int) int { return w.rnd.IntN(most) }
	fd := slot(n(len(w.slots) + 1))
	const nonblock = unix.O_NONBLOCK
	w.write(0, fill(256, byte(n(256))))
	switch n(24) {
	case 0:
		keep, linux = w.both(abi.SYS_PIPE2, at(1024), nonblock)
		if keep == 0 && linux == 0 {
			for off := range 2 {
				w.slots = append(w.slots, [2]int64{int64(w.get32(uint64(1024 + 4*off))), int64(get32(w.mem[1024+4*off:]))})
			}
		}
		w.write(1024, make([]byte, 8))
		return "pipe2", keep, linux
	case 1:
		keep, linux = w.made(w.both(abi.SYS_EVENTFD2, n(5), nonblock|n(2)))
		return "eventfd2", keep, linux
	case 2:
		typ := 1 + n(2)
		if keep, linux = w.made(w.both(abi.SYS_SOCKET, unix.AF_INET, typ|nonblock, 0)); typ == unix.SOCK_DGRAM && keep == 0 && linux == 0 {
			w.talkToItself(w.slots[len(w.slots)-1])
		}
		return "socket", keep, linux
	case 3:
		keep, linux = w.made(w.both(abi.SYS_DUP, fd))
		return "dup", keep, linux
	case 4, 5:
		if len(w.slots) > 40 || n(3) == 0 {
			keep, linux = w.both(abi.SYS_CLOSE, fd)
			if int(fd) < len(w.slots) {
				w.slots = append(w.slots[:fd], w.slots[fd+1:]...)
			}
		}
		return "close", keep, linux
	case 6, 7:
		keep, linux = w.both(abi.SYS_READ, fd, at(256), n(300))
		return "read", keep, linux
	case 8, 9:
		w.write(0, append([]byte{byte(n(9)), 0, 0, 0, 0, 0, 0, 0}, fill(200, 1)...)) // an event's counter stays small
		most := 200
		if w.isEvent(fd) {
			most = 9 // what more does depends on the kernel's age
		}
		keep, linux = w.both(abi.SYS_WRITE, fd, at(0), n(most))
		return "write", keep, linux
	case 10:
		keep, linux = w.both(abi.SYS_FCNTL, fd, []int{unix.F_GETFL, unix.F_GETFD, unix.F_GETLK}[n(2)], 0)
		return "fcntl", keep, linux
	case 11:
		keep, linux = w.both(abi.SYS_FCNTL, fd, unix.F_SETFD, n(2))
		return "F_SETFD", keep, linux
	case 12:
		keep, linux = w.made(w.both(abi.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, n(100)))
		return "F_DUPFD", keep, linux
	case 13:
		keep, linux = w.both(abi.SYS_LSEEK, fd, n(10), n(3))
		return "lseek", keep, linux
	case 14:
		keep, linux = w.both(abi.SYS_PREAD64, fd, at(256), n(10), 0)
		if linux == -int64(unix.EBADF) || linux == -int64(unix.EINVAL) {
			return "", 0, 0 // Linux looks at the mode or at its own kinds first
		}
		return "pread64", keep, linux
	case 15:
		keep, linux = w.both(abi.SYS_LISTEN, fd, n(5))
		return "listen", keep, linux
	case 16:
		keep, linux = w.made(w.both(abi.SYS_ACCEPT4, fd, 0, 0, nonblock))
		return "accept4", keep, linux
	case 17:
		keep, linux = w.both(abi.SYS_RECVFROM, fd, at(256), n(99), unix.MSG_DONTWAIT|n(2)*unix.MSG_PEEK, 0, 0)
		return "recvfrom", keep, linux
	case 18:
		keep, linux = w.both(abi.SYS_SENDTO, fd, at(0), n(99), unix.MSG_NOSIGNAL, 0, 0)
		return "sendto", keep, linux
	case 19:
		keep, linux = w.both(abi.SYS_SHUTDOWN, fd, n(5))
		return "shutdown", keep, linux
	case 20:
		w.write(2048, []byte{4, 0, 0, 0, 0, 0, 0, 0})
		keep, linux = w.both(abi.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, []int{unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_ERROR,
			unix.SO_ACCEPTCONN, unix.SO_REUSEADDR, unix.SO_KEEPALIVE, unix.SO_BROADCAST}[n(8)], at(2052), at(2048))
		return "getsockopt", keep, linux
	case 21:
		return w.poll(fd, slot(n(len(w.slots)+1)))
	case 22:
		return w.vectors(fd, n(2) == 0)
	}
	w.write(2048, []byte{16, 0, 0, 0})
	keep, linux = w.both(abi.SYS_GETPEERNAME, fd, at(4096), at(2048))
	w.write(4096, make([]byte, 16)) // ports differ
	return "getpeername", keep, linux
}

func (w *twin) poll(fds ...slot) (string, int64, int64) {
	var k, l []byte
	for _, fd := range fds {
		pair := [2]int64{4000, 4000}
		if int(fd) < len(w.slots) {
			pair = w.slots[fd]
		}
		events := uint64(w.rnd.IntN(16)) << 32
		k, l = append(k, make([]byte, 8)...), append(l, make([]byte, 8)...)
		put64(k[len(k)-8:], uint64(pair[0])|events)
		put64(l[len(l)-8:], uint64(pair[1])|events)
	}
	w.put(3072, k)
	copy(w.mem[3072:], l)
	keep, linux := w.both(abi.SYS_POLL, at(3072), len(fds), 0)
	for i := range fds { // numbers differ, events may not
		off := 3072 + 8*i
		if got, want := w.get(uint64(off+6), 2), w.mem[off+6:off+8]; !bytes.Equal(got, want) {
			w.t.Errorf("poll: events %x, on Linux %x", got, want)
		}
	}
	w.write(3072, make([]byte, len(k)))
	return "poll", keep, linux
}

func (w *twin) vectors(fd slot, read bool) (string, int64, int64) {
	if !read && w.isEvent(fd) {
		return "", 0, 0
	}
	lengths := [3]uint64{uint64(w.rnd.IntN(20)), 0, uint64(w.rnd.IntN(50))}
	var k, l [48]byte
	for i, n := range lengths {
		put64(k[16*i:], w.user+uint64(512+64*i))
		put64(l[16*i:], uint64(uintptr(unsafe.Pointer(&w.mem[512+64*i]))))
		put64(k[16*i+8:], n)
		put64(l[16*i+8:], n)
	}
	w.put(5000, k[:])
	copy(w.mem[5000:], l[:])
	nr := uint64(abi.SYS_WRITEV)
	if read {
		nr = abi.SYS_READV
	} else {
		w.write(512, make([]byte, 8))
	}
	keep, linux := w.both(nr, fd, at(5000), 3)
	w.write(5000, make([]byte, 48))
	return "readv/writev", keep, linux
}

// What a program sees in a Keep is what it sees on Linux: results, errors and
// memory, for thousands of random calls on pipes, sockets and event descriptors.
func TestSameAsLinux(t *testing.T) {
	succeeded := map[string]int{}
	for seed := range uint64(8) {
		w := &twin{rig: newProxied(t), mem: mapped(t, twinMem), rnd: rand.New(rand.NewPCG(seed, 9))}
		w.put(0, w.mem)
		for i := range 3000 {
			what, keep, linux := w.step()
			if keep >= 0 {
				succeeded[what]++
			}
			if keep != linux {
				t.Errorf("seed %d, call %d, %s: %d in a Keep, %d on Linux", seed, i, what, keep, linux)
			}
			if got := w.get(0, 8192); !bytes.Equal(got, w.mem[:8192]) {
				t.Fatalf("seed %d, call %d, %s: memory differs", seed, i, what)
			}
			if t.Failed() {
				break
			}
		}
		for _, s := range w.slots {
			unix.Close(int(s[1]))
		}
	}
	for _, what := range []string{"read", "write", "poll", "readv/writev", "close", "recvfrom", "F_DUPFD", "getsockopt", "listen"} {
		if succeeded[what] < 50 {
			t.Errorf("%s succeeded %d times: the calls are not worth comparing", what, succeeded[what])
		}
	}
}
