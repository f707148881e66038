// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"enarx.dev/enarx/internal/diag"
)

// sweep is how long a listener that closes still takes the connections that
// the kernel has already set up.
const sweep = 20 * time.Millisecond

// Limits bound the connections of a listener.
type Limits struct {
	Connections int            // in all
	PerClient   int            // from one address, or IPv6 network
	Proxies     []netip.Prefix // that PerClient is not for
}

// Listen opens HOST:PORT or unix:PATH. A socket that nobody listens on any more
// is replaced; any other file is not ours to remove.
func Listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if info, statErr := os.Lstat(path); statErr != nil || info.Mode().Type() != os.ModeSocket {
		return nil, diag.Hint(err, "%s is there, and is no socket", path)
	}
	c, dialErr := net.Dial("unix", path)
	if !errors.Is(dialErr, syscall.ECONNREFUSED) { // somebody listens, or who knows
		if dialErr == nil {
			c.Close()
		}
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// A Listener closes connections beyond its limits as soon as they come, so
// that those within them are not kept waiting.
type Listener struct {
	net.Listener
	limits  Limits
	Refused atomic.Uint64 // how many it closed

	closing sync.Once
	ending  atomic.Bool
	mu      sync.Mutex
	open    int
	clients map[netip.Prefix]int
}

// Limit returns l with limits.
func Limit(l net.Listener, limits Limits) *Listener {
	return &Listener{Listener: l, limits: limits, clients: map[netip.Prefix]int{}}
}

// Accept waits for a connection that is within the limits.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if l.ending.Load() {
				_ = l.Listener.Close() // and a Unix socket's file goes with it
			}
			return nil, err
		}
		key := l.key(c.RemoteAddr())
		if l.enter(key) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(key) })}, nil
		}
		l.Refused.Add(1)
		_ = c.Close() // nothing was promised to it
	}
}

// Close ends the listener a moment later: a connection that the kernel had set
// up would be reset. The Accept that then fails closes it.
func (l *Listener) Close() (err error) {
	l.closing.Do(func() {
		l.ending.Store(true)
		d, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
		if !ok || d.SetDeadline(time.Now().Add(sweep)) != nil {
			err = l.Listener.Close()
			return
		}
		time.AfterFunc(2*sweep, func() { _ = l.Listener.Close() }) // in case nobody was accepting
	})
	return err
}

func (l *Listener) enter(key netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.limits.Connections || l.clients[key] >= l.limits.PerClient && !l.exempt(key) {
		return false
	}
	l.open++
	l.clients[key]++
	return true
}

func (l *Listener) exempt(key netip.Prefix) bool {
	return !key.IsValid() || slices.ContainsFunc(l.limits.Proxies, func(p netip.Prefix) bool { return p.Overlaps(key) })
}

func (l *Listener) leave(key netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.clients[key]--; l.clients[key] == 0 {
		delete(l.clients, key)
	}
}

// Open returns how many connections there are.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// key is whose connections are counted together; invalid for what has no
// address, like a Unix socket.
func (l *Listener) key(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return Client(tcp.AddrPort().Addr())
}

// Client returns the network that one client has: an IPv4 address, or an IPv6
// network of 64 bits. It is invalid for an invalid address.
func Client(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap(); a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// conn counts itself out when it is closed.
type conn struct {
	net.Conn
	leave func()

	mu        sync.Mutex // of writing; see Gather
	gathering bool
	gathered  []byte
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
