// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"enarx.dev/enarx/drawbridge"
)

// StatusError is an answer that is not what was asked for. Its text is in the
// words of upstream's clients.
type StatusError struct {
	Method string // of the request
	Status int
	Text   string // what the server says, of printable characters, at most maxText

	retryAfter time.Duration
	offset     string // Upload-Offset: where an upload goes on instead
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s request failed: request failed with status code `%d`", e.Method, e.Status)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// is reports whether err is an answer with one of the statuses.
func is(err error, statuses ...int) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && slices.Contains(statuses, e.Status)
}

// Errors of an answer.
var (
	ErrHeader   = errors.New("the answer lacks a header that Drawbridges send")
	ErrTooLarge = errors.New("the answer is larger than allowed")
	errStalled  = errors.New("the connection stalls")
)

const (
	maxText  = 4 << 10
	maxDelay = 30 * time.Second
	maxAfter = 2 * time.Minute // of the delays that a server asks for
)

// request is one exchange. What it sends can be opened again for a retry.
type request struct {
	method, path string
	header       http.Header
	body         func() (io.ReadCloser, error) // nil: none
	length       int64                         // of the body
	want         []int                         // statuses besides 200
	slow         bool                          // the server may have work before it answers
}

// once sends a request and returns an answer with a wanted status, whose body
// the caller closes. Any other is a *StatusError.
func (c *Client) once(ctx context.Context, r request) (*http.Response, error) {
	stall := c.cfg.Stall
	if r.slow {
		stall *= 10
	}
	w, watched := watch(ctx, stall)
	resp, err := c.send(watched, r, w)
	if err == nil && watched.Err() != nil {
		// We hang up, the server notices, and its last words still reach us.
		resp.Body.Close()
		err = watched.Err()
	}
	if err != nil {
		w.stop()
		return nil, w.explain(ctx, err)
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, watch: w}
	if resp.StatusCode == http.StatusOK || slices.Contains(r.want, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText))
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // for the connection to be used again
	return nil, &StatusError{
		Method: r.method, Status: resp.StatusCode, Text: clean(string(text)),
		retryAfter: retryAfter(resp.Header.Get("Retry-After")), offset: resp.Header.Get("Upload-Offset"),
	}
}

func (c *Client) send(ctx context.Context, r request, w *watchdog) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+c.cfg.Host+r.path, nil)
	if err != nil {
		return nil, local{err}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.ShowYanked {
		req.Header.Set("Drawbridge-Yanked", "show")
	}
	if c.cfg.Token != nil {
		token, err := c.cfg.Token(ctx)
		if err != nil {
			return nil, local{err}
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	if r.body != nil && r.length > 0 {
		body, err := r.body()
		if err != nil {
			return nil, local{err}
		}
		req.Body, req.ContentLength = &sentBody{ReadCloser: body, watch: w}, r.length
	}
	return c.http.Do(req)
}

// clean returns what may be shown on a terminal: the text is a stranger's.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	return strings.TrimSpace(s)
}

func retryAfter(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxAfter)
}

// local is an error on our side, which no retry helps.
type local struct{ error }

func (l local) Unwrap() error { return l.error }

// notTLS is what net/http says, in an error of no type, when it reads "HTTP/1"
// where a handshake belongs.
const notTLS = "server gave HTTP response to HTTPS client"

// passing reports whether err may pass: the connection broke, or the server
// says that it cannot just now.
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if _, ok := errors.AsType[local](err); ok {
		return false
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.offset != "" || is(err, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), notTLS) {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return false // an alert: it does not want our certificate, or our TLS
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, errStalled) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// patience counts failures in a row and waits between them.
type patience struct {
	c      *Client
	failed int
}

// wait returns nil after a while if err may pass, else err.
func (p *patience) wait(ctx context.Context, err error) error {
	if !passing(ctx, err) || p.failed >= p.c.cfg.Retries {
		return err
	}
	delay := min(p.c.cfg.Backoff<<min(p.failed, 16), maxDelay)
	delay = delay/2 + rand.N(delay/2+1) // many clients that were cut off together shall not come back together
	if e, ok := errors.AsType[*StatusError](err); ok {
		delay = max(delay, e.retryAfter)
	}
	p.failed++
	select {
	case <-ctx.Done():
		return err
	case <-time.After(delay):
		return nil
	}
}

// progress says that something was achieved, so that the count starts anew.
func (p *patience) progress() { p.failed = 0 }

// do repeats an exchange that may be repeated until it succeeds, fails for good
// or failed too often. use reads the answer; it may be called more than once.
func (c *Client) do(ctx context.Context, r request, use func(*http.Response) error) error {
	p := patience{c: c}
	for {
		resp, err := c.once(ctx, r)
		if err == nil {
			err = use(resp)
			resp.Body.Close()
		}
		if err == nil {
			return nil
		}
		if err := p.wait(ctx, err); err != nil {
			return err
		}
	}
}

// metaOf reads the three entity headers, all of which must be there.
func metaOf(resp *http.Response) (drawbridge.Meta, error) {
	var m drawbridge.Meta
	var err error
	if m.Digests, err = drawbridge.ParseDigestHeader(resp.Header["Content-Digest"]...); err != nil {
		return m, fmt.Errorf("%w: Content-Digest: %w", ErrHeader, err)
	}
	if m.Type, err = drawbridge.ParseType(resp.Header.Get("Content-Type")); err != nil {
		return m, fmt.Errorf("%w: Content-Type: %w", ErrHeader, err)
	}
	m.Length = resp.ContentLength
	if m.Length < 0 || resp.Header.Get("Content-Encoding") != "" {
		return m, fmt.Errorf("%w: Content-Length", ErrHeader)
	}
	return m, nil
}

// get returns a whole entity of at most max bytes, verified.
func (c *Client) get(ctx context.Context, path string, max int64) (body []byte, m drawbridge.Meta, err error) {
	err = c.do(ctx, request{method: http.MethodGet, path: path}, func(resp *http.Response) error {
		if m, err = metaOf(resp); err != nil {
			return err
		}
		if m.Length > max {
			return fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, m.Length, max)
		}
		body, err = io.ReadAll(drawbridge.NewVerifier(resp.Body, m))
		return err
	})
	if err != nil {
		return nil, drawbridge.Meta{}, err
	}
	return body, m, nil
}

// bytesBody returns the body of a request from memory.
func bytesBody(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// entityHeader returns the entity headers of a PUT. Content-Length is set by
// net/http from the body.
func entityHeader(m drawbridge.Meta) http.Header {
	return http.Header{"Content-Digest": {m.Digests.Header()}, "Content-Type": {m.Type}}
}

// put sends an entity from memory and returns whether it is new.
func (c *Client) put(ctx context.Context, path string, m drawbridge.Meta, body []byte) (created bool, err error) {
	r := request{
		method: http.MethodPut, path: path, header: entityHeader(m), want: []int{http.StatusCreated},
		body: bytesBody(body), length: int64(len(body)),
	}
	err = c.do(ctx, r, func(resp *http.Response) error {
		created = resp.StatusCode == http.StatusCreated
		return nil
	})
	return created, err
}
