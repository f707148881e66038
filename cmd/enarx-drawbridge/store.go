// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// A tool is a command about a store that no server needs to be running for.
type tool struct {
	storage storage
	offline bool
	json    bool
	quiet   bool
	writes  *bool // whether it writes to the store; nil: it does

	cmd      *cobra.Command
	terminal bool
	shown    time.Time // when progress was last shown
}

// The errors of commands that did their work and found something; what, they
// have printed.
var (
	errDamaged  = errors.New("the store is damaged, see above")
	errNotTaken = errors.New("not everything was taken as it is, see above")
)

// toolCommand is a command that opens the store, does its work, and prints what
// came of it. It takes the server's @FILE, for its --store.
func toolCommand(use, short, long, example string, define func(*cobra.Command, *tool), do func(context.Context, *tool, *store.Store, []string) error) *cobra.Command {
	t := &tool{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Annotations: map[string]string{cli.TakesArgFile: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd, args, do) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	t.storage.define(f)
	f.BoolVar(&t.json, "json", false, "print the report as JSON")
	f.BoolVarP(&t.quiet, "quiet", "q", false, "print no progress")
	define(cmd, t)
	cli.Once(f)
	return cmd
}

func (t *tool) run(cmd *cobra.Command, args []string, do func(context.Context, *tool, *store.Store, []string) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := cli.FromEnvironment(cmd.Flags(), environment); err != nil {
		return cli.Usage(cmd, err)
	}
	f, isFile := cmd.ErrOrStderr().(*os.File)
	t.cmd, t.terminal = cmd, isFile && !t.quiet && term.IsTerminal(int(f.Fd()))
	if t.offline {
		t.storage.wait = offlineWait
	}
	s, err := t.storage.open(ctx, cmd, store.Options{Offline: t.offline, ReadOnly: t.writes != nil && !*t.writes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = do(ctx, t, s, args)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted; nothing is left half done, and a second run continues")
	}
	return err
}

// progress shows a line on a terminal, not more often than can be read.
func (t *tool) progress(format string, args ...any) {
	const often = 200 * time.Millisecond
	if !t.terminal || time.Since(t.shown) < often {
		return
	}
	t.shown = time.Now()
	fmt.Fprintf(t.cmd.ErrOrStderr(), "\r\x1b[K%s", diag.Clean(fmt.Sprintf(format, args...)))
}

// done ends the progress line and prints the report. It returns bad unless the
// report is sound.
func (t *tool) done(report fmt.Stringer, sound bool, bad error) error {
	if !t.shown.IsZero() {
		fmt.Fprint(t.cmd.ErrOrStderr(), "\r\x1b[K")
	}
	out := t.cmd.OutOrStdout()
	var err error
	if t.json {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		err = e.Encode(report)
	} else {
		_, err = io.WriteString(out, diag.Clean(strings.TrimSuffix(report.String(), "\n")+"\n"))
	}
	if err == nil && !sound {
		err = bad
	}
	return err
}

func fsckCommand() *cobra.Command {
	var o store.FsckOptions
	return toolCommand("fsck [flags] [@FILE]", "Read all of a store and verify every digest and reference",
		"Reads every byte of a store, verifies every digest and every reference, and says\n"+
			"what is damaged or lost. Servers may be using the store meanwhile, unless it is to\n"+
			"be repaired. The exit code is 1 if anything is damaged.",
		"  enarx-drawbridge fsck --store /var/lib/enarx-drawbridge\n"+
			"  enarx-drawbridge fsck @/etc/enarx-drawbridge/drawbridge.toml --json",
		func(cmd *cobra.Command, t *tool) {
			cmd.Args = cli.Args(cobra.NoArgs)
			t.writes = &o.Repair
			cmd.Flags().BoolVar(&o.Repair, "repair", false, "put aside, under quarantine/, what is damaged, so that a publisher can send it again")
			cmd.Flags().StringVar(&o.After, "after", "", "continue after this content, the report's last of a run that was cut off")
		},
		func(ctx context.Context, t *tool, s *store.Store, _ []string) error {
			o.Progress = func(r store.FsckReport) {
				t.progress("%d repositories, %d tags, %d of %d contents, %d MB", r.Repositories, r.Tags, r.Verified, r.Blobs, r.Read/1e6)
			}
			report, err := s.Fsck(ctx, o)
			if err != nil {
				return err
			}
			return t.done(report, report.Clean(), errDamaged)
		})
}

// offlineWait is --gc-wait where nobody needs to be waited for: long enough for
// a slow disk.
const offlineWait = 250 * time.Millisecond

func gcCommand() *cobra.Command {
	return toolCommand("gc [flags] [@FILE]", "Delete from a store what no tag needs",
		"Runs the garbage collector, as servers do by themselves, until it has nothing left\n"+
			"to do: what no tag needs is announced, and deleted after --gc-wait, so that a\n"+
			"server that is about to need it can object.",
		"  enarx-drawbridge gc @/etc/enarx-drawbridge/drawbridge.toml\n"+
			"  enarx-drawbridge gc --store /mnt/copy --offline",
		func(cmd *cobra.Command, t *tool) {
			cmd.Args = cli.Args(cobra.NoArgs)
			t.storage.defineTimes(cmd.Flags())
			cmd.Flags().BoolVar(&t.offline, "offline", false, "no server uses this store, so do not wait; if one does, it loses data")
		},
		func(ctx context.Context, t *tool, s *store.Store, _ []string) error { return t.collect(ctx, s) })
}

// collect runs passes until one finds that nothing is left to wait for.
func (t *tool) collect(ctx context.Context, s *store.Store) error {
	var total store.GCReport
	_, wait := s.Times()
	for {
		r, err := s.GC(ctx)
		if err != nil {
			return err
		}
		total = sum(total, r)
		if !r.Waiting && r.Deleted() == 0 {
			return t.done(total, true, nil)
		}
		t.progress("%s; waiting", total)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait / passes):
		}
	}
}

// sum returns what two passes did; condemned is what the second one left.
func sum(a, b store.GCReport) store.GCReport {
	b.Nodes, b.Orphans, b.Pending, b.Uploads = a.Nodes+b.Nodes, a.Orphans+b.Orphans, a.Pending+b.Pending, a.Uploads+b.Uploads
	b.Blobs, b.Bytes, b.Tokens, b.Temps = a.Blobs+b.Blobs, a.Bytes+b.Bytes, a.Tokens+b.Tokens, a.Temps+b.Temps
	return b
}

func exportCommand() *cobra.Command {
	var o store.TransferOptions
	return toolCommand("export [flags] {FILE.tar | FOLDER | -} [USER[/REPOSITORY]…]", "Copy repositories out of a store",
		"Writes users, repositories, tags and their content, verified, into a tar file or a\n"+
			"folder, which import reads. - is standard output.",
		"  enarx-drawbridge export --store /var/lib/enarx-drawbridge backup.tar\n"+
			"  enarx-drawbridge export @/etc/enarx-drawbridge/drawbridge.toml - alice/shop | ssh other enarx-drawbridge import --store /srv/store -",
		func(cmd *cobra.Command, t *tool) {
			cmd.Args = cli.Args(cobra.MinimumNArgs(1))
			t.writes = new(bool)
		},
		func(ctx context.Context, t *tool, s *store.Store, args []string) (err error) {
			if err := t.transfer(&o, args[1:]); err != nil {
				return err
			}
			var report store.TransferReport
			switch {
			case args[0] == "-":
				report, err = s.Export(ctx, t.cmd.OutOrStdout(), o)
			case isFolder(args[0]):
				report, err = inFolder(args[0], func(dir *os.Root) (store.TransferReport, error) { return s.ExportDir(ctx, dir, o) })
			default:
				report, err = toFile(args[0], func(w io.Writer) (store.TransferReport, error) { return s.Export(ctx, w, o) })
			}
			if err != nil {
				return err
			}
			if args[0] == "-" {
				t.cmd.SetOut(t.cmd.ErrOrStderr()) // the report would be in the tar file
			}
			return t.done(report, report.Sound(), errNotTaken)
		})
}

func importCommand() *cobra.Command {
	var o store.TransferOptions
	var upstream bool
	return toolCommand("import [flags] {FILE.tar | FOLDER | STORE | -} [USER[/REPOSITORY]…]", "Copy repositories into a store",
		"Reads what export wrote, or another store given by its URL, or with --upstream the\n"+
			"folder of an upstream Drawbridge. Everything is verified on its way. What is there\n"+
			"already stays; a second run continues. Servers may be using both stores.",
		"  enarx-drawbridge import --store /var/lib/enarx-drawbridge backup.tar\n"+
			"  enarx-drawbridge import --store 's3://packages?region=eu-central-1' file:///var/lib/enarx-drawbridge\n"+
			"  enarx-drawbridge import --store /var/lib/enarx-drawbridge --upstream /var/lib/drawbridge",
		func(cmd *cobra.Command, t *tool) {
			cmd.Args = cli.Args(cobra.MinimumNArgs(1))
			cmd.Flags().BoolVar(&upstream, "upstream", false, "the folder is the store of an upstream Drawbridge")
		},
		func(ctx context.Context, t *tool, s *store.Store, args []string) error {
			if err := t.transfer(&o, args[1:]); err != nil {
				return err
			}
			report, err := t.importFrom(ctx, s, args[0], upstream, o)
			if err != nil {
				return err
			}
			return t.done(report, report.Sound(), errNotTaken)
		})
}

func (t *tool) importFrom(ctx context.Context, s *store.Store, source string, upstream bool, o store.TransferOptions) (store.TransferReport, error) {
	switch {
	case upstream:
		return inFolder(source, func(dir *os.Root) (store.TransferReport, error) { return s.ImportUpstream(ctx, dir, o) })
	case source == "-":
		return s.Import(ctx, t.cmd.InOrStdin(), o)
	case strings.Contains(source, "://"):
		other := storage{where: source}
		from, err := other.open(ctx, t.cmd, store.Options{ReadOnly: true})
		if err != nil {
			return store.TransferReport{}, err
		}
		report, err := s.Copy(ctx, from, o)
		return report, errors.Join(err, from.Close())
	case isFolder(source):
		report, err := inFolder(source, func(dir *os.Root) (store.TransferReport, error) { return s.ImportDir(ctx, dir, o) })
		if where, _ := filepath.Abs(source); errors.Is(err, fs.ErrNotExist) && isFolder(filepath.Join(source, "u")) {
			err = diag.Hint(err, "of another store give the URL: file://%s", where)
		}
		return report, err
	}
	f, err := os.Open(source)
	if err != nil {
		return store.TransferReport{}, err
	}
	defer f.Close()
	return s.Import(ctx, f, o)
}

// transfer fills in what to copy.
func (t *tool) transfer(o *store.TransferOptions, names []string) error {
	for _, name := range names {
		one, err := store.ParseSelection(name)
		if err != nil {
			return cli.Usage(t.cmd, err)
		}
		o.Select = append(o.Select, one)
	}
	o.Progress = func(r store.TransferReport) {
		t.progress("%d tags, %d nodes, %d MB", r.Tags.New+r.Tags.Present, r.Nodes.New+r.Nodes.Present, r.Bytes/1e6)
	}
	return nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func inFolder(name string, do func(*os.Root) (store.TransferReport, error)) (store.TransferReport, error) {
	dir, err := os.OpenRoot(name)
	if err != nil {
		return store.TransferReport{}, err
	}
	defer dir.Close()
	return do(dir)
}

// toFile writes a new file, which has its name only when it is whole.
func toFile(name string, do func(io.Writer) (store.TransferReport, error)) (report store.TransferReport, err error) {
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return report, err
	}
	report, err = do(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(part))
	}
	return report, err
}
