// SPDX-License-Identifier: Apache-2.0

// Package client speaks to a Drawbridge over HTTP: to ours with its
// extensions, and to upstream's servers as their own clients do. It trusts the
// server with nothing that a digest can tell: every answer has its three entity
// headers checked and its bytes verified before anything is made of them.
//
// Files are streamed, so that memory does not grow with their size, and what a
// broken connection has transferred already is not transferred again.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// Config is how to reach a Drawbridge.
type Config struct {
	Host         string                                    // host[:port]; always https
	RootCAs      *x509.CertPool                            // nil: the system's
	Certificates []tls.Certificate                         // shown to the server if it asks, as Keeps do
	Token        func(ctx context.Context) (string, error) // nil, or an empty token: anonymous
	UserAgent    string                                    // default "enarx"
	ShowYanked   bool                                      // ask for yanked tags too, which the owner may see
	Retries      int                                       // of what fails on the way, without progress in between; default 5, negative: none
	Backoff      time.Duration                             // before the first retry, doubled for each further one; default 500 ms
	Stall        time.Duration                             // without a byte in either direction is a failure; default 2 min
	Transport    http.RoundTripper                         // in place of our own, for which RootCAs and Certificates are
}

// Client speaks to one Drawbridge. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
}

// New returns a Client. It does not connect yet.
func New(cfg Config) (*Client, error) {
	host, err := drawbridge.ParseHost(cfg.Host)
	if err != nil {
		return nil, err
	}
	cfg.Host = host
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "enarx")
	cfg.Retries = cmp.Or(cfg.Retries, 5)
	cfg.Backoff = cmp.Or(cfg.Backoff, 500*time.Millisecond)
	cfg.Stall = cmp.Or(cfg.Stall, 2*time.Minute)
	if cfg.Transport == nil {
		cfg.Transport = transport(cfg.RootCAs, cfg.Certificates)
	}
	return &Client{cfg: cfg, http: &http.Client{Transport: cfg.Transport, CheckRedirect: redirect}}, nil
}

// Host returns the host[:port] that the Client speaks to.
func (c *Client) Host() string { return c.cfg.Host }

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func transport(roots *x509.CertPool, certs []tls.Certificate) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: certs},
		TLSHandshakeTimeout: 30 * time.Second,
		// A compressed answer would have another length than its digest is of.
		DisableCompression:  true,
		MaxIdleConnsPerHost: maxParallel,
		IdleConnTimeout:     50 * time.Second, // less than the 60 s that servers keep theirs
		ReadBufferSize:      64 << 10,
		WriteBufferSize:     64 << 10,
	}
}

const maxRedirects = 4 // in a row, as upstream's clients

// redirect follows for what only reads, and never with the token: the target
// is whatever the server says.
func redirect(r *http.Request, via []*http.Request) error {
	switch {
	case via[0].Method != http.MethodGet && via[0].Method != http.MethodHead:
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return local{fmt.Errorf("more than %d redirects", maxRedirects)}
	case r.URL.Scheme != "https":
		return local{errors.New("redirected away from https")}
	}
	r.Header.Del("Authorization")
	r.Header.Del("Referer")
	return nil
}
