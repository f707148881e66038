// SPDX-License-Identifier: Apache-2.0

// Package oidctest is an OpenID Connect provider for tests: a real one, on
// loopback, which believes everybody and can be told to misbehave. It knows
// discovery, key sets and their rotation, the authorization code flow with PKCE
// (RFC 7636), the device flow (RFC 8628), client credentials, rotating refresh
// tokens, userinfo and revocation. Its paths below the issuer are Auth0's,
// which old enarx clients have built in, and like Auth0 it makes an access
// token a JWT when an audience is asked for, and opaque when not.
package oidctest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options of a provider. The zero value is useful.
type Options struct {
	Addr      string // to listen at; "" is 127.0.0.1, any port
	TLS       bool   // serve HTTPS, under a CA that CAPEM returns
	Algorithm string // that tokens are signed by: "RS256" (the default), "ES256" or "EdDSA"

	Subject  string // of Mint's tokens, and what the sign-in forms suggest; "" is "test|subject"
	Audience string // of Mint's tokens; "" is "testserver"
	Scope    string // of Mint's tokens, and all that is granted to anybody; "" is DefaultScope

	// Clients maps client ids to secrets; "" is a public client. Nil lets any
	// id in, with any secret.
	Clients map[string]string
	// Redirects are the redirect URIs of the code flow. Nil allows all on
	// loopback.
	Redirects []string

	Life     time.Duration // of access tokens; 0 is an hour
	Interval int           // seconds between polls of the device flow; 0 is 1
	// Approve, if set, is asked about every device code at once. It returns
	// who signs in, or "" to leave that to Provider.Approve and the page.
	Approve func(userCode string) (subject string)
	Now     func() time.Time // nil is time.Now
}

// DefaultScope is what enarx asks for, with a refresh token.
const DefaultScope = "openid profile offline_access " +
	"manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"

// A Fault is how a provider misbehaves. The zero value is a good provider.
type Fault struct {
	Down     bool          // connections are closed without an answer
	Status   int           // every request gets this status, and nothing else
	Delay    time.Duration // before every answer
	Redirect string        // every request is redirected to this URL + path
	Issuer   string        // that discovery states
	JWKS     []byte        // instead of the key set
	Padding  int           // bytes that the key set is longer
	SlowDown int           // the next polls of the device flow that get slow_down

	// Of tokens that are made from now on. The provider itself knows none of
	// them.
	Algorithm  string // "none", or "HS256" with the public key's PEM as the secret
	KeyID      string // instead of the key's own
	NoKeyID    bool
	NoAudience bool
	Expired    bool
}

// A Provider is a running OpenID Connect provider. Close it when done.
type Provider struct {
	opts   Options
	issuer string
	caPEM  []byte
	server *http.Server
	done   chan struct{}

	mu       sync.Mutex // of all below
	fault    Fault
	keys     []jose.JSONWebKey // private; the last one signs
	codes    map[string]*grant // of the code flow
	devices  map[string]*device
	refresh  map[string]*grant
	access   map[string]session
	requests map[string]int
}

// T is what Start needs of a *testing.T.
type T interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

// Start is New for tests: it fails the test on errors and closes the provider
// at its end.
func Start(t T, opts Options) *Provider {
	t.Helper()
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// New starts a provider.
func New(opts Options) (*Provider, error) {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&opts.Addr, "127.0.0.1:0")
	def(&opts.Algorithm, "RS256")
	def(&opts.Subject, "test|subject")
	def(&opts.Audience, "testserver")
	def(&opts.Scope, DefaultScope)
	opts.Interval = max(opts.Interval, 1)
	if opts.Life == 0 {
		opts.Life = time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &Provider{
		opts: opts, done: make(chan struct{}), codes: map[string]*grant{}, devices: map[string]*device{},
		refresh: map[string]*grant{}, access: map[string]session{}, requests: map[string]int{},
	}
	key, err := firstKey(opts.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("oidctest: %w", err)
	}
	p.keys = []jose.JSONWebKey{key}
	if err := p.listen(); err != nil {
		return nil, fmt.Errorf("oidctest: %w", err)
	}
	return p, nil
}

func (p *Provider) listen() error {
	l, err := net.Listen("tcp", p.opts.Addr)
	if err != nil {
		return err
	}
	p.issuer = "http://" + l.Addr().String() + "/"
	p.server = &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet}
	if p.opts.TLS {
		p.issuer = strings.Replace(p.issuer, "http", "https", 1)
		if p.server.TLSConfig, p.caPEM, err = selfMade(); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	go func() {
		defer close(p.done)
		if p.opts.TLS {
			p.server.ServeTLS(l, "", "") //nolint:errcheck // ends by Close
		} else {
			p.server.Serve(l) //nolint:errcheck // ends by Close
		}
	}()
	return nil
}

// Close ends the provider and its connections.
func (p *Provider) Close() {
	p.server.Close() //nolint:errcheck // nothing is to be flushed
	<-p.done
}

// Issuer returns the provider's URL, which ends in a slash like Auth0's.
func (p *Provider) Issuer() string { return p.issuer }

// CAPEM returns the certificate that the provider's HTTPS is under, for
// --ca-bundle and the like. It is nil without Options.TLS.
func (p *Provider) CAPEM() []byte { return p.caPEM }

// Misbehave makes the provider misbehave from now on. The zero Fault ends it.
func (p *Provider) Misbehave(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Requests returns how often a path, like "/userinfo", was asked for.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// Approve signs subject in on the device that shows userCode.
func (p *Provider) Approve(userCode, subject string) error { return p.decide(userCode, subject, false) }

// Deny refuses the device that shows userCode.
func (p *Provider) Deny(userCode string) error { return p.decide(userCode, "", true) }

// Rotate makes a new signing key. With keep, the key set goes on holding the
// old ones too.
func (p *Provider) Rotate(keep bool) error {
	key, err := newKey(p.opts.Algorithm)
	if err != nil {
		return fmt.Errorf("oidctest: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !keep {
		p.keys = nil
	}
	p.keys = append(p.keys, key)
	return nil
}

// faulty does what the Fault says about every request. It reports whether
// there is nothing left to do.
func (p *Provider) faulty(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	f := p.fault
	p.requests[r.URL.Path]++
	p.mu.Unlock()
	if f.Delay > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), f.Delay)
		<-ctx.Done()
		cancel()
	}
	switch {
	case f.Down:
		panic(http.ErrAbortHandler)
	case f.Redirect != "":
		http.Redirect(w, r, strings.TrimSuffix(f.Redirect, "/")+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	case f.Status != 0:
		w.WriteHeader(f.Status)
	default:
		return false
	}
	return true
}

// secret returns an unguessable string.
func secret() string { return rand.Text() }
