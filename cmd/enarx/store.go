// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/credentials"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/login"
	"enarx.dev/enarx/internal/version"
)

// storeOptions is the flags that the commands of a Drawbridge have in common.
// An empty one is taken from its environment variable.
type storeOptions struct {
	caBundle   string // ENARX_CA_BUNDLE
	token      string // ENARX_INSECURE_AUTH_TOKEN
	helper     string // ENARX_CREDENTIAL_HELPER
	oidcDomain string // ENARX_OIDC_DOMAIN
	host       string // ENARX_STORE_HOST
	asJSON     bool
	yanked     bool // show the owner what was yanked
}

// flags adds the common flags to a command, and completions of file names to
// those that want one.
func (o *storeOptions) flags(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&o.caBundle, "ca-bundle", "", "PEM `file` of the only CAs that are trusted (env ENARX_CA_BUNDLE)")
	f.StringVar(&o.token, "insecure-auth-token", "", "`token` to send: other users of this machine can see it, so prefer the env ENARX_INSECURE_AUTH_TOKEN")
	f.StringVar(&o.helper, "credential-helper", "", "`program` that keeps tokens (env ENARX_CREDENTIAL_HELPER)")
	f.StringVar(&o.oidcDomain, "oidc-domain", "", "identity provider, a `URL` (env ENARX_OIDC_DOMAIN; default what the store says)")
	f.StringVar(&o.host, "store-host", "", "store for names without one, `HOST[:PORT]` (env ENARX_STORE_HOST)")
	f.BoolVarP(&o.asJSON, "json", "j", false, "print JSON")
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	return cmd
}

// completeFlag has the shell complete the values of a flag.
func completeFlag(cmd *cobra.Command, name string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("bug: " + err.Error()) // there is no such flag
	}
}

// completeFileAt has the shell complete the n-th argument as a file, and no
// other.
func completeFileAt(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func flagOrEnv(flag, env string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(env)
}

// running is a context that ends when the user wants to stop.
func running(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// store is a Drawbridge, and whoever asks it.
type store struct {
	*client.Client
	anonymous *client.Client
	host      string
	options   *storeOptions
	cmd       *cobra.Command
	web       http.RoundTripper // for the identity provider: the same roots
	auth      *tokens
}

// openStore connects to nothing yet.
func (o *storeOptions) openStore(cmd *cobra.Command, host string) (*store, error) {
	host, err := o.storeHost(host)
	if err != nil {
		return nil, err
	}
	roots, err := readRoots(flagOrEnv(o.caBundle, "ENARX_CA_BUNDLE"))
	if err != nil {
		return nil, err
	}
	web := http.DefaultTransport.(*http.Transport).Clone()
	web.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	s := &store{host: host, options: o, cmd: cmd, web: web}
	s.auth = &tokens{store: s}
	if token := flagOrEnv(o.token, "ENARX_INSECURE_AUTH_TOKEN"); token != "" {
		if s.auth.fixed, err = login.CheckToken(token); err != nil {
			return nil, fmt.Errorf("what --insecure-auth-token or ENARX_INSECURE_AUTH_TOKEN gives is %w", err)
		}
	}
	config := client.Config{Host: host, RootCAs: roots, UserAgent: "enarx-cli/" + version.Version, ShowYanked: o.yanked}
	if s.anonymous, err = client.New(config); err != nil {
		return nil, err
	}
	config.Token = s.auth.token
	s.Client, err = client.New(config)
	return s, err
}

// storeHost says which store a name without one means. There is no default:
// upstream's, store.profian.com, is gone, and whoever gets that name next would
// be handed tokens.
func (o *storeOptions) storeHost(named string) (string, error) {
	for _, host := range []string{named, o.host, os.Getenv("ENARX_STORE_HOST")} {
		if host == "" {
			continue
		}
		host, err := drawbridge.ParseHost(host)
		return host, cli.Usage(nil, err)
	}
	known, err := readStores()
	if err != nil {
		return "", err
	}
	if known.Default != "" {
		return drawbridge.ParseHost(known.Default)
	}
	return "", diag.Hint(errors.New("which store? the name has no host, and there is no default"),
		"write HOST/ before the name, set ENARX_STORE_HOST, or sign in: `enarx user login --store-host HOST` makes HOST the default")
}

// readRoots reads the CAs of --ca-bundle; nil means the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := readInput(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA bundle: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA bundle %s has no certificate in it", path)
	}
	return roots, nil
}

// info is what is known here of how users of this store sign in.
func (s *store) info() (storeInfo, error) {
	known, err := readStores()
	if err != nil {
		return storeInfo{}, err
	}
	info := known.Stores[s.host]
	if domain := flagOrEnv(s.options.oidcDomain, "ENARX_OIDC_DOMAIN"); domain != "" && !sameProvider(domain, info.OIDCDomain) {
		info = storeInfo{OIDCDomain: domain}
	}
	return info, nil
}

// credentials opens where the user's tokens are kept.
func (s *store) credentials() (credentials.Store, error) {
	return credentials.Open(credentials.Config{
		Helper: flagOrEnv(s.options.helper, "ENARX_CREDENTIAL_HELPER"), Passphrase: os.Getenv("ENARX_CREDENTIALS_PASSPHRASE"),
		Stderr: s.cmd.ErrOrStderr(), Notice: func(text string) { diag.Warnf(s.cmd.ErrOrStderr(), "%s", text) },
	})
}

// accountAt is the user's account at this store with that identity provider.
func (s *store) accountAt(domain string) (*login.Account, error) {
	provider, err := login.Domain(domain)
	if err != nil {
		return nil, err
	}
	kept, err := s.credentials()
	if err != nil {
		return nil, err
	}
	return &login.Account{
		Store: kept, Name: credentials.Account(provider.Host, s.host), Old: provider.Host,
		Secret: os.Getenv("ENARX_OIDC_CLIENT_SECRET"),
		Discover: func(ctx context.Context, issuer string) (*login.Provider, error) {
			return login.Discover(ctx, s.web, issuer)
		},
		Warn: func(text string) { diag.Warnf(s.cmd.ErrOrStderr(), "%s", text) },
	}, nil
}

// unknownTo reports whether a store answered that it does not know what was
// asked: one of upstream's, which has none of our extensions.
func unknownTo(err error) bool {
	status, ok := errors.AsType[*client.StatusError](err)
	return ok && (status.Status == http.StatusNotFound || status.Status == http.StatusNotImplemented)
}

// explain adds the next step to an error, where it is known.
func (s *store) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return stopped(err)
	}
	status, answered := errors.AsType[*client.StatusError](err)
	anonymous := answered && status.Status == http.StatusUnauthorized && s.auth.last == ""
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case anonymous && s.auth.why != "":
		return diag.Hint(err, "%s: if that cannot be helped, sign in: `enarx user login --store-host %s`", s.auth.why, s.host)
	case errors.Is(err, login.ErrEnded), anonymous:
		return diag.Hint(err, "sign in: `enarx user login --store-host %s`", s.host)
	case s.auth.fixed == "" && s.auth.refused(err):
		return diag.Hint(err, "sign in anew: `enarx user login --store-host %s`", s.host)
	case s.auth.fixed != "" && answered && status.Text == "Invalid token provided":
		return diag.Hint(err, "the token is that of --insecure-auth-token or ENARX_INSECURE_AUTH_TOKEN: has it expired or been revoked, or is it for another store?")
	case unknown:
		return diag.Hint(err, "if %s is under a CA of your own, name it with --ca-bundle or ENARX_CA_BUNDLE", s.host)
	}
	return err
}

// stopped is the error of a command that the user stopped.
func stopped(err error) error {
	if err == nil {
		return nil
	}
	return diag.Hint(errors.New("interrupted"), "%s", diag.HintOf(err))
}
