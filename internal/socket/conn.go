// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// corkAbove is the largest message that surely leaves as one TLS record, so
// that collecting records gains nothing.
const corkAbove = 1 << 10

// Conn is a TCP or TLS connection. None of its methods waits for the peer.
// They may be used by several goroutines at once.
type Conn struct {
	net  *Net
	wire *wire
	tls  *tls.Conn // nil for TCP

	sending   sync.Mutex // orders Send and Shutdown; taken before wire.mu
	sendEnded bool       // guarded by sending

	mu       sync.Mutex // guards what follows; never held while calling wire
	more     *sync.Cond // room in the buffer, or no more interest
	in       queue
	inEnd    error // what follows the buffered bytes; io.EOF is the orderly end, nil an open connection
	deaf     bool  // the reading side was shut down
	closed   bool
	drained  bool // the sending side is over
	released bool // the socket is being closed
}

// newConn wraps an accepted or connected socket, which takes a slot already.
func (n *Net) newConn(tcp *net.TCPConn) (*Conn, error) {
	c := &Conn{net: n}
	c.more = sync.NewCond(&c.mu)
	var err error
	c.wire, err = newWire(n, tcp, c.sendingOver)
	return c, err
}

// secure puts TLS on the connection; handshake is left to the caller.
func (c *Conn) secure(start func(net.Conn, *tls.Config) *tls.Conn, conf *tls.Config) {
	c.wire.handshaking = true
	c.tls = start(c.wire, conf)
}

// secured ends the handshake, successful or not.
func (c *Conn) secured() {
	c.wire.yieldTurn()
	c.wire.handshaking = false
}

// Recv moves received bytes to p, or copies them if peek is set. It returns
// 0 and nil at the orderly end of the stream, and ErrAgain when nothing is there.
func (c *Conn) Recv(p []byte, peek bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.deaf, len(p) == 0, c.in.size == 0 && c.inEnd == io.EOF:
		return 0, nil
	case c.in.size == 0 && c.inEnd != nil:
		return 0, c.inEnd
	case c.in.size == 0:
		return 0, ErrAgain
	case peek:
		return c.in.peek(p), nil
	}
	before := c.in.size
	n := c.in.read(p)
	if before > recvLow && c.in.size <= recvLow {
		c.more.Signal()
	}
	return n, nil
}

// Readable returns how many bytes Recv has, decrypted, and whether after them
// the stream has ended or an error waits.
func (c *Conn) Readable() (n int, eof bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.size, c.deaf || c.inEnd != nil
}

// Send takes as many bytes of p as there is room for. They are on their way
// when it returns, or follow as fast as the peer reads.
func (c *Conn) Send(p []byte) (int, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.sendEnded {
		return 0, syscall.EPIPE
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.tls == nil {
		n, err := c.wire.send(p)
		if n == 0 && err == nil {
			err = ErrAgain
		}
		return n, err
	}
	room, err := c.wire.room()
	if err != nil {
		return 0, err
	}
	if room <= 0 {
		return 0, ErrAgain
	}
	p = p[:min(len(p), room)]
	if len(p) > corkAbove {
		c.wire.cork()
		defer c.wire.uncork()
	}
	n, err := c.tls.Write(p)
	if err != nil {
		err = errnoOf(err)
	}
	return n, err
}

// Writable reports whether there is room again for a good part of what Send
// may queue, or Send would return an error other than ErrAgain.
func (c *Conn) Writable() bool { return c.wire.writable() }

// Shutdown ends the reading side, the sending side or both. Ending the sending
// side sends, behind what is queued, close_notify (TLS) and FIN.
func (c *Conn) Shutdown(read, write bool) error {
	if read {
		c.mu.Lock()
		c.deaf = true
		c.in.clear()
		c.more.Signal()
		c.mu.Unlock()
	}
	if write {
		c.endSending()
	}
	c.net.wake()
	return nil
}

func (c *Conn) endSending() {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.sendEnded {
		return
	}
	c.sendEnded = true
	if c.tls != nil {
		// It only queues an alert; if that fails, so does the connection.
		_ = c.tls.CloseWrite()
	}
	c.wire.end()
}

// Close ends the connection once the queued bytes are sent, in the background
// and for at most Config.DrainTimeout.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed, c.deaf = true, true
	c.in.clear()
	c.more.Signal()
	c.mu.Unlock()
	// On the socket itself: wire hides this one from crypto/tls.
	_ = c.wire.TCPConn.SetWriteDeadline(time.Now().Add(c.net.cfg.DrainTimeout))
	c.endSending()
	c.release()
	return nil
}

// sendingOver is called by wire, with its lock held.
func (c *Conn) sendingOver() {
	c.mu.Lock()
	c.drained = true
	c.mu.Unlock()
	c.release()
}

// release closes the socket when both the guest and the queue are done with it.
func (c *Conn) release() {
	c.mu.Lock()
	ready := c.closed && c.drained && !c.released
	c.released = c.released || ready
	c.mu.Unlock()
	if ready {
		// Not here: closing waits for the pump to leave the socket.
		c.net.wg.Go(func() {
			c.wire.Close()
			c.net.forget(c)
		})
	}
}

// lost reports whether the connection broke before its queue was empty.
func (c *Conn) lost() bool {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.wire.lost
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.wire.LocalAddr() }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }
