// SPDX-License-Identifier: Apache-2.0

// Package steward is the attestation CA as an HTTP service: a certificate
// request with evidence comes in, and a certificate goes out if the evidence
// is genuine and meets the policy. The wire is upstream's to the byte
// (spec/steward.md section 1); beside it there are explanations for those who
// ask for them, see docs/steward.md.
//
// Requests come from anybody. What decides about them is attest.Verify and
// attest.Appraise; this package bounds what they may cost, asks these two, and
// signs. It keeps no state but counters: any number of Stewards may share a CA.
package steward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/internal/steward/authority"
	"enarx.dev/enarx/internal/version"
)

// Config is what a Server is made from. CA and Policy must be set.
type Config struct {
	CA     *live.Value[*authority.CA]
	Policy *live.Value[*attest.Policy]

	// Roots are the trust anchors; nil means the vendors'. Development says
	// that they are others, which the server then tells everybody.
	Roots       *attest.Roots
	Development bool

	// Collateral finds what did not come with some evidence, and adds to
	// notes what it could not get. It may be nil and may return nil.
	Collateral func(ctx context.Context, ev *attest.Evidence, notes *check.Group) *attest.Collateral

	Ledger     *ledger.Log[Entry] // the issuance log, or nil
	Profile    Profile
	Challenges Challenges
	Limits     Limits
	Proxies    []netip.Prefix   // whose X-Forwarded-For is believed
	UnixProxy  bool             // who comes by a Unix socket is such a proxy
	Log        *slog.Logger     // nil: discarded
	Now        func() time.Time // nil: time.Now
}

// A Profile says what issued certificates look like.
type Profile struct {
	// Compat makes them upstream's to the byte, spec/steward.md 1.7: 28 days,
	// the subject of the request, nothing about what was attested.
	Compat      bool
	CopySubject bool     // the subject of the request, unchecked
	DNSNames    []string // for every certificate
	CompatSAN   bool     // upstream's placeholder name; Compat implies it
}

// Limits bound what clients can use. A zero means the default.
type Limits struct {
	Body          int           // bytes of one request: 2 MiB
	Bundle        int           // requests in one bundle: 256
	Requests      int           // requests at once, those being received included: 512
	Memory        int64         // bytes of all their bodies: 128 MiB
	Verifications int           // at once: twice the processors
	Wait          time.Duration // for a turn to be verified: 10 s
	LookUp        time.Duration // for collateral that has to be fetched: 10 s
	Rate          float64       // certificate requests per second and client; negative: unlimited; 50
	Burst         int           // that may come at once: 500
	Clients       int           // that are told apart: 65536
}

func (l *Limits) fill() {
	set(&l.Body, 2<<20)
	set(&l.Bundle, 256)
	set(&l.Requests, 512)
	set(&l.Memory, 128<<20)
	set(&l.Verifications, 2*runtime.GOMAXPROCS(0))
	set(&l.Wait, 10*time.Second)
	set(&l.LookUp, 10*time.Second)
	set(&l.Rate, 50)
	set(&l.Burst, 500)
	set(&l.Clients, 1<<16)
}

// check refuses what no server can work with.
func (l *Limits) check() error {
	for name, v := range map[string]int64{
		"body": int64(l.Body), "bundle": int64(l.Bundle), "requests": int64(l.Requests), "memory": l.Memory,
		"verifications": int64(l.Verifications), "wait": int64(l.Wait), "burst": int64(l.Burst), "clients": int64(l.Clients),
	} {
		if v < 0 {
			return fmt.Errorf("the limit of %s is negative", name)
		}
	}
	return nil
}

func set[T int | int64 | float64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// A Server answers the requests of one Steward.
type Server struct {
	cfg       Config
	log       *slog.Logger
	now       func() time.Time
	metrics   *metrics
	clients   *serve.Clients
	verifying chan struct{} // holds one token per verification that is under way
	requests  atomic.Int64  // under way
	held      atomic.Int64  // bytes of bodies
	draining  atomic.Bool
}

// New returns a server. Its limits are in force from then on.
func New(cfg Config) (*Server, error) {
	if cfg.CA == nil || cfg.Policy == nil {
		return nil, errors.New("steward: bug: a server needs a CA and a policy")
	}
	if cfg.Roots == nil {
		cfg.Roots = attest.VendorRoots()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits.fill()
	cfg.Challenges.fill()
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	if err := cfg.Profile.prepare(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, now: cfg.Now,
		clients: serve.NewClients(serve.Rates{
			Rate: cfg.Limits.Rate, Burst: cfg.Limits.Burst, Clients: cfg.Limits.Clients, Proxies: cfg.Proxies, UnixProxy: cfg.UnixProxy, Now: cfg.Now,
		}),
		verifying: make(chan struct{}, cfg.Limits.Verifications),
	}
	s.metrics = newMetrics(s)
	return s, nil
}

// Drain makes the server tell its clients to use another connection next time,
// and readiness probes that it is going.
func (s *Server) Drain() { s.draining.Store(true) }

// Ready returns why the server should not get requests, or nil.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	if s.cfg.Ledger != nil {
		if err := s.cfg.Ledger.Check(); err != nil {
			return fmt.Errorf("issuance log: %w", err)
		}
	}
	return s.cfg.CA.Get().Check(s.now())
}

// Reloaded counts and logs an attempt to take new files, for live.Watch.
func (s *Server) Reloaded(name string, err error) {
	s.metrics.reloaded(name, err)
	if err != nil {
		s.log.Error("new files are no good: keeping the old ones", "what", name, "err", err)
		return
	}
	s.log.Info("reloaded", "what", name)
}

// newID names a request, in the answer and in the logs.
func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// verifier is who results say they are of.
var verifier = attest.Verifier{Developer: "https://enarx.dev", Build: "enarx-steward " + version.Version}

// Handler returns what clients see.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }
