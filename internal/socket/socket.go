// SPDX-License-Identifier: Apache-2.0

// Package socket is the network of a Keep: TCP and TLS listeners and
// connections that never block their caller.
//
// The guest is one goroutine, which may also compute for ever without coming
// back. So everything that waits for a peer happens elsewhere: per listener one
// goroutine that accepts, per TLS handshake one, per connection one "pump" that
// receives and decrypts ahead into a bounded buffer, and while a peer reads
// more slowly than the guest sends, one that drains the queue. The guest sees
// only those buffers, and sleeps until Config.Wake says that one of them
// changed. Readiness therefore counts decrypted bytes, which is what a program
// wants to poll for and what the TCP socket cannot tell.
//
// Peers are hostile. Connections are bounded in number and each in memory; half
// open TLS handshakes have a deadline and only a share of the connections, and
// when that is used up the oldest one makes room; a peer that does not read
// never stops the guest from reading, and no peer delays another one.
//
// TLS is crypto/tls over the type wire, which makes it non-blocking.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrAgain says that nothing can be done now and that Wake will be called when
// that changes.
var ErrAgain = errors.New("socket: would block")

// ErrTooMany is returned by Connect when Config.Limit connections are open.
var ErrTooMany = fmt.Errorf("socket: too many open connections: %w", syscall.EMFILE)

const (
	defaultLimit            = 1024
	defaultHandshakeTimeout = 10 * time.Second
	defaultConnectTimeout   = 30 * time.Second
	defaultDrainTimeout     = 5 * time.Second
)

// Config configures a Net. The zero value is usable.
type Config struct {
	// Limit bounds the open connections: half-open handshakes, those waiting
	// for Accept and those still draining after Close included. 0 means 1024.
	Limit int

	// Wake is called after any change of readiness, from any goroutine. It must
	// be quick and must not call this package.
	Wake func()

	// HandshakeTimeout bounds the handshake of an accepted TLS connection. Past
	// a tenth of it a handshake may be given up in favour of a newer one.
	// 0 means 10 s.
	HandshakeTimeout time.Duration

	ConnectTimeout time.Duration // resolve, connect and handshake of Connect; 0 means 30 s
	DrainTimeout   time.Duration // sending what is queued at Close; 0 means 5 s

	Log *slog.Logger // nil means none
}

// Net owns the sockets of one Keep.
type Net struct {
	cfg   Config
	wg    sync.WaitGroup // every goroutine of the package
	turns chan struct{}  // handshakes that compute now

	mu        sync.Mutex
	changed   *sync.Cond // a slot or a place in an accept queue became free, or something closed
	closed    bool
	used      int // slots taken, at most cfg.Limit
	handshake int // of these, half-open
	halfOpen  []*halfOpen
	evicting  int
	listeners map[*Listener]struct{}
	conns     map[*Conn]struct{}
}

// New returns a Net without sockets.
func New(cfg Config) *Net {
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = defaultConnectTimeout
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = defaultDrainTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	n := &Net{
		cfg: cfg,
		// One processor stays free of handshakes, for the guest.
		turns:     make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
		listeners: make(map[*Listener]struct{}),
		conns:     make(map[*Conn]struct{}),
	}
	n.changed = sync.NewCond(&n.mu)
	return n
}

func (n *Net) wake() { n.cfg.Wake() }

// Close ends all listeners and handshakes, and all connections once what was
// sent on them has gone out, or DrainTimeout or ctx has ended; then it reports
// how many connections lost data. It returns when no goroutine is left.
func (n *Net) Close(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	half := slices.Clone(n.halfOpen)
	listeners, conns := keys(n.listeners), keys(n.conns)
	n.mu.Unlock()
	for _, h := range half {
		h.tcp.Close()
	}
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range conns {
		c.Close()
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.wire.broken(syscall.ECONNABORTED)
		}
	})
	n.wg.Wait()
	stop()
	lost := 0
	for _, c := range conns {
		if c.lost() {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Errorf("closing the network: %d connections ended before their data was sent", lost)
	}
	return nil
}

func keys[T comparable](m map[T]struct{}) []T {
	list := make([]T, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	return list
}

// bare returns what the operating system or the resolver said, without the
// addresses that package net repeats around it.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// errnoOf returns the errno that says what err means to a program, which knows
// no other kind of error. What has no errno of its own is a peer that broke the
// TLS protocol, and keeps its text.
func errnoOf(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return syscall.ETIMEDOUT
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return syscall.ECONNRESET
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return syscall.ECONNABORTED
	}
	return fmt.Errorf("%w: %w", syscall.EPROTO, err)
}
