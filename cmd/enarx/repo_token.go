// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

// tokenActions are what a robot can be allowed.
var tokenActions = []string{"read", "publish", "yank"}

func tokenCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke tokens for machines",
		Long: "A robot's token does some of what you may do, until it expires: for a CI that\n" +
			"publishes, say. A deployment's token lets a host fetch one package of a private\n" +
			"repository. Both are given to a command in ENARX_INSECURE_AUTH_TOKEN.",
		Example: "  enarx repo token generate --actions publish --expires 90d alice/app\n" +
			"  enarx repo token generate --uses 1 alice/app:1.0.0\n" +
			"  enarx repo token list alice/app",
	})
	cmd.AddCommand(generateTokenCommand(), listTokensCommand("list"), listTokensCommand("info"), revokeTokenCommand())
	return cmd
}

// tokenTarget is what a token is for: a user, a repository or a package.
func tokenTarget(cmd *cobra.Command, name string) (drawbridge.Slug, error) {
	if slug, err := drawbridge.ParseSlug(name); err == nil {
		return slug, nil
	}
	slug, err := drawbridge.ParseRepositorySlug(name)
	if err != nil {
		if user, uerr := drawbridge.ParseUserSlug(name); uerr == nil {
			return user, nil
		}
	}
	return slug, cli.Usage(cmd, err)
}

func generateTokenCommand() *cobra.Command {
	var o storeOptions
	var actions []string
	var label, expires string
	var uses int
	cmd := o.flags(&cobra.Command{
		Use:   "generate [flags] [HOST/]USER[/REPO[:TAG][@sha256:DIGEST]]",
		Short: "Make a token, and print it once",
		Long: "Make a token and print it, once: the store keeps only its hash.\n\n" +
			"For a user or a repository it is a robot's, which may do what --actions says.\n" +
			"For a package, named by its tag or its digest, it is a deployment's, which may\n" +
			"read that package, as many times as --uses says.",
		Example: "  enarx repo token generate --actions read,publish --expires 90d --name ci alice/app\n" +
			"  enarx repo token generate --expires 24h --uses 3 alice/app:1.0.0\n" +
			"  export ENARX_INSECURE_AUTH_TOKEN=$(enarx repo token generate --uses 1 alice/app:1.0.0)",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			slug, err := tokenTarget(cmd, args[0])
			if err != nil {
				return err
			}
			token, err := newToken(slug, label, actions, uses, expires)
			if err != nil {
				return cli.Usage(cmd, err)
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(s.try(ctx, func() error { return s.generate(ctx, slug, token) }))
		},
	})
	f := cmd.Flags()
	f.StringSliceVar(&actions, "actions", nil, "of a robot: read, publish, yank (default read)")
	f.StringVar(&label, "name", "", "`words` to know it by")
	f.StringVar(&expires, "expires", "", "when it ends: 90d, 12h, or a date like 2027-01-31 (default 90d for a robot, 24h for a deployment)")
	f.IntVar(&uses, "uses", 0, "of a deployment: how many Keeps may be started with it (default any number)")
	completeFlag(cmd, "actions", tokenActions...)
	return cmd
}

// newToken is what is asked of the store.
func newToken(slug drawbridge.Slug, label string, actions []string, uses int, expires string) (drawbridge.Token, error) {
	t := drawbridge.Token{Kind: "robot", Name: label, Repository: slug.Repository, Actions: actions, Uses: uses}
	usual := "90d"
	if slug.Tag != "" || slug.Pinned {
		t.Kind, t.Tag, usual = "deployment", slug.Tag, "24h"
		if slug.Pinned {
			t.Digest = drawbridge.Pin(slug.Digest)
		}
		if len(actions) > 0 {
			return t, diag.Hint(errors.New("a deployment's token reads one package, and does nothing else"), "for --actions, name a repository or a user")
		}
	} else {
		if uses != 0 {
			return t, diag.Hint(errors.New("a robot's token is good until it expires"), "for --uses, name a package: USER/REPO:TAG")
		}
		if len(actions) == 0 {
			t.Actions = []string{"read"}
		}
		for _, a := range t.Actions {
			if !slices.Contains(tokenActions, a) {
				return t, diag.Hint(fmt.Errorf("a robot cannot %q", a), "%s", diag.Suggest(a, "the actions", tokenActions))
			}
		}
	}
	if uses < 0 {
		return t, errors.New("--uses is negative")
	}
	if expires == "" {
		expires = usual
	}
	var err error
	t.Expires, err = parseEnd(expires, time.Now())
	return t, err
}

// parseEnd reads a time to come: as so long from now, or as a date.
func parseEnd(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.AddDate(0, 0, n).UTC().Truncate(time.Second), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := parseTime(s)
	if err != nil {
		return t, fmt.Errorf("%q is no end of a token: write it like 90d, 12h, or 2027-01-31", s)
	}
	if !t.After(now) {
		return t, fmt.Errorf("%s is over", s)
	}
	return t.UTC(), nil
}

func (s *store) generate(ctx context.Context, slug drawbridge.Slug, want drawbridge.Token) error {
	token, err := s.NewToken(ctx, slug, want)
	if err != nil {
		return fmt.Errorf("failed to generate token: %w", err)
	}
	out := s.cmd.OutOrStdout()
	if s.options.asJSON {
		return writeJSON(out, token)
	}
	if onTerminal(s.cmd.ErrOrStderr()) {
		fmt.Fprintf(s.cmd.ErrOrStderr(), "This is %s. It is not shown again.\n", describeToken(token))
	}
	_, err = fmt.Fprintln(out, oneLine(token.Secret))
	return err
}

// describeToken is what a token is, in words.
func describeToken(t drawbridge.Token) string {
	of := "all repositories of " + t.User
	if t.Repository != "" {
		of = t.User + "/" + t.Repository
	}
	text := "a robot's token to " + strings.Join(t.Actions, " and ") + ", for " + of
	if t.Kind == "deployment" {
		text = "a token to deploy " + of + tokenPackage(t)
		if t.Uses > 0 {
			text += fmt.Sprintf(", %d of %d times", t.Uses-t.Used, t.Uses)
		}
	}
	if !t.Expires.IsZero() {
		text += ", good until " + day(t.Expires)
	}
	return oneLine(text)
}

// tokenPackage is the part of a slug that a deployment's token is for.
func tokenPackage(t drawbridge.Token) (text string) {
	if t.Tag != "" {
		text = ":" + t.Tag
	}
	if t.Digest != "" {
		text += "@" + t.Digest
	}
	return text
}

func listTokensCommand(name string) *cobra.Command {
	var o storeOptions
	cmd := o.flags(&cobra.Command{
		Use:     name + " [flags] [HOST/]USER[/REPO]",
		Short:   "List the tokens of a repository, or of a user",
		Example: "  enarx repo token " + name + " alice/app",
		Hidden:  name == "info", // upstream's name for it
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			slug, err := tokenTarget(cmd, args[0])
			if err != nil {
				return err
			}
			slug.Tag, slug.Pinned = "", false
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(s.try(ctx, func() error {
				tokens, err := s.Tokens(ctx, slug)
				if err != nil {
					return fmt.Errorf("failed to list tokens: %w", err)
				}
				return s.printTokens(tokens)
			}))
		},
	})
	return cmd
}

func (s *store) printTokens(tokens []drawbridge.Token) error {
	if s.options.asJSON {
		if tokens == nil {
			tokens = []drawbridge.Token{}
		}
		return writeJSON(s.cmd.OutOrStdout(), tokens)
	}
	if len(tokens) == 0 {
		_, err := fmt.Fprintln(s.cmd.ErrOrStderr(), "There are none.")
		return err
	}
	rows := [][]string{{"ID", "NAME", "FOR", "MAY", "EXPIRES"}}
	for _, t := range tokens {
		of, may := t.User, strings.Join(t.Actions, ",")
		if t.Repository != "" {
			of += "/" + t.Repository
		}
		if t.Kind == "deployment" {
			of, may = of+tokenPackage(t), "deploy"
			if t.Uses > 0 {
				may = fmt.Sprintf("deploy, %d of %d left", max(t.Uses-t.Used, 0), t.Uses)
			}
		}
		end := day(t.Expires)
		if !t.Expires.IsZero() && t.Expires.Before(time.Now()) {
			end += " (over)"
		}
		rows = append(rows, []string{t.ID, t.Name, of, may, end})
	}
	return table(s.cmd.OutOrStdout(), rows)
}

func revokeTokenCommand() *cobra.Command {
	var o storeOptions
	return o.flags(&cobra.Command{
		Use:     "revoke [flags] [HOST/]USER[/REPO] ID",
		Short:   "End a token now",
		Example: "  enarx repo token revoke alice/app 4kq7m2xw",
		Args:    cli.Args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			slug, err := tokenTarget(cmd, args[0])
			if err != nil {
				return err
			}
			slug.Tag, slug.Pinned = "", false
			// Whoever has only the token still knows its id: it is the part in the middle.
			id := args[1]
			if parts := strings.Split(id, "_"); len(parts) == 3 {
				id = parts[1]
			}
			ctx, stop := running(cmd)
			defer stop()
			s, err := o.openStore(cmd, slug.Host)
			if err != nil {
				return err
			}
			return s.explain(s.try(ctx, func() error {
				if err := s.RevokeToken(ctx, slug, id); err != nil {
					return fmt.Errorf("failed to revoke token: %w", err)
				}
				if o.asJSON {
					return writeJSON(cmd.OutOrStdout(), struct {
						Revoked string `json:"revoked"`
					}{id})
				}
				return nil
			}))
		},
	})
}
