// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/attest/check"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/live"
	"enarx.dev/enarx/internal/serve"
	"enarx.dev/enarx/internal/steward"
	"enarx.dev/enarx/internal/version"
)

// lookEvery is how often files are looked at for changes. It takes two looks to
// tell that a file has been written to its end.
const lookEvery = time.Second

// answerTime is from when a request may still be arriving to the end of its
// answer: more than it may wait for its turn and for vendors.
const answerTime = 45 * time.Second

// daemon is a server being put together. What it opens, close closes.
type daemon struct {
	*options
	log    *slog.Logger
	warn   func(format string, args ...any)
	cfg    steward.Config
	follow []live.Reloadable
	closes []func() error
}

// run serves until a signal says otherwise.
func (o *options) run(cmd *cobra.Command) (err error) {
	// First of all: from here on a reload or an end can be asked for.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	if err := errors.Join(cli.FromEnvironment(cmd.Flags(), environment), checkLimits(cmd.Flags())); err != nil {
		return cli.Usage(cmd, err)
	}
	d := &daemon{options: o, warn: func(format string, args ...any) { diag.Warnf(cmd.ErrOrStderr(), format, args...) }}
	if d.log, err = o.logging.Logger(cmd.ErrOrStderr(), "steward"); err != nil {
		return cli.Usage(cmd, err)
	}
	defer func() {
		for _, f := range slices.Backward(d.closes) {
			err = errors.Join(err, f())
		}
	}()
	if err := d.prepare(cmd); err != nil {
		return err
	}
	server, err := steward.New(d.cfg)
	if err != nil {
		return err
	}
	return d.serve(ctx, server, hup)
}

// prepare fills the configuration of the server.
func (d *daemon) prepare(cmd *cobra.Command) error {
	networks, unix, err := cli.Proxies(d.proxies)
	if err != nil {
		return cli.Usage(cmd, err)
	}
	d.cfg = steward.Config{
		Roots: attest.VendorRoots(), Profile: d.profile, Limits: d.limits,
		Proxies: networks, UnixProxy: unix, Log: d.log,
	}
	d.conns.Proxies = networks
	if d.insecure {
		d.warn("--insecure-accept-no-tee: certificates are issued for keys that NO HARDWARE vouches for")
	}
	if d.options.roots != "" {
		if err := d.developmentRoots(); err != nil {
			return err
		}
	}
	for _, step := range []func(*cobra.Command) error{d.openCA, d.openPolicy, d.openCollateral, d.openChallenges, d.openLedger} {
		if err := step(cmd); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) openPolicy(*cobra.Command) (err error) {
	if d.policy == "" {
		p := attest.DefaultPolicy()
		p.Insecure = d.insecure
		d.cfg.Policy = live.Fixed(p)
		d.warn("no --policy: any program on genuine, current hardware gets a certificate")
		return nil
	}
	d.cfg.Policy, err = live.New("policy", func() (*attest.Policy, error) {
		p, err := readPolicy(d.policy)
		if err != nil {
			return nil, err
		}
		for _, w := range p.Warnings {
			d.log.Warn("policy: "+w.Msg, "at", w.Source)
		}
		p.Insecure = d.insecure
		return p, nil
	}, d.policy)
	d.follow = append(d.follow, d.cfg.Policy)
	return err
}

func (d *daemon) openCollateral(cmd *cobra.Command) error {
	var sources collateral.Sources
	if d.options.collateral != "" {
		dir, err := d.openFolder()
		if err != nil {
			return err
		}
		sources = append(sources, dir)
	}
	switch {
	case d.fetch:
		f, err := collateral.New(collateral.Config{
			Cache: d.cache, KDS: d.kds, PCS: d.pcs, Certs: d.intelCerts,
			MaxAge: func() time.Duration { return d.cfg.Policy.Get().Collateral.MaxAge },
			Roots:  d.cfg.Roots.Set, Memo: d.cfg.Roots.Memo, Log: d.log,
		})
		if err != nil {
			return err
		}
		d.closes = append(d.closes, func() error { f.Close(); return nil })
		sources = append(sources, f)
	case d.cache != "" || d.kds != "" || d.pcs != "" || d.intelCerts != "":
		return cli.Usage(cmd, errors.New("--cache, --kds-url, --pcs-url and --intel-certs-url need --fetch"))
	}
	if len(sources) > 0 {
		d.cfg.Collateral = func(ctx context.Context, ev *attest.Evidence, notes *check.Group) *attest.Collateral {
			c, err := sources.For(ctx, ev)
			if err != nil {
				collateral.Record(notes, err)
				d.log.Warn("collateral could not be had", "technology", string(ev.Technology), "err", err)
			}
			return c
		}
	}
	return nil
}

// folder is a collateral.Source that follows a folder of files.
type folder struct{ *live.Value[*collateral.Dir] }

func (f folder) For(ctx context.Context, ev *attest.Evidence) (*attest.Collateral, error) {
	return f.Get().For(ctx, ev)
}

// openFolder follows the collateral folder. A folder that has come to hold
// something useless is not taken: what a broken CRL said before still counts.
func (d *daemon) openFolder() (folder, error) {
	var known map[string]bool // the problems that it started with
	v, err := live.New("collateral", func() (*collateral.Dir, error) {
		dir, err := collateral.OpenDir(d.options.collateral, d.cfg.Roots.Memo)
		if err != nil {
			return nil, err
		}
		now := map[string]bool{}
		var fresh []error
		for _, p := range dir.Problems() {
			if now[p.Error()] = true; !known[p.Error()] {
				fresh = append(fresh, p)
			}
		}
		if known != nil && len(fresh) > 0 {
			return nil, errors.Join(fresh...)
		}
		for _, p := range fresh {
			d.warn("--collateral: %v", p)
		}
		known = now
		return dir, nil
	}, d.options.collateral)
	d.follow = append(d.follow, v)
	return folder{v}, err
}

func (d *daemon) openChallenges(*cobra.Command) error {
	d.cfg.Challenges = d.challenges
	if d.challengeKey == "" {
		return nil
	}
	key, err := os.ReadFile(d.challengeKey)
	if err != nil {
		return err
	}
	const least = 32
	if len(key) < least {
		return diag.Hint(fmt.Errorf("%s: a secret of at least %d bytes is wanted", d.challengeKey, least), "head -c %d /dev/urandom > %s", least, d.challengeKey)
	}
	d.cfg.Challenges.Key = key
	return nil
}

func (d *daemon) openLedger(*cobra.Command) error {
	if d.ledger == "" {
		return nil
	}
	l, err := steward.OpenLog(d.ledger, d.log)
	if err != nil {
		return err
	}
	d.closes = append(d.closes, l.Close)
	d.cfg.Ledger = l
	// Without a path to watch: the log changes all the time. SIGHUP reopens it.
	reopen, err := live.New("issuance log", func() (struct{}, error) { return struct{}{}, l.Reopen() })
	d.follow = append(d.follow, reopen)
	return err
}

// serve listens and answers.
func (d *daemon) serve(ctx context.Context, server *steward.Server, hup <-chan os.Signal) error {
	conf, err := d.tls()
	if err != nil {
		return err
	}
	servers, err := d.listeners(server, conf)
	if err != nil {
		return err
	}
	var watch sync.WaitGroup
	watching, end := context.WithCancel(context.Background())
	watch.Go(func() { live.Watch(watching, lookEvery, hup, server.Reloaded, d.follow...) })
	defer watch.Wait()
	defer end()
	for _, s := range servers {
		d.log.Info("listening", "server", s.Name, "address", s.Listener.Addr().String(), "tls", s.TLS != nil, "version", version.Version)
	}
	if err := serve.Notify("READY=1"); err != nil {
		d.log.Warn("systemd was not told", "err", err)
	}
	timeouts := d.timeouts
	timeouts.Write = timeouts.Read + answerTime
	err = serve.Run(ctx, serve.Config{
		Timeouts: timeouts, Drain: d.drain, Grace: d.grace, Log: d.log,
		Stop: func() {
			d.log.Info("stopping")
			server.Drain()
			_ = serve.Notify("STOPPING=1") // it will notice anyway
		},
	}, servers...)
	if err == nil {
		d.log.Info("stopped")
	}
	return err
}

// tls returns the configuration for HTTPS, or nil.
func (d *daemon) tls() (*tls.Config, error) {
	if d.tlsCrt == "" && d.tlsKey == "" {
		return nil, nil
	}
	if d.tlsCrt == "" || d.tlsKey == "" {
		return nil, cli.Usage(nil, errors.New("--tls-crt and --tls-key go together"))
	}
	pair, err := live.New("TLS certificate", func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(d.tlsCrt, d.tlsKey)
		return &c, err
	}, d.tlsCrt, d.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", d.tlsCrt, d.tlsKey, err)
	}
	d.follow = append(d.follow, pair)
	return serve.TLSConfig(func() (*tls.Certificate, error) { return pair.Get(), nil }), nil
}

// listeners opens the sockets, or takes systemd's.
func (d *daemon) listeners(server *steward.Server, conf *tls.Config) ([]serve.Server, error) {
	passed, err := serve.Activated()
	if err != nil {
		return nil, err
	}
	take := func(address string, names ...string) (net.Listener, error) {
		for _, name := range names {
			if l := passed[name]; l != nil {
				delete(passed, name)
				return l, nil
			}
		}
		if address == "" {
			return nil, nil
		}
		return serve.Listen(address)
	}
	admin, err := take(d.admin, "admin", "enarx-steward-admin")
	if err != nil {
		return nil, err
	}
	address, err := d.address()
	if err != nil {
		return nil, cli.Usage(nil, err)
	}
	public, err := take(address, "steward", "enarx-steward", "")
	if err != nil {
		return nil, err
	}
	for name := range passed {
		return nil, fmt.Errorf("systemd passed a socket called %q: steward and admin are known", name)
	}
	limited := serve.Limit(public, d.conns)
	server.Connections(limited.Open, func() uint64 { return limited.Refused.Load() })
	servers := []serve.Server{{Name: "public", Listener: limited, Handler: server.Handler(), TLS: conf}}
	if admin != nil {
		servers = append(servers, serve.Server{Name: "admin", Listener: serve.Limit(admin, serve.Limits{Connections: 64, PerClient: 64}), Handler: server.Admin()})
	}
	return servers, nil
}
