// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func signCommand() *cobra.Command {
	var keys []string
	var output string
	var hidden bool
	cmd := &cobra.Command{
		Use:   "sign [flags] USER/REPO:TAG PATH",
		Short: "Sign a version that is yet to be published, where the key is",
		Long: "Sign what a folder or a main.wasm would be as this version, without a store and\n" +
			"without a network. What it prints goes with the version when that is published.\n" +
			"A version that is published already cannot be signed: it is immutable.",
		Example: "  enarx package sign --key key.pem alice/app:1.0.0 ./app > app.sig\n" +
			"  enarx package publish --signature app.sig alice/app:1.0.0 ./app",
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			slug, err := parsePackage(args[0])
			if err != nil {
				return cli.Usage(cmd, err)
			}
			if len(keys) == 0 {
				return cli.Usage(cmd, errors.New("which key? sign needs --key"))
			}
			ctx, stop := running(cmd)
			defer stop()
			tag, err := signPackage(ctx, cmd, slug, args[1], keys, hidden)
			if err != nil {
				return err
			}
			if output != "" {
				return replaceFile(output, append(tag.Raw, '\n'), 0o644)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", tag.Raw)
			return err
		},
		ValidArgsFunction: completeFileAt(1),
	}
	cmd.Flags().StringArrayVar(&keys, "key", nil, "private key, a `file` (Ed25519 or P-256, PEM or JWK; repeatable)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a `file`")
	cmd.Flags().BoolVar(&hidden, "hidden", false, "as with publish")
	return cmd
}

func signPackage(ctx context.Context, cmd *cobra.Command, slug drawbridge.Slug, path string, keys []string, hidden bool) (drawbridge.Tag, error) {
	if err := needsTag(slug); err != nil {
		return drawbridge.Tag{}, err
	}
	signers, err := readSigners(keys)
	if err != nil {
		return drawbridge.Tag{}, err
	}
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.finish()
	tree, err := readPackage(ctx, path, hidden, bar)
	if err != nil {
		return drawbridge.Tag{}, err
	}
	if err := checkPin(slug, tree.Root()); err != nil {
		return drawbridge.Tag{}, err
	}
	return drawbridge.SignTag(drawbridge.Entry{Meta: tree.Root()}, slug.Name(), signers...)
}

// readSignature reads what `enarx package sign` wrote for this version.
func readSignature(path string, slug drawbridge.Slug) (*drawbridge.Tag, error) {
	text, err := readInput(path)
	if err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	tag, err := drawbridge.ParseTag(drawbridge.TypeJOSE, []byte(strings.TrimSpace(string(text))))
	if err == nil {
		_, err = drawbridge.NewSigners(tag.SelfSigned()...).Verify(tag, slug.Name())
	}
	if err != nil {
		return nil, diag.Hint(fmt.Errorf("%s: %w", path, err), "`enarx package sign` makes signatures, each for one version")
	}
	return &tag, nil
}

func verifyCommand() *cobra.Command {
	var o readOptions
	return o.flags(&cobra.Command{
		Use:   "verify [flags] [HOST/]USER/REPO:TAG[@sha256:DIGEST]",
		Short: "Check the signature of a version, and every byte that the store has of it",
		Long: "Check a version: that it is signed by a key that is wanted, that it has the\n" +
			"digest in its name, and that the store has every file as it is listed.\n\n" +
			"Keys that are wanted are those of --signer, or those in signers.toml in the\n" +
			"folder of enarx's settings. --remember-signer writes the key of this version\n" +
			"down there, for a repository that has none.",
		Example: "  enarx package verify --signer alice.pem alice/app:1.0.0\n" +
			"  enarx package verify --remember-signer alice/app:1.0.0",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error { return o.verify(ctx, s, slug) }),
	})
}

func (o *readOptions) verify(ctx context.Context, s *store, slug drawbridge.Slug) error {
	entry, by, err := o.resolve(ctx, s, slug)
	if err != nil {
		return fmt.Errorf("failed to verify package: %w", err)
	}
	bar := newProgress(s.cmd.ErrOrStderr())
	files, bytes, err := readAll(ctx, s, slug, entry.Meta, bar)
	bar.finish()
	if err != nil {
		return fmt.Errorf("failed to verify package: %w", err)
	}
	sum, _ := entry.Digests.SHA256()
	slug.Pinned, slug.Digest = true, sum
	out := s.cmd.OutOrStdout()
	if o.asJSON {
		return writeJSON(out, struct {
			Package string   `json:"package"`
			Files   int      `json:"files"`
			Bytes   int64    `json:"bytes"`
			Signed  signedBy `json:"signature"`
		}{slug.String(), files, bytes, by})
	}
	signed := "not signed"
	switch {
	case by.Verified:
		signed = "signed by " + strings.Join(by.Keys, ", ") + ", as " + by.Source + " wants it"
	case by.Signed:
		signed = "signed by " + strings.Join(by.Keys, ", ") + ", and nobody says whose key that is: see --signer"
	}
	_, err = fmt.Fprintf(out, "%s\n%s, %s, as listed\n%s\n", slug, plural(files, "file"), size(bytes), oneLine(signed))
	return err
}

// readAll reads every file of a package, to verify it.
func readAll(ctx context.Context, s *store, slug drawbridge.Slug, root drawbridge.Meta, bar *progress) (files int, bytes int64, err error) {
	nodes, err := s.Walk(ctx, slug, root)
	if err != nil {
		return 0, 0, err
	}
	for _, n := range nodes {
		if n.Meta.Type != drawbridge.TypeDirectory {
			files, bytes = files+1, bytes+n.Meta.Length
		}
	}
	bar.expect(bytes)
	for _, n := range nodes {
		if n.Meta.Type == drawbridge.TypeDirectory {
			continue // Walk has read it
		}
		body, _, err := s.Open(ctx, slug, n.Path, &n.Meta)
		if err != nil {
			return 0, 0, err
		}
		_, err = io.Copy(barWriter{bar, n.Path.String()}, body)
		body.Close()
		if err != nil {
			return 0, 0, fmt.Errorf("%q: %w", n.Path.String(), err)
		}
	}
	return files, bytes, nil
}

// barWriter counts what is written, and drops it.
type barWriter struct {
	bar  *progress
	what string
}

func (w barWriter) Write(p []byte) (int, error) {
	w.bar.add(w.what, int64(len(p)), true)
	return len(p), nil
}

// stdoutOrFile is where a command writes bytes: standard output, or a file that
// is there only once all was written. done must be called.
func stdoutOrFile(cmd *cobra.Command, path string) (w io.Writer, done func(error) error, err error) {
	if path == "" {
		return cmd.OutOrStdout(), func(err error) error { return err }, nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, nil, fmt.Errorf("--output %s is a folder: name a file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".enarx-*")
	if err != nil {
		return nil, nil, fmt.Errorf("--output %s: %w", path, err)
	}
	return f, func(err error) error {
		err = errors.Join(err, f.Chmod(0o644), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // it is of no use to anybody
		}
		return err
	}, nil
}
