// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/internal/version"
)

// metrics count what happens. Labels hold only words of our own: a client
// cannot make their number grow.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // by status and verdict
	seconds  prometheus.Histogram
	issued   *prometheus.CounterVec // by technology
	reloads  *prometheus.CounterVec // by what and result
	age      *prometheus.GaugeVec   // of collateral, by kind
	left     *prometheus.GaugeVec   // until it is stale, by kind
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "enarx_steward_requests_total", Help: "Certificate requests answered, by HTTP status and verdict (the code of the check that failed).",
		}, []string{"status", "verdict"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "enarx_steward_request_seconds", Help: "From the first byte of a request's body to the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "enarx_steward_certificates_issued_total", Help: "Certificates issued, by technology.",
		}, []string{"technology"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "enarx_steward_reloads_total", Help: "Attempts to take changed files, by what they are and result.",
		}, []string{"what", "result"}),
	}
	vec := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "enarx_steward_collateral_" + name, Help: help}, []string{"kind"})
	}
	m.age = vec("age_seconds", "Since the collateral of the last evidence was issued; the oldest of its kind.")
	m.left = vec("left_seconds", "Until the collateral of the last evidence is stale; the first of its kind.")
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "enarx_steward_" + name, Help: help}, f)
	}
	m.registry.MustRegister(m.requests, m.seconds, m.issued, m.reloads, m.age, m.left,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("requests_in_flight", "Certificate requests being received or answered.", func() float64 { return float64(s.requests.Load()) }),
		gauge("body_bytes", "Bytes of request bodies held.", func() float64 { return float64(s.held.Load()) }),
		gauge("verifications_in_flight", "Verifications under way.", func() float64 { return float64(len(s.verifying)) }),
		gauge("ready", "1 if certificates can be issued.", func() float64 { return truth(s.Ready() == nil) }),
		gauge("insecure", "1 if evidence without hardware is accepted.", func() float64 { return truth(s.cfg.Policy.Get().Insecure) }),
		gauge("development_roots", "1 if the trust anchors are not the vendors'.", func() float64 { return truth(s.cfg.Development) }),
		gauge("ca_not_after_seconds", "When the CA's chain expires, in seconds since 1970.", func() float64 {
			_, until := s.cfg.CA.Get().Window()
			return float64(until.Unix())
		}),
	)
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "enarx_steward_info", Help: "Always 1."}, []string{"version"})
	info.WithLabelValues(version.Version).Set(1)
	m.registry.MustRegister(info)
	return m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *metrics) answered(x *exchange, a answer, took time.Duration) {
	m.requests.WithLabelValues(strconv.Itoa(a.status), a.code).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) issue(entries []Entry) {
	for _, e := range entries {
		m.issued.WithLabelValues(e.Technology).Inc()
	}
}

// used notes how current the collateral was that a decision relied on.
func (m *metrics) used(c *attest.Claims) {
	type span struct{ age, left time.Duration }
	kinds := map[string]span{}
	for i := range c.Collateral {
		d := &c.Collateral[i]
		if d.Missing {
			continue
		}
		now := span{c.Time.Sub(d.Issued), d.Next.Sub(c.Time)}
		if was, ok := kinds[d.Kind]; ok {
			now = span{max(now.age, was.age), min(now.left, was.left)}
		}
		kinds[d.Kind] = now
	}
	for kind, s := range kinds {
		m.age.WithLabelValues(kind).Set(s.age.Seconds())
		m.left.WithLabelValues(kind).Set(s.left.Seconds())
	}
}

func (m *metrics) reloaded(what string, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.reloads.WithLabelValues(what, result).Inc()
}

// Admin returns what operators see: /healthz, /readyz and /metrics. It is for
// an address that clients cannot reach.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		send(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			send(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte(err.Error()+"\n"))
			return
		}
		send(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ready\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

// Connections adds what the listener knows to the metrics.
func (s *Server) Connections(open func() int, refused func() uint64) {
	s.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "enarx_steward_connections", Help: "Open connections."},
			func() float64 { return float64(open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "enarx_steward_connections_refused_total", Help: "Connections beyond the limits."},
			func() float64 { return float64(refused()) }))
}
