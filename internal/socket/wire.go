// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// sendLimit is how much may wait for a peer that does not read, beyond what
	// the kernel buffers.
	sendLimit = 128 << 10
	// sendLow is where a full connection counts as writable again. Half, so
	// that a guest is not woken once for every packet.
	sendLow = sendLimit / 2
	// sendHard is where a connection is given up. Only TLS gets past sendLimit:
	// with the framing of a last Send, and with answers to key updates, which a
	// peer that does not read can ask for without end (RFC 8446 4.6.3).
	sendHard = sendLimit + 64<<10
)

// errNotYet is what crypto/tls gets instead of blocking. Being "temporary" it
// does not break the tls.Conn, like an expired read deadline.
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "socket: no data yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// wire moves bytes, encrypted or not, between a TCP socket and memory. It is
// the net.Conn below crypto/tls, with two differences from a *net.TCPConn that
// make TLS non-blocking: Write never waits for the peer, since what the kernel
// does not take is queued for a goroutine that exists only while there is a
// queue; Read, once the handshake is over, answers errNotYet instead of
// waiting, and fill does the waiting without holding any buffer.
type wire struct {
	*net.TCPConn
	raw  syscall.RawConn
	net  *Net
	done func() // called once, when the queue has drained after finish or the socket is broken

	// The goroutine that reads owns these: first the handshake, then the pump.
	stash       *chunk // received and not yet read; nil when empty
	fillErr     error
	handshaking bool // Read waits
	turn        bool // holds a turn of net.turns
	tryFill     func(fd uintptr) bool

	mu       sync.Mutex // guards what follows
	out      queue
	err      error // what broke the sending side
	corked   bool  // Write only queues
	draining bool  // the goroutine drain runs
	finish   bool  // send FIN when the queue is empty
	finished bool  // done was called, or is about to be
	lost     bool  // it ended before all was sent
	tryOut   []byte
	tryN     int
	tryErr   error
	tryWrite func(fd uintptr) bool // one attempt
	mustTry  func(fd uintptr) bool // waits for room
}

func newWire(n *Net, tcp *net.TCPConn, done func()) (*wire, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{TCPConn: tcp, raw: raw, net: n, done: done}
	// Made once: a method value allocates wherever it is written.
	w.tryFill, w.tryWrite, w.mustTry = w.readOnce, w.writeOnce, w.writeSome
	return w, nil
}

// readOnce reads into a buffer that it holds only if something came: while the
// netpoller waits, an idle connection has none.
func (w *wire) readOnce(fd uintptr) bool {
	size := largeSize
	if w.handshaking {
		size = smallSize
	}
	ch := newChunk(size)
	var n int
	var err error
	for {
		if n, err = syscall.Read(int(fd), ch.data); err != syscall.EINTR {
			break
		}
	}
	if n > 0 {
		ch.w, w.stash = n, ch
		return true
	}
	ch.release()
	if err == syscall.EAGAIN {
		return false
	}
	if w.fillErr = err; err == nil {
		w.fillErr = io.EOF
	}
	return true
}

// fill waits until the peer has sent something and stashes it.
func (w *wire) fill() error {
	if err := w.raw.Read(w.tryFill); err != nil {
		return err
	}
	return w.fillErr
}

// Read implements net.Conn for crypto/tls.
func (w *wire) Read(p []byte) (int, error) {
	if w.stash == nil {
		if !w.handshaking {
			return 0, errNotYet
		}
		w.yieldTurn()
		if err := w.fill(); err != nil {
			return 0, err
		}
		w.takeTurn()
	}
	n := w.stash.take(p)
	if w.stash.r == w.stash.w {
		w.dropStash()
	}
	return n, nil
}

func (w *wire) dropStash() {
	if w.stash != nil {
		w.stash.release()
		w.stash = nil
	}
}

// takeTurn bounds how many handshakes compute at the same time: a flood of them
// must leave processors to the guest and to established connections. A turn is
// never held while waiting for a peer.
func (w *wire) takeTurn() {
	w.net.turns <- struct{}{}
	w.turn = true
}

func (w *wire) yieldTurn() {
	if w.turn {
		w.turn = false
		<-w.net.turns
	}
}

// SetWriteDeadline hides that of the socket from crypto/tls, which forbids
// writes once close_notify is sent; ours may still be in the queue then.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// Write implements net.Conn for crypto/tls: all of p is sent or queued.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.sendLocked(p, sendHard)
	if err == nil && n < len(p) {
		w.breakLocked(syscall.ENOBUFS)
		err = w.err
	}
	return n, err
}

// send sends or queues as much of p as fits.
func (w *wire) send(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sendLocked(p, sendLimit)
}

func (w *wire) sendLocked(p []byte, limit int) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.finish {
		return 0, syscall.EPIPE
	}
	if !w.corked && !w.draining {
		// Nothing is queued: try from here. On two processors that costs what
		// the switch to drain costs (BenchmarkClients), but on one it gets the
		// answer out before the guest, which nothing preempts, computes on.
		if n, err = w.attempt(p, w.tryWrite); err != nil {
			w.breakLocked(err)
			return 0, err
		}
	}
	if room := limit - w.out.size; n < len(p) && room > 0 {
		rest := p[n:min(len(p), n+room)]
		w.out.append(rest)
		n += len(rest)
		if !w.corked {
			w.startDrain()
		}
	}
	return n, nil
}

// attempt writes from p. Only one goroutine at a time gets here: the one that
// holds mu while not draining, or drain.
func (w *wire) attempt(p []byte, how func(uintptr) bool) (int, error) {
	w.tryOut, w.tryN, w.tryErr = p, 0, nil
	err := w.raw.Write(how)
	w.tryOut = nil
	if err == nil {
		err = w.tryErr
	}
	return w.tryN, err
}

func (w *wire) writeOnce(fd uintptr) bool {
	w.writeSome(fd)
	return true
}

func (w *wire) writeSome(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), w.tryOut)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		w.tryN, w.tryErr = max(n, 0), err
		return true
	}
}

// cork makes Write collect the records of one Send; uncork sends them, with
// fewer system calls and fuller packets.
func (w *wire) cork() {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
}

func (w *wire) uncork() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	for w.err == nil && !w.draining && w.out.size > 0 {
		p := w.out.front()
		n, err := w.attempt(p, w.tryWrite)
		if err != nil {
			w.breakLocked(err)
			return
		}
		w.out.drop(n)
		if n < len(p) {
			w.startDrain()
		}
	}
}

func (w *wire) startDrain() {
	if !w.draining {
		w.draining = true
		w.net.wg.Go(w.drain)
	}
}

// drain writes the queue out and ends when it is empty.
func (w *wire) drain() {
	w.mu.Lock()
	for w.err == nil && w.out.size > 0 {
		p := w.out.front()
		w.mu.Unlock()
		n, err := w.attempt(p, w.mustTry)
		w.mu.Lock()
		if err != nil {
			w.breakLocked(err)
			break
		}
		before := w.out.size
		w.out.drop(n)
		if before > sendLow && w.out.size <= sendLow {
			w.net.wake()
		}
	}
	w.draining = false
	w.settleLocked()
	w.mu.Unlock()
}

// end queues the FIN behind what was sent so far.
func (w *wire) end() {
	w.mu.Lock()
	w.finish = true
	w.settleLocked()
	w.mu.Unlock()
}

// broken gives up what is queued, as after a failed write.
func (w *wire) broken(err error) {
	w.mu.Lock()
	w.breakLocked(err)
	w.settleLocked()
	w.mu.Unlock()
	// Ends the wait of drain, if it runs.
	_ = w.TCPConn.SetWriteDeadline(time.Unix(1, 0))
}

func (w *wire) breakLocked(err error) {
	if w.err == nil {
		w.err = errnoOf(err)
		w.net.wake()
	}
}

// settleLocked sends the FIN and reports that the sending side is over, when
// both are due. The queue belongs to drain while that runs.
func (w *wire) settleLocked() {
	if w.draining || w.finished || (w.err == nil && (!w.finish || w.out.size > 0)) {
		return
	}
	w.finished = true
	w.lost = w.out.size > 0
	w.out.clear()
	if w.err == nil {
		// An error means that the peer is gone, and the reader sees that too.
		_ = w.CloseWrite()
	}
	w.done()
}

// room returns how many bytes can be queued now.
func (w *wire) room() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sendLimit - w.out.size, w.err
}

// writable reports whether sending makes progress, or fails at once.
func (w *wire) writable() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.size <= sendLow || w.err != nil || w.finish
}
