// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"os"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/memfs"
	"enarx.dev/enarx/internal/socket"
)

// File is a descriptor that a guest starts with. The zero File is a number that
// is not open.
type File struct{ d *desc }

// Null is a device that swallows what is written and is always at its end, with
// the flags and the type that upstream gives it.
func Null() File {
	return File{&desc{kind: kindNull, flags: flagAppend | flagNonblock, base: rightsStdio}}
}

// Empty is the standard input of a program that declares none.
func Empty() File {
	return File{&desc{kind: kindNull, base: rightsStdio &^ rightWrite}}
}

// Sink is the standard output of a program that declares none.
func Sink() File {
	return File{&desc{kind: kindNull, base: rightsStdio &^ rightRead}}
}

// Stdin is standard input. The guest's goroutine reads f itself as long as the
// guest only makes blocking reads. From the first poll or non-blocking read on,
// a goroutine reads ahead by at most 64 KiB; it ends with f's end, or with the
// process. Nil is [Empty].
func Stdin(f *os.File) File {
	if f == nil {
		return Empty()
	}
	d := stdio(kindStdin, f)
	d.base &^= rightWrite
	return File{d}
}

// Stdout is standard output. Nil is [Sink].
func Stdout(f *os.File) File { return output(f) }

// Stderr is standard error. Nil is [Sink].
func Stderr(f *os.File) File { return output(f) }

func output(f *os.File) File {
	if f == nil {
		return Sink()
	}
	d := stdio(kindOutput, f)
	d.base &^= rightRead
	return File{d}
}

// stdio describes a stream of the process. Only a terminal is a character
// device without an offset, which is how programs tell (isatty); what else the
// host connected is not the guest's business.
func stdio(k kind, f *os.File) *desc {
	d := &desc{kind: k, filetype: fileUnknown, base: rightsStdio, file: f}
	raw, err := f.SyscallConn()
	if err != nil {
		return d // closed: reads and writes will say so
	}
	_ = raw.Control(func(fd uintptr) { // fails as SyscallConn does
		if _, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
			d.filetype = fileCharDevice
			d.base &^= rightSeek | rightTell
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(fd), &st); err == nil {
			d.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
		}
	})
	return d
}

// Listener is a listening socket.
//
// With nonblock it shows FDFLAGS_NONBLOCK from the start. Stock Go needs that:
// os.NewFile decides by the flag whether the scheduler may wait for the
// descriptor by polling, and otherwise the first Accept stops the whole guest.
// But a plain program in C or Rust just calls accept, expects it to wait, as it
// does under upstream, and would end with EAGAIN. Neither can say beforehand
// what it is, so the flag is lazy: calls still wait until the guest has shown
// that it knows about it, by reading or setting the descriptor's flags. Go reads
// them. Polling a listener shows it as well: who polls may go on accepting
// until EAGAIN, and who accepts once finds a connection there.
//
// Without nonblock the descriptor blocks until the guest sets the flag.
func Listener(l *socket.Listener, nonblock bool) File {
	d := &desc{kind: kindListener, filetype: fileSocketStream, base: rightsListener, listener: l}
	d.setLazyNonblock(nonblock)
	return File{d}
}

// Conn is a connected socket. For nonblock see [Listener]; polling does not show
// that the guest knows, since many programs poll and then read a whole message.
//
// Go must have nonblock here too: the goroutine with which net/http waits for a
// response would keep the one that sends the request from running.
func Conn(c *socket.Conn, nonblock bool) File {
	d := newConn(c)
	d.setLazyNonblock(nonblock)
	return File{d}
}

func newConn(c *socket.Conn) *desc {
	return &desc{kind: kindConn, filetype: fileSocketStream, base: rightsConn, conn: c}
}

func (d *desc) setLazyNonblock(on bool) {
	if on {
		d.flags |= flagNonblock
		d.lazyNonblock = true
	}
}

// Dir is a preopened directory: the guest sees dir at guestPath. With readOnly,
// changing anything below fails with EROFS; the rights are the same, because
// C libraries drop rights that a directory lacks silently and the program would
// learn of it only from the first write.
func Dir(guestPath string, fs *memfs.FS, dir *memfs.Node, readOnly bool) File {
	return File{&desc{
		kind: kindDirectory, filetype: fileDirectory,
		base: rightsDirectory, inherit: rightsDirectory | rightsRegular,
		preopen: true, name: guestPath, readOnly: readOnly,
		fs: fs, node: dir,
	}}
}
