// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"enarx.dev/enarx/internal/serve"
)

// A pace bounds how slowly the other side may be: in all it gets a grace and
// the time that the bytes so far take at the minimum rate, and never more than
// stall for the next bytes. Only time spent waiting for it counts, so a slow
// store is not the client's fault.
type pace struct {
	grace, stall time.Duration
	rate         float64 // bytes per second

	spent time.Duration
	bytes int64
}

// left is how long the next bytes may take.
func (p *pace) left() time.Duration {
	earned := p.grace + time.Duration(float64(p.bytes)/p.rate*float64(time.Second))
	return min(p.stall, earned-p.spent)
}

// moved accounts for bytes that took since begin.
func (p *pace) moved(n int, begin time.Time) {
	p.bytes += int64(n)
	p.spent += time.Since(begin)
}

// A body is what a request sends after its header. It moves the read deadline
// as bytes come, and knows why it ended.
type body struct {
	in   io.Reader
	rc   *http.ResponseController
	pace pace

	begun bool  // something was read: an interim 100 has been sent if one was asked for
	ended bool  // with EOF
	err   error // why it cannot be read any further, other than EOF
}

// Read reads what comes at the pace that is asked for.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.ended {
		return 0, io.EOF
	}
	b.begun = true
	left := b.pace.left()
	if left <= 0 {
		b.err = errSlow
		return 0, b.err
	}
	begin := time.Now()
	_ = b.rc.SetReadDeadline(begin.Add(left)) // what has no deadline is a test's recorder
	n, err := b.in.Read(p)
	b.pace.moved(n, begin)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		// From here on the server reads in the background, to notice when the
		// client goes: that must not run into a deadline.
		b.ended = true
		_ = b.rc.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = errSlow
		err = b.err
	default:
		b.err = errGone
		err = b.err
	}
	return n, err
}

// drain reads what is left, so that a client that sends all of its body before
// it looks at the answer gets to see one: closing on it would reset the
// connection. It reads at most limit bytes and until the deadline.
func (b *body) drain(limit int64, deadline time.Time) bool {
	buf := make([]byte, 32<<10)
	for limit > 0 && !b.ended && b.err == nil && time.Now().Before(deadline) {
		n, _ := b.Read(buf[:min(int64(len(buf)), limit)])
		limit -= int64(n)
	}
	return b.ended
}

// Answers go out in pieces, small enough to show progress at the lowest rate.
// A client that is quick gets larger ones, each by one system call, if it is
// among the first so many.
const (
	piece    = 64 << 10
	large    = 256 << 10
	quick    = 50 * time.Millisecond // for a piece
	maxLarge = 16                    // answers at once that have buffers for that
)

// A sink writes an answer and moves the write deadline as bytes go.
type sink struct {
	out    io.Writer
	rc     *http.ResponseController
	pace   pace
	ctx    context.Context // of the request
	gather []byte          // memory for large pieces; nil: there are none
	quick  bool            // the last piece was
}

// Write sends p.
func (s *sink) Write(p []byte) (int, error) {
	var sent int
	for len(p) > 0 {
		size := piece
		if s.quick && s.gather != nil {
			size = large
		}
		now := p[:min(len(p), size)]
		left := s.pace.left()
		if left <= 0 {
			return sent, errSlow
		}
		begin := time.Now()
		_ = s.rc.SetWriteDeadline(begin.Add(left))
		n, err := s.send(now)
		s.pace.moved(n, begin)
		s.quick = time.Since(begin) < quick
		sent += n
		if err != nil {
			return sent, err
		}
		p = p[n:]
	}
	return sent, nil
}

func (s *sink) send(p []byte) (n int, err error) {
	if s.gather == nil {
		return s.out.Write(p)
	}
	err = serve.Gather(s.ctx, s.gather, func() error {
		n, err = s.out.Write(p)
		return err
	})
	if err != nil {
		return 0, err // nobody knows how much of it went
	}
	return n, nil
}
