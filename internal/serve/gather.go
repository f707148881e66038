// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"net"
)

type connKey struct{}

// withConn lets the context of a connection's requests know of it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// Gather runs write, and sends what that wrote on the connection of the request
// whose context ctx is in one piece. TLS sends records of 16 KiB, each by a
// system call of its own, which is much of the work of a large answer. buf is
// memory to gather in; what write sends beyond its capacity makes it grow. A
// connection that no [Listener] accepted is written to as ever.
func Gather(ctx context.Context, buf []byte, write func() error) error {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return write()
	}
	c.gather(buf)
	err := write()
	if sending := c.release(); err == nil {
		err = sending
	}
	return err
}

func (c *conn) gather(buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathering, c.gathered = true, buf[:0]
}

func (c *conn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.gathered
	c.gathering, c.gathered = false, nil
	if len(out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(out)
	if err != nil {
		_ = c.Close() // TLS believes that all of it was sent, and would go on after a torn record
	}
	return err
}

// Write sends p, or keeps it until all is gathered.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gathering {
		c.gathered = append(c.gathered, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}
