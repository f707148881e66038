// SPDX-License-Identifier: Apache-2.0

package collateral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	requestTimeout  = 10 * time.Second       // one request, answer read
	flightTimeout   = 40 * time.Second       // one document, with what is tried again
	attempts        = 3                      // of one document in a row
	firstPause      = 300 * time.Millisecond // before the second attempt; doubles
	longestWait     = 10 * time.Second       // that a vendor may ask for and be waited for at once
	firstBreak      = 5 * time.Second        // after a flight that failed; doubles
	longestBreak    = 15 * time.Minute
	foreignBreak    = time.Minute // of kinds that strangers choose from, who might find what a service chokes on
	longestRetry    = time.Hour   // however long a vendor asks for
	maxHeaderBytes  = 64 << 10
	maxHeaderFields = 32 << 10 // of one header that is kept
)

// ErrNoSuch is the vendor's answer that there is no such document. Asking
// again soon does not change it.
var ErrNoSuch = errors.New("the vendor has no such document")

// errPaused is given instead of a request while a service is left alone.
type errPaused struct {
	until time.Time
	cause error
}

func (e *errPaused) Error() string {
	return fmt.Sprintf("not asked again before %s: %v", e.until.UTC().Format(time.RFC3339), e.cause)
}
func (e *errPaused) Unwrap() error { return e.cause }

// statusError is an answer that is not 200.
type statusError struct {
	code  int
	retry time.Duration // what Retry-After asks for, or 0
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the service answered %d %s", e.code, http.StatusText(e.code))
	if e.retry > 0 {
		s += fmt.Sprintf(", wait %v", e.retry)
	}
	return s
}

func (e *statusError) Is(target error) bool {
	return target == ErrNoSuch && (e.code == http.StatusNotFound || e.code == http.StatusBadRequest || e.code == http.StatusGone)
}

// A breaker leaves a service alone for a while after it failed or asked for
// it: longer each time, and never for exactly as long as others do.
type breaker struct {
	mu       sync.Mutex
	failures int
	until    time.Time
	cause    error
}

// paused returns why no request may be made now, or nil.
func (b *breaker) paused(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return &errPaused{b.until, b.cause}
	}
	return nil
}

// report takes notice of how a flight ended. An answer that there is no such
// document comes from a service that works.
func (b *breaker) report(now time.Time, err error, foreign bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil || errors.Is(err, ErrNoSuch) {
		b.failures, b.until, b.cause = 0, time.Time{}, nil
		return
	}
	longest := longestBreak
	if foreign {
		longest = foreignBreak
	}
	pause := jitter(min(firstBreak<<min(b.failures, 16), longest))
	b.failures++
	if s, ok := errors.AsType[*statusError](err); ok && s.retry > 0 {
		pause = max(s.retry, min(pause, time.Minute))
	}
	b.until, b.cause = now.Add(pause), err
}

// jitter returns d, up to a quarter more or less.
func jitter(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}

// answer is what a service said: body and the one header that belongs to it.
type answer struct {
	body  []byte
	chain string // the issuer chain header as it came, or ""
}

// get fetches one document, trying again what may be over in a moment.
func (f *Fetcher) get(ctx context.Context, address, chainHeader string, limit int64) (a answer, err error) {
	pause := firstPause
	for i := range attempts {
		if i > 0 {
			wait := jitter(pause)
			if s, ok := errors.AsType[*statusError](err); ok && s.retry > 0 {
				wait = s.retry
			}
			if wait > longestWait || sleep(ctx, wait) != nil {
				return answer{}, err
			}
			pause *= 2
		}
		if a, err = f.once(ctx, address, chainHeader, limit); err == nil || !passing(err) {
			return a, err
		}
	}
	return answer{}, err
}

// passing reports whether the same request may succeed in a moment.
func passing(err error) bool {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.code >= 500 || s.code == http.StatusTooManyRequests
	}
	return !errors.Is(err, errTooBig) && !errors.Is(err, context.Canceled)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// errTooBig marks an answer beyond what such a document may have.
var errTooBig = errors.New("the answer is too big")

func (f *Fetcher) once(ctx context.Context, address, chainHeader string, limit int64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := f.client.Do(req)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// Read a little, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		return answer{}, &statusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("reading the answer: %w", withoutURL(err))
	case int64(len(body)) > limit:
		return answer{}, fmt.Errorf("%w: over %d bytes", errTooBig, limit)
	}
	a := answer{body: body}
	if chainHeader != "" {
		a.chain = issuerChain(resp.Header, chainHeader)
	}
	if len(a.chain) > maxHeaderFields {
		return answer{}, fmt.Errorf("%w: its header %s is over %d bytes", errTooBig, chainHeader, maxHeaderFields)
	}
	return a, nil
}

// issuerChain returns the header of that name. Services of the third version
// of Intel's interface, and caches in front of them, prefix it.
func issuerChain(h http.Header, name string) string {
	if v := h.Get(name); v != "" {
		return v
	}
	return h.Get("SGX-" + name)
}

// withoutURL drops the request line from an error: whoever reports it names
// the document.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// retryAfter reads a Retry-After header, of either form, within reason.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(value); err == nil {
		d = time.Duration(min(max(n, 0), int(longestRetry/time.Second))) * time.Second
	} else if t, err := http.ParseTime(value); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), longestRetry)
}
