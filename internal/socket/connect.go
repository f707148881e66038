// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
)

// Connect opens a TCP connection to host, a name or an address, and does the
// TLS handshake if conf is given; host is then the name that the certificate
// must carry, unless conf says otherwise. An error names the stage: resolving,
// connecting or handshaking. ctx and Config.ConnectTimeout bound all of it.
func (n *Net) Connect(ctx context.Context, host string, port uint16, conf *tls.Config) (*Conn, error) {
	if err := n.acquireNow(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.ConnectTimeout, syscall.ETIMEDOUT)
	defer cancel()
	c, err := n.connect(ctx, host, port, conf)
	if err != nil {
		n.releaseSlot(nil)
		return nil, err
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		c.wire.Close()
		n.releaseSlot(nil)
		return nil, net.ErrClosed
	}
	n.conns[c] = struct{}{}
	c.start()
	n.mu.Unlock()
	return c, nil
}

func (n *Net) connect(ctx context.Context, host string, port uint16, conf *tls.Config) (*Conn, error) {
	peer := net.JoinHostPort(host, strconv.Itoa(int(port)))
	tcp, err := dial(ctx, host, port)
	if err != nil {
		stage := "connecting to"
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			stage = "resolving"
		}
		return nil, fmt.Errorf("%s %s: %w", stage, peer, withErrno(ctx, bare(err)))
	}
	c, err := n.newConn(tcp)
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("connecting to %s: %w", peer, err)
	}
	if conf == nil {
		return c, nil
	}
	if conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = host
	}
	c.secure(tls.Client, conf)
	err = c.tls.HandshakeContext(ctx)
	c.secured()
	if err != nil {
		c.wire.dropStash()
		tcp.Close()
		return nil, fmt.Errorf("handshaking with %s: %w", peer, withErrno(ctx, err))
	}
	return c, nil
}

// dial connects to the first address of host that answers. `localhost` is not
// left to a resolver: the host's would be free to send it anywhere.
func dial(ctx context.Context, host string, port uint16) (*net.TCPConn, error) {
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	d.SetMultipathTCP(false)
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var first error
	for _, h := range hosts {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(h, strconv.Itoa(int(port))))
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// withErrno adds the errno to an error that says only in words that time ran
// out or that the peer went away.
func withErrno(ctx context.Context, err error) error {
	_, ok := errors.AsType[syscall.Errno](err)
	switch {
	case ok:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errnoOf(context.Cause(ctx)), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", syscall.ECONNRESET, err)
	}
	return err
}
