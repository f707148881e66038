// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/version"
)

// metrics count what happens. Labels hold only words of our own: a client
// cannot make their number grow.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec   // by route, method and status
	seconds  *prometheus.HistogramVec // by route and method
	in, out  prometheus.Counter       // bytes of bodies
	refused  *prometheus.CounterVec   // by kind
	auth     *prometheus.CounterVec   // of these, who was not let in, by kind
	faults   prometheus.Counter       // of the store
	commits  prometheus.Counter       // tags that became visible
	rounds   *prometheus.CounterVec   // of the collector, by result
	removed  *prometheus.CounterVec   // by it, by what
	freed    prometheus.Counter       // bytes, by it
	reloads  *prometheus.CounterVec   // by what and result
}

func newMetrics(s *Server) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "enarx_drawbridge_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "enarx_drawbridge_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: vec("requests_total", "Requests answered, by route class, method and HTTP status.", "route", "method", "status"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "enarx_drawbridge_request_seconds", Help: "From the end of a request's header to the end of the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600},
		}, []string{"route", "method"}),
		in:      counter("received_bytes_total", "Bytes of request bodies."),
		out:     counter("sent_bytes_total", "Bytes of answers' bodies."),
		refused: vec("refusals_total", "Requests that were not done, by reason.", "reason"),
		auth:    vec("authentication_failures_total", "Requests that were not allowed, by reason.", "reason"),
		faults:  counter("store_errors_total", "Requests that the store failed."),
		commits: counter("tags_committed_total", "Tags that became visible."),
		rounds:  vec("collections_total", "Passes of the garbage collector, by result.", "result"),
		removed: vec("collected_total", "What the garbage collector removed.", "what"),
		freed:   counter("freed_bytes_total", "Bytes of contents that the garbage collector removed."),
		reloads: vec("reloads_total", "Attempts to take changed files, by what they are and result.", "what", "result"),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "enarx_drawbridge_" + name, Help: help}, f)
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "enarx_drawbridge_info", Help: "Always 1."}, []string{"version"})
	info.WithLabelValues(version.Version).Set(1)
	m.registry.MustRegister(m.requests, m.seconds, m.in, m.out, m.refused, m.auth, m.faults, m.commits, m.rounds, m.removed, m.freed, m.reloads, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("requests_in_flight", "Requests being answered.", func() float64 { return float64(s.requests.Load()) }),
		gauge("uploads_in_flight", "Bodies being received.", func() float64 { return float64(s.uploads.total()) }),
		gauge("ready", "1 if requests can be answered.", func() float64 { return truth(s.Ready() == nil) }))
	return m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// answered accounts for a request that is over.
func (m *metrics) answered(x *exchange, took time.Duration) {
	route, method := string(x.class()), methodName(x.r.Method)
	status := x.w.status
	if status == 0 {
		status = http.StatusOK // what net/http makes of a handler that says nothing
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route, method).Observe(took.Seconds())
	m.in.Add(float64(x.body.pace.bytes))
	m.out.Add(float64(x.w.bytes))
	no := x.refused
	if no == nil {
		return
	}
	m.refused.WithLabelValues(no.kind).Inc()
	switch {
	case no.status == http.StatusUnauthorized, no.status == http.StatusForbidden:
		m.auth.WithLabelValues(no.kind).Inc()
	case no.kind == kindStorage:
		m.faults.Inc()
	}
}

// methodName is one of the few that mean something.
func methodName(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE":
		return method
	}
	return "other"
}

// Collected counts a pass of the garbage collector.
func (s *Server) Collected(r store.GCReport, err error) {
	m := s.metrics
	m.rounds.WithLabelValues(result(err)).Inc()
	for what, n := range map[string]int{
		"node": r.Nodes, "orphan": r.Orphans, "pending": r.Pending, "upload": r.Uploads, "blob": r.Blobs, "token": r.Tokens, "temp": r.Temps,
	} {
		m.removed.WithLabelValues(what).Add(float64(n))
	}
	m.freed.Add(float64(r.Bytes))
}

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

func (m *metrics) reloaded(what string, err error) {
	m.reloads.WithLabelValues(what, result(err)).Inc()
}

// Admin returns what operators see: /healthz, /readyz (also /health, /ready)
// and /metrics. It is for an address that clients cannot reach.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	plain := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
	health := func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }
	ready := func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		plain(w, http.StatusOK, "ready\n")
	}
	mux.HandleFunc("GET /healthz", health)
	mux.HandleFunc("GET /health", health)
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /ready", ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

// Connections adds what the listener knows to the metrics.
func (s *Server) Connections(open func() int, refused func() uint64) {
	s.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "enarx_drawbridge_connections", Help: "Open connections."},
			func() float64 { return float64(open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "enarx_drawbridge_connections_refused_total", Help: "Connections beyond the limits."},
			func() float64 { return float64(refused()) }))
}
