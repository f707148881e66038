// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// both runs a test over TCP and over TLS.
func both(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Run("tcp", func(t *testing.T) { test(t, false) })
	t.Run("tls", func(t *testing.T) { test(t, true) })
}

func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := rand.Read(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEcho(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		sent := randomBytes(t, 3<<20)
		go func() {
			if _, err := peer.Write(sent); err != nil {
				t.Error(err)
			}
			if err := closeWrite(peer); err != nil {
				t.Error(err)
			}
		}()
		got := make(chan []byte, 1)
		go func() {
			p, err := io.ReadAll(peer)
			if err != nil {
				t.Error(err)
			}
			got <- p
		}()
		if err := g.echo(conn); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(<-got, sent) {
			t.Error("the echo differs")
		}
	})
}

func closeWrite(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

func TestPeek(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		if n, err := conn.Recv(make([]byte, 4), true); n != 0 || !errors.Is(err, ErrAgain) {
			t.Errorf("empty: %d, %v", n, err)
		}
		if _, err := peer.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		g.wait(func() bool { n, _ := conn.Readable(); return n == 5 })
		p := make([]byte, 16)
		for _, step := range []struct {
			size int
			peek bool
			want string
		}{{2, true, "he"}, {16, true, "hello"}, {2, false, "he"}, {16, true, "llo"}, {16, false, "llo"}} {
			n, err := conn.Recv(p[:step.size], step.peek)
			if err != nil || string(p[:n]) != step.want {
				t.Errorf("%+v: %q, %v", step, p[:n], err)
			}
		}
	})
}

// TestHalfClose ends each direction on its own, and looks at the other.
func TestHalfClose(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		if err := g.sendAll(conn, []byte("last words")); err != nil {
			t.Fatal(err)
		}
		if err := conn.Shutdown(false, true); err != nil {
			t.Fatal(err)
		}
		// With TLS, crypto/tls returns nil here only for close_notify or a FIN.
		if got, err := io.ReadAll(peer); err != nil || string(got) != "last words" {
			t.Errorf("peer got %q, %v", got, err)
		}
		if n, err := conn.Send([]byte("x")); n != 0 || err != syscall.EPIPE {
			t.Errorf("Send after Shutdown: %d, %v", n, err)
		}
		if !conn.Writable() {
			t.Error("a connection whose Send fails must count as writable")
		}
		if _, err := peer.Write([]byte("still listening?")); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 64)
		if n, err := g.recv(conn, p); err != nil || string(p[:n]) != "still listening?" {
			t.Errorf("got %q, %v", p[:n], err)
		}
		if err := closeWrite(peer); err != nil {
			t.Fatal(err)
		}
		g.wait(func() bool { _, eof := conn.Readable(); return eof })
		for range 2 {
			if n, err := conn.Recv(p, false); n != 0 || err != nil {
				t.Errorf("at the end: %d, %v", n, err)
			}
		}
	})
}

// TestCloseNotifyIsSent looks below TLS: the alert must be there, since with a
// bare FIN the peer cannot tell the end from an attack.
func TestCloseNotifyIsSent(t *testing.T) {
	for _, how := range []string{"Shutdown", "Close"} {
		t.Run(how, func(t *testing.T) {
			g := newGuest(t, Config{})
			l := g.listen(g.pki.server)
			raw, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			tap := &eofTap{Conn: raw}
			peer := tls.Client(tap, g.pki.client)
			if err := peer.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			conn := g.accept(l)
			if how == "Shutdown" {
				err = conn.Shutdown(false, true)
			} else {
				err = conn.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if n, err := peer.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("got %d, %v", n, err)
			}
			if tap.eof {
				t.Error("the FIN came first: no close_notify was sent")
			}
		})
	}
}

// eofTap notes whether TLS was shown the end of the TCP stream.
type eofTap struct {
	net.Conn
	eof bool
}

func (t *eofTap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.eof = t.eof || err == io.EOF
	return n, err
}

// TestAbruptEnd cuts connections off; only a TCP FIN over plain TCP is orderly.
func TestAbruptEnd(t *testing.T) {
	for _, test := range []struct {
		name          string
		secure, reset bool
		want          error
	}{
		{"tcp fin", false, false, nil},
		{"tcp reset", false, true, syscall.ECONNRESET},
		{"tls fin", true, false, syscall.ECONNRESET},
		{"tls reset", true, true, syscall.ECONNRESET},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			peer, conn := g.pair(test.secure)
			if _, err := peer.Write([]byte("cut")); err != nil {
				t.Fatal(err)
			}
			g.wait(func() bool { n, _ := conn.Readable(); return n == 3 })
			raw := peer
			if test.secure {
				raw = peer.(*tls.Conn).NetConn()
			}
			if test.reset {
				if err := raw.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			raw.Close()
			g.wait(func() bool { _, eof := conn.Readable(); return eof })
			p := make([]byte, 8)
			if n, err := conn.Recv(p, false); n != 3 || err != nil {
				t.Errorf("what came before the end: %d, %v", n, err)
			}
			if n, err := conn.Recv(p, false); n != 0 || err != test.want {
				t.Errorf("the end: %d, %v, want %v", n, err, test.want)
			}
		})
	}
}

// TestGarbageRecord breaks an established TLS connection with plain bytes.
func TestGarbageRecord(t *testing.T) {
	g := newGuest(t, Config{})
	peer, conn := g.pair(true)
	if _, err := peer.(*tls.Conn).NetConn().Write(bytes.Repeat([]byte("GET / "), 100)); err != nil {
		t.Fatal(err)
	}
	g.wait(func() bool { _, eof := conn.Readable(); return eof })
	if _, err := conn.Recv(make([]byte, 8), false); !errors.Is(err, syscall.EPROTO) {
		t.Errorf("got %v, want EPROTO", err)
	}
}

// TestSendBackpressure sends to a peer that does not read, until that is refused,
// then lets it read: the guest must be woken and nothing may be lost.
func TestSendBackpressure(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		total := fill(t, conn)
		if conn.Writable() {
			t.Error("writable although full")
		}
		if room, err := conn.wire.room(); err != nil || room < sendLimit-sendHard {
			t.Errorf("room for %d bytes, %v", room, err)
		}
		// The other direction must not be held up.
		if _, err := peer.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 8)
		if n, err := g.recv(conn, p); n != 4 || err != nil {
			t.Errorf("received %d, %v", n, err)
		}
		got := make(chan int64, 1)
		go func() {
			n, err := io.Copy(io.Discard, peer)
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
		g.wait(conn.Writable)
		if err := g.sendAll(conn, []byte("end")); err != nil {
			t.Error(err)
		}
		conn.Close()
		if n := <-got; n != int64(total)+3 {
			t.Errorf("sent %d bytes, peer got %d", total+3, n)
		}
	})
}

// fill sends until ErrAgain stays, and returns how much that was.
func fill(t *testing.T, conn *Conn) (total int) {
	t.Helper()
	p := make([]byte, 100_000)
	for full := 0; full < 50; {
		n, err := conn.Send(p)
		total += n
		switch {
		case errors.Is(err, ErrAgain):
			// drain may still be moving bytes into the kernel.
			full++
			time.Sleep(time.Millisecond)
		case err != nil || n == 0:
			t.Fatal(n, err)
		case total > 256<<20:
			t.Fatal("Send takes everything")
		default:
			full = 0
		}
	}
	return total
}

// TestRecvBackpressure has a peer send more than anybody wants to read.
func TestRecvBackpressure(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		sent := randomBytes(t, 8<<20)
		go func() {
			if _, err := peer.Write(sent); err != nil {
				t.Error(err)
			}
			peer.Close()
		}()
		g.wait(func() bool { n, _ := conn.Readable(); return n >= recvLimit })
		time.Sleep(20 * time.Millisecond) // for more to arrive, if it does
		if n, _ := conn.Readable(); n > recvLimit+largeSize {
			t.Errorf("%d bytes are buffered", n)
		}
		var got []byte
		p := make([]byte, 7777)
		for {
			n, err := g.recv(conn, p)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			got = append(got, p[:n]...)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, not those sent", len(got))
		}
	})
}

func TestShutdownRead(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		if _, err := peer.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		g.wait(func() bool { n, _ := conn.Readable(); return n > 0 })
		if err := conn.Shutdown(true, false); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Recv(make([]byte, 8), false); n != 0 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if n, eof := conn.Readable(); n != 0 || !eof {
			t.Errorf("Readable: %d, %v", n, eof)
		}
		if err := g.sendAll(conn, []byte("answer")); err != nil {
			t.Error(err)
		}
		p := make([]byte, 6)
		if _, err := io.ReadFull(peer, p); err != nil || string(p) != "answer" {
			t.Errorf("peer got %q, %v", p, err)
		}
	})
}

// TestNetCloseDrains ends the program while a slow peer has not read all.
func TestNetCloseDrains(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{DrainTimeout: patience})
		peer, conn := g.pair(secure)
		total := fill(t, conn)
		got := make(chan int64, 1)
		go func() {
			n, err := io.Copy(io.Discard, peer)
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
		if err := g.Net.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := <-got; n != int64(total) {
			t.Errorf("sent %d bytes, peer got %d", total, n)
		}
	})
}

// TestDrainIsBounded closes towards a peer that never reads.
func TestDrainIsBounded(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		ctx  time.Duration
	}{
		{"by DrainTimeout", Config{DrainTimeout: 50 * time.Millisecond}, patience},
		{"by the context", Config{DrainTimeout: patience}, 50 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, test.cfg)
			_, conn := g.pair(true)
			fill(t, conn)
			start := time.Now()
			conn.Close()
			if took := time.Since(start); took > patience/4 {
				t.Errorf("Close took %v", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.ctx)
			defer cancel()
			if err := g.Net.Close(ctx); err == nil {
				t.Error("lost data is not reported")
			}
			if took := time.Since(start); took > patience/2 {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestCloseWithUnreadData closes while the peer is still sending: the kernel
// would answer with a reset and the reply could be lost.
func TestCloseWithUnreadData(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		g := newGuest(t, Config{})
		peer, conn := g.pair(secure)
		if _, err := peer.Write(make([]byte, 40_000)); err != nil {
			t.Fatal(err)
		}
		g.wait(func() bool { n, _ := conn.Readable(); return n == 40_000 })
		if err := g.sendAll(conn, []byte("too large")); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got, err := io.ReadAll(peer); err != nil || string(got) != "too large" {
			t.Errorf("peer got %q, %v", got, err)
		}
	})
}

// TestWireGivesUp stands for a TLS peer that asks for key updates without end
// and never reads the answers.
func TestWireGivesUp(t *testing.T) {
	g := newGuest(t, Config{})
	_, conn := g.pair(false)
	p := make([]byte, 1000)
	for total := 0; ; total += len(p) {
		if _, err := conn.wire.Write(p); err != nil {
			if err != syscall.ENOBUFS {
				t.Errorf("got %v", err)
			}
			break
		}
		if total > 256<<20 {
			t.Fatal("the queue is not bounded")
		}
	}
	if _, err := conn.Send(p); err != syscall.ENOBUFS {
		t.Errorf("Send: %v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	g := newGuest(t, Config{})
	_, conn := g.pair(true)
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if n, err := conn.Recv(make([]byte, 1), false); n != 0 || err != nil {
		t.Errorf("Recv: %d, %v", n, err)
	}
	if _, err := conn.Send([]byte("x")); err != syscall.EPIPE {
		t.Errorf("Send: %v", err)
	}
	if err := conn.Shutdown(true, true); err != nil {
		t.Error(err)
	}
}

// TestSteadyStateGarbage holds the garbage of a message there and back: nothing
// is collected while the guest computes. What is left with TLS is crypto/tls's
// own, here of both ends. A stray collection may empty the pools once.
func TestSteadyStateGarbage(t *testing.T) {
	for _, test := range []struct {
		name   string
		secure bool
		max    float64
	}{{"tcp", false, 2}, {"tls", true, 8}} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			peer, conn := g.pair(test.secure)
			p, q := make([]byte, 2000), make([]byte, 2000)
			allocs := testing.AllocsPerRun(500, func() {
				if _, err := peer.Write(p); err != nil {
					t.Error(err)
				}
				for got := 0; got < len(p); {
					n, err := g.recv(conn, q[got:])
					if err != nil {
						t.Error(err)
						return
					}
					got += n
				}
				if err := g.sendAll(conn, q); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(peer, p); err != nil {
					t.Error(err)
				}
			})
			if allocs > test.max {
				t.Errorf("%v allocations per message", allocs)
			}
		})
	}
}
