// SPDX-License-Identifier: Apache-2.0

package steward

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/steward/authority"
)

// An exchange is one POST. The rules that it decides by are read once, at its
// start: new files do not change them in its middle.
type exchange struct {
	s      *Server
	id     string
	r      *http.Request
	client netip.Addr
	accept preference

	ca     *authority.CA
	policy *attest.Policy
	now    time.Time

	admitted  bool
	until     time.Time // when it has waited enough, for its turns and for vendors
	verifying bool      // holds one of the Server's turns
	held      int64     // bytes taken from Limits.Memory
	body      []byte
	bundle    bool
	requests  int            // in the bundle
	decisive  *attest.Result // the last one
}

// appraised is a request whose evidence was accepted.
type appraised struct {
	request *attest.Request
	result  *attest.Result
}

// answer decides. Its order is that of spec/steward.md 1.4, after what bounds
// the cost.
func (x *exchange) answer(w http.ResponseWriter) answer {
	x.ca, x.policy, x.now = x.s.cfg.CA.Get(), x.s.cfg.Policy.Get(), x.s.now()
	if no := x.admit(); no != nil {
		return x.refuse(no)
	}
	media, ok := mediaType(x.r.Header)
	if !ok {
		return x.refuse(bad("request.type", "there is no Content-Type, or none that can be read: "+typeRequest+" or "+typeBundle))
	}
	if no := x.read(w); no != nil {
		return x.refuse(no)
	}
	var requests [][]byte
	switch media {
	case typeRequest:
		requests = [][]byte{x.body}
	case typeBundle:
		x.bundle = true
		var err error
		if requests, err = attest.ParseRequests(x.body, x.s.cfg.Limits.Bundle); err != nil {
			return x.refuse(bad("bundle.encoding", err.Error()))
		}
		x.requests = len(requests)
		if len(requests) > 1 && !x.s.clients.Allow(x.client, len(requests)-1) {
			return x.refuse(&refusal{status: http.StatusTooManyRequests, code: "request.rate", detail: "too many requests from this client", retry: 1})
		}
	default:
		return x.refuse(bad("request.type", "the Content-Type is neither "+typeRequest+" nor "+typeBundle+", without parameters"))
	}
	good, no := x.appraise(requests)
	if no != nil {
		return x.refuse(no)
	}
	return x.grant(good)
}

func bad(code, detail string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, detail: detail}
}

// mediaType returns the Content-Type in lower case, with the parameters that
// make it none of ours.
func mediaType(h http.Header) (string, bool) {
	value := h.Get("Content-Type")
	if _, _, err := mime.ParseMediaType(value); err != nil {
		return "", false
	}
	return strings.ToLower(value), true
}

// appraise decides about all requests, of which the first refused one decides
// for all, when it is their turn.
func (x *exchange) appraise(requests [][]byte) ([]appraised, *refusal) {
	limits := &x.s.cfg.Limits
	x.until = time.Now().Add(limits.Wait + limits.LookUp)
	if no := x.turn(); no != nil {
		return nil, no
	}
	defer x.yield()
	good := make([]appraised, 0, len(requests))
	for i, der := range requests {
		if no := x.gone(); no != nil {
			return nil, no
		}
		one, no := x.one(der)
		if no != nil {
			no.index = i
			return nil, x.undecodable(requests, no)
		}
		good = append(good, one)
	}
	return good, nil
}

// undecodable returns no, unless that is the one refusal that is no 400 and a
// later request of the bundle does not even decode: upstream decodes all of them
// before it judges the first.
func (x *exchange) undecodable(requests [][]byte, no *refusal) *refusal {
	if no.status != http.StatusUnauthorized {
		return no
	}
	for i, der := range requests[no.index+1:] {
		if _, err := attest.ParseRequest(der, x.s.cfg.Roots.Memo); err != nil {
			if later := unread(err); later.code == "csr.encoding" {
				later.index = no.index + 1 + i
				return later
			}
		}
	}
	return no
}

// gone refuses a client that does not wait for its answer any more: a
// certificate would be issued to nobody.
func (x *exchange) gone() *refusal {
	if x.r.Context().Err() == nil {
		return nil
	}
	return bad("request.gone", "the client has gone")
}

// patience is a context for as long as that, and for no longer than the
// exchange may wait in all: a bundle waits for each of its requests.
func (x *exchange) patience(d time.Duration) (context.Context, context.CancelFunc) {
	until := time.Now().Add(d)
	if until.After(x.until) {
		until = x.until
	}
	return context.WithDeadline(x.r.Context(), until)
}

// turn waits until another verification may start, or go on.
func (x *exchange) turn() *refusal {
	if no := x.gone(); no != nil {
		return no
	}
	select {
	case x.s.verifying <- struct{}{}:
		x.verifying = true
		return nil
	default:
	}
	ctx, cancel := x.patience(x.s.cfg.Limits.Wait)
	defer cancel()
	select {
	case x.s.verifying <- struct{}{}:
		x.verifying = true
		return nil
	case <-ctx.Done():
		if no := x.gone(); no != nil {
			return no
		}
		return busy("request.queue", "no turn to be verified came up in time")
	}
}

// yield lets another verification go on.
func (x *exchange) yield() {
	if x.verifying {
		x.verifying = false
		<-x.s.verifying
	}
}

// lookUp gets what did not come with the evidence. That may take as long as a
// vendor's answer, so it is not done in the turn of others, and not for ever.
// The decision is then of a moment later: what a vendor issued meanwhile would
// be of the future otherwise, and refused.
func (x *exchange) lookUp(ev *attest.Evidence, notes *check.Group) (*attest.Collateral, *refusal) {
	if x.s.cfg.Collateral == nil || ev.Technology == attest.None {
		return nil, nil
	}
	x.yield()
	ctx, cancel := x.patience(x.s.cfg.Limits.LookUp)
	defer cancel()
	more := x.s.cfg.Collateral(ctx, ev, notes)
	no := x.turn()
	x.now = x.s.now()
	return more, no
}

// one decides about one request.
func (x *exchange) one(der []byte) (appraised, *refusal) {
	req, err := attest.ParseRequest(der, x.s.cfg.Roots.Memo)
	if err != nil {
		return appraised{}, unread(err)
	}
	notes := check.New("Collateral that was looked for")
	more, no := x.lookUp(req.Evidence, notes)
	if no != nil {
		return appraised{}, no
	}
	claims := attest.Verify(req.Evidence, x.s.cfg.Roots, more, x.now)
	freshness := x.s.cfg.Challenges.fresh(claims)
	result := attest.Appraise(claims, x.policy)
	if freshness != nil {
		result.Appraisal.Groups = append(result.Appraisal.Groups, freshness)
	}
	if len(notes.Checks) > 0 {
		result.Verification.Groups = append(result.Verification.Groups, notes)
	}
	result.By = verifier
	x.decisive = result
	x.s.metrics.used(result.Claims)
	if err := result.Err(); err != nil {
		return appraised{}, &refusal{status: http.StatusBadRequest, code: result.Code(), detail: err.Error(), result: result}
	}
	return appraised{req, result}, nil
}

// unread is the refusal of a request whose evidence was not even looked at.
func unread(err error) *refusal {
	no := bad("csr", err.Error())
	if errors.Is(err, attest.ErrNoEvidence) {
		no.status = http.StatusUnauthorized
	}
	if e, ok := errors.AsType[*attest.RequestError](err); ok {
		no.checks = e.Checks
		if failed := e.Checks.Failures(); len(failed) > 0 {
			no.code, no.detail = failed[0].Code, failed[0].String()
		}
	}
	return no
}

func asRefusal(r *attest.Result) (*attest.Refusal, bool) {
	return errors.AsType[*attest.Refusal](r.Err())
}

// facts are what the log says about evidence, good or bad.
func facts(r *attest.Result) slog.Attr {
	c := r.Claims
	attrs := []any{slog.String("technology", string(c.Technology)), slog.String("shape", c.Shape)}
	if m := c.Measurement(); m != nil {
		attrs = append(attrs, slog.String("measurement", check.Hex(m).String()))
	}
	if status := c.TCBStatus(); status != "" {
		attrs = append(attrs, slog.String("tcb", status))
	}
	if len(c.URIs) > 0 {
		attrs = append(attrs, slog.Any("uris", c.URIs))
	}
	if c.Debug() {
		attrs = append(attrs, slog.Bool("debug", true))
	}
	return slog.Group("evidence", attrs...)
}
