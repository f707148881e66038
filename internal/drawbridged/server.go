// SPDX-License-Identifier: Apache-2.0

// Package drawbridged is the Drawbridge as an HTTP service: users publish
// packages under tags, and others fetch them with every byte accounted for by
// digests. The wire is upstream's (spec/drawbridge.md sections 1 to 4), the
// resources whose names begin with an underscore and that upstream does not
// have are ours (docs/drawbridge-api.yml).
//
// Requests come from anybody. What is stored is the store package's to keep
// whole, who may do what is the auth package's to decide; this package reads
// requests, bounds what they cost, asks these two in upstream's order, and
// answers. It keeps no state but counters: any number of servers may share a
// store.
package drawbridged

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/serve"
)

// Config is what a Server is made from. Store and Auth must be set.
type Config struct {
	Store *store.Store
	Auth  *auth.Authenticator
	Audit *ledger.Log[Record] // nil: none

	// Steward and CertificateLife are told in deployments of repositories
	// whose policy says nothing else.
	Steward         string
	CertificateLife time.Duration

	StrictTree bool         // told to clients: the store does it
	NoAlias    bool         // no tree/main.wasm for a package that is a bare module
	Web        http.Handler // the site for people; nil: none
	Catalog    *Catalog     // what _search looks in; nil: one of its own
	Limits     Limits
	Proxies    []netip.Prefix   // whose X-Forwarded-For is believed
	UnixProxy  bool             // who comes by a Unix socket is such a proxy
	Log        *slog.Logger     // nil: discarded
	Now        func() time.Time // nil: time.Now
}

// Limits bound what clients can use. A zero means the default, a negative
// Rate, Users or Tokens no limit. What users may store is store.Limits.
type Limits struct {
	Requests int           // being answered at once: 1024
	Memory   int64         // bytes of JSON bodies held at once: 64 MiB
	Uploads  int           // bodies that one principal sends at once: 16
	Rate     float64       // requests per second of one principal, or of one address: 500
	Burst    int           // requests that may come at once: 10000
	Clients  int           // that are told apart: 65536
	Grace    time.Duration // before the minimum rate is asked for: 15 s
	Stall    time.Duration // without a byte: 30 s
	MinRate  float64       // bytes per second that a client sends or takes: 4096
	Drain    int64         // bytes read of a body that was refused: 512 MiB
	DrainFor time.Duration // at most: 2 min

	Body   int64 // bytes of one node: 16 GiB
	Users  int   // that one subject may be: 8
	Tokens int   // per user, and per repository: 100
}

func (l *Limits) fill() {
	set(&l.Requests, 1024)
	set(&l.Memory, 64<<20)
	set(&l.Uploads, 16)
	set(&l.Rate, 500)
	set(&l.Burst, 10000)
	set(&l.Clients, 1<<16)
	set(&l.Grace, 15*time.Second)
	set(&l.Stall, 30*time.Second)
	set(&l.MinRate, 4096)
	set(&l.Drain, 512<<20)
	set(&l.DrainFor, 2*time.Minute)
	set(&l.Body, 16<<30)
	set(&l.Users, 8)
	set(&l.Tokens, 100)
}

// check refuses what no server can work with.
func (l *Limits) check() error {
	for name, v := range map[string]float64{
		"requests": float64(l.Requests), "memory": float64(l.Memory - maxJSON + 1), "uploads": float64(l.Uploads), "burst": float64(l.Burst),
		"clients": float64(l.Clients), "grace": float64(l.Grace), "stall": float64(l.Stall), "minimum rate": l.MinRate,
		"drain": float64(l.Drain), "drain time": float64(l.DrainFor), "body": float64(l.Body),
	} {
		if v <= 0 {
			return fmt.Errorf("the limit of %s is too small", name)
		}
	}
	return nil
}

func set[T int | int64 | float64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// A Server answers the requests to one Drawbridge.
type Server struct {
	cfg      Config
	store    *store.Store
	auth     *auth.Authenticator
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics
	clients  *serve.Clients
	catalog  *Catalog
	memory   *semaphore.Weighted // bytes of JSON bodies
	uploads  counts              // bodies being received, by principal
	making   counts              // users by subject, and tokens by user, that are being made
	requests atomic.Int64        // being answered
	large    atomic.Int64        // answers with content, of which the first maxLarge have large buffers
	drains   atomic.Int64        // whose bodies are read for nobody, before they are
	draining atomic.Bool
	probe    probe
	fresh    *fresh
}

// New returns a server. Its limits are in force from then on.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Auth == nil {
		return nil, errors.New("drawbridge: bug: a server needs a store and an authenticator")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits.fill()
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	if cfg.Catalog == nil {
		cfg.Catalog = NewCatalog(cfg.Store, cfg.Now)
	}
	s := &Server{
		cfg: cfg, store: cfg.Store, auth: cfg.Auth, log: cfg.Log, now: cfg.Now, catalog: cfg.Catalog,
		clients: serve.NewClients(serve.Rates{
			Rate: cfg.Limits.Rate, Burst: cfg.Limits.Burst, Clients: cfg.Limits.Clients, Proxies: cfg.Proxies, UnixProxy: cfg.UnixProxy, Now: cfg.Now,
		}),
		fresh:  newFresh(maxFresh),
		memory: semaphore.NewWeighted(cfg.Limits.Memory),
	}
	s.probe.ready = cfg.Store.Ready
	cfg.Store.SetVet(s.vet)
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
	if s.cfg.Audit != nil {
		if err := s.cfg.Audit.Check(); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	if err := s.auth.Ready(); err != nil {
		return err
	}
	return s.probe.check(s.now())
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

type requestKey struct{}

// RequestID is the name of the request that ctx is of, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// A probe asks the store whether it is there, but not more often than makes
// sense: probes of load balancers, and metrics, come often.
type probe struct {
	ready func(context.Context) error

	mu   sync.Mutex
	when time.Time
	err  error
}

func (p *probe) check(now time.Time) error {
	const every, patience = 5 * time.Second, 5 * time.Second
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.when.IsZero() && now.Sub(p.when) < every {
		return p.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if p.err = p.ready(ctx); p.err != nil {
		p.err = fmt.Errorf("store: %w", p.err)
	}
	p.when = now
	return p.err
}
