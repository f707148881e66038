// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	f := tempFile(t)
	g := newGuest(t, Config{Files: []File{Empty(), Stdout(f)}})
	if e := g.write(1, "hello, "); e != success || g.u32(out) != 7 {
		t.Errorf("wrote %d: %d", g.u32(out), e)
	}
	a, b := g.put([]byte("wor")), g.put([]byte("ld\n"))
	ptr, n := g.iovecs(a, 3, 0, 0, b, 3)
	g.must("fd_write", 1, ptr, n, out)
	big := strings.Repeat("x", maxLine)
	at := g.put([]byte(big))
	ptr, n = g.iovecs(at, maxLine, at, maxLine)
	g.must("fd_write", 1, ptr, n, out)
	if g.u32(out) != 2*maxLine {
		t.Errorf("wrote %d", g.u32(out))
	}
	if got := contents(t, f); got != "hello, world\n"+big+big {
		t.Errorf("output is %d bytes: %.20q", len(got), got)
	}
	if _, e := g.read(1, 1); e != eBadf {
		t.Errorf("reading standard output: %d", e)
	}
	g.want(eSpipe, "fd_seek", 1, uint64(0), 1, out)
	g.want(eNotsock, "sock_shutdown", 1, 1)
	g.must("fd_close", 1)
	if _, err := f.Stat(); err != nil {
		t.Errorf("closing the descriptor closed the process's stream: %v", err)
	}
}

func TestBrokenPipe(t *testing.T) {
	r, w := pipe(t)
	r.Close()
	g := newGuest(t, Config{Files: []File{Stdout(w)}})
	if e := g.write(0, "x"); e != ePipe {
		t.Errorf("errno %d, want EPIPE", e)
	}
}

func TestNullDevices(t *testing.T) {
	g := newGuest(t, Config{Files: []File{Null(), Empty(), Sink()}})
	g.wantRead(0, 10, "")
	g.wantRead(1, 10, "")
	if e := g.write(0, "abc"); e != success || g.u32(out) != 3 {
		t.Errorf("null took %d: %d", g.u32(out), e)
	}
	if e := g.write(2, "abc"); e != success || g.u32(out) != 3 {
		t.Errorf("the sink took %d: %d", g.u32(out), e)
	}
	if e := g.write(1, "abc"); e != eBadf {
		t.Errorf("writing to empty input: %d", e)
	}
	if _, e := g.read(2, 1); e != eBadf {
		t.Errorf("reading the sink: %d", e)
	}
}

func TestStdinBlocking(t *testing.T) {
	r, w := pipe(t)
	g := newGuest(t, Config{Files: []File{Stdin(r)}})
	io.WriteString(w, "hello")
	a, b := g.put(make([]byte, 3)), g.put(make([]byte, 10))
	ptr, n := g.iovecs(0, 0, a, 3, b, 10)
	g.must("fd_read", 0, ptr, n, out) // a short read is fine, waiting for more is not
	g.wantRead(0, 10, "lo")
	w.Close()
	g.wantRead(0, 10, "")
	if g.fds[0].reader != nil {
		t.Error("blocking reads started a reader")
	}
}

// TestStdinPoll polls, then reads through the goroutine that polling started.
func TestStdinPoll(t *testing.T) {
	r, w := pipe(t)
	g := newGuest(t, Config{Files: []File{Stdin(r)}})
	now := sub{2, eventClock, 0, clockMonotonic, 0, 0}
	in := sub{1, eventRead, 0, 0, 0, 0}
	g.wantPoll([]event{{2, 0, eventClock, 0, 0}}, in, now)
	io.WriteString(w, "hello")
	g.wantPoll([]event{{1, 0, eventRead, 5, 0}}, in, soon)
	g.wantPoll([]event{{1, eBadf, eventWrite, 0, 0}}, sub{1, eventWrite, 0, 0, 0, 0}, soon)
	g.wantRead(0, 2, "he")
	g.wantRead(0, 10, "llo")
	go func() {
		time.Sleep(10 * time.Millisecond)
		io.WriteString(w, "late")
		w.Close()
	}()
	g.wantRead(0, 10, "late") // a blocking read waits for the goroutine
	g.wantPoll([]event{{1, 0, eventRead, 0, eventHangup}}, in, soon)
	g.wantRead(0, 10, "")
}

func TestStdinNonblock(t *testing.T) {
	r, w := pipe(t)
	g := newGuest(t, Config{Files: []File{Stdin(r)}})
	g.must("fd_fdstat_set_flags", 0, flagNonblock)
	if _, e := g.read(0, 1); e != eAgain {
		t.Errorf("nothing to read: %d, want EAGAIN", e)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 3*stdinBuffer/16)
	go func() {
		w.Write(sent)
		w.Close()
	}()
	var got []byte
	for {
		s, e := g.read(0, 10000)
		if e == eAgain {
			g.poll(sub{1, eventRead, 0, 0, 0, 0}, soon)
			continue
		}
		if e != success {
			t.Fatalf("errno %d", e)
		}
		if s == "" {
			break
		}
		got = append(got, s...)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("read %d bytes, sent %d", len(got), len(sent))
	}
}

// TestStdinFile reads a file, which is always ready and needs no goroutine.
func TestStdinFile(t *testing.T) {
	f := tempFile(t)
	io.WriteString(f, "data")
	f.Seek(0, io.SeekStart)
	g := newGuest(t, Config{Files: []File{Stdin(f)}})
	g.wantPoll([]event{{1, 0, eventRead, 1, 0}}, sub{1, eventRead, 0, 0, 0, 0}, soon)
	g.must("fd_fdstat_set_flags", 0, flagNonblock)
	g.wantRead(0, 10, "data")
	g.wantRead(0, 10, "")
	if g.fds[0].reader != nil {
		t.Error("a file started a reader")
	}
}

func TestStdinError(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	g := newGuest(t, Config{Files: []File{Stdin(dir)}})
	if _, e := g.read(0, 1); e != eIsdir {
		t.Errorf("errno %d, want EISDIR", e)
	}
	g.poll(sub{1, eventRead, 0, 0, 0, 0}, soon)
	if _, e := g.read(0, 1); e != eIsdir {
		t.Errorf("through the reader: errno %d, want EISDIR", e)
	}
}
