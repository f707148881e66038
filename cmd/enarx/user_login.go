// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/credentials"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/login"
)

// loginOptions is the flags of commands that may sign a user in.
type loginOptions struct {
	storeOptions
	clientID, flow, audience string
}

// upstreamClient is the client of upstream's command line at upstream's
// provider. Some who run their own provider gave theirs the same name.
const upstreamClient = "4NuaJxkQv8EZBeJKE56R57gKJbxrTLG2"

var loginFlows = []string{login.FlowDevice, login.FlowCode, login.FlowClient}

func (o *loginOptions) flags(cmd *cobra.Command) *cobra.Command {
	o.storeOptions.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.clientID, "oidc-client-id", "", "`id` of this program at the identity provider (default what the store says)")
	f.StringVar(&o.flow, "oidc-flow", login.FlowDevice, "how to sign in: device (with a code, on any device), code (in a browser on this machine) or client (as a program, with the secret in ENARX_OIDC_CLIENT_SECRET)")
	f.StringVar(&o.audience, "oidc-audience", "", "what the token is to be good for (default https://HOST/)")
	completeFlag(cmd, "oidc-flow", loginFlows...)
	return cmd
}

func loginCommand() *cobra.Command {
	var o loginOptions
	return o.flags(&cobra.Command{
		Use:   "login [flags]",
		Short: "Sign in, and stay signed in",
		Long: "Sign in at a store's identity provider. The store says which that is, unless\n" +
			"--oidc-domain does. What is then kept, in the keyring or in an encrypted file,\n" +
			"is renewed as long as the provider lets it be, so this is not needed daily. The\n" +
			"key of the file is in another file, unless ENARX_CREDENTIALS_PASSPHRASE has a\n" +
			"passphrase for it.\n\n" +
			"For machines that nobody sits at, `enarx repo token generate` makes tokens\n" +
			"that need no identity provider.",
		Example: "  enarx user login --store-host store.example.org\n" +
			"  enarx user login --store-host store.example.org --oidc-flow code\n" +
			"  ENARX_OIDC_CLIENT_SECRET=… enarx user login --oidc-flow client --oidc-client-id ci",
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(loginFlows, o.flow) {
				return cli.Usage(cmd, diag.Hint(fmt.Errorf("%q is no way to sign in", o.flow), "%s", diag.Suggest(o.flow, "the ways", loginFlows)))
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, "")
			if err != nil {
				return err
			}
			return s.explain(o.login(ctx, s))
		},
	})
}

func (o *loginOptions) login(ctx context.Context, s *store) error {
	account, err := o.signIn(ctx, s)
	if err != nil {
		return err
	}
	out := s.cmd.OutOrStdout()
	if o.asJSON {
		session, err := account.Session(ctx)
		if err != nil {
			return err
		}
		return writeJSON(out, struct {
			Store   string    `json:"store"`
			Issuer  string    `json:"issuer"`
			Renewed bool      `json:"renewed"`
			Expires time.Time `json:"expires,omitzero"`
		}{s.host, session.Issuer, session.Refresh != "", session.Expiry})
	}
	_, err = fmt.Fprint(out, "Credentials saved locally.\nLogin successful.\n")
	return err
}

// signIn gets a session and keeps it.
func (o *loginOptions) signIn(ctx context.Context, s *store) (*login.Account, error) {
	info, err := o.terms(ctx, s)
	if err != nil {
		return nil, err
	}
	account, err := s.accountAt(info.OIDCDomain)
	if err != nil {
		return nil, err
	}
	p, err := login.Discover(ctx, s.web, info.OIDCDomain)
	if err != nil {
		return nil, err
	}
	r := login.Request{ClientID: info.ClientID, Secret: account.Secret, Audience: info.Audience}
	// With --json standard output is for the result alone.
	say := s.cmd.OutOrStdout()
	if o.asJSON {
		say = s.cmd.ErrOrStderr()
	}
	var session *login.Session
	switch o.flow {
	case login.FlowClient:
		if r.Secret == "" {
			return nil, diag.Hint(errors.New("the client flow needs a secret"), "set ENARX_OIDC_CLIENT_SECRET")
		}
		session, err = p.ClientCredentials(ctx, r)
	case login.FlowCode:
		session, err = p.Code(ctx, r, func(address string) { openBrowser(say, address) })
	default:
		session, err = p.Device(ctx, r, func(p login.Prompt) { devicePrompt(say, p) })
	}
	if err != nil {
		return nil, fmt.Errorf("failed to sign in: %w", err)
	}
	if err := account.Save(ctx, session); err != nil {
		return nil, err
	}
	if session.Refresh == "" && o.flow != login.FlowClient {
		diag.Warnf(s.cmd.ErrOrStderr(), "the identity provider gave nothing to stay signed in with, so this ends %s", endOf(session))
	}
	first, err := learn(s.host, info)
	if err != nil {
		return nil, err
	}
	if first && !o.asJSON {
		fmt.Fprintf(say, "%s is now the store for names without one.\n", s.host)
	}
	return account, nil
}

func endOf(s *login.Session) string {
	if s.Expiry.IsZero() {
		return "when it likes"
	}
	return "at " + s.Expiry.Local().Format(time.DateTime)
}

// terms are how to sign in at the store: by flags, by what was learned, by what
// the store says.
func (o *loginOptions) terms(ctx context.Context, s *store) (storeInfo, error) {
	info, err := s.info()
	if err != nil {
		return info, err
	}
	own := "https://" + s.host + "/"
	if config, err := s.anonymous.Config(ctx); err == nil {
		if info.OIDCDomain == "" {
			info.OIDCDomain = config.Issuer
		}
		if sameProvider(info.OIDCDomain, config.Issuer) {
			if info.ClientID == "" || config.ClientID != "" {
				info.ClientID = config.ClientID
			}
			if o.audience == "" && config.Audience != "" && config.Audience != info.Audience {
				if err := trustAudience(config.Audience, s.host); err != nil {
					return info, err
				}
				info.Audience = config.Audience
			}
		}
	} else if info.OIDCDomain == "" {
		return info, diag.Hint(fmt.Errorf("the store does not say who its identity provider is: %w", err), "name it with --oidc-domain")
	}
	if info.OIDCDomain == "" {
		return info, diag.Hint(errors.New("the store has no identity provider"), "if there is one, name it with --oidc-domain")
	}
	if o.clientID != "" {
		info.ClientID = o.clientID
	}
	if info.ClientID == "" {
		info.ClientID = upstreamClient
	}
	if o.audience != "" {
		info.Audience = o.audience
	}
	if info.Audience == "" {
		info.Audience = own
	}
	return info, nil
}

func sameProvider(a, b string) bool {
	return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}

// trustAudience refuses to get a token that another store would take: a store
// that asks for those could act there in the user's name.
func trustAudience(audience, host string) error {
	u, err := url.Parse(audience)
	if err == nil && strings.EqualFold(u.Host, host) {
		return nil
	}
	return diag.Hint(fmt.Errorf("the store %s asks for a token that is good for %q", host, audience),
		"if that is no other store of yours, say --oidc-audience %s", audience)
}

// devicePrompt tells the user where to go, in the form of upstream's.
func devicePrompt(w io.Writer, p login.Prompt) {
	fmt.Fprintf(w, "To sign in, visit\n\n\t%s\n\nand enter this code:\n\n\t%s\n\n", oneLine(p.Address), oneLine(p.Code))
	if p.Complete != "" {
		fmt.Fprintf(w, "Or visit this, where it is entered already:\n\n\t%s\n\n", oneLine(p.Complete))
	}
}

// openBrowser shows an address in the user's browser, and prints it for when
// that does not work.
func openBrowser(w io.Writer, address string) {
	fmt.Fprintf(w, "To sign in, visit this in a browser on this machine:\n\n\t%s\n\n", oneLine(address))
	program := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		program = "open"
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" && os.Getenv("BROWSER") == "":
		return // nobody to show it to
	}
	cmd := exec.Command(program, address)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // whether a browser came up is for the user to see
	}
}

func logoutCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:     "logout [flags]",
		Short:   "Sign out: give the tokens back, and forget them",
		Example: "  enarx user logout --store-host store.example.org",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, "")
			if err != nil {
				return err
			}
			return s.explain(s.logout(ctx))
		},
	})
}

// logout forgets the session in any case: a provider that cannot be reached is
// no reason to leave it lying about.
func (s *store) logout(ctx context.Context) error {
	info, err := s.info()
	if err != nil {
		return err
	}
	notSignedIn := fmt.Errorf("you are not signed in at %s", s.host)
	if info.OIDCDomain == "" {
		return notSignedIn
	}
	account, err := s.accountAt(info.OIDCDomain)
	if err != nil {
		return err
	}
	session, err := account.Session(ctx)
	if errors.Is(err, credentials.ErrNotFound) {
		return notSignedIn
	}
	revoked := false
	if err == nil && (session.Refresh != "" || session.ClientID != "") {
		var p *login.Provider
		if p, err = login.Discover(ctx, s.web, info.OIDCDomain); err == nil {
			err = p.Revoke(ctx, session)
		}
		revoked = err == nil
	}
	if err != nil {
		diag.Warnf(s.cmd.ErrOrStderr(), "the tokens are forgotten here, but not revoked: %v", err)
	}
	if err := account.Forget(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("forgetting the tokens: %w", err)
	}
	if s.options.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), struct {
			Store   string `json:"store"`
			Revoked bool   `json:"revoked"`
		}{s.host, revoked})
	}
	_, err = fmt.Fprintln(s.cmd.OutOrStdout(), "Logged out.")
	return err
}
