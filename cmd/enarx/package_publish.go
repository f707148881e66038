// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/workload"
)

// What a Keep takes, of which upstream has the same (spec/drawbridge.md section
// 1.8). A store takes more.
const (
	keepModule  = 100_000_000 // bytes of main.wasm
	keepListing = 1_000_000   // bytes of a folder's listing
)

// publishOptions is the flags of `enarx package publish`.
type publishOptions struct {
	storeOptions
	sign      []string
	signature string
	hidden    bool
	parallel  int
}

func publishCommand() *cobra.Command {
	var o publishOptions
	cmd := o.flags(&cobra.Command{
		Use:   "publish [flags] [HOST/]USER/REPO:TAG PATH",
		Short: "Publish a folder or a main.wasm as a version",
		Long: "Publish a version. PATH is a folder, of which all is published, or a lone module\n" +
			"that is named main.wasm. The version is there for others at once when all of it\n" +
			"is stored, and immutable then.\n\n" +
			"If it is interrupted, run it again: what the store has is not sent again. Run\n" +
			"again after it succeeded, it does nothing.",
		Example: "  enarx package publish store.example.org/alice/app:1.0.0 ./app\n" +
			"  enarx package publish alice/app:1.0.1 target/main.wasm\n" +
			"  openssl genpkey -algorithm ed25519 -out key.pem\n" +
			"  enarx package publish --sign key.pem alice/app:1.0.2 ./app",
		Args: cli.Args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.sign) > 0 && o.signature != "" {
				return cli.Usage(cmd, errors.New("--sign makes a signature, and --signature brings one"))
			}
			return o.withPackage(func(ctx context.Context, s *store, slug drawbridge.Slug) error {
				return o.publish(ctx, s, slug, args[1])
			})(cmd, args)
		},
		ValidArgsFunction: completeFileAt(1),
	})
	f := cmd.Flags()
	f.StringArrayVar(&o.sign, "sign", nil, "sign the version with a private key, a `file` (Ed25519 or P-256, PEM or JWK; repeatable)")
	f.StringVar(&o.signature, "signature", "", "publish with a signature, a `file` that package sign made")
	f.BoolVar(&o.hidden, "hidden", false, "publish folders of version control, too")
	f.IntVar(&o.parallel, "parallel", 4, "how many files to send at a time")
	return cmd
}

func (o *publishOptions) publish(ctx context.Context, s *store, slug drawbridge.Slug, path string) error {
	if err := needsTag(slug); err != nil {
		return err
	}
	signers, err := readSigners(o.sign)
	if err != nil {
		return err
	}
	bar := newProgress(s.cmd.ErrOrStderr())
	defer bar.finish()
	tree, err := readPackage(ctx, path, o.hidden, bar)
	if err != nil {
		return err
	}
	if err := checkPin(slug, tree.Root()); err != nil {
		return err
	}
	for _, w := range keepProblems(path, tree) {
		diag.Warnf(s.cmd.ErrOrStderr(), "%s", w)
	}
	options := client.PublishOptions{Signers: signers, Progress: bar.event, Parallel: o.parallel}
	if dir, err := os.UserCacheDir(); err == nil {
		options.StateDir = filepath.Join(dir, "enarx", "uploads")
	}
	if o.signature != "" {
		if options.Tag, err = readSignature(o.signature, slug); err != nil {
			return err
		}
	}
	done, err := s.Publish(ctx, slug, tree, options)
	bar.finish()
	if err != nil {
		return publishError(slug, err)
	}
	return o.report(s, slug, done)
}

// publishError adds what upstream calls it, and the next step.
func publishError(slug drawbridge.Slug, err error) error {
	repository := slug
	repository.Tag, repository.Pinned = "", false
	status, answered := errors.AsType[*client.StatusError](err)
	err = fmt.Errorf("failed to create tag and upload tree: %w", err)
	switch {
	case errors.Is(err, client.ErrTaken), errors.Is(err, client.ErrBroken):
		return diag.Hint(err, "a version never changes: publish this one under another tag")
	case errors.Is(err, context.Canceled):
		return diag.Hint(err, "run it again: it goes on where it stopped")
	case answered && status.Status == http.StatusNotFound:
		return diag.Hint(err, "make the repository first: `enarx repo register %s`", repository)
	case answered && status.Status == http.StatusConflict:
		return diag.Hint(err, "a version never changes: if it is another one, publish this under another tag")
	}
	return err
}

// report says, to people who look, what they need to name the version.
func (o *publishOptions) report(s *store, slug drawbridge.Slug, done client.Published) error {
	sum, _ := done.Root.Digests.SHA256()
	slug.Pinned, slug.Digest = true, sum
	if o.asJSON {
		by := signedBy{Signed: done.Tag.Signed()}
		for _, key := range done.Tag.SelfSigned() {
			by.Keys = append(by.Keys, key.Thumbprint())
		}
		return writeJSON(s.cmd.OutOrStdout(), struct {
			Package string          `json:"package"`
			Created bool            `json:"created"`
			Digest  string          `json:"digest"`
			NI      string          `json:"ni"`
			Root    drawbridge.Meta `json:"root"`
			Signed  signedBy        `json:"signature"`
			Sent    int64           `json:"sent"`
			Skipped int64           `json:"skipped"`
		}{slug.String(), done.Created, drawbridge.Pin(sum), niURI(sum), done.Root, by, done.Sent, done.Skipped})
	}
	if !onTerminal(s.cmd.ErrOrStderr()) {
		return nil // as upstream
	}
	_, err := fmt.Fprintf(s.cmd.ErrOrStderr(), "%s\n%s sent, %s were there already.\n%s\n",
		yesNo(done.Created, "Published.", "This is published already."), size(done.Sent), size(done.Skipped), slug)
	return err
}

// readSigners reads private keys.
func readSigners(paths []string) (signers []crypto.Signer, err error) {
	for _, path := range paths {
		text, err := readInput(path)
		if err != nil {
			return nil, fmt.Errorf("reading the key: %w", err)
		}
		key, err := drawbridge.ParsePrivateKey(text)
		if err != nil {
			return nil, diag.Hint(fmt.Errorf("%s: %w", path, err), "`openssl genpkey -algorithm ed25519` makes a key")
		}
		signers = append(signers, key)
	}
	return signers, nil
}

// checkPin holds a local package against the digest in the name it is to have.
func checkPin(slug drawbridge.Slug, root drawbridge.Meta) error {
	sum, _ := root.Digests.SHA256()
	if !slug.Pinned || sum == slug.Digest {
		return nil
	}
	return fmt.Errorf("the package is %s, not %s as the name says", drawbridge.Pin(sum), drawbridge.Pin(slug.Digest))
}

// versionControl are folders that nobody means to publish: all that ever was
// in them would be public for good.
var versionControl = []string{".git", ".hg", ".svn", ".jj"}

// readPackage reads a file or folder as a package.
func readPackage(ctx context.Context, path string, hidden bool, bar *progress) (*client.Tree, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && filepath.Base(path) != "main.wasm" {
		return nil, diag.Hint(fmt.Errorf("invalid file name: %s", path), "a package that is a lone file is named main.wasm")
	}
	if info.IsDir() {
		if err := checkNames(path, hidden); err != nil {
			return nil, err
		}
	}
	tree, err := client.BuildTree(ctx, path, bar.event)
	bar.finish()
	if err != nil {
		return nil, fmt.Errorf("reading the package: %w", err)
	}
	return tree, nil
}

// checkNames looks for what a package cannot have in it before any of it is
// read.
func checkNames(path string, hidden bool) error {
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == path {
			return err
		}
		if drawbridge.CheckName(d.Name()) != nil {
			return diag.Hint(fmt.Errorf("invalid file name: %s", name), "names in a package have letters, digits and - _ . : in them")
		}
		if !hidden && slices.Contains(versionControl, d.Name()) {
			return diag.Hint(fmt.Errorf("%s would be published, with all that was ever in it", name),
				"publish a folder without it, or say --hidden")
		}
		return nil
	})
}

// keepProblems says why a Keep could not run the package, and what in it may be
// there by mistake. A store takes it all the same.
func keepProblems(path string, tree *client.Tree) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	root, folder := tree.Nodes[0], tree.Root().Type == drawbridge.TypeDirectory
	module := root
	if folder {
		if module = nodeAt(tree, "main.wasm"); module == nil || module.Meta.Type == drawbridge.TypeDirectory {
			warn("no Keep can run this: there is no main.wasm")
			module = nil
		}
		if root.Meta.Length > keepListing {
			warn("no Keep can run this: the list of its files is %d bytes long, and %d is the most that a Keep takes", root.Meta.Length, keepListing)
		}
	}
	if module != nil {
		file := path
		if folder {
			file = filepath.Join(path, "main.wasm")
		}
		if module.Meta.Length > keepModule {
			warn("no Keep can run this: main.wasm has %d bytes, and %d is the most that a Keep takes", module.Meta.Length, keepModule)
		}
		if err := checkHead(file); err != nil {
			warn("no Keep can run this: main.wasm: %v", err)
		}
	}
	for _, n := range tree.Nodes {
		switch name := n.Path.String(); {
		case name == workload.FileName:
			if err := checkConfig(filepath.Join(path, name)); err != nil {
				warn("no Keep can run this: %s: %v", name, err)
			}
		case len(n.Path) > 0 && strings.HasPrefix(n.Path[len(n.Path)-1], "."):
			warn("%s is published, too", name)
		case n.Meta.Type == drawbridge.TypeDirectory && n.Meta.Length > keepListing && len(n.Path) > 0:
			warn("no Keep can read the folder %s: the list of its files is %d bytes long, and %d is the most that a Keep takes", name, n.Meta.Length, keepListing)
		}
	}
	return warnings
}

func nodeAt(tree *client.Tree, name string) *client.Node {
	for _, n := range tree.Nodes {
		if n.Path.String() == name {
			return n
		}
	}
	return nil
}

// checkHead tells a module from what is none by its first bytes.
func checkHead(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, workload.ModuleHeaderSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return workload.CheckModule(head[:n])
}

func checkConfig(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, workload.MaxSize+1))
	if err != nil {
		return err
	}
	_, _, err = workload.Parse(text)
	if e, ok := errors.AsType[*workload.Error](err); ok {
		return fmt.Errorf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return err
}
