// SPDX-License-Identifier: Apache-2.0

package socket

import "io"

const (
	// recvLimit is where a connection stops receiving ahead. One more read of
	// up to largeSize bytes may come on top.
	recvLimit = 64 << 10
	// recvLow is where it starts again.
	recvLow = recvLimit / 2
)

// start lets the pump run, in the hands of the guest from now on.
func (c *Conn) start() { c.net.wg.Go(c.pump) }

// pump receives until the end of the connection, as long as there is room.
func (c *Conn) pump() {
	defer c.wire.dropStash()
	for c.wanted() {
		var err error
		if c.tls == nil {
			err = c.receive()
		} else {
			err = c.receiveTLS()
		}
		if err != nil {
			c.mu.Lock()
			c.inEnd = err
			c.mu.Unlock()
			c.net.wake()
			return
		}
	}
	c.discard()
}

// wanted waits for room in the buffer. It is false once nobody reads any more.
func (c *Conn) wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.in.size >= recvLimit && !c.deaf && !c.closed {
		c.more.Wait()
	}
	return !c.deaf && !c.closed
}

func (c *Conn) receive() error {
	if c.wire.stash == nil {
		if err := c.wire.fill(); err != nil {
			return endOf(err)
		}
	}
	ch := c.wire.stash
	c.wire.stash = nil
	c.deliver(ch)
	return nil
}

func (c *Conn) receiveTLS() error {
	ch := newChunk(largeSize)
	n, err := c.tls.Read(ch.data)
	if ch.w = n; n > 0 {
		c.deliver(ch)
	} else {
		ch.release()
	}
	switch err {
	case nil:
		return nil
	case error(errNotYet):
		// A FIN without close_notify may be an attacker cutting the stream
		// short, so an end that is seen here is not an orderly one.
		if err := c.wire.fill(); err != nil {
			return errnoOf(err)
		}
		return nil
	}
	// The wire never reports an end in this state: io.EOF is close_notify.
	return endOf(err)
}

func endOf(err error) error {
	if err == io.EOF {
		return err
	}
	return errnoOf(err)
}

func (c *Conn) deliver(ch *chunk) {
	c.mu.Lock()
	if c.deaf || c.closed {
		ch.release()
	} else {
		c.in.push(ch)
	}
	c.mu.Unlock()
	c.net.wake()
}

// discard reads and drops what arrives while a closed connection drains: with
// unread data the kernel would reset the connection, and the peer could lose
// what was sent before (RFC 9293 3.6.1). After a shutdown of the reading side
// alone, the peer is left to the kernel's flow control.
func (c *Conn) discard() {
	for {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if c.wire.dropStash(); !closed || c.wire.fill() != nil {
			return
		}
	}
}
