// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/credentials"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/login"
)

func userCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "user",
		Short: "Sign in at a Drawbridge, and have a name there",
		Long: "A Drawbridge is a store of packages. Signing in says who you are; a name,\n" +
			"which you register once, is what your repositories are under.",
		Example: "  enarx user login --store-host store.example.org\n" +
			"  enarx user register store.example.org/alice\n" +
			"  enarx user whoami",
	})
	cmd.AddCommand(loginCommand(), logoutCommand(), registerUserCommand(), userInfoCommand(), whoamiCommand())
	return cmd
}

func registerUserCommand() *cobra.Command {
	var o loginOptions
	return o.flags(&cobra.Command{
		Use:   "register [flags] [HOST/]USER",
		Short: "Register a name, for good",
		Long: "Register a name at a store. It belongs to whoever is signed in, and cannot be\n" +
			"changed or given away. If nobody is signed in, this signs you in first.",
		Example: "  enarx user register store.example.org/alice",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			slug, err := drawbridge.ParseUserSlug(args[0])
			if err != nil {
				return cli.Usage(cmd, err)
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(o.register(ctx, s, slug.User))
		},
	})
}

// register asks the provider whose token this is: the store wants the subject
// in the record, and holds it against the token.
func (o *loginOptions) register(ctx context.Context, s *store, name string) error {
	info, err := o.terms(ctx, s)
	if err != nil {
		return err
	}
	p, err := login.Discover(ctx, s.web, info.OIDCDomain)
	if err != nil {
		return err
	}
	token := s.auth.fixed
	if token == "" {
		account, err := s.accountAt(info.OIDCDomain)
		if err != nil {
			return err
		}
		token, err = account.Token(ctx)
		if errors.Is(err, credentials.ErrNotFound) || errors.Is(err, login.ErrEnded) {
			if account, err = o.signIn(ctx, s); err == nil {
				token, err = account.Token(ctx)
			}
		}
		if err != nil {
			return err
		}
		s.auth.use(account)
	}
	subject, err := p.UserInfo(ctx, token)
	if err != nil {
		return err
	}
	created, err := s.PutUser(ctx, drawbridge.Slug{User: name}, drawbridge.User{Subject: subject})
	if err != nil {
		return fmt.Errorf("failed to register new user: %w", err)
	}
	if o.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), struct {
			User    string `json:"user"`
			Subject string `json:"subject"`
			Created bool   `json:"created"`
		}{name, subject, created})
	}
	return nil
}

func userInfoCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:   "info [flags] [[HOST/]USER]",
		Short: "Print the record of a name of yours, or who you are",
		Example: "  enarx user info store.example.org/alice\n" +
			"  enarx user info",
		Args: cli.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return o.whoami(cmd)
			}
			slug, err := drawbridge.ParseUserSlug(args[0])
			if err != nil {
				return cli.Usage(cmd, err)
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(s.try(ctx, func() error {
				user, err := s.User(ctx, slug)
				if err != nil {
					return fmt.Errorf("failed to get record for user: %s: %w", slug.User, err)
				}
				return writeJSON(cmd.OutOrStdout(), user)
			}))
		},
	})
}

func whoamiCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:     "whoami [flags]",
		Short:   "Say who you are to a store, and what your names there are",
		Example: "  enarx user whoami --store-host store.example.org",
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.whoami(cmd) },
	})
}

func (o *storeOptions) whoami(cmd *cobra.Command) error {
	ctx, stop := running(cmd)
	defer stop()
	s, err := o.openStore(cmd, "")
	if err != nil {
		return err
	}
	// Nobody is refused to be told that the store knows nobody: so the token has
	// to be looked for without being asked to.
	if err := s.auth.look(ctx); err != nil {
		return s.explain(err)
	}
	who, err := s.Whoami(ctx)
	if unknownTo(err) {
		return diag.Hint(fmt.Errorf("%s does not say who its users are", s.host), "name the user: `enarx user info %s/USER`", s.host)
	}
	if err != nil {
		return s.explain(fmt.Errorf("failed to ask %s who you are: %w", s.host, err))
	}
	if o.asJSON {
		return writeJSON(cmd.OutOrStdout(), who)
	}
	return printWhoami(s, who)
}

func printWhoami(s *store, who drawbridge.Whoami) error {
	out := s.cmd.OutOrStdout()
	if who.Kind == "anonymous" {
		_, err := fmt.Fprintf(out, "You are not signed in at %s.\n", s.host)
		return err
	}
	subject := who.Subject
	if who.Issuer != "" {
		subject += " at " + who.Issuer
	}
	names := "none: register one with `enarx user register " + s.host + "/NAME`"
	if len(who.Users) > 0 {
		names = strings.Join(who.Users, ", ")
	}
	_, err := fmt.Fprintf(out, "You are %s (%s).\nNames at %s: %s\n", oneLine(subject), oneLine(who.Kind), s.host, oneLine(names))
	return err
}
