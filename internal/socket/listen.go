// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxPending is the length of an accept queue. Beyond it, and beyond
	// Config.Limit, connections wait in the kernel.
	maxPending = 128

	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// Listener accepts TCP connections, or TLS connections once their handshake
// is over.
type Listener struct {
	net  *Net
	tcp  *net.TCPListener
	conf *tls.Config // nil for TCP
	done chan struct{}

	closed  atomic.Bool
	pending []*Conn // guarded by net.mu, like err
	err     error   // what ended accepting
}

// Listen opens a listener on addr ("::" and "" mean every address of both
// families) for TLS if conf is given.
func (n *Net) Listen(ctx context.Context, addr string, port uint16, conf *tls.Config) (*Listener, error) {
	tcp, err := listen(ctx, addr, port)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", net.JoinHostPort(addr, strconv.Itoa(int(port))), bare(err))
	}
	l := &Listener{net: n, tcp: tcp, conf: conf, done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		tcp.Close()
		return nil, net.ErrClosed
	}
	n.listeners[l] = struct{}{}
	n.wg.Go(l.run)
	return l, nil
}

func listen(ctx context.Context, addr string, port uint16) (*net.TCPListener, error) {
	var lc net.ListenConfig
	// One kind of socket on every backend: Multipath TCP would be used only
	// where the kernel has it.
	lc.SetMultipathTCP(false)
	host := addr
	switch addr {
	case "::":
		host = "" // dual-stack, or IPv4 alone where there is no IPv6
	case "localhost":
		host = "127.0.0.1"
	}
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if host == "" && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
		// IPv6 is compiled in but switched off.
		l, err = lc.Listen(ctx, "tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(int(port))))
	}
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// run accepts until the listener is closed. At most one accepted connection,
// the one in its hand, is not counted by Config.Limit.
func (l *Listener) run() {
	backoff := time.Duration(0)
	for {
		tcp, err := l.tcp.AcceptTCP()
		if err == nil {
			backoff = 0
			l.admit(tcp)
			continue
		}
		if l.closed.Load() {
			return
		}
		if isFatal(err) {
			l.net.cfg.Log.Error("listener failed", "addr", l.Addr(), "err", err)
			l.net.mu.Lock()
			l.err = errnoOf(err)
			l.net.mu.Unlock()
			l.net.wake()
			return
		}
		if errors.Is(err, syscall.ECONNABORTED) {
			continue
		}
		// Descriptors or memory ran out. They come back when something closes,
		// here or elsewhere on the machine, and nothing tells when.
		if backoff == 0 {
			l.net.cfg.Log.Warn("accepting is suspended", "addr", l.Addr(), "err", err)
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		select {
		case <-time.After(backoff):
		case <-l.done:
		}
	}
}

// isFatal tells a broken listener from a lack of resources.
func isFatal(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, net.ErrClosed)
}

// admit waits for a slot and hands the connection on.
func (l *Listener) admit(tcp *net.TCPConn) {
	if l.conf == nil {
		if !l.net.acquire(l, nil) {
			tcp.Close()
			return
		}
		c, err := l.net.newConn(tcp)
		if err != nil {
			tcp.Close()
			l.net.releaseSlot(nil)
			return
		}
		l.push(c)
		return
	}
	h := &halfOpen{tcp: tcp}
	if !l.net.acquire(l, h) {
		tcp.Close()
		return
	}
	l.net.wg.Go(func() { l.shake(h) })
}

// shake does the handshake of one accepted connection. Its failure is the
// peer's business: the guest never hears of it.
func (l *Listener) shake(h *halfOpen) {
	c, err := l.net.newConn(h.tcp)
	if err == nil {
		err = l.handshake(c)
	}
	if err != nil {
		l.net.cfg.Log.Debug("tls handshake", "peer", h.tcp.RemoteAddr(), "err", err)
		h.tcp.Close()
		l.net.releaseSlot(h)
		return
	}
	l.net.opened(h)
	l.push(c)
}

func (l *Listener) handshake(c *Conn) error {
	if err := c.wire.SetReadDeadline(time.Now().Add(l.net.cfg.HandshakeTimeout)); err != nil {
		return err
	}
	c.secure(tls.Server, l.conf)
	// Not with a context: that would cost each handshake one more goroutine.
	err := c.tls.HandshakeContext(context.Background())
	c.secured()
	if err != nil {
		c.wire.dropStash()
		return err
	}
	return c.wire.SetReadDeadline(time.Time{})
}

// push queues a connection for Accept.
func (l *Listener) push(c *Conn) {
	n := l.net
	n.mu.Lock()
	if n.closed || l.closed.Load() {
		n.mu.Unlock()
		c.wire.Close()
		n.releaseSlot(nil)
		return
	}
	n.conns[c] = struct{}{}
	l.pending = append(l.pending, c)
	n.mu.Unlock()
	n.wake()
}

// Accept returns the next connection, ErrAgain if there is none, or what broke
// the listener.
func (l *Listener) Accept() (*Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	switch {
	case l.closed.Load():
		return nil, syscall.EBADF
	case len(l.pending) == 0 && l.err != nil:
		return nil, l.err
	case len(l.pending) == 0:
		return nil, ErrAgain
	}
	c := l.pending[0]
	l.pending[0] = nil
	if l.pending = l.pending[1:]; len(l.pending) == maxPending-1 {
		l.net.changed.Broadcast()
	}
	c.start()
	return c, nil
}

// Pending reports whether Accept has something to say.
func (l *Listener) Pending() bool {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return len(l.pending) > 0 || l.err != nil || l.closed.Load()
}

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close ends the listener and the connections that nobody accepted.
func (l *Listener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	close(l.done)
	err := l.tcp.Close()
	n := l.net
	n.mu.Lock()
	pending := l.pending
	l.pending = nil
	delete(n.listeners, l)
	n.changed.Broadcast()
	n.mu.Unlock()
	for _, c := range pending {
		c.start()
		c.Close()
	}
	n.wake()
	return err
}
