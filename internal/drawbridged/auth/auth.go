// SPDX-License-Identifier: Apache-2.0

// Package auth decides who may do what in a Drawbridge. A Caller is what one
// request shows for itself: a bearer token, which may be a JWT or an opaque
// token of an OpenID Connect provider, a robot's or a deployment token of ours,
// and the certificate of a Keep. Decide is the whole policy, a function of who
// asks, for what, and what is known of it; rules is its table. Nothing private
// is told to those who may not know it, not even that it is there.
//
// The provider, the clients and their certificates are untrusted until
// verified; the CAs of Stewards and the store are trusted. The texts and
// statuses are upstream's where it has any, spec/drawbridge.md sections 1.6 and
// 4.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Tokens is where the records of robot and deployment tokens are.
type Tokens interface {
	// TokenRecord returns what Token.Record returned, or nil if there is none.
	TokenRecord(ctx context.Context, id string) ([]byte, error)
	// TokenUse returns the record of a use, counted from 1, or nil.
	TokenUse(ctx context.Context, id string, n int) ([]byte, error)
	// ClaimTokenUse makes the record of a use, unless there is one.
	ClaimTokenUse(ctx context.Context, id string, n int, record []byte) (made bool, err error)
}

// Subjects is which user registered a subject, for the userinfo mode, in which
// a subject has one user.
type Subjects interface {
	// SubjectUser returns the user, or "".
	SubjectUser(ctx context.Context, issuer, subject string) (user string, err error)
	// ClaimSubject gives the subject to the user, and returns whose it is.
	ClaimSubject(ctx context.Context, issuer, subject, user string) (owner string, err error)
}

// Config says how principals prove who they are. The zero value knows anonymous
// ones only.
type Config struct {
	Issuer     string   // of OpenID Connect; "" is none
	Audiences  []string // of JWTs: one must match
	JWT        bool     // take JWTs
	UserInfo   bool     // take any token that the provider's userinfo endpoint takes
	Algorithms []string // of JWTs: RS256, ES256, EdDSA; nil is RS256
	ClientID   string   // told to clients

	Transport   http.RoundTripper   // to the provider; nil is http.DefaultTransport
	Authorities func() *Authorities // the CAs of Stewards at this time; nil is none
	Hosts       []string            // host[:port] that slugs in certificates may name
	Tokens      Tokens              // nil: there are no robots
	Subjects    Subjects            // needed for UserInfo
	Now         func() time.Time    // nil is time.Now
	Log         *slog.Logger        // nil discards
}

// Authenticator finds out who sent a request.
type Authenticator struct {
	cfg      Config
	provider *provider // nil without an issuer
	userinfo *userinfo // nil without the mode
}

var algorithms = []string{"RS256", "ES256", "EdDSA"}

// New checks cfg. It asks nobody anything: see Run.
func New(cfg Config) (*Authenticator, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Authorities == nil {
		cfg.Authorities = func() *Authorities { return nil }
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{"RS256"}
	}
	a := &Authenticator{cfg: cfg}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Issuer != "" {
		a.provider = newProvider(&a.cfg)
		if cfg.UserInfo {
			a.userinfo = newUserinfo(&a.cfg, a.provider)
		}
	}
	return a, nil
}

func (cfg *Config) check() error {
	if cfg.Issuer == "" {
		if cfg.JWT || cfg.UserInfo {
			return errors.New("tokens of OpenID Connect need an issuer")
		}
		return nil
	}
	u, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("the issuer %q is not a URL", cfg.Issuer)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("the issuer %q is not an https URL: whoever is between could make tokens", cfg.Issuer)
	case !cfg.JWT && !cfg.UserInfo:
		return errors.New("an issuer is of no use without JWTs or userinfo")
	case cfg.JWT && (len(cfg.Audiences) == 0 || slices.Contains(cfg.Audiences, "")):
		return errors.New("JWTs need an audience: without one, tokens for other services would open this one")
	case cfg.UserInfo && cfg.Subjects == nil:
		return errors.New("auth: bug: userinfo without subjects")
	}
	for _, algorithm := range cfg.Algorithms {
		if !slices.Contains(algorithms, algorithm) {
			return fmt.Errorf("the algorithm %q is not RS256, ES256 or EdDSA", algorithm)
		}
	}
	return nil
}

// Run keeps the provider's keys fresh until ctx is done. Nothing fails because
// the provider is down: Ready tells.
func (a *Authenticator) Run(ctx context.Context) {
	if a.provider != nil {
		a.provider.run(ctx)
	}
}

// Ready returns why tokens cannot be checked yet, or nil.
func (a *Authenticator) Ready() error {
	if a.provider == nil {
		return nil
	}
	return a.provider.ready()
}

// Modes returns how tokens of the provider are taken: jwt, userinfo.
func (a *Authenticator) Modes() []string {
	modes := []string{}
	if a.cfg.JWT {
		modes = append(modes, "jwt")
	}
	if a.cfg.UserInfo {
		modes = append(modes, "userinfo")
	}
	return modes
}

// Issuer returns the provider's URL, or "".
func (a *Authenticator) Issuer() string { return a.cfg.Issuer }

// ClientID returns what clients should call themselves to the provider.
func (a *Authenticator) ClientID() string { return a.cfg.ClientID }

// Audience returns what clients should ask the provider for, or "".
func (a *Authenticator) Audience() string {
	if len(a.cfg.Audiences) == 0 {
		return ""
	}
	return a.cfg.Audiences[0]
}
