// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// A Prompt is what to tell a user who signs in on another device.
type Prompt struct {
	Address  string    // where to go
	Code     string    // what to enter there
	Complete string    // an address that needs no entering, or ""
	Until    time.Time // when it is too late
}

const (
	defaultInterval = 5 * time.Second // RFC 8628 section 3.5
	maxInterval     = time.Minute
	maxPatience     = 30 * time.Minute
)

// Device signs a user in who opens an address on any device and enters a code
// there (RFC 8628). prompt is called once; then Device waits.
func (p *Provider) Device(ctx context.Context, r Request, prompt func(Prompt)) (*Session, error) {
	form := r.form("")
	form.Set("scope", userScopes)
	form.Set("audience", r.Audience)
	var a struct {
		Device    string  `json:"device_code"`
		User      string  `json:"user_code"`
		Address   string  `json:"verification_uri"`
		Misspelt  string  `json:"verification_url"` // of some older providers
		Complete  string  `json:"verification_uri_complete"`
		ExpiresIn seconds `json:"expires_in"`
		Interval  seconds `json:"interval"`
	}
	if err := p.post(ctx, p.device, form, &a); err != nil {
		return nil, fmt.Errorf("asking %s for a code: %w", p.Issuer, err)
	}
	if a.Address == "" {
		a.Address = a.Misspelt
	}
	if a.Device == "" || a.User == "" || !isWeb(a.Address) {
		return nil, fmt.Errorf("the answer of %s lacks a code, or an address to enter it at", p.Issuer)
	}
	if !isWeb(a.Complete) {
		a.Complete = ""
	}
	patience := maxPatience
	if a.ExpiresIn > 0 {
		patience = min(patience, time.Duration(a.ExpiresIn)*time.Second)
	}
	until := p.clock.now().Add(patience)
	interval := defaultInterval
	if a.Interval > 0 {
		interval = min(time.Duration(a.Interval)*time.Second, maxInterval)
	}
	prompt(Prompt{a.Address, a.User, a.Complete, until})
	form = r.form("urn:ietf:params:oauth:grant-type:device_code")
	form.Set("device_code", a.Device)
	return p.poll(ctx, &r, form, interval, until)
}

func isWeb(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// errTooLate is given when a user did not sign in while the code was good.
var errTooLate = errors.New("nobody signed in with the code while it was good")

// poll asks for the session until there is one, slower whenever the provider
// wants that or cannot be reached.
func (p *Provider) poll(ctx context.Context, r *Request, form url.Values, interval time.Duration, until time.Time) (*Session, error) {
	for {
		s, err := p.exchange(ctx, r, FlowDevice, form)
		said, ok := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case ok && said.Code == "authorization_pending":
		case ok && said.Code == "slow_down":
			interval = min(interval+defaultInterval, maxInterval)
		case ok && said.Code == "expired_token":
			return nil, errTooLate
		case ok || !passing(err):
			return nil, err
		default:
			interval = min(2*interval, maxInterval)
		}
		if p.clock.now().Add(interval).After(until) {
			return nil, errTooLate
		}
		if err := p.clock.wait(ctx, interval); err != nil {
			return nil, err
		}
	}
}

// passing reports whether an error may go away by itself: the network's, or
// the provider's own trouble.
func passing(err error) bool {
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.code >= 500 || status.code == 429
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok
}
