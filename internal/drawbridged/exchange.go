// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"enarx.dev/enarx/internal/drawbridged/auth"
)

// An exchange is one request and its answer.
type exchange struct {
	s      *Server
	w      *tally
	r      *http.Request
	ctx    context.Context
	id     string
	client netip.Addr
	begin  time.Time
	route  route
	body   *body

	caller  *auth.Caller
	counted bool     // by the principal's rate
	inner   bool     // the request comes from the site, for somebody who signed in
	refused *failure // why there is no success to tell of
	leave   []func() // what was taken for the request
	event   event    // for the audit log
}

// tally is a response that knows what went out.
type tally struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader notes the status, and sends it.
func (t *tally) WriteHeader(status int) {
	if t.status == 0 && status >= 200 {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write counts what is sent.
func (t *tally) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.status = http.StatusOK
	}
	n, err := t.ResponseWriter.Write(p)
	t.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (t *tally) Unwrap() http.ResponseWriter { return t.ResponseWriter }

type principalKey struct{}

// WithPrincipal makes requests with this context the principal's, whatever
// their headers say. The site makes such requests to Server.ServeHTTP for those
// who signed in there. Nothing from the network can become a context value.
func WithPrincipal(ctx context.Context, p auth.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Handler returns what clients see.
func (s *Server) Handler() http.Handler { return s }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{
		s: s, r: r, w: &tally{ResponseWriter: w}, id: newID(), begin: time.Now(), client: s.clients.Address(r),
	}
	if outer := RequestID(r.Context()); outer != "" {
		x.id = outer // the site asks for somebody: that is the same request
	}
	x.ctx = context.WithValue(r.Context(), requestKey{}, x.id)
	if p, ok := x.ctx.Value(principalKey{}).(auth.Principal); ok {
		x.caller, x.inner = s.auth.As(p), true
	} else {
		x.caller = s.auth.Caller(r)
	}
	rc := http.NewResponseController(x.w)
	limits := &s.cfg.Limits
	x.body = &body{in: r.Body, rc: rc, pace: pace{grace: limits.Grace, stall: limits.Stall, rate: limits.MinRate}}
	if r.Body == nil || r.Body == http.NoBody {
		x.body.in, x.body.ended = http.NoBody, true
		_ = rc.SetReadDeadline(time.Time{}) // see body.Read; a recorder has none
	}
	header := x.w.Header()
	header.Set("X-Request-Id", x.id)
	header.Set("X-Content-Type-Options", "nosniff")
	if s.draining.Load() {
		header.Set("Connection", "close")
	}
	defer x.finish()
	x.guarded()
}

// guarded answers, and answers a bug in that too: a dropped connection would
// tell the client nothing, and the operator less.
func (x *exchange) guarded() {
	defer func() {
		bug := recover()
		if bug == nil {
			return
		}
		if bug == http.ErrAbortHandler {
			panic(bug)
		}
		x.s.log.Error("bug: a request made the server panic", "request", x.id, "panic", bug, "stack", string(debug.Stack()))
		x.fail(refuse(http.StatusInternalServerError, "bug", "Internal server error"))
	}()
	if err := x.answer(); err != nil {
		x.fail(asFailure(err))
	}
}

// answer finds out what is asked for, and does it.
func (x *exchange) answer() error {
	s := x.s
	x.leave = append(x.leave, func() { s.requests.Add(-1) })
	if s.requests.Add(1) > int64(s.cfg.Limits.Requests) && !x.inner {
		return busy("Too many requests at once")
	}
	rt, no := parseRoute(rawPath(x.r))
	x.route = rt
	if !x.inner && rt.endpoint != epHealth && !s.clients.Allow(x.client, 1) {
		return tooMany("Too many requests from this address")
	}
	if no != nil {
		return no
	}
	switch rt.endpoint {
	case epHealth:
		return x.empty(http.StatusOK)
	case epSlash:
		x.w.Header().Set("Location", "/health")
		return x.empty(http.StatusPermanentRedirect)
	case epSite:
		return x.site()
	}
	x.protect()
	handle, ok := table[rt.endpoint][x.r.Method]
	if !ok {
		return refuse(http.StatusMethodNotAllowed, "method", "Method not allowed")
	}
	return handle(x)
}

func tooMany(text string) *failure {
	return &failure{status: http.StatusTooManyRequests, kind: "rate", text: text, retry: 1}
}

// protect keeps what packages contain from running in a browser as the site's.
func (x *exchange) protect() {
	header := x.w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// site passes the request to the pages for people. At / they are for those
// who ask for HTML: API clients see what upstream shows them.
func (x *exchange) site() error {
	web := x.s.cfg.Web
	root := rawPath(x.r) == "/"
	if web == nil || root && !acceptsHTML(x.r.Header.Values("Accept")) {
		return errNoRoute
	}
	if root {
		x.w.Header().Set("Vary", "Accept")
	}
	r := x.r.WithContext(x.ctx)
	r.Body = http.MaxBytesReader(x.w, nopCloser{x.body}, maxJSON)
	w := &settling{ResponseWriter: x.w, x: x}
	web.ServeHTTP(w, r)
	w.settle() // of an answer without a word
	return nil
}

// settling is the response to a request for a page. net/http reads what is left
// of the request's body before it answers, and waits for it without end: x
// reads it before that, at the pace that it asks of everybody.
type settling struct {
	http.ResponseWriter
	x       *exchange
	settled bool
}

func (s *settling) settle() {
	if !s.settled {
		s.settled = true
		s.x.settle()
	}
}

// WriteHeader settles, and sends the status.
func (s *settling) WriteHeader(status int) {
	if status >= 200 {
		s.settle()
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write settles, and sends p.
func (s *settling) Write(p []byte) (int, error) {
	s.settle()
	return s.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (s *settling) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func acceptsHTML(headers []string) bool {
	for _, header := range headers {
		for member := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(member, ";")
			if strings.EqualFold(strings.Trim(name, " \t"), "text/html") {
				return true
			}
		}
	}
	return false
}

// fail answers with the failure, unless an answer is on its way already.
func (x *exchange) fail(f *failure) {
	x.refused = f
	if x.w.status != 0 {
		return
	}
	if f.retry > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(f.retry))
	}
	if err := x.record(f.status); err != nil {
		x.refused = err
		f = err
	}
	x.send(f.status, "text/plain; charset=utf-8", []byte(oneLine(f.text)))
}

// send answers with a body of known length, once the request's own body is
// out of the way.
func (x *exchange) send(status int, contentType string, text []byte) {
	x.settle()
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(text)))
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(text) // the connection may be gone, and nobody is left to tell
	}
}

// empty answers without a body.
func (x *exchange) empty(status int) error {
	if no := x.record(status); no != nil {
		return no
	}
	x.settle()
	x.w.Header().Set("Content-Length", "0")
	x.w.WriteHeader(status)
	return nil
}

// settle comes before every answer. It reads what is left of the request's
// body: clients send all of it before they look for an answer; those that wait
// for a 100 send nothing yet. However long it all took, the answer has its time.
func (x *exchange) settle() {
	limits := &x.s.cfg.Limits
	defer func() { _ = x.body.rc.SetWriteDeadline(time.Now().Add(limits.Grace + limits.Stall)) }()
	if x.body.ended || !x.body.begun && expects(x.r) {
		return
	}
	// Meanwhile the request takes a connection, but no turn from those who are
	// served: anybody can announce what is refused, and send it slowly.
	x.s.requests.Add(-1)
	defer x.s.requests.Add(1)
	defer x.s.drains.Add(-1)
	if x.s.drains.Add(1) > int64(limits.Requests) || !x.body.drain(limits.Drain, time.Now().Add(limits.DrainFor)) {
		x.w.Header().Set("Connection", "close")
	}
}

// expects reports whether the client waits for a 100 before it sends the body.
func expects(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// finish gives back what the request took, and tells what became of it.
func (x *exchange) finish() {
	for _, leave := range x.leave {
		leave()
	}
	took := time.Since(x.begin)
	x.s.metrics.answered(x, took)
	x.note(took)
}

// note writes the request's log line. It has no header and no body: tokens are
// in there.
func (x *exchange) note(took time.Duration) {
	level := slog.LevelInfo
	status := x.w.status
	switch {
	case status == http.StatusInternalServerError, x.refused != nil && x.refused.kind == kindStorage:
		level = slog.LevelError // ours; of the others of 500 and above the client is the cause, or time
	case x.route.endpoint == epHealth:
		level = slog.LevelDebug
	}
	if !x.s.log.Enabled(x.ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", x.id), slog.String("client", clientName(x.client)), slog.String("method", oneLine(x.r.Method)),
		slog.String("route", string(x.class())), slog.String("path", oneLine(rawPath(x.r))), slog.Int("status", status),
		slog.String("principal", oneLine(x.caller.Seen().ID())), slog.Int64("in", x.body.pace.bytes), slog.Int64("out", x.w.bytes), slog.Duration("took", took),
	}
	if x.refused != nil {
		attrs = append(attrs, slog.String("reason", oneLine(x.refused.text)))
		if x.refused.err != nil {
			attrs = append(attrs, slog.String("err", oneLine(x.refused.err.Error())))
		}
	}
	x.s.log.LogAttrs(x.ctx, level, "request", attrs...)
}

// class is the route as metrics name it.
func (x *exchange) class() endpoint {
	if x.route.endpoint == "" {
		return "none"
	}
	return x.route.endpoint
}

// clientName is the client's address; by a Unix socket it has none.
func clientName(a netip.Addr) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}
