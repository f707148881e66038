// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	maxAnswer    = 512 << 10        // bytes of anything the provider answers
	maxKeys      = 100              // in a key set that are looked at
	minRSA       = 2048 / 8         // bytes of a modulus
	fetchTimeout = 10 * time.Second // of one request to the provider
	refreshEvery = 10 * time.Second // at most, whatever tokens name unknown keys
	keysLife     = 15 * time.Minute // after which the set is fetched again, so that removed keys go
	maxBackoff   = 30 * time.Second
)

var errNoProvider = errors.New("the identity provider has not been reached yet")

// provider is what is known of the OpenID Connect provider. It is asked when
// it is needed, and never more often than refreshEvery.
type provider struct {
	cfg    *Config
	client *http.Client

	fetching chan struct{} // capacity 1: holds the right to fetch

	mu       sync.Mutex
	userinfo string                     // endpoint; "" before discovery
	jwks     string                     // endpoint
	keys     map[string]jose.JSONWebKey // by kid; nil before the first set
	tried    time.Time                  // to fetch, last
	problem  error                      // of the last try
}

func newProvider(cfg *Config) *provider {
	transport := cfg.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	issuer, _ := url.Parse(cfg.Issuer) // New has checked it
	return &provider{
		cfg: cfg, fetching: make(chan struct{}, 1),
		client: &http.Client{Transport: capped{transport}, Timeout: fetchTimeout, CheckRedirect: sameHost(issuer)},
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sameHost refuses to be sent to other hosts, as whoever can redirect could
// choose the keys.
func sameHost(issuer *url.URL) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		from := via[len(via)-1].URL
		if r.URL.Scheme != from.Scheme || r.URL.Host != from.Host {
			return fmt.Errorf("redirect from %s to another host, %s", from.Host, r.URL.Host)
		}
		if len(via) > 3 {
			return errors.New("more than 3 redirects")
		}
		return nil
	}
}

// capped limits what is read of answers. go-oidc reads all there is.
type capped struct{ next http.RoundTripper }

func (c capped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

type cappedBody struct {
	io.ReadCloser
	left int
}

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	return n, err
}

// ready returns why tokens cannot be verified.
func (p *provider) ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.userinfo != "" || p.jwks != "" {
		if !p.cfg.JWT || p.keys != nil {
			return nil
		}
	}
	if p.problem != nil {
		return fmt.Errorf("%w: %w", errNoProvider, p.problem)
	}
	return errNoProvider
}

// run fetches until ctx is done: soon again after failures, seldom after
// successes.
func (p *provider) run(ctx context.Context) {
	backoff := time.Second
	for {
		err := p.fetch(ctx)
		wait := keysLife
		if err != nil {
			wait, backoff = backoff, min(2*backoff, maxBackoff)
			p.cfg.Log.Warn("identity provider", "issuer", p.cfg.Issuer, "err", err)
		} else {
			backoff = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// key returns the key that a token names. It fetches if the key is not known,
// within limits.
func (p *provider) key(ctx context.Context, kid string) (jose.JSONWebKey, error) {
	key, ok := p.known(kid)
	if ok {
		return key, nil
	}
	if err := p.refresh(ctx); err != nil {
		return key, err
	}
	if key, ok = p.known(kid); !ok {
		return key, fmt.Errorf("the provider has no key %.80q", kid)
	}
	return key, nil
}

func (p *provider) known(kid string) (jose.JSONWebKey, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, ok := p.keys[kid]
	return key, ok
}

// refresh fetches unless somebody just did. Its error says that there is still
// nothing to go by; old keys stay good when the provider is down.
func (p *provider) refresh(ctx context.Context) error {
	select {
	case p.fetching <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	recent := p.cfg.Now().Sub(p.tried) < refreshEvery && !p.tried.IsZero()
	p.mu.Unlock()
	if recent {
		<-p.fetching
		return p.ready()
	}
	// Who asked may go away; the others that wait do not.
	err := p.locked(context.WithoutCancel(ctx))
	<-p.fetching
	if err != nil {
		p.cfg.Log.Warn("identity provider", "issuer", p.cfg.Issuer, "err", err)
	}
	return p.ready()
}

func (p *provider) fetch(ctx context.Context) error {
	select {
	case p.fetching <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.fetching }()
	return p.locked(ctx)
}

// locked needs p.fetching. It learns the endpoints once, and the keys.
func (p *provider) locked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), 2*fetchTimeout)
	defer cancel()
	p.mu.Lock()
	p.tried = p.cfg.Now()
	jwks, known := p.jwks, p.jwks != "" || p.userinfo != ""
	p.mu.Unlock()
	err := func() (err error) {
		if !known {
			if jwks, err = p.discover(ctx); err != nil {
				return err
			}
		}
		if p.cfg.JWT {
			return p.fetchKeys(ctx, jwks)
		}
		return nil
	}()
	p.mu.Lock()
	p.problem = err
	p.mu.Unlock()
	return err
}

func (p *provider) discover(ctx context.Context) (jwks string, err error) {
	found, err := oidc.NewProvider(ctx, p.cfg.Issuer)
	if err != nil {
		return "", fmt.Errorf("discovery: %.300w", err)
	}
	var meta struct {
		JWKS     string `json:"jwks_uri"`
		UserInfo string `json:"userinfo_endpoint"`
	}
	if err := found.Claims(&meta); err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	if p.cfg.JWT {
		if err := p.endpoint("jwks_uri", meta.JWKS); err != nil {
			return "", err
		}
	}
	if p.cfg.UserInfo {
		if err := p.endpoint("userinfo_endpoint", meta.UserInfo); err != nil {
			return "", err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jwks, p.userinfo = meta.JWKS, meta.UserInfo
	return meta.JWKS, nil
}

// endpoint requires HTTPS of what discovery names, unless the issuer itself is
// on loopback.
func (p *provider) endpoint(name, text string) error {
	u, err := url.Parse(text)
	plain := strings.HasPrefix(p.cfg.Issuer, "http:")
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(plain && u.Scheme == "http" && loopback(u.Hostname())) {
		return fmt.Errorf("discovery: %s is %.200q, not an https URL", name, text)
	}
	return nil
}

func (p *provider) fetchKeys(ctx context.Context, endpoint string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("key set: the provider answers %s", resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	keys, err := parseKeys(body, p.cfg.Algorithms)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
	return nil
}

// parseKeys returns the keys of a set that can sign tokens. Others are passed
// over: a provider may have keys for whatever it likes.
func parseKeys(data []byte, algorithms []string) (map[string]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	keys := map[string]jose.JSONWebKey{}
	for _, raw := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil || !signs(key, algorithms) {
			continue
		}
		if _, twice := keys[key.KeyID]; !twice {
			keys[key.KeyID] = key
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of %d keys has a kid and can sign by %s", len(set.Keys), strings.Join(algorithms, ", "))
	}
	return keys, nil
}
