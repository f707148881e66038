// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"
)

const (
	wellKnown   = "/.well-known/enarx-steward"
	wellKnownCA = wellKnown + "/ca.pem"
)

// serve is the routes. There is no http.ServeMux because that redirects paths
// which upstream answers with 404.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	id := newID()
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case r.URL.Path == "/" && get:
		w.WriteHeader(http.StatusOK)
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		s.post(w, r, id)
	case r.URL.Path == "/":
		notAllowed(w, "GET, HEAD, POST")
	case r.URL.Path == wellKnown && get:
		s.describe(w)
	case r.URL.Path == wellKnownCA && get:
		text := s.cfg.CA.Get().PEM()
		send(w, http.StatusOK, typePEM, text)
	case r.URL.Path == challengePath && get:
		s.challenge(w)
	case r.URL.Path == wellKnown, r.URL.Path == wellKnownCA, r.URL.Path == challengePath:
		notAllowed(w, "GET, HEAD")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	w.WriteHeader(http.StatusMethodNotAllowed)
}

// send answers with a body of known length; the connection may be gone, and
// nobody is left to tell then.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// post is one request for certificates, from its admission to its log line.
func (s *Server) post(w http.ResponseWriter, r *http.Request, id string) {
	begin := time.Now()
	x := &exchange{s: s, id: id, r: r, client: s.clients.Address(r), accept: parseAccept(r.Header.Values("Accept"))}
	a := x.guarded(w)
	took := time.Since(begin)
	s.metrics.answered(x, a, took)
	s.record(r.Context(), x, a, took)
	if a.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.retry))
	}
	if a.contentType == "" {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(a.status)
	} else {
		send(w, a.status, a.contentType, a.body)
	}
}

// guarded is answer, with a bug in it answered too: a dropped connection would
// tell the client nothing, and the operator less.
func (x *exchange) guarded(w http.ResponseWriter) (a answer) {
	defer func() {
		if bug := recover(); bug != nil {
			x.s.log.Error("bug: a request made the server panic", "request", x.id, "panic", bug, "stack", string(debug.Stack()))
			a = x.refuse(&refusal{status: http.StatusInternalServerError, code: "internal.bug", detail: "the server has a bug"})
		}
		x.release()
	}()
	return x.answer(w)
}

// record writes the request's log line. Facts about the evidence are public;
// bodies and headers are not logged.
func (s *Server) record(ctx context.Context, x *exchange, a answer, took time.Duration) {
	level, message := slog.LevelInfo, "refused"
	switch {
	case a.insecure:
		level, message = slog.LevelWarn, "issued without any hardware vouching for the key"
	case a.issued > 0:
		message = "issued"
	case a.status == http.StatusOK:
		message = "appraised"
	case a.status >= 500 && a.status != http.StatusServiceUnavailable:
		level = slog.LevelError
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", x.id), slog.String("client", clientName(x.client)), slog.Int("status", a.status),
		slog.String("verdict", a.code), slog.Int("bytes", len(x.body)), slog.Duration("took", took),
	}
	if x.bundle {
		attrs = append(attrs, slog.Int("bundle", x.requests), slog.Int("issued", a.issued))
	}
	if x.decisive != nil {
		attrs = append(attrs, facts(x.decisive))
	}
	if a.reason != "" {
		attrs = append(attrs, slog.String("reason", shorten(a.reason)))
	}
	s.log.LogAttrs(ctx, level, message, attrs...)
}

// clientName is the client's address; by a Unix socket it has none.
func clientName(a netip.Addr) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// shorten bounds what a client can make the log say.
func shorten(s string) string {
	const limit = 400
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
