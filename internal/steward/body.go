// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// firstRead is what a body gets before it has shown more: evidence is 3 to 15 KiB.
const firstRead = 16 << 10

// admit counts the request in, or refuses it before anything of it is read.
func (x *exchange) admit() *refusal {
	s := x.s
	if s.requests.Add(1) > int64(s.cfg.Limits.Requests) {
		s.requests.Add(-1)
		return busy("request.busy", "too many requests at once")
	}
	x.admitted = true
	if !s.clients.Allow(x.client, 1) {
		return &refusal{status: http.StatusTooManyRequests, code: "request.rate", detail: "too many requests from this client", retry: 1}
	}
	return nil
}

func busy(code, detail string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: code, detail: detail, retry: 2}
}

// release gives back what the request took.
func (x *exchange) release() {
	if x.admitted {
		x.s.requests.Add(-1)
		x.s.held.Add(-x.held)
		x.admitted, x.held = false, 0
	}
}

// hold takes memory for n bytes of the request's body, if there is as much.
func (x *exchange) hold(n int64) *refusal {
	for {
		held := x.s.held.Load()
		if held+n > x.s.cfg.Limits.Memory {
			return busy("request.memory", "too many large requests at once")
		}
		if x.s.held.CompareAndSwap(held, held+n) {
			x.held += n
			return nil
		}
	}
}

// read receives the body. The buffer grows with what has come, not with what
// was announced: a client that sends nothing costs nothing.
func (x *exchange) read(w http.ResponseWriter) *refusal {
	limit := x.s.cfg.Limits.Body
	tooLarge := &refusal{status: http.StatusRequestEntityTooLarge, code: "request.size", detail: "the body is larger than a request may be"}
	if x.r.ContentLength > int64(limit) {
		w.Header().Set("Connection", "close")
		return tooLarge
	}
	in := http.MaxBytesReader(w, x.r.Body, int64(limit))
	first := firstRead
	if n := x.r.ContentLength; n >= 0 && n < firstRead {
		first = int(n) + 1 // one more, to see its end
	}
	buf := make([]byte, 0, first)
	if no := x.hold(int64(first)); no != nil {
		return no
	}
	for {
		if len(buf) == cap(buf) {
			more := min(cap(buf), limit+1-cap(buf))
			if no := x.hold(int64(more)); no != nil {
				return no
			}
			buf = append(make([]byte, 0, cap(buf)+more), buf...)
		}
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		_, large := errors.AsType[*http.MaxBytesError](err)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			x.body = buf
			return nil
		case large:
			return tooLarge
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &refusal{status: http.StatusRequestTimeout, code: "request.timeout", detail: "the body did not arrive in time"}
		default:
			return &refusal{status: http.StatusBadRequest, code: "request.body", detail: "the body ended before its end"}
		}
	}
}
