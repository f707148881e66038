// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/internal/drawbridged/web"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/internal/version"
)

// lookEvery is how often files are looked at for changes. It takes two looks to
// tell that a file has been written to its end.
const lookEvery = time.Second

// passes is how many of the collector's there are in --gc-wait.
const passes = 4

// daemon is a server being put together. What it opens, close closes.
type daemon struct {
	*options
	cmd    *cobra.Command
	log    *slog.Logger
	warn   func(format string, args ...any)
	store  *store.Store
	auth   *auth.Authenticator
	cfg    drawbridged.Config
	tls    *tls.Config
	leaf   *x509.Certificate // at the start
	server *drawbridged.Server
	follow []live.Reloadable
	closes []func() error

	public, private net.Listener

	authorities func() *auth.Authorities // whose certificates let Keeps read
	provider    *http.Transport          // to the OpenID provider
}

// run serves until a signal says otherwise.
func (o *options) run(cmd *cobra.Command) (err error) {
	// First of all: from here on a reload or an end can be asked for.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	d, err := o.daemon(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.development(); err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	if err := d.prepare(ctx, d.public.Addr().String()); err != nil {
		return err
	}
	if err := d.build(); err != nil {
		return err
	}
	return d.serve(ctx, hup)
}

// daemon checks the flags for themselves.
func (o *options) daemon(cmd *cobra.Command) (*daemon, error) {
	if err := errors.Join(cli.FromEnvironment(cmd.Flags(), environment), checkLimits(cmd.Flags())); err != nil {
		return nil, cli.Usage(cmd, err)
	}
	d := &daemon{options: o, cmd: cmd, warn: func(format string, args ...any) { diag.Warnf(cmd.ErrOrStderr(), format, args...) }}
	var err error
	d.log, err = o.logging.Logger(cmd.ErrOrStderr(), "drawbridge")
	return d, cli.Usage(cmd, err)
}

func (d *daemon) close() (err error) {
	for _, f := range slices.Backward(d.closes) {
		err = errors.Join(err, f())
	}
	d.closes = nil
	return err
}

// prepare opens what a server at the address needs and fills its configuration.
func (d *daemon) prepare(ctx context.Context, address string) error {
	networks, unix, err := cli.Proxies(d.proxies)
	if err != nil {
		return cli.Usage(d.cmd, err)
	}
	d.conns.Proxies = networks
	if err := d.developmentHosts(address); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.openTLS, d.openStore, d.openUsers, d.openAudit, d.developmentToken} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.cfg = drawbridged.Config{
		Store: d.store, Auth: d.auth, Audit: d.cfg.Audit, Steward: d.steward, CertificateLife: d.life,
		NoAlias: d.noAlias, StrictTree: d.strict, Limits: d.limits, Proxies: networks, UnixProxy: unix, Log: d.log,
	}
	return nil
}

func (d *daemon) openStore(ctx context.Context) (err error) {
	quota := store.Limits{Bytes: max(d.quota.Bytes, 0), Repos: max(d.quota.Repos, 0), Tags: max(d.quota.Tags, 0)} // to the store, none is 0
	d.store, err = d.storage.open(ctx, d.cmd, store.Options{
		StrictTree: d.strict, Limits: func(string) store.Limits { return quota }, Log: d.log,
	})
	if err == nil {
		d.closes = append(d.closes, d.store.Close)
	}
	return err
}

func (d *daemon) openAudit(context.Context) error {
	if d.audit == "" {
		return nil
	}
	l, err := drawbridged.OpenAudit(d.audit, d.log)
	if err != nil {
		return err
	}
	d.closes = append(d.closes, l.Close)
	d.cfg.Audit = l
	// Without a path to watch: the log changes all the time. SIGHUP reopens it.
	reopen, err := live.New("audit log", func() (struct{}, error) { return struct{}{}, l.Reopen() })
	d.follow = append(d.follow, reopen)
	return err
}

// build makes the server and its pages, each of which knows the other.
func (d *daemon) build() (err error) {
	catalog := drawbridged.NewCatalog(d.store, time.Now)
	d.cfg.Catalog = catalog
	if d.site.off {
		d.server, err = drawbridged.New(d.cfg)
		return err
	}
	var site http.Handler
	d.cfg.Web = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site.ServeHTTP(w, r) })
	if d.server, err = drawbridged.New(d.cfg); err != nil {
		return err
	}
	conf := web.Config{Store: d.store, Catalog: catalog, API: d.server, Host: d.hosts[0], Log: d.log}
	if conf.SignIn, err = d.signIn(); err != nil {
		return err
	}
	if conf.Key, err = d.sessionKey(); err != nil {
		return err
	}
	site, err = web.New(conf)
	return err
}

// serve listens and answers.
func (d *daemon) serve(ctx context.Context, hup <-chan os.Signal) error {
	public := serve.Limit(d.public, d.conns)
	d.server.Connections(public.Open, func() uint64 { return public.Refused.Load() })
	servers := []serve.Server{{Name: "public", Listener: public, Handler: d.server.Handler(), TLS: d.tls}}
	if d.private != nil {
		private := serve.Limit(d.private, serve.Limits{Connections: 64, PerClient: 64})
		servers = append(servers, serve.Server{Name: "admin", Listener: private, Handler: d.server.Admin()})
	}
	var background sync.WaitGroup
	running, end := context.WithCancel(context.Background())
	background.Go(func() { live.Watch(running, lookEvery, hup, d.server.Reloaded, d.follow...) })
	background.Go(func() { d.auth.Run(running) })
	background.Go(func() { d.collect(running) })
	defer background.Wait()
	defer end()
	d.developmentHint()
	for _, s := range servers {
		d.log.Info("listening", "server", s.Name, "address", s.Listener.Addr().String(), "tls", s.TLS != nil, "version", version.Version)
	}
	if err := serve.Notify("READY=1"); err != nil {
		d.log.Warn("systemd was not told", "err", err)
	}
	// How long an upload or a download may take is the server's to say, by its
	// pace. What it says nothing about gets the usual time for an answer.
	timeouts := d.timeouts
	timeouts.Read = -1
	err := serve.Run(ctx, serve.Config{
		Timeouts: timeouts, Drain: d.drain, Grace: d.grace, Log: d.log,
		Stop: func() {
			d.log.Info("stopping")
			d.server.Drain()
			_ = serve.Notify("STOPPING=1") // it will notice anyway
		},
	}, servers...)
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		// An upload may take hours. It leaves nothing half done, and is resumed.
		d.log.Warn("requests were cut off at the end", "grace", d.grace)
		err = nil
	}
	if err == nil {
		d.log.Info("stopped")
	}
	return err
}

// collect runs the garbage collector now and then: often enough that a pass
// finds in time what an earlier one has announced.
func (d *daemon) collect(ctx context.Context) {
	if d.noGC {
		return
	}
	_, wait := d.store.Times()
	tick := time.NewTicker(max(wait/passes, time.Millisecond))
	defer tick.Stop()
	for {
		report, err := d.store.GC(ctx)
		if ctx.Err() != nil {
			return
		}
		d.server.Collected(report, err)
		if err != nil {
			d.log.Error("garbage was not collected", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen opens the sockets, or takes systemd's. Whoever connects from now on
// waits until the server is ready.
func (d *daemon) listen() error {
	passed, err := serve.Activated()
	if err != nil {
		return err
	}
	take := func(flag, address string, names ...string) (net.Listener, error) {
		for _, name := range names {
			if l := passed[name]; l != nil {
				delete(passed, name)
				return l, nil
			}
		}
		if address == "" {
			return nil, nil
		}
		l, err := serve.Listen(address)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		return l, nil
	}
	if d.private, err = take("admin-addr", d.admin, "admin", "enarx-drawbridge-admin"); err != nil {
		return err
	}
	if d.public, err = take("addr", d.addr, "drawbridge", "enarx-drawbridge", ""); err != nil {
		return err
	}
	for name := range passed {
		return fmt.Errorf("systemd passed a socket called %q: drawbridge and admin are known", name)
	}
	return nil
}
