// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

// providerTime is how long the identity provider may take to answer a check.
const providerTime = 10 * time.Second

func checkConfigCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "check-config [flags] [@FILE]",
		Short: "Say in words what flags mean, and whether what they name is there",
		Long: "Takes the flags of the server, opens what they name as the server would, asks the\n" +
			"identity provider, and says what it found. Nothing listens. The exit code is 1 if\n" +
			"the server would not start or not get ready.",
		Example:     "  enarx-drawbridge check-config @/etc/enarx-drawbridge/drawbridge.toml",
		Args:        cli.Args(cobra.NoArgs),
		Annotations: map[string]string{cli.TakesArgFile: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return o.check(cmd) },
	}
	o.define(cmd.Flags())
	return cmd
}

func (o *options) check(cmd *cobra.Command) (err error) {
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
	if err := d.prepare(ctx, d.addr); err != nil {
		return err
	}
	if err := d.build(); err != nil {
		return err
	}
	d.describe(cmd.OutOrStdout(), cmd.Flags())
	if o.oidc.issuer == "" {
		return nil
	}
	if err := d.provided(ctx); err != nil {
		return diag.Hint(fmt.Errorf("--oidc-issuer %s: %w", o.oidc.issuer, err), "the server would start, serve what is public, and get ready when the provider answers")
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "the identity provider answers, and has keys")
	return err
}

// provided asks the provider for its keys, once.
func (d *daemon) provided(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	first := d.auth.Ready() // that it was not asked yet
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.auth.Run(asking)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	err := first
	for asking.Err() == nil && err != nil && err.Error() == first.Error() {
		select {
		case <-asking.Done():
		case <-tick.C:
		}
		err = d.auth.Ready()
	}
	cancel()
	<-ended
	return err
}

// describe says what the flags mean.
func (d *daemon) describe(w io.Writer, f *pflag.FlagSet) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-12s%s\n", what, diag.Clean(fmt.Sprintf(format, args...)))
	}
	say("listens", "%s", d.addr)
	if d.admin != "" {
		say("admin", "%s", d.admin)
	}
	say("known as", "%s", strings.Join(d.hosts, ", "))
	say("certificate", "%s, until %s", d.cert, d.leaf.NotAfter.UTC().Format(time.RFC3339))
	say("store", "%s; it answers", redact(d.storage.where))
	for _, mode := range d.auth.Modes() {
		switch mode {
		case "jwt":
			say("users", "JWTs of %s for %s", d.oidc.issuer, strings.Join(d.oidc.audiences, ", "))
		case "userinfo":
			say("users", "any token that the userinfo of %s takes", d.oidc.issuer)
		}
	}
	for _, ca := range d.cas {
		say("Keeps", "with certificates of %s", ca)
	}
	if len(d.cas) == 0 {
		say("Keeps", "no certificates are taken: --ca names none")
	}
	switch {
	case d.site.off:
		say("pages", "none")
	case d.site.client == "":
		say("pages", "to look at; nobody signs in")
	default:
		say("pages", "signing in as client %s, redirect URL https://%s/-/callback", d.site.client, d.hosts[0])
	}
	if d.audit == "" {
		say("audit log", "none")
	} else {
		say("audit log", "%s", d.audit)
	}
	say("one user", "has %s, %d repositories of %d tags, %d tokens", f.Lookup("quota").Value, d.quota.Repos, d.quota.Tags, d.limits.Tokens)
	if d.strict {
		say("trees", "what no directory lists is refused")
	} else {
		say("trees", "what upstream's clients forget to list is taken")
	}
}
