// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func fetchCommand() *cobra.Command {
	var o readOptions
	var parallel int
	cmd := o.flags(&cobra.Command{
		Use:   "fetch [flags] [HOST/]USER/REPO:TAG[@sha256:DIGEST] [FOLDER]",
		Short: "Fetch a package into a new folder",
		Long: "Fetch a package into a folder, by default one that is named like the repository.\n" +
			"Every file is verified, and the folder is there only once all of it is.",
		Example: "  enarx package fetch store.example.org/alice/app:1.0.0\n" +
			"  enarx package fetch alice/app:1.0.0@sha256:25c75f… ./app && enarx run ./app",
		Args: cli.Args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				into := slug.Repository
				if len(args) == 2 {
					into = args[1]
				}
				if into == "" { // "$UNSET" in a script
					return cli.Usage(cmd, errors.New("the folder has no name"))
				}
				return o.fetch(ctx, s, slug, into, parallel)
			})(cmd, args)
		},
		ValidArgsFunction: completeFileAt(1),
	})
	cmd.Flags().IntVar(&parallel, "parallel", 4, "how many files to fetch at a time")
	return cmd
}

func (o *readOptions) fetch(ctx context.Context, s *store, slug drawbridge.Slug, into string, parallel int) error {
	entry, by, err := o.resolve(ctx, s, slug)
	if err != nil {
		return fmt.Errorf("failed to fetch package: %w", err)
	}
	// From here on it is this content, whatever the store says of the tag.
	sum, ok := entry.Digests.SHA256()
	if !ok {
		return fmt.Errorf("failed to fetch package: %s has no SHA-256", slug)
	}
	slug.Pinned, slug.Digest = true, sum
	bar := newProgress(s.cmd.ErrOrStderr())
	defer bar.finish()
	_, err = s.Fetch(ctx, slug, into, client.FetchOptions{Progress: bar.event, Parallel: parallel})
	bar.finish()
	if errors.Is(err, fs.ErrExist) {
		return diag.Hint(fmt.Errorf("%s is there already, and not empty", into), "name another folder, or remove it")
	}
	if err != nil {
		return fmt.Errorf("failed to fetch package: %w", err)
	}
	if o.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), struct {
			Package string   `json:"package"`
			Folder  string   `json:"folder"`
			Digest  string   `json:"digest"`
			NI      string   `json:"ni"`
			Signed  signedBy `json:"signature"`
		}{slug.String(), into, drawbridge.Pin(sum), niURI(sum), by})
	}
	if onTerminal(s.cmd.ErrOrStderr()) {
		_, err = fmt.Fprintf(s.cmd.ErrOrStderr(), "%s is in %s.\n", slug, oneLine(into))
	}
	return err
}
