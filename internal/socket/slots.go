// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"net"
	"slices"
	"time"
)

// halfOpen is an accepted TLS connection whose handshake is not over.
type halfOpen struct {
	tcp   *net.TCPConn
	since time.Time
	evict bool
}

// share is how many slots half-open connections may take: peers that connect
// and then say nothing must not take them all.
func (n *Net) share() int { return max(1, n.cfg.Limit*3/4) }

// acquire takes a slot for a connection that l accepted, half-open if h is
// given. While there is none it waits, which leaves further connections in the
// kernel's backlog. It is false when the listener was closed meanwhile.
//
// A wait ends at the latest when the oldest half-open connection has had a
// tenth of HandshakeTimeout, because then that one is given up. Honest clients
// in a rush are younger and only queue; silent ones cannot hold up anybody for
// longer than that.
func (n *Net) acquire(l *Listener, h *halfOpen) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if n.closed || l.closed.Load() {
			return false
		}
		queued := len(l.pending) < maxPending
		if queued && n.used < n.cfg.Limit && (h == nil || n.handshake < n.share()) {
			n.used++
			if h != nil {
				n.handshake++
				h.since = time.Now()
				n.halfOpen = append(n.halfOpen, h)
			}
			return true
		}
		var alarm *time.Timer
		if queued && len(n.halfOpen) > 0 && n.evicting == 0 {
			oldest := n.halfOpen[0]
			if wait := n.cfg.HandshakeTimeout/10 - time.Since(oldest.since); wait > 0 {
				alarm = time.AfterFunc(wait, n.alarm)
			} else {
				n.evictLocked(oldest)
			}
		}
		n.changed.Wait()
		if alarm != nil {
			alarm.Stop()
		}
	}
}

// alarm wakes acquire. It takes the lock so that it cannot come between the
// decision to wait and the wait.
func (n *Net) alarm() {
	n.mu.Lock()
	n.changed.Broadcast()
	n.mu.Unlock()
}

// evictLocked gives up a handshake; its own goroutine releases the slot.
func (n *Net) evictLocked(h *halfOpen) {
	h.evict = true
	n.evicting++
	n.halfOpen = slices.DeleteFunc(n.halfOpen, func(o *halfOpen) bool { return o == h })
	n.cfg.Log.Debug("half-open connection evicted", "peer", h.tcp.RemoteAddr())
	// Closing waits for the handshake to leave the socket, which may want mu.
	n.wg.Go(func() { h.tcp.Close() })
}

// acquireNow takes a slot for Connect.
func (n *Net) acquireNow() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return net.ErrClosed
	}
	if n.used >= n.cfg.Limit {
		return ErrTooMany
	}
	n.used++
	return nil
}

// opened turns a half-open connection into an open one.
func (n *Net) opened(h *halfOpen) {
	n.mu.Lock()
	n.handshakeOverLocked(h)
	n.mu.Unlock()
}

func (n *Net) handshakeOverLocked(h *halfOpen) {
	n.handshake--
	if h.evict {
		n.evicting--
	} else {
		n.halfOpen = slices.DeleteFunc(n.halfOpen, func(o *halfOpen) bool { return o == h })
	}
	n.changed.Broadcast()
}

// releaseSlot gives a slot back, that of a half-open connection if h is given.
func (n *Net) releaseSlot(h *halfOpen) {
	n.mu.Lock()
	n.used--
	if h != nil {
		n.handshakeOverLocked(h)
	}
	n.changed.Broadcast()
	n.mu.Unlock()
}

// forget drops a connection whose socket is closed.
func (n *Net) forget(c *Conn) {
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
	n.releaseSlot(nil)
	n.wake()
}
