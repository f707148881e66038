// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"enarx.dev/enarx/attest/pki"
	"enarx.dev/enarx/attest/roots"
)

// Config says where a [Fetcher] asks and what it keeps. The zero value asks
// the vendors and keeps nothing on disk.
type Config struct {
	Cache string // folder of the cache, made if need be; empty: memory only

	// KDS, PCS and Certs are the services of AMD, of Intel, and Intel's for
	// the list of its root, without a final slash. Empty: the vendors' own. If
	// only PCS is given it is taken for one of Intel's caching services
	// (PCCS), which has that list too.
	KDS, PCS, Certs string

	// MaxAge is how old a revocation list, TCB info or QE identity may be for
	// the policy of the moment. One that is due is given out while a newer one
	// is looked for, but not beyond this age. 0, or no function: only the
	// vendor's own date counts.
	MaxAge func() time.Duration

	Roots     *roots.Set        // what documents are checked against; nil: the vendors'
	Memo      *pki.Memo         // shared with the verification, so that each document is parsed once
	Log       *slog.Logger      // nil: none
	Transport http.RoundTripper // nil: HTTPS with the system's roots
}

// A Fetcher gets collateral from the vendors' services and remembers it. It is
// safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *http.Client
	store  *store

	ctx     context.Context // ends with the Fetcher: a flight outlives the caller that started it
	cancel  context.CancelFunc
	wg      sync.WaitGroup // flights
	flights singleflight.Group

	breakers [kindCount]breaker
	foreign  *rate.Limiter // documents never seen before, of a kind that strangers choose

	mu         sync.Mutex
	closed     bool
	young, old map[Item]*slot // what has not been asked for while young filled up is forgotten
}

// A slot is what is known of one document. Fields are guarded by Fetcher.mu.
type slot struct {
	doc   *Document // the newest so far, or nil
	err   error     // the last flight's
	until time.Time // err stands until then
	busy  bool      // being looked for in the background
}

const (
	maxSlots    = 2048             // per generation
	noSuchFor   = 10 * time.Minute // that a vendor has no such document
	recheckTime = 5 * time.Minute  // between looks at a vendor whose newest document is too old
	newPerSec   = 5                // documents of foreign kinds, once burst is used up
	newBurst    = 200
)

// errBusy is given instead of a request for a document that nobody asked for
// before, when there were too many of those.
var errBusy = errors.New("too many documents were asked for that are not known yet; try again later")

// New returns a Fetcher.
func New(cfg Config) (*Fetcher, error) {
	if cfg.Certs == "" && (cfg.PCS == "" || cfg.PCS == DefaultPCS) {
		cfg.Certs = DefaultCerts
	}
	for _, s := range []struct {
		base  *string
		usual string
	}{{&cfg.KDS, DefaultKDS}, {&cfg.PCS, DefaultPCS}, {&cfg.Certs, ""}} {
		if *s.base == "" {
			*s.base = s.usual
		}
		*s.base = strings.TrimSuffix(*s.base, "/")
		if *s.base != "" && !strings.HasPrefix(*s.base, "https://") && !strings.HasPrefix(*s.base, "http://") {
			return nil, fmt.Errorf("collateral: %q is not the address of a service: it starts with https://", *s.base)
		}
	}
	if cfg.Roots == nil {
		cfg.Roots = roots.Vendors()
	}
	if cfg.MaxAge == nil {
		cfg.MaxAge = func() time.Duration { return 0 }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	store, err := openStore(cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("collateral: the cache: %w", err)
	}
	f := &Fetcher{cfg: cfg, client: client(cfg.Transport), store: store,
		foreign: rate.NewLimiter(newPerSec, newBurst), young: map[Item]*slot{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

func client(t http.RoundTripper) *http.Client {
	if t == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxResponseHeaderBytes = maxHeaderBytes
		own.MaxConnsPerHost = 8
		t = own
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // an answer that is not 200, and so none
	}}
}

// Close ends what is under way and waits for it.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
	f.client.CloseIdleConnections()
}

// slot returns what is known of i. The caller holds f.mu.
func (f *Fetcher) slot(i Item) *slot {
	s := f.young[i]
	if s != nil {
		return s
	}
	if s = f.old[i]; s == nil {
		s = &slot{}
	}
	if len(f.young) >= maxSlots {
		f.old, f.young = f.young, map[Item]*slot{}
	}
	f.young[i] = s
	return s
}

// Get returns the document. With an error there may still be one: the newest
// that is known, which is out of date. It waits as long as ctx lets it; the
// answer to a question that nobody waits for any more is kept for the next.
func (f *Fetcher) Get(ctx context.Context, i Item) (*Document, error) {
	if d, err, known := f.known(i, time.Now()); known {
		return d, err
	}
	landed := make(chan struct{})
	if !f.start(func() { defer close(landed); f.share(i) }) {
		return nil, f.failure(i, context.Canceled)
	}
	var waited error
	select {
	case <-landed:
	case <-ctx.Done():
		waited = ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slot(i)
	if waited == nil {
		waited = s.err
	}
	return s.doc, f.failure(i, waited)
}

// start runs a flight that Close waits for, unless it is too late for one.
func (f *Fetcher) start(flight func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.wg.Go(flight)
	return true
}

// share flies for i, or waits for the flight that is under way.
func (f *Fetcher) share(i Item) {
	address, _ := f.address(i)
	_, _, _ = f.flights.Do(address, func() (any, error) { f.fly(i); return nil, nil }) // the slot has the outcome
}

func (f *Fetcher) failure(i Item, err error) error {
	if err == nil {
		return nil
	}
	address, _ := f.address(i)
	return &Failure{Code: i.code(), What: i.String(), URL: address, Err: err, published: i.published()}
}

// known answers from memory if that will do, and has a document that is due
// looked for in the background.
func (f *Fetcher) known(i Item, now time.Time) (d *Document, err error, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slot(i)
	paused := f.breakers[i.kind].paused(now)
	switch {
	case s.doc != nil && s.doc.usable(now, f.cfg.MaxAge()):
		if now.Sub(s.doc.Fetched) >= facts[i.kind].refresh && paused == nil && !now.Before(s.until) {
			f.background(i, s)
		}
		return s.doc, nil, true
	case s.doc != nil && now.Sub(s.doc.Fetched) < recheckTime:
		return s.doc, nil, true // the vendor has nothing newer
	case s.err != nil && now.Before(s.until):
		return s.doc, f.failure(i, s.err), true
	case s.err != nil && paused != nil:
		return s.doc, f.failure(i, paused), true
	}
	return nil, nil, false
}

// silent answers for a service that let the last questions for i wait in vain.
// It is asked again, but nobody waits for that: all would, each time.
func (f *Fetcher) silent(i Item) (d *Document, err error, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slot(i)
	if !errors.Is(s.err, context.DeadlineExceeded) {
		return nil, nil, false
	}
	f.background(i, s)
	return s.doc, f.failure(i, s.err), true
}

// background has i looked for, unless it already is. The caller holds f.mu.
func (f *Fetcher) background(i Item, s *slot) {
	if !s.busy && !f.closed {
		s.busy = true
		f.wg.Go(func() { f.refresh(i) })
	}
}

func (f *Fetcher) refresh(i Item) {
	f.share(i)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slot(i).busy = false
}

// fly looks for one document, on disk and then at the vendor's, and leaves
// what it finds in the slot.
func (f *Fetcher) fly(i Item) {
	now := time.Now()
	f.mu.Lock()
	s := f.slot(i)
	before, lately := s.doc, s.doc != nil && now.Sub(s.doc.Fetched) < recheckTime || now.Before(s.until)
	f.mu.Unlock()
	if lately { // by a flight that landed between the question and this one
		return
	}
	if before == nil {
		if before = f.load(i); before != nil && before.usable(now, f.cfg.MaxAge()) {
			f.land(i, before, nil) // if it is due, the next question has it looked for
			return
		}
	}
	d, err := f.ask(i, before == nil)
	if err != nil {
		f.land(i, before, err)
		if f.ctx.Err() == nil {
			f.cfg.Log.Warn("no collateral from its vendor", "document", i.String(), "err", err)
		}
		return
	}
	if before != nil && d.Issued.Before(before.Issued) {
		// An older document does not take the place of a newer: what was
		// revoked stays revoked.
		again := *before
		again.Fetched = d.Fetched
		d = &again
	}
	f.land(i, d, nil)
	if err := f.store.write(&entry{URL: d.URL, Fetched: d.Fetched, Chain: d.header, body: d.Body}); err != nil {
		f.cfg.Log.Warn("the cache of collateral cannot be written", "err", err)
	}
}

func (f *Fetcher) land(i Item, d *Document, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slot(i)
	s.doc, s.err, s.until = d, err, time.Time{}
	if errors.Is(err, ErrNoSuch) {
		s.until = time.Now().Add(noSuchFor)
	}
}

// load returns the document from disk, or nil.
func (f *Fetcher) load(i Item) *Document {
	address, _ := f.address(i)
	e, err := f.store.read(address, facts[i.kind].limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var d *Document
	if err == nil {
		d, err = f.parse(i, answer{e.body, e.Chain}, e.Fetched)
	}
	if err != nil {
		f.cfg.Log.Warn("a file of the cache of collateral is of no use", "document", i.String(), "err", err)
		return nil
	}
	if now := time.Now(); d.Fetched.After(now) {
		d.Fetched = time.Time{} // written under another clock
	}
	return d
}

// ask gets the document from its vendor.
func (f *Fetcher) ask(i Item, first bool) (d *Document, err error) {
	b := &f.breakers[i.kind]
	if err := b.paused(time.Now()); err != nil {
		return nil, err
	}
	if first && facts[i.kind].foreign && !f.foreign.Allow() {
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(f.ctx, flightTimeout)
	defer cancel()
	address, header := f.address(i)
	a, err := f.get(ctx, address, header, facts[i.kind].limit)
	if err == nil {
		d, err = f.parse(i, a, time.Now())
	}
	if f.ctx.Err() == nil { // a Fetcher that is closing says nothing about the service
		b.report(time.Now(), err, facts[i.kind].foreign)
	}
	return d, err
}
