// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func packageCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "package",
		Short: "Publish, fetch and check packages",
		Long: "A package is a module or a folder with main.wasm in it, under a version of a\n" +
			"repository: HOST/USER/REPO:TAG. A version is immutable. With @sha256:DIGEST\n" +
			"behind it, a name is good for exactly one content, whoever the store is.",
		Example: "  enarx package publish store.example.org/alice/app:1.0.0 ./app\n" +
			"  enarx package info alice/app:1.0.0\n" +
			"  enarx package fetch alice/app:1.0.0 ./app",
	})
	cmd.AddCommand(packageInfoCommand(), publishCommand(), fetchCommand(), yankCommand(), signCommand(), verifyCommand())
	return cmd
}

// readOptions is the flags of commands that read a package.
type readOptions struct {
	storeOptions
	signerOptions
}

func (o *readOptions) flags(cmd *cobra.Command) *cobra.Command {
	o.storeOptions.flags(cmd)
	o.signerOptions.flags(cmd)
	cmd.Flags().BoolVar(&o.yanked, "yanked", false, "show it even if it was yanked, which its owner may see")
	return cmd
}

// withPackage makes what a command does with a package.
func (o *storeOptions) withPackage(do func(ctx context.Context, s *store, slug drawbridge.Slug) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		slug, err := parsePackage(args[0])
		if err != nil {
			return cli.Usage(cmd, err)
		}
		ctx, stop := running(cmd)
		defer stop()
		s, err := o.openStore(cmd, slug.Host)
		if err != nil {
			return err
		}
		slug.Host = s.host
		return s.noVersion(slug, s.explain(s.try(ctx, func() error { return do(ctx, s, slug) })))
	}
}

// noVersion adds where to look to the answer that there is no such version,
// which is upstream's and says that the repository is missing. What upstream's
// package info prints is all that ours does.
func (s *store) noVersion(slug drawbridge.Slug, err error) error {
	status, ok := errors.AsType[*client.StatusError](err)
	if !ok || status.Status != http.StatusNotFound || diag.HintOf(err) != "" || s.cmd.CommandPath() == "enarx package info" {
		return err
	}
	slug.Tag, slug.Pinned = "", false
	return diag.Hint(err, "there may be no such version: `enarx repo info %s` lists them", slug)
}

// parsePackage reads the name of a package.
func parsePackage(name string) (drawbridge.Slug, error) {
	slug, err := drawbridge.ParseSlug(name)
	if err == nil {
		return slug, nil
	}
	if repository, rerr := drawbridge.ParseRepositorySlug(name); rerr == nil {
		err = diag.Hint(err, "which version? `enarx repo info %s` lists them", repository)
	}
	return slug, err
}

// needsTag refuses a name that has only a digest.
func needsTag(slug drawbridge.Slug) error {
	if slug.Tag != "" {
		return nil
	}
	return cli.Usage(nil, diag.Hint(fmt.Errorf("%s names no tag", slug), "write USER/REPO:TAG, with @sha256:… behind it if you like"))
}

// resolve returns the root of a package: what its tag says, if the tag is
// signed as it should be, and if it is what a digest in the name says.
func (o *signerOptions) resolve(ctx context.Context, s *store, slug drawbridge.Slug) (drawbridge.Entry, signedBy, error) {
	// The client would hold it against signers too, but knows of no other way
	// to be satisfied than one set of keys.
	root, tag, err := s.Resolve(ctx, slug, nil)
	if errors.Is(err, client.ErrPin) {
		return drawbridge.Entry{}, signedBy{}, diag.Hint(fmt.Errorf("%s: %w", slug, err),
			"do not use it, unless you know why it is another one")
	}
	if err != nil {
		return drawbridge.Entry{}, signedBy{}, err
	}
	by, err := o.check(slug, tag)
	if err != nil {
		return drawbridge.Entry{}, by, err
	}
	entry := tag.Entry
	if slug.Tag == "" {
		entry = drawbridge.Entry{Meta: root}
	}
	return entry, by, nil
}

func packageInfoCommand() *cobra.Command {
	var o readOptions
	return o.flags(&cobra.Command{
		Use:   "info [flags] [HOST/]USER/REPO:TAG[@sha256:DIGEST]",
		Short: "Print what a tag says: the digests, length and type of the package's root",
		Example: "  enarx package info store.example.org/alice/app:1.0.0\n" +
			"  enarx package info --signer alice.pem alice/app:1.0.0",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
			entry, _, err := o.resolve(ctx, s, slug)
			if err != nil {
				return fmt.Errorf("failed to retrieve package information: %w", err)
			}
			return writeJSON(s.cmd.OutOrStdout(), entry)
		}),
	})
}

func yankCommand() *cobra.Command {
	var o storeOptions
	var undo bool
	var reason string
	cmd := o.flags(&cobra.Command{
		Use:   "yank [flags] [HOST/]USER/REPO:TAG",
		Short: "Withdraw a version, or take that back",
		Long: "Withdraw a version: it is not listed or given out any more, and whoever asks is\n" +
			"told the reason. Its name stays taken, its content stays stored, and --undo\n" +
			"brings it back.",
		Example: "  enarx package yank --reason \"CVE-2027-1234, use 1.0.1\" alice/app:1.0.0\n" +
			"  enarx package yank --undo alice/app:1.0.0",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if undo && reason != "" {
				return cli.Usage(cmd, errors.New("--undo needs no --reason"))
			}
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				return s.yank(ctx, slug, reason, undo)
			})(cmd, args)
		},
	})
	cmd.Flags().BoolVar(&undo, "undo", false, "bring it back")
	cmd.Flags().StringVar(&reason, "reason", "", "`words` that are shown to whoever asks for it")
	return cmd
}

func (s *store) yank(ctx context.Context, slug drawbridge.Slug, reason string, undo bool) error {
	if err := needsTag(slug); err != nil {
		return err
	}
	if slug.Pinned { // the right one, or none
		s.options.yanked = true
		if _, _, err := s.Resolve(ctx, slug, nil); err != nil {
			return fmt.Errorf("%s: %w", slug, err)
		}
	}
	what, do := "yank", func() error { return s.Yank(ctx, slug, reason) }
	if undo {
		what, do = "bring back", func() error { return s.Unyank(ctx, slug) }
	}
	if err := do(); err != nil {
		return fmt.Errorf("failed to %s package: %w", what, err)
	}
	if s.options.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), struct {
			Package string `json:"package"`
			Yanked  bool   `json:"yanked"`
			Reason  string `json:"reason,omitempty"`
		}{slug.Name(), !undo, reason})
	}
	return nil
}
