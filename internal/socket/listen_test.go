// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSilentClients holds a TLS listener against clients that connect and say
// nothing: 200 keep-alive clients beside them must not notice.
func TestSilentClients(t *testing.T) {
	const clients, silent, rounds = 200, 50, 5
	g := newGuest(t, Config{})
	l := g.listen(g.pki.server)
	for range silent {
		g.dial(l, false)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var slowest time.Duration
	for range clients {
		wg.Go(func() {
			peer, err := tls.Dial("tcp", l.Addr().String(), g.pki.client)
			if err != nil {
				t.Error(err)
				return
			}
			defer peer.Close()
			p := make([]byte, 300)
			for range rounds {
				start := time.Now()
				if _, err := peer.Write(p); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(peer, p); err != nil {
					t.Error(err)
				}
				mu.Lock()
				slowest = max(slowest, time.Since(start))
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	g.serveAll(l, done)
	t.Logf("slowest answer %v", slowest)
	if slowest > 5*time.Second {
		t.Errorf("the slowest answer took %v", slowest)
	}
	g.Net.mu.Lock()
	defer g.Net.mu.Unlock()
	if g.evicting != 0 || g.handshake != silent {
		t.Errorf("%d half-open connections are left, want %d", g.handshake, silent)
	}
}

// serveAll accepts and echoes, all in this goroutine, until done is closed.
func (g *guest) serveAll(l *Listener, done <-chan struct{}) {
	var conns []*Conn
	p := make([]byte, 4096)
	for {
		select {
		case <-done:
			return
		case <-g.woken:
		}
		for l.Pending() {
			c, err := l.Accept()
			if err != nil {
				g.Error(err)
				return
			}
			conns = append(conns, c)
		}
		open := conns[:0]
		for _, c := range conns {
			n, err := c.Recv(p, false)
			if err == nil && n > 0 {
				err = g.sendAll(c, p[:n])
			} else if err == nil {
				err = io.EOF
			}
			if err == nil || errors.Is(err, ErrAgain) {
				open = append(open, c)
			} else {
				c.Close()
			}
		}
		conns = open
	}
}

// TestEviction fills the share of half-open connections with silent ones: the
// oldest must go so that an honest client gets in, long before the deadline.
func TestEviction(t *testing.T) {
	g := newGuest(t, Config{Limit: 8, HandshakeTimeout: 5 * time.Second})
	l := g.listen(g.pki.server)
	var silent []net.Conn
	for range g.share() {
		silent = append(silent, g.dial(l, false))
	}
	peer := g.dial(l, true)
	conn := g.accept(l)
	if _, err := peer.Write([]byte("in")); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 2)
	if n, err := g.recv(conn, p); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := silent[0].Read(p); err == nil {
		t.Error("the oldest silent client hears something")
	}
	if err := silent[1].SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent[1].Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second oldest: %v", err)
	}
}

// TestEvictionSparesTheYoung has more honest clients than half-open slots: they
// queue, none is refused.
func TestEvictionSparesTheYoung(t *testing.T) {
	g := newGuest(t, Config{Limit: 60, HandshakeTimeout: patience}) // half-open: 45
	l := g.listen(g.pki.server)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			peer, err := tls.Dial("tcp", l.Addr().String(), g.pki.client)
			if err != nil {
				t.Error(err)
				return
			}
			defer peer.Close()
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	g.serveAll(l, done)
}

// TestHandshakeDeadline also covers peers that say a little and then stop.
func TestHandshakeDeadline(t *testing.T) {
	g := newGuest(t, Config{HandshakeTimeout: 100 * time.Millisecond})
	l := g.listen(g.pki.server)
	for _, words := range []string{"", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		peer := g.dial(l, false)
		if _, err := io.WriteString(peer, words); err != nil {
			t.Fatal(err)
		}
		if err := peer.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, peer); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q the server holds on", words)
		}
	}
	if l.Pending() {
		t.Error("a failed handshake reached the guest")
	}
}

// TestHandshakeFaults breaks handshakes in several ways; the listener goes on.
func TestHandshakeFaults(t *testing.T) {
	g := newGuest(t, Config{Limit: 4})
	l := g.listen(g.pki.server)
	old := g.pki.client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	g.pki.server.MaxVersion = tls.VersionTLS13
	distrusting := g.pki.client.Clone()
	distrusting.ServerName = "other.test"
	for _, test := range []struct {
		name string
		do   func(net.Conn) error
	}{
		{"garbage", func(c net.Conn) error { _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); return err }},
		{"reset at once", func(c net.Conn) error { return c.(*net.TCPConn).SetLinger(0) }},
		{"reset in the middle", func(c net.Conn) error {
			if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1}); err != nil {
				return err
			}
			return c.(*net.TCPConn).SetLinger(0)
		}},
		{"reset at the first answer", func(c net.Conn) error {
			tls.Client(resetOnRead{c}, g.pki.client).HandshakeContext(t.Context())
			return nil
		}},
		{"TLS 1.2", func(c net.Conn) error {
			if err := tls.Client(c, old).HandshakeContext(t.Context()); err == nil {
				return errors.New("a TLS 1.2 handshake succeeded")
			}
			return nil
		}},
		{"client walks away", func(c net.Conn) error {
			if err := tls.Client(c, distrusting).HandshakeContext(t.Context()); err == nil {
				return errors.New("a wrong name was accepted")
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 10 {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if err := test.do(c); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Error(err)
				}
				c.Close()
			}
			peer := g.dial(l, true)
			defer peer.Close()
			conn := g.accept(l)
			defer conn.Close()
			if _, err := peer.Write([]byte("fine")); err != nil {
				t.Fatal(err)
			}
			if n, err := g.recv(conn, make([]byte, 4)); n != 4 || err != nil {
				t.Errorf("afterwards: %d, %v", n, err)
			}
		})
	}
}

// resetOnRead lets the peer answer and then resets the connection.
type resetOnRead struct{ net.Conn }

func (r resetOnRead) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.Conn.(*net.TCPConn).SetLinger(0)
	r.Conn.Close()
	return n, err
}

// TestLimit reaches the limit and recovers when a connection is closed.
func TestLimit(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		const limit = 4
		g := newGuest(t, Config{Limit: limit})
		var conf *tls.Config
		if secure {
			conf = g.pki.server
		}
		l := g.listen(conf)
		var conns []*Conn
		for range limit {
			g.dial(l, secure)
			conns = append(conns, g.accept(l))
		}
		if _, err := g.Connect(t.Context(), "127.0.0.1", port(l), nil); !errors.Is(err, ErrTooMany) || !errors.Is(err, syscall.EMFILE) {
			t.Errorf("Connect: %v", err)
		}
		extra := make(chan net.Conn, 1)
		go func() { extra <- g.dial(l, secure) }()
		time.Sleep(20 * time.Millisecond)
		if l.Pending() {
			t.Error("a connection beyond the limit was accepted")
		}
		conns[0].Close()
		c := g.accept(l)
		peer := <-extra
		if err := g.sendAll(c, []byte("welcome")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(peer, make([]byte, 7)); err != nil {
			t.Error(err)
		}
	})
}

func port(l *Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// TestAcceptQueue leaves connections in the kernel when the guest accepts none.
func TestAcceptQueue(t *testing.T) {
	g := newGuest(t, Config{})
	l := g.listen(nil)
	const more = 10
	for range maxPending + more {
		g.dial(l, false)
	}
	pending := func() int {
		g.Net.mu.Lock()
		defer g.Net.mu.Unlock()
		return len(l.pending)
	}
	g.wait(func() bool { return pending() == maxPending })
	for range maxPending + more {
		g.accept(l).Close()
	}
}

func TestClientAuth(t *testing.T) {
	for _, test := range []struct {
		name  string
		mode  tls.ClientAuthType
		cert  string // "", "known" or "foreign"
		admit bool
	}{
		{"none", tls.NoClientCert, "", true},
		{"none, ignores", tls.NoClientCert, "foreign", true},
		{"request, without", tls.VerifyClientCertIfGiven, "", true},
		{"request, with", tls.VerifyClientCertIfGiven, "known", true},
		{"request, foreign", tls.VerifyClientCertIfGiven, "foreign", false},
		{"require, without", tls.RequireAndVerifyClientCert, "", false},
		{"require, with", tls.RequireAndVerifyClientCert, "known", true},
		{"require, foreign", tls.RequireAndVerifyClientCert, "foreign", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, Config{})
			server := g.pki.server.Clone()
			server.ClientAuth, server.ClientCAs = test.mode, g.pki.roots
			l := g.listen(server)
			client := g.pki.client.Clone()
			issuer := g.pki
			if test.cert == "foreign" {
				issuer = newPKI(t)
			}
			if test.cert != "" {
				_, cert := issuer.issue(t, "client.test")
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			}
			peer, err := tls.Dial("tcp", l.Addr().String(), client)
			if err != nil {
				t.Fatal(err) // TLS 1.3 clients learn of a refusal only when they read
			}
			defer peer.Close()
			if test.admit {
				if err := g.sendAll(g.accept(l), []byte("!")); err != nil {
					t.Error(err)
				}
			}
			if _, err := io.ReadFull(peer, make([]byte, 1)); (err == nil) != test.admit {
				t.Errorf("got %v", err)
			}
			if !test.admit && l.Pending() {
				t.Error("the guest sees a refused client")
			}
		})
	}
}

func TestListenAddresses(t *testing.T) {
	g := newGuest(t, Config{})
	for _, addr := range []string{"::", "", "127.0.0.1", "localhost", "0.0.0.0"} {
		l, err := g.Listen(t.Context(), addr, 0, nil)
		if err != nil {
			t.Errorf("%q: %v", addr, err)
			continue
		}
		c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", l.Addr().String()[len(l.Addr().String())-5:]))
		if err == nil {
			c.Close()
		}
		_, err = g.Listen(t.Context(), addr, port(l), nil)
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%q twice: %v", addr, err)
		}
		l.Close()
	}
	if _, err := g.Listen(t.Context(), "192.0.2.1", 0, nil); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a foreign address: %v", err)
	}
}

func TestListenerClose(t *testing.T) {
	g := newGuest(t, Config{})
	l := g.listen(nil)
	peer := g.dial(l, false)
	g.wait(l.Pending)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := io.ReadAll(peer); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the unaccepted client got %v", err)
	}
	if _, err := l.Accept(); err != syscall.EBADF {
		t.Errorf("Accept: %v", err)
	}
}

func TestNetClosed(t *testing.T) {
	g := newGuest(t, Config{})
	l := g.listen(g.pki.server)
	g.dial(l, false)
	g.wait(func() bool {
		g.Net.mu.Lock()
		defer g.Net.mu.Unlock()
		if g.handshake == 1 {
			return true
		}
		g.cfg.Wake() // a half-open connection is nothing to wake a guest for
		return false
	})
	if err := g.Net.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := g.Listen(t.Context(), "127.0.0.1", 0, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen: %v", err)
	}
	if _, err := g.Connect(t.Context(), "127.0.0.1", 1, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Connect: %v", err)
	}
}

// TestIdle holds 200 connections that do nothing: nor may the Keep.
func TestIdle(t *testing.T) {
	g := newGuest(t, Config{})
	l := g.listen(g.pki.server)
	for range 200 {
		g.dial(l, true)
		g.accept(l)
	}
	least := time.Hour
	for range 5 { // another package's noise may fall into one of them
		before := cpuTime(t)
		time.Sleep(time.Second)
		if least = min(least, cpuTime(t)-before); least < 5*time.Millisecond {
			break
		}
	}
	t.Logf("%v of CPU in 1 s", least)
	if least > 10*time.Millisecond {
		t.Errorf("200 idle connections use %v of CPU in 1 s", least)
	}
}
