// SPDX-License-Identifier: Apache-2.0

// Package collateral gets what silicon vendors say about their chips:
// certificates, revocation lists, TCB infos and QE identities. It comes from a
// folder ([Dir]) or from the vendors' services ([Fetcher]): AMD's Key
// Distribution Service (KDS, AMD publication 57230) and Intel's Provisioning
// Certification Service (PCS, version 4 of its interface).
//
// Nothing that comes from here is trusted for having come from here.
// attest.Verify looks at every signature, and attest.Appraise decides whether
// what is missing or out of date is tolerated; so failing to get something is
// never an error of an appraisal by itself, but it is told, so that a refusal
// can say why.
package collateral

import (
	"context"
	"errors"
	"fmt"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/version"
)

var userAgent = "enarx/" + version.Version

// A Source has collateral.
type Source interface {
	// For returns what there is for this evidence, never nil, and what could
	// not be had as an error that [Failures] takes apart. Both count: an error
	// does not mean that the collateral is not enough. What is returned is
	// shared between callers and must not be changed.
	For(ctx context.Context, ev *attest.Evidence) (*attest.Collateral, error)
}

// Sources is all of them together.
type Sources []Source

// For asks every source, one after the other.
func (s Sources) For(ctx context.Context, ev *attest.Evidence) (*attest.Collateral, error) {
	all, errs := &attest.Collateral{}, []error(nil)
	for _, source := range s {
		c, err := source.For(ctx, ev)
		all = all.Merge(c)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// A Failure is one document that could not be had.
type Failure struct {
	Code string // of the note on it, like "collateral.crl"
	What string // what people call the document
	URL  string // where it was looked for
	Err  error

	published string // where its vendor has it
}

func (e *Failure) Error() string {
	return fmt.Sprintf("getting the %s from %s: %v", e.What, e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *Failure) Unwrap() error { return e.Err }

// Reason is why, in words that may be shown to a stranger: they say nothing
// about the network that the question was asked from.
func (e *Failure) Reason() string {
	var paused *errPaused
	status, answered := errors.AsType[*statusError](e.Err)
	switch {
	case errors.Is(e.Err, ErrNoSuch):
		return ErrNoSuch.Error()
	case errors.Is(e.Err, errMasked), errors.Is(e.Err, errBusy), errors.Is(e.Err, errUnusable):
		return e.Err.Error()
	case errors.As(e.Err, &paused):
		return "the vendor's service is left alone for a while after it failed"
	case answered:
		return status.Error()
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, context.Canceled):
		return "the vendor's service did not answer in time"
	}
	return "the vendor's service could not be reached"
}

// Failures takes an error of a [Source] apart.
func Failures(err error) []*Failure {
	if err == nil {
		return nil
	}
	if f, ok := err.(*Failure); ok {
		return []*Failure{f}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var all []*Failure
		for _, err := range e.Unwrap() {
			all = append(all, Failures(err)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Failures(e.Unwrap())
	}
	return nil
}

// Record adds a note to g for each document that could not be had. They decide
// nothing: if the document was needed, a check on it fails.
func Record(g *check.Group, err error) {
	for _, f := range Failures(err) {
		g.Note(check.Check{
			Code: f.Code, What: "looked for the " + f.What, Found: check.Text(f.Reason()), Source: f.published,
			Fix: "send it with the evidence, or try again later",
		})
	}
}
