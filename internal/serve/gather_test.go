// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// counted counts the writes on the connections of a listener, and fails those
// after the first so many.
type counted struct {
	net.Listener
	writes atomic.Int64
	fail   atomic.Int64
}

type countedConn struct {
	net.Conn
	l *counted
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l}, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n := c.l.writes.Add(1)
	if limit := c.l.fail.Load(); limit > 0 && n > limit {
		n, _ := c.Conn.Write(p[:len(p)/2])
		return n, errors.New("the disk of the wire is full")
	}
	return c.Conn.Write(p)
}

// A large answer leaves in few pieces, whole and in order, or not at all.
func TestGather(t *testing.T) {
	under := &counted{Listener: listen(t)}
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
	var failed atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 0, 300<<10)
		for rest := text; len(rest) > 0; {
			piece := rest[:min(len(rest), 256<<10)]
			if err := Gather(r.Context(), buf, func() error { _, err := w.Write(piece); return err }); err != nil {
				failed.Store(true)
				return
			}
			rest = rest[len(piece):]
		}
	})
	cert := certificate(t)
	start(t, Config{}, Server{
		Name: "public", Listener: Limit(under, Limits{Connections: 10, PerClient: 10}), Handler: handler,
		TLS: TLSConfig(func() (*tls.Certificate, error) { return cert, nil }),
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func() ([]byte, error) {
		resp, err := client.Get("https://" + under.Addr().String())
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	if got, err := get(); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := under.writes.Load(); n > 20 { // of 64 records; what is beside them has its own
		t.Errorf("%d writes", n)
	}
	under.fail.Store(under.writes.Load() + 2)
	if got, err := get(); err == nil || !failed.Load() {
		t.Errorf("%d bytes of an answer that was cut off look whole", len(got))
	}
	under.fail.Store(0)
	if got, err := get(); err != nil || !bytes.Equal(got, text) {
		t.Errorf("afterwards: %d bytes, %v", len(got), err)
	}
}
