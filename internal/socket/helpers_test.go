// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that should come at once.
const patience = 30 * time.Second

// guest plays the part of a Wasm program: one goroutine that sleeps until Wake.
type guest struct {
	testing.TB
	*Net
	woken chan struct{}
	pki   *pki
}

func newGuest(tb testing.TB, cfg Config) *guest {
	tb.Helper()
	before := runtime.NumGoroutine()
	g := &guest{TB: tb, woken: make(chan struct{}, 1), pki: newPKI(tb)}
	cfg.Wake = func() {
		select {
		case g.woken <- struct{}{}:
		default:
		}
	}
	g.Net = New(cfg)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Net.Close(ctx); err != nil {
			tb.Log(err)
		}
		if ctx.Err() != nil {
			tb.Error("Close came back only when its context ended")
		}
		g.Net.mu.Lock()
		if g.used != 0 || g.handshake != 0 || len(g.conns) != 0 || len(g.halfOpen) != 0 || g.evicting != 0 {
			tb.Errorf("left over: %d slots, %d handshakes, %d connections, %d half-open, %d evictions",
				g.used, g.handshake, len(g.conns), len(g.halfOpen), g.evicting)
		}
		g.Net.mu.Unlock()
		settle(tb, before)
	})
	return g
}

// settle waits until no more goroutines run than before.
func settle(tb testing.TB, before int) {
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			tb.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// wait sleeps until ready, looking again after every Wake.
func (g *guest) wait(ready func() bool) {
	g.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !ready() {
		select {
		case <-g.woken:
		case <-timeout.C:
			g.Fatal("timed out: not ready and no Wake")
		}
	}
}

func (g *guest) listen(conf *tls.Config) *Listener {
	g.Helper()
	l, err := g.Listen(context.Background(), "127.0.0.1", 0, conf)
	if err != nil {
		g.Fatal(err)
	}
	return l
}

func (g *guest) accept(l *Listener) *Conn {
	g.Helper()
	g.wait(l.Pending)
	c, err := l.Accept()
	if err != nil {
		g.Fatal(err)
	}
	return c
}

// recv blocks like a guest in poll_oneoff.
func (g *guest) recv(c *Conn, p []byte) (int, error) {
	for {
		n, err := c.Recv(p, false)
		if !errors.Is(err, ErrAgain) {
			return n, err
		}
		<-g.woken
	}
}

func (g *guest) sendAll(c *Conn, p []byte) error {
	for len(p) > 0 {
		n, err := c.Send(p)
		if err != nil && !errors.Is(err, ErrAgain) {
			return err
		}
		p = p[n:]
		for err != nil && !c.Writable() {
			<-g.woken
		}
	}
	return nil
}

// echo sends back what comes until the end, which it returns, and closes.
func (g *guest) echo(c *Conn) error {
	defer c.Close()
	p := make([]byte, 32<<10)
	for {
		n, err := g.recv(c, p)
		if err != nil || n == 0 {
			return err
		}
		if err := g.sendAll(c, p[:n]); err != nil {
			return err
		}
	}
}

// pair returns a connection accepted by the guest, and its peer.
func (g *guest) pair(secure bool) (net.Conn, *Conn) {
	g.Helper()
	var conf *tls.Config
	if secure {
		conf = g.pki.server
	}
	l := g.listen(conf)
	defer l.Close()
	peer := g.dial(l, secure)
	return peer, g.accept(l)
}

// dial connects an ordinary Go client.
func (g *guest) dial(l *Listener, secure bool) net.Conn {
	g.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { conn.Close() })
	if secure {
		conf := g.pki.client.Clone()
		client := tls.Client(conn, conf)
		if err := client.HandshakeContext(context.Background()); err != nil {
			g.Fatal(err)
		}
		return client
	}
	return conn
}

// pki is a CA, a server "server.test" = 127.0.0.1 and a client of it.
type pki struct {
	roots          *x509.CertPool
	caKey          *ecdsa.PrivateKey
	caCert         *x509.Certificate
	server, client *tls.Config
}

func newPKI(tb testing.TB) *pki {
	tb.Helper()
	p := &pki{roots: x509.NewCertPool()}
	p.caKey = newKey(tb)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.caKey.Public(), p.caKey)
	if err != nil {
		tb.Fatal(err)
	}
	if p.caCert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	p.roots.AddCert(p.caCert)
	_, server := p.issue(tb, "server.test")
	p.server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{server},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384, tls.CurveP256}}
	p.client = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: p.roots, ServerName: "server.test"}
	return p
}

// issue makes a certificate for name and for 127.0.0.1, of both usages.
func (p *pki) issue(tb testing.TB, name string) (*ecdsa.PrivateKey, tls.Certificate) {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, p.caCert, key.Public(), p.caKey)
	if err != nil {
		tb.Fatal(err)
	}
	return key, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// cpuTime returns the CPU time used by this process.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
