// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/socket"
)

// newServer returns a guest with a TCP listener at 0, and its address.
func newServer(t testing.TB, nonblock bool) (*guest, string) {
	t.Helper()
	g := newGuest(t, Config{})
	n := socket.New(socket.Config{Wake: g.Wake})
	t.Cleanup(func() {
		g.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		n.Close(ctx)
	})
	l, err := n.Listen(context.Background(), "127.0.0.1", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Append(Listener(l, nonblock))
	return g, l.Addr().String()
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// newPair returns a guest with a blocking connection at 1, and the peer.
func newPair(t testing.TB) (*guest, *net.TCPConn) {
	t.Helper()
	g, addr := newServer(t, false)
	c := dial(t, addr)
	g.must("sock_accept", 0, 0, out)
	if got := g.u32(out); got != 1 {
		t.Fatalf("accepted as %d", got)
	}
	return g, c
}

func readable(fd uint32) sub { return sub{userdata: 1, kind: eventRead, fd: fd} }

// waitFor polls until n bytes can be read.
func (g *guest) waitFor(fd uint32, n uint64) {
	g.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if e := g.poll(readable(fd), soon); e[0].Nbytes >= n {
			return
		}
	}
	g.Fatalf("%d bytes did not come", n)
}

func TestAccept(t *testing.T) {
	g, addr := newServer(t, false)
	g.want(eInval, "sock_accept", 0, flagAppend, out)
	g.want(eInval, "sock_accept", 0, -1, out)
	g.want(eFault, "sock_accept", 0, 0, len(g.mem)-3)
	c := dial(t, addr)
	g.wantPoll([]event{{1, 0, eventRead, 1, 0}}, readable(0), sub{2, eventWrite, 0, 0, 0, 0}, soon)
	g.must("sock_accept", 0, flagNonblock, out)
	fd := g.u32(out)
	if got := g.flags(fd); got != flagNonblock {
		t.Errorf("flags of the connection: %#x", got)
	}
	if base, inherit := g.rights(fd); base != rightsConn || inherit != 0 {
		t.Errorf("rights of the connection: %#x, %#x", base, inherit)
	}
	g.want(eInval, "sock_accept", fd, 0, out)
	if _, e := g.read(fd, 1); e != eAgain {
		t.Errorf("nothing to read: %d", e)
	}
	if _, e := g.read(0, 1); e != eNotconn {
		t.Errorf("reading a listener: %d", e)
	}
	if e := g.write(fd, "hello"); e != success {
		t.Fatal(e)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("peer read %q, %v", b, err)
	}
	g.want(eInval, "fd_fdstat_set_flags", fd, flagNonblock|flagAppend)
	g.want(eInval, "fd_fdstat_set_flags", fd, flagSync)
	g.must("fd_fdstat_set_flags", fd, 0)
	g.want(eInval, "fd_sync", fd)
	g.want(eSpipe, "fd_tell", fd, out)
	g.must("fd_fdstat_set_rights", 0, uint64(rightRead), uint64(0))
	g.want(eNotcapable, "sock_accept", 0, 0, out)
}

// TestLazyNonblock plays a Go program, which looks at the flags, a plain one,
// which just calls, and one that polls.
func TestLazyNonblock(t *testing.T) {
	t.Run("looks", func(t *testing.T) {
		g, _ := newServer(t, true)
		if got := g.flags(0); got != flagNonblock {
			t.Errorf("flags %#x", got)
		}
		g.want(eAgain, "sock_accept", 0, 0, out)
	})
	t.Run("sets", func(t *testing.T) {
		g, _ := newServer(t, true)
		g.must("fd_fdstat_set_flags", 0, flagNonblock)
		g.want(eAgain, "sock_accept", 0, 0, out)
	})
	t.Run("polls", func(t *testing.T) {
		g, _ := newServer(t, true)
		g.poll(readable(0), sub{2, eventClock, 0, clockMonotonic, 0, 0})
		g.want(eAgain, "sock_accept", 0, 0, out)
	})
	t.Run("polls a connection", func(t *testing.T) {
		g, c := newPair(t)
		g.fds[1].setLazyNonblock(true)
		g.poll(readable(1), sub{2, eventClock, 0, clockMonotonic, 0, 0})
		time.AfterFunc(10*time.Millisecond, func() { c.Write([]byte("late")) })
		g.wantRead(1, 10, "late")
		if got := g.flags(1); got != flagNonblock {
			t.Errorf("flags %#x", got)
		}
		if _, e := g.read(1, 1); e != eAgain {
			t.Errorf("after looking: %d", e)
		}
	})
	t.Run("calls", func(t *testing.T) {
		g, addr := newServer(t, true)
		go func() {
			time.Sleep(10 * time.Millisecond)
			if c, err := net.Dial("tcp", addr); err == nil {
				defer c.Close()
				io.Copy(io.Discard, c)
			}
		}()
		g.must("sock_accept", 0, 0, out)
		g.must("sock_shutdown", g.u32(out), shutWrite)
	})
	t.Run("clears", func(t *testing.T) {
		g, addr := newServer(t, true)
		g.flags(0)
		g.must("fd_fdstat_set_flags", 0, 0)
		time.AfterFunc(10*time.Millisecond, func() {
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
			}
		})
		g.must("sock_accept", 0, 0, out)
	})
}

func TestRecv(t *testing.T) {
	g, c := newPair(t)
	recv := func(flags int, pairs ...uint32) string {
		t.Helper()
		ptr, n := g.iovecs(pairs...)
		g.must("sock_recv", 1, ptr, n, flags, out, out+4)
		got, left := "", g.u32(out)
		for i := 0; i < len(pairs); i += 2 {
			m := min(left, pairs[i+1])
			got += string(g.mem[pairs[i] : pairs[i]+m])
			left -= m
		}
		return got
	}
	a, b := g.put(make([]byte, 4)), g.put(make([]byte, 100))
	c.Write([]byte("0123456789"))
	g.waitFor(1, 10)
	if got := recv(recvPeek, a, 4); got != "0123" {
		t.Errorf("peek %q", got)
	}
	if got := recv(recvPeek|recvWaitall, a, 4, b, 100); got != "0123" {
		t.Errorf("peek %q", got)
	}
	if got := recv(0, a, 4, b, 2); got != "012345" {
		t.Errorf("recv %q", got)
	}
	time.AfterFunc(10*time.Millisecond, func() { c.Write([]byte("abcdef")) })
	if got := recv(recvWaitall, a, 4, b, 6); got != "6789abcdef" {
		t.Errorf("waitall %q", got)
	}
	c.Write([]byte("xyz"))
	time.AfterFunc(10*time.Millisecond, func() { c.CloseWrite() })
	if got := recv(recvWaitall, b, 100); got != "xyz" {
		t.Errorf("waitall up to the end %q", got)
	}
	if got := recv(0, b, 100); got != "" {
		t.Errorf("behind the end %q", got)
	}
	g.wantPoll([]event{{1, 0, eventRead, 0, eventHangup}}, readable(1), soon)
	ptr, n := g.iovecs(b, 1)
	g.want(eNotsup, "sock_recv", 1, ptr, n, 4, out, out+4)
	g.want(eFault, "sock_recv", 1, ptr, n, 0, len(g.mem)-3, out+4)
	g.want(eFault, "sock_recv", 1, ptr, n, 0, out, len(g.mem)-1)
	g.want(eFault, "sock_recv", 1, len(g.mem), n, 0, out, out+4)
	g.want(eNotconn, "sock_recv", 0, ptr, n, 0, out, out+4)
}

func TestWaitallNonblocking(t *testing.T) {
	g, c := newPair(t)
	g.must("fd_fdstat_set_flags", 1, flagNonblock)
	b := g.put(make([]byte, 100))
	ptr, n := g.iovecs(b, 100)
	g.want(eAgain, "sock_recv", 1, ptr, n, recvWaitall, out, out+4)
	c.Write([]byte("abc"))
	g.waitFor(1, 3)
	g.must("sock_recv", 1, ptr, n, recvWaitall, out, out+4)
	if g.u32(out) != 3 {
		t.Errorf("received %d", g.u32(out))
	}
}

func TestSend(t *testing.T) {
	g, c := newPair(t)
	data := strings.Repeat("0123456789abcdef", 1<<12)
	at := g.put([]byte(data))
	ptr, n := g.iovecs(at, uint32(len(data)), at, 0, at, uint32(len(data)))
	g.want(eNotsup, "sock_send", 1, ptr, n, 1, out)
	g.want(eFault, "sock_send", 1, ptr, n, 0, len(g.mem)-3)
	g.want(eNotconn, "sock_send", 0, ptr, n, 0, out)
	const rounds = 32 // 4 MiB in all: more than the kernel and the pump hold
	received := make(chan int, 1)
	go func() {
		time.Sleep(20 * time.Millisecond)
		n, _ := io.Copy(io.Discard, c)
		received <- int(n)
	}()
	for range rounds { // blocking: every byte goes
		g.must("sock_send", 1, ptr, n, 0, out)
		if got := int(g.u32(out)); got != 2*len(data) {
			t.Fatalf("sent %d of %d", got, 2*len(data))
		}
	}
	g.must("fd_close", 1)
	if got := <-received; got != rounds*2*len(data) {
		t.Errorf("peer received %d", got)
	}
}

func TestSendNonblocking(t *testing.T) {
	g, c := newPair(t)
	g.must("fd_fdstat_set_flags", 1, flagNonblock)
	data := strings.Repeat("x", 1<<17)
	at := g.put([]byte(data))
	ptr, n := g.iovecs(at, uint32(len(data)))
	sent := 0
	e := success
	for e == success && sent < 1<<28 {
		if e = g.call("fd_write", 1, ptr, n, out); e == success {
			sent += int(g.u32(out))
		}
	}
	if e != eAgain {
		t.Fatalf("after %d bytes: %d, want EAGAIN", sent, e)
	}
	full := sub{1, eventWrite, 1, 0, 0, 0}
	g.wantPoll([]event{{2, 0, eventClock, 0, 0}}, full, sub{2, eventClock, 0, clockMonotonic, 0, 0})
	go io.Copy(io.Discard, c)
	g.wantPoll([]event{{1, 0, eventWrite, 1, 0}}, full, soon)
}

func TestShutdown(t *testing.T) {
	g, c := newPair(t)
	for _, how := range []int{0, 4, -1} {
		g.want(eInval, "sock_shutdown", 1, how)
	}
	g.want(eNotconn, "sock_shutdown", 0, shutRead)
	g.must("sock_shutdown", 1, shutWrite)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("peer read %d, %v", n, err)
	}
	if e := g.write(1, "x"); e != ePipe {
		t.Errorf("writing after shutdown: %d, want EPIPE", e)
	}
	c.Write([]byte("still"))
	g.wantRead(1, 5, "still")
	g.must("sock_shutdown", 1, shutRead)
	g.wantRead(1, 5, "")
	g.must("fd_fdstat_set_rights", 1, uint64(0), uint64(0))
	g.want(eNotcapable, "sock_shutdown", 1, shutRead|shutWrite)
}

func TestReset(t *testing.T) {
	g, c := newPair(t)
	c.SetLinger(0)
	c.Close()
	if _, e := g.read(1, 1); e != errnoOf(syscall.ECONNRESET) {
		t.Errorf("errno %d, want ECONNRESET", e)
	}
}

// TestEcho serves connections the way an event loop does.
func TestEcho(t *testing.T) {
	g, addr := newServer(t, true)
	const clients = 8
	done := make(chan error, clients)
	for i := range clients {
		go func() { done <- echoClient(addr, name("client %d", i)) }()
	}
	subs := []sub{readable(0), soon}
	for closed := 0; closed < clients; {
		for _, e := range g.poll(subs...) {
			switch e.Userdata {
			case 99:
				t.Fatal("nothing happens")
			case 1:
				if g.call("sock_accept", 0, flagNonblock, out) == success {
					fd := g.u32(out)
					subs = append(subs, sub{userdata: 100 + uint64(fd), kind: eventRead, fd: fd})
				}
			default:
				fd := uint32(e.Userdata - 100)
				s, err := g.read(fd, 100)
				if err == success && s != "" {
					g.write(fd, s)
				} else if err == success {
					g.must("fd_close", fd)
					closed++
					for i := range subs {
						if subs[i].userdata == e.Userdata {
							subs = append(subs[:i], subs[i+1:]...)
							break
						}
					}
				}
			}
		}
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func echoClient(addr, line string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for range 20 {
		if _, err := io.WriteString(c, line); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, len(line))); err != nil {
			return err
		}
	}
	return nil
}
