// SPDX-License-Identifier: Apache-2.0

// Package serve runs HTTP servers as daemons should be run: bounded in
// connections and time, on sockets of their own or of systemd, until they are
// told to stop, and then to the end of every request that they had accepted.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server is one listener and what answers there.
type Server struct {
	Name     string // for logs
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
}

// Config is how servers are run.
type Config struct {
	Timeouts Timeouts
	// Stop is called when the servers are told to stop, while they still
	// accept connections. They do for Drain, so that load balancers and
	// clients with open connections notice.
	Stop  func()
	Drain time.Duration
	Grace time.Duration // for the requests that are then left
	Log   *slog.Logger  // nil: discarded
}

// Timeouts bound the phases of a request. A zero means the default, a negative
// one that the handler sees to it, by http.ResponseController.
type Timeouts struct {
	Header time.Duration // to send the header: 5 s
	Read   time.Duration // to send all of the request: 15 s
	Write  time.Duration // from the header to the end of the answer: 60 s
	Idle   time.Duration // between two requests: 60 s
}

const maxHeader = 16 << 10

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return max(d, 0) // which is none to net/http
}

// TLSConfig returns the configuration of a TLS server: version 1.3 alone.
func TLSConfig(get func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return get() },
	}
}

// Run serves until ctx ends or a server fails, and returns when every request
// has been answered or Grace is over.
func Run(ctx context.Context, cfg Config, servers ...Server) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var running []*http.Server
	failed := make(chan error, len(servers))
	var loops sync.WaitGroup
	for _, s := range servers {
		h := cfg.server(s)
		running = append(running, h)
		loops.Go(func() {
			err := serve(h, s)
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving %s: %w", s.Name, err)
			}
		})
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		if cfg.Stop != nil {
			cfg.Stop()
		}
		err = pause(cfg.Drain, failed)
	}
	err = errors.Join(err, cfg.shutdown(running))
	loops.Wait()
	return err
}

func serve(h *http.Server, s Server) error {
	if s.TLS != nil {
		return h.ServeTLS(s.Listener, "", "")
	}
	return h.Serve(s.Listener)
}

func (cfg *Config) server(s Server) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // as upstream; its limits are easier to reason about
	return &http.Server{
		Handler: s.Handler, TLSConfig: s.TLS, Protocols: protocols, MaxHeaderBytes: maxHeader, ConnContext: withConn,
		ReadHeaderTimeout: or(cfg.Timeouts.Header, 5*time.Second),
		ReadTimeout:       or(cfg.Timeouts.Read, 15*time.Second),
		WriteTimeout:      or(cfg.Timeouts.Write, 60*time.Second),
		IdleTimeout:       or(cfg.Timeouts.Idle, 60*time.Second),
		ErrorLog:          slog.NewLogLogger(cfg.Log.With("server", s.Name).Handler(), slog.LevelDebug),
	}
}

// pause waits, or for a server to fail.
func pause(d time.Duration, failed <-chan error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-failed:
		return err
	}
}

// shutdown ends all servers at once, each when its requests are answered.
func (cfg *Config) shutdown(running []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), or(cfg.Grace, 30*time.Second))
	defer cancel()
	errs := make([]error, len(running))
	var all sync.WaitGroup
	for i, h := range running {
		all.Go(func() {
			if err := h.Shutdown(ctx); err != nil {
				errs[i] = errors.Join(fmt.Errorf("requests were cut off: %w", err), h.Close())
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
