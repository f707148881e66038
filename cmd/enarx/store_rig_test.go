// SPDX-License-Identifier: Apache-2.0

// The binary of this package's tests is also run where Keeps are tested, in a
// slow emulated machine, which need not carry a whole Drawbridge about.

//go:build !keepimages

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	shelf "enarx.dev/enarx/internal/drawbridged/store" // store is the user's here
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/oidctest"
)

// rig is a Drawbridge on loopback as the command runs it, real TLS and all, and
// a provider whose users sign in at once.
type rig struct {
	idp    *oidctest.Provider
	store  *shelf.Store
	server *drawbridged.Server
	host   string // localhost:port
	caPEM  []byte
	tls    *tls.Config // of the server

	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	subject string // who signs in next; "" leaves it to the page
}

// rigOptions are how a rig differs from the ordinary.
type rigOptions struct {
	userinfo bool   // the legacy mode, as in upstream's own tests
	audience string // "" is https://HOST/
	storeURL string // "" is in memory
	life     time.Duration
}

func newRig(o rigOptions) (*rig, error) {
	r := &rig{subject: "test|subject"}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	r.host = "localhost:" + port
	if o.audience == "" {
		o.audience = "https://" + r.host + "/"
	}
	r.idp, err = oidctest.New(oidctest.Options{Audience: o.audience, Life: o.life, Approve: r.approve,
		Clients: map[string]string{"enarx": "", "cli": "", upstreamClient: "", "robot": "s3cret"}})
	if err != nil {
		return nil, err
	}
	if o.storeURL == "" {
		o.storeURL = "mem://"
	}
	if r.store, err = shelf.OpenURL(context.Background(), o.storeURL, shelf.Options{}); err != nil {
		return nil, err
	}
	who, err := auth.New(auth.Config{
		Issuer: r.idp.Issuer(), Audiences: []string{o.audience}, JWT: !o.userinfo, UserInfo: o.userinfo, ClientID: "enarx",
		Hosts: []string{r.host}, Tokens: r.store, Subjects: r.store,
	})
	if err != nil {
		return nil, err
	}
	if r.server, err = drawbridged.New(drawbridged.Config{Store: r.store, Auth: who}); err != nil {
		return nil, err
	}
	cert, err := r.certify()
	if err != nil {
		return nil, err
	}
	r.tls = serve.TLSConfig(func() (*tls.Certificate, error) { return cert, nil })
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.running.Go(func() { who.Run(ctx) })
	r.running.Go(func() {
		_ = serve.Run(ctx, serve.Config{}, serve.Server{Name: "test", Listener: listener, Handler: r.server.Handler(), TLS: r.tls})
	})
	return r, nil
}

func (r *rig) close() {
	r.stop()
	r.running.Wait()
	r.idp.Close()
	_ = r.store.Close()
}

func (r *rig) approve(string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subject
}

// certify makes a CA and a certificate for loopback.
func (r *rig) certify() (*tls.Certificate, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	r.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// client makes requests as somebody with that token would, without our client.
func (r *rig) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.caPEM)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// A cutter passes connections on to the rig, each only up to a number of
// bytes from the client, for the next so many.
type cutter struct {
	host string // to connect to

	mu    sync.Mutex
	cuts  []int64 // for one connection each
	bytes int64   // from clients, in all
	stop  int64   // of bytes, where it stands still; 0: nowhere
	still chan struct{}
	on    chan struct{}
	conns sync.WaitGroup
	l     net.Listener
}

// cut starts a cutter in front of target.
func cut(target string) (*cutter, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := &cutter{host: "localhost:" + port, l: l}
	c.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns.Go(func() { c.pass(conn, target) })
		}
	})
	return c, nil
}

func (c *cutter) close() {
	c.l.Close()
	c.conns.Wait()
}

// arm has the next connections that carry more than a greeting cut after so
// many bytes from the client, one after the other.
func (c *cutter) arm(after ...int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts = append(c.cuts, after...)
}

// stopAt has the line stand still once so many bytes went up in all: still is
// closed then, and closing on lets it go on.
func (c *cutter) stopAt(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop, c.still, c.on = n, make(chan struct{}), make(chan struct{})
}

// stand waits if this is where to stand still.
func (c *cutter) stand() {
	c.mu.Lock()
	on := c.on
	if c.stop == 0 || c.bytes < c.stop {
		on = nil
	} else if c.still != nil {
		close(c.still)
		c.still = nil
	}
	c.mu.Unlock()
	if on != nil {
		<-on
	}
}

func (c *cutter) left() (cuts int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.cuts), c.bytes
}

func (c *cutter) pass(conn net.Conn, target string) {
	defer conn.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(conn, to); conn.Close() })
	defer back.Wait()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for sent := int64(0); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.bytes += int64(n)
		over := len(c.cuts) > 0 && sent+int64(n) > c.cuts[0]
		if over {
			c.cuts = c.cuts[1:]
		}
		c.mu.Unlock()
		c.stand()
		if over {
			return // what arrived of this piece is lost, as on a real line
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		sent += int64(n)
	}
}

// script is what the name of a script says of its rig.
func script(t *testing.T, workDir string) rigOptions {
	t.Helper()
	name := strings.TrimPrefix(filepath.Base(workDir), "script-")
	o := rigOptions{userinfo: strings.HasPrefix(name, "upstream")}
	if strings.HasPrefix(name, "audience") {
		o.audience = "https://other.example/"
	}
	if strings.HasPrefix(name, "short") {
		o.life = 30 * time.Second // as good as over
	}
	return o
}
