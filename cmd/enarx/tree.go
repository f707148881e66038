// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func treeCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "tree",
		Short: "Look into packages, published or not",
		Long: "A package is a tree of files and folders, each known by the digests of its\n" +
			"content; that of its root stands for all of it.",
		Example: "  enarx tree digest ./app\n" +
			"  enarx tree info alice/app:1.0.0\n" +
			"  enarx tree fetch alice/app:1.0.0 Enarx.toml",
	})
	cmd.AddCommand(treeInfoCommand(), treeFetchCommand(), treeDigestCommand())
	return cmd
}

// niURI names content by its SHA-256, as RFC 6920 does and certificates of Keeps
// have it.
func niURI(sum [32]byte) string {
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// node is a file or folder of a package, as it is printed.
type node struct {
	Path string `json:"path"`
	drawbridge.Meta
}

// MarshalJSON puts the path before what is known of it: the method of Meta
// would print that alone.
func (n node) MarshalJSON() ([]byte, error) {
	path, err := json.Marshal(n.Path)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"path":`), path, []byte{','}, n.Meta.Canonical()[1:]), nil
}

func treeInfoCommand() *cobra.Command {
	var o readOptions
	return o.flags(&cobra.Command{
		Use:   "info [flags] [HOST/]USER/REPO:TAG[@sha256:DIGEST] [PATH]",
		Short: "List the files and folders of a package",
		Example: "  enarx tree info store.example.org/alice/app:1.0.0\n" +
			"  enarx tree info --json alice/app:1.0.0 data",
		Args: cli.Args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathArg(cmd, args)
			if err != nil {
				return err
			}
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				return o.treeInfo(ctx, s, slug, path)
			})(cmd, args)
		},
	})
}

func pathArg(cmd *cobra.Command, args []string) (drawbridge.Path, error) {
	if len(args) < 2 {
		return nil, nil
	}
	path, err := drawbridge.ParsePath(args[1])
	return path, cli.Usage(cmd, err)
}

func (o *readOptions) treeInfo(ctx context.Context, s *store, slug drawbridge.Slug, path drawbridge.Path) error {
	entry, _, err := o.resolve(ctx, s, slug)
	if err != nil {
		return fmt.Errorf("failed to retrieve tree: %w", err)
	}
	all, err := s.Walk(ctx, slug, entry.Meta)
	if err != nil {
		return fmt.Errorf("failed to retrieve tree: %w", err)
	}
	nodes := []node{}
	for _, n := range all {
		if len(n.Path) >= len(path) && slices.Equal(n.Path[:len(path)], path) {
			nodes = append(nodes, node{n.Path.String(), n.Meta})
		}
	}
	if len(nodes) == 0 {
		return fmt.Errorf("%s has no %q in it", slug, path.String())
	}
	if o.asJSON {
		return writeJSON(s.cmd.OutOrStdout(), nodes)
	}
	rows := [][]string{{"SHA-256", "SIZE", "TYPE", "PATH"}}
	for _, n := range nodes {
		digest, amount, kind, name := "-", size(n.Length), n.Type, n.Path
		if sum, ok := n.Digests.SHA256(); ok {
			digest = strings.TrimPrefix(drawbridge.Pin(sum), "sha256:")
		}
		if n.Type == drawbridge.TypeDirectory {
			kind, amount, name = "folder", "-", name+"/"
		} else if name == "" {
			name = "/" // a lone module is its own root
		}
		rows = append(rows, []string{digest, amount, kind, name})
	}
	return table(s.cmd.OutOrStdout(), rows)
}

func treeFetchCommand() *cobra.Command {
	var o readOptions
	var output string
	cmd := o.flags(&cobra.Command{
		Use:   "fetch [flags] [HOST/]USER/REPO:TAG[@sha256:DIGEST] [PATH]",
		Short: "Print one file of a package, or the listing of a folder",
		Long: "Print the content of one node of a package: a file's bytes, or the JSON that is\n" +
			"the listing of a folder, as the digests are of it. What is printed was verified\n" +
			"only if the exit code is 0; with --output the file is there only then.",
		Example: "  enarx tree fetch store.example.org/alice/app:1.0.0 Enarx.toml\n" +
			"  enarx tree fetch -o app.wasm alice/app:1.0.0 main.wasm",
		Args: cli.Args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathArg(cmd, args)
			if err != nil {
				return err
			}
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				return o.treeFetch(ctx, s, slug, path, output)
			})(cmd, args)
		},
	})
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a `file`")
	cmd.Flags().Lookup("json").Usage = "with --output: print JSON, what the package says of it"
	return cmd
}

func (o *readOptions) treeFetch(ctx context.Context, s *store, slug drawbridge.Slug, path drawbridge.Path, output string) error {
	entry, _, err := o.resolve(ctx, s, slug)
	if err != nil {
		return fmt.Errorf("failed to fetch node: %w", err)
	}
	meta, err := s.descend(ctx, slug, entry.Meta, path)
	if err != nil {
		return fmt.Errorf("failed to fetch node: %w", err)
	}
	text := meta.Type == drawbridge.TypeDirectory || meta.Type == drawbridge.TypeTOML
	if output == "" && !text && onTerminal(s.cmd.OutOrStdout()) {
		return diag.Hint(fmt.Errorf("%q is %s of %s, which is not for a terminal", path.String(), size(meta.Length), meta.Type),
			"write it to a file with --output, or into a pipe")
	}
	body, _, err := s.Open(ctx, slug, path, &meta)
	if err != nil {
		return fmt.Errorf("failed to fetch node: %w", err)
	}
	defer body.Close()
	bar := newProgress(s.cmd.ErrOrStderr())
	bar.expect(meta.Length)
	defer bar.finish()
	w, done, err := stdoutOrFile(s.cmd, output)
	if err != nil {
		return err
	}
	if output != "" {
		w = io.MultiWriter(w, barWriter{bar, path.String()})
	}
	_, err = io.Copy(w, body)
	if err = done(err); err != nil {
		return fmt.Errorf("failed to fetch node: %w", err)
	}
	if o.asJSON && output != "" {
		return writeJSON(s.cmd.OutOrStdout(), node{path.String(), meta})
	}
	return nil
}

// descend returns what the package lists at a path.
func (s *store) descend(ctx context.Context, slug drawbridge.Slug, meta drawbridge.Meta, path drawbridge.Path) (drawbridge.Meta, error) {
	for i, name := range path {
		if meta.Type != drawbridge.TypeDirectory {
			return meta, fmt.Errorf("%q is no folder", path[:i].String())
		}
		listing, err := s.Directory(ctx, slug, path[:i], meta)
		if err != nil {
			return meta, err
		}
		entry, ok := listing[name]
		if !ok {
			return meta, fmt.Errorf("%s has no %q in it", slug, path[:i+1].String())
		}
		meta = entry.Meta
	}
	return meta, nil
}

func treeDigestCommand() *cobra.Command {
	var o readOptions
	var hidden bool
	cmd := o.flags(&cobra.Command{
		Use:   "digest [flags] {FOLDER | FILE | [HOST/]USER/REPO:TAG}",
		Short: "Print the digest of a package, published or not",
		Long: "Print the workload digest, which stands for all of a package: as it is written\n" +
			"behind a name, and as it is in the certificate of a Keep that runs it. Of a folder\n" +
			"or file on this machine it is computed here, without a store.",
		Example: "  enarx tree digest ./app\n" +
			"  enarx tree digest --json store.example.org/alice/app:1.0.0",
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err == nil {
				return o.localDigest(cmd, args[0], hidden)
			}
			if _, err := parsePackage(args[0]); err != nil {
				return cli.Usage(cmd, diag.Hint(fmt.Errorf("%q is no file here, and no name of a package", args[0]), "%s", diag.HintOf(err)))
			}
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				entry, _, err := o.resolve(ctx, s, slug)
				if err != nil {
					return fmt.Errorf("failed to retrieve digest: %w", err)
				}
				return o.printDigest(cmd, entry.Meta)
			})(cmd, args)
		},
		ValidArgsFunction: completeFileAt(0),
	})
	cmd.Flags().BoolVar(&hidden, "hidden", false, "as with publish")
	return cmd
}

func (o *readOptions) localDigest(cmd *cobra.Command, path string, hidden bool) error {
	ctx, stop := running(cmd)
	defer stop()
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.finish()
	tree, err := readPackage(ctx, path, hidden, bar)
	if err != nil {
		return err
	}
	return o.printDigest(cmd, tree.Root())
}

func (o *readOptions) printDigest(cmd *cobra.Command, root drawbridge.Meta) error {
	sum, ok := root.Digests.SHA256()
	if !ok {
		return fmt.Errorf("the package has no SHA-256, only %v", root.Digests.Algorithms())
	}
	if o.asJSON {
		return writeJSON(cmd.OutOrStdout(), struct {
			SHA256 string          `json:"sha256"`
			NI     string          `json:"ni"`
			Root   drawbridge.Meta `json:"root"`
		}{drawbridge.Pin(sum), niURI(sum), root})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", drawbridge.Pin(sum), niURI(sum))
	return err
}
