// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server runs handle for one connection to a new port, which it returns.
func server(t *testing.T, handle func(net.Conn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		handle(conn)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func echoBack(c net.Conn) { _, _ = io.Copy(onlyWriter{c}, onlyReader{c}) }

func TestConnect(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			g := newGuest(t, Config{})
			var conf *tls.Config
			if secure {
				conf = g.pki.client.Clone()
				if host == "127.0.0.1" {
					conf.ServerName = "" // verified as an IP address
				}
			}
			p := server(t, func(c net.Conn) {
				if secure {
					c = tls.Server(c, g.pki.server)
				}
				echoBack(c)
			})
			conn, err := g.Connect(t.Context(), host, p, conf)
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.RemoteAddr().(*net.TCPAddr).Port; got != int(p) {
				t.Errorf("the peer's port is %d", got)
			}
			if err := g.sendAll(conn, []byte("hi")); err != nil {
				t.Error(err)
			}
			buf := make([]byte, 2)
			if n, err := g.recv(conn, buf); n == 0 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
			conn.Close()
		}
	})
}

// TestConnectErrors checks cause and stage; none may leave anything behind.
func TestConnectErrors(t *testing.T) {
	g := newGuest(t, Config{ConnectTimeout: 5 * time.Second})
	foreign := newPKI(t)
	old := g.pki.server.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	client := func(change func(*tls.Config)) *tls.Config {
		c := g.pki.client.Clone()
		change(c)
		return c
	}
	secure := func(conf *tls.Config) func(net.Conn) {
		return func(c net.Conn) { _ = tls.Server(c, conf).HandshakeContext(context.Background()) }
	}
	for _, test := range []struct {
		name   string
		handle func(net.Conn) // nil: nobody listens
		conf   *tls.Config
		want   string
		is     error
	}{
		{"refused", nil, nil, "connecting to localhost:", syscall.ECONNREFUSED},
		{"unknown CA", secure(foreign.server), g.pki.client, "handshaking with localhost:", nil},
		{"wrong name", secure(g.pki.server), client(func(c *tls.Config) { c.ServerName = "" }), "handshaking with localhost:", nil},
		{"TLS 1.2", secure(old), g.pki.client, "handshaking with localhost:", nil},
		{"not TLS", func(c net.Conn) { _, _ = io.WriteString(c, "220 smtp\r\n") }, g.pki.client, "handshaking with localhost:", nil},
		{"hangs up", func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }, g.pki.client, "handshaking with localhost:", syscall.ECONNRESET},
		{"reset", func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); _ = c.(*net.TCPConn).SetLinger(0) }, g.pki.client, "handshaking with localhost:", syscall.ECONNRESET},
	} {
		t.Run(test.name, func(t *testing.T) {
			handle := test.handle
			if handle == nil {
				handle = echoBack
			}
			p := server(t, handle)
			if test.handle == nil {
				p = closedPort(t)
			}
			_, err := g.Connect(t.Context(), "localhost", p, test.conf)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("got %v", err)
			}
			var unknown x509.UnknownAuthorityError
			if test.name == "unknown CA" && !errors.As(err, &unknown) {
				t.Errorf("got %v", err)
			}
			var name x509.HostnameError
			if test.name == "wrong name" && (!errors.As(err, &name) || name.Host != "localhost") {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
}

// closedPort returns a port that refuses connections.
func closedPort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestConnectTimeouts(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	t.Run("handshake", func(t *testing.T) {
		g := newGuest(t, Config{ConnectTimeout: 50 * time.Millisecond})
		_, err := g.Connect(t.Context(), "127.0.0.1", server(t, silent), g.pki.client)
		if !errors.Is(err, syscall.ETIMEDOUT) || !strings.HasPrefix(err.Error(), "handshaking with 127.0.0.1:") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		g := newGuest(t, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := g.Connect(ctx, "127.0.0.1", server(t, silent), g.pki.client)
		if !errors.Is(err, syscall.ETIMEDOUT) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("before it starts", func(t *testing.T) {
		g := newGuest(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Connect(ctx, "127.0.0.1", 9, nil); !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("got %v", err)
		}
	})
}

// TestConnectUnresolved needs no network: RFC 6761 6.4 reserves the name, and a
// resolver that cannot be reached fails in the same stage.
func TestConnectUnresolved(t *testing.T) {
	g := newGuest(t, Config{ConnectTimeout: time.Second})
	_, err := g.Connect(t.Context(), "nowhere.invalid", 443, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "resolving nowhere.invalid:443: ") {
		t.Errorf("got %v", err)
	}
}

// TestClientCertificate connects to a server that asks for one.
func TestClientCertificate(t *testing.T) {
	g := newGuest(t, Config{})
	_, cert := g.pki.issue(t, "keep.test")
	asking := g.pki.server.Clone()
	asking.ClientAuth, asking.ClientCAs = tls.RequireAndVerifyClientCert, g.pki.roots
	conf := g.pki.client.Clone()
	p := server(t, func(c net.Conn) {
		s := tls.Server(c, asking)
		if err := s.HandshakeContext(context.Background()); err != nil {
			return
		}
		_, _ = io.WriteString(s, s.ConnectionState().PeerCertificates[0].Subject.CommonName)
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, s)
	})
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	conn, err := g.Connect(t.Context(), "127.0.0.1", p, conf)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := g.recv(conn, buf); err != nil || string(buf[:n]) != "keep.test" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	conn.Close()
}

// TestRefusedClientCertificate: in TLS 1.3 the refusal comes after Connect, and
// the guest must see it as an error, not as the end of the stream.
func TestRefusedClientCertificate(t *testing.T) {
	g := newGuest(t, Config{})
	asking := g.pki.server.Clone()
	asking.ClientAuth, asking.ClientCAs = tls.RequireAndVerifyClientCert, g.pki.roots
	p := server(t, func(c net.Conn) { _ = tls.Server(c, asking).HandshakeContext(context.Background()) })
	conn, err := g.Connect(t.Context(), "127.0.0.1", p, g.pki.client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.recv(conn, make([]byte, 1)); !errors.Is(err, syscall.EPROTO) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	conn.Close()
}
