// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"enarx.dev/enarx/internal/memfs"
	"enarx.dev/enarx/internal/socket"
)

const fuzzMemory = 4096

// FuzzFunctions runs programs made of host calls with arbitrary arguments over
// arbitrary memory. No call may panic (but for Exit), hang, or write outside the
// memory; one that answers EFAULT must not have written anything at all.
func FuzzFunctions(f *testing.F) {
	functions := Functions()
	for i, fn := range functions {
		f.Add(seed(byte(i), len(fn.Params), 0), []byte("\x03dir\x00file"))
		f.Add(seed(byte(i), len(fn.Params), 3), bytes.Repeat([]byte{0, 1, 0, 0, 8, 0, 0, 0}, 64))
		f.Add(seed(byte(i), len(fn.Params), 5), bytes.Repeat([]byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5}, 64))
	}
	sockets := newFuzzSockets(f)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	f.Fuzz(func(t *testing.T, program, image []byte) {
		h := fuzzHost(t, sockets, null)
		const guard = 64
		backing := bytes.Repeat([]byte{0xee}, guard+fuzzMemory+guard)
		mem := memory(backing[guard : guard+fuzzMemory])
		clear(mem)
		copy(mem, image)
		in := input(program)
		for calls := 0; len(in) > 0 && calls < 64; calls++ {
			fn := &functions[int(in.byte())%len(functions)]
			stack := make([]uint64, max(len(fn.Params), 1))
			for i := range fn.Params {
				stack[i] = in.argument()
			}
			args, before := slices.Clone(stack), slices.Clone(mem)
			if _, exited := exitOf(func() { fn.Call(h, mem, stack) }); exited {
				break
			}
			if stack[0] > uint64(eNotcapable) {
				t.Fatalf("%s(%#x) = %d, which is no errno", fn.Name, args, stack[0])
			}
			if errno(stack[0]) == eFault && !bytes.Equal(before, mem) {
				t.Fatalf("%s(%#x) = EFAULT, but wrote", fn.Name, args)
			}
		}
		edge := bytes.Repeat([]byte{0xee}, guard)
		if !bytes.Equal(backing[:guard], edge) || !bytes.Equal(backing[guard+fuzzMemory:], edge) {
			t.Fatal("wrote outside the memory")
		}
	})
}

// seed is one call with small arguments.
func seed(function byte, params int, first byte) []byte {
	b := []byte{function}
	for i := range params {
		if i == 0 {
			b = append(b, 0, first)
		} else {
			b = append(b, 1, 0, byte(8*i))
		}
	}
	return b
}

// input is what is left of a fuzz input; it ends in zeros.
type input []byte

func (in *input) byte() byte {
	if len(*in) == 0 {
		return 0
	}
	b := (*in)[0]
	*in = (*in)[1:]
	return b
}

// argument is a small number, an address, a number near the end of memory, or
// anything.
func (in *input) argument() uint64 {
	switch in.byte() % 4 {
	case 0:
		return uint64(in.byte())
	case 1:
		return uint64(in.byte())<<8%fuzzMemory | uint64(in.byte())
	case 2:
		return fuzzMemory - uint64(in.byte())
	}
	v := uint64(0)
	for range 8 {
		v = v<<8 | uint64(in.byte())
	}
	return v
}

// fuzzHost has one descriptor of each kind.
func fuzzHost(t *testing.T, s *fuzzSockets, null *os.File) *Host {
	fs := memfs.New(1 << 20)
	if err := fs.Mkdir(fs.Root(), "dir"); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(fs, "dir/file", []byte("contents")); err != nil {
		t.Fatal(err)
	}
	l, c := s.open(t)
	h := New(Config{
		Args: []string{"a", "bc"},
		Env:  []string{"A=1"},
		Files: []File{
			Stdin(null), Stdout(null), Null(), Dir("/", fs, fs.Root(), false),
			Dir("/ro", fs, fs.Root(), true), Listener(l, true), Conn(c, true), {},
		},
	})
	h.testOnlyNoWait = true
	t.Cleanup(func() {
		if h.lookup(5) == nil || h.lookup(5).listener != l || h.lookup(6) == nil || h.lookup(6).conn != c {
			s.close()
		} else if _, err := c.Send(nil); err != nil && err != socket.ErrAgain {
			s.close()
		}
		h.fds = slices.DeleteFunc(h.fds, func(d *desc) bool { return d != nil && (d.listener == l || d.conn == c) })
		h.Close()
	})
	return h
}

// fuzzSockets keeps a listener and a connection from one input to the next, as
// long as no input closes them: making them anew is slow.
type fuzzSockets struct {
	net      *socket.Net
	listener *socket.Listener
	conn     *socket.Conn
	peer     net.Conn
}

func newFuzzSockets(f *testing.F) *fuzzSockets {
	s := &fuzzSockets{net: socket.New(socket.Config{})}
	f.Cleanup(func() {
		s.close()
		s.net.Close(context.Background())
	})
	return s
}

func (s *fuzzSockets) open(t *testing.T) (*socket.Listener, *socket.Conn) {
	if s.conn != nil {
		return s.listener, s.conn
	}
	ctx := context.Background()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	port := uint16(echo.Addr().(*net.TCPAddr).Port)
	if s.conn, err = s.net.Connect(ctx, "127.0.0.1", port, nil); err != nil {
		t.Fatal(err)
	}
	if s.peer, err = echo.Accept(); err != nil {
		t.Fatal(err)
	}
	go io.Copy(s.peer, s.peer)
	if s.listener, err = s.net.Listen(ctx, "127.0.0.1", 0, nil); err != nil {
		t.Fatal(err)
	}
	return s.listener, s.conn
}

func (s *fuzzSockets) close() {
	if s.conn == nil {
		return
	}
	s.conn.Close()
	s.listener.Close()
	s.peer.Close()
	s.conn = nil
}
