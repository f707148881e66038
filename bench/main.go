// SPDX-License-Identifier: Apache-2.0

// Command bench compares `enarx run` with other ways to run the same programs:
// wasmtime, Node's WASI, and natively. Every row is measured in turn, one run of
// each per round, so that what else the machine does meanwhile weighs on all alike;
// README.md says what each row means. Run it in this folder: `go run . [flags]`.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

// bench is one run of this program.
type bench struct {
	rounds  int
	quick   bool
	only    *regexp.Regexp
	builder *builder
	runners []runner
	env     []string
	stdout  io.Writer
	log     io.Writer

	facts      []fact
	rows       []row
	footprints []footprint
	servers    []*server
	tables     []*table
	failed     int
}

// wants tells whether the row is to be measured.
func (b *bench) wants(id string) bool { return b.only.MatchString(id) }

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.log, "bench: "+format+"\n", args...)
}

// fail reports a runner that is there and does not work; one that is missing only has
// a note in the table, and a peer's failure is not ours.
func (b *bench) fail(runner, format string, args ...any) {
	if runner == enarx || runner == enarxFresh || runner == native {
		b.failed++
	}
	b.progress("FAILED: "+format, args...)
}

func (b *bench) show(t *table) {
	t.text(b.stdout)
	b.tables = append(b.tables, t)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := benchmark(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchmark(ctx context.Context) error {
	rounds := flag.Int("rounds", 5, "how often each runner runs each program, after one warm-up")
	only := flag.String("only", "", "measure only the rows SECTION/NAME that match this regular expression")
	quick := flag.Bool("quick", false, "two rounds (unless -rounds is given) and kernels a fifth as long")
	jsonFile := flag.String("json", "", "write every sample to this file")
	mdFile := flag.String("md", "", "write the tables as Markdown to this file")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds %d: there must be one at least", *rounds)
	}
	expression, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *quick && !isSet("rounds") {
		*rounds = 2
	}
	b, err := newBench(*rounds, *quick, expression)
	if err != nil {
		return err
	}
	b.measure(ctx)
	if *jsonFile != "" {
		if err := b.writeJSON(*jsonFile); err != nil {
			return err
		}
	}
	if *mdFile != "" {
		if err := b.writeMarkdown(*mdFile); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: the tables are not complete")
	case len(b.tables) == 1:
		return fmt.Errorf("no row matches -only %s", *only)
	case b.failed > 0:
		return fmt.Errorf("%d runs of enarx or native programs failed: see above", b.failed)
	}
	return nil
}

func isSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func newBench(rounds int, quick bool, only *regexp.Regexp) (*bench, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "bench", "wasi.mjs")); err != nil {
		return nil, fmt.Errorf("run it in the folder bench: %w", err)
	}
	out := filepath.Join(root, "build", "bench")
	return &bench{
		rounds: rounds, quick: quick, only: only,
		builder: &builder{root: root, out: out, made: map[string]built{}},
		runners: findRunners(root), env: environment(out),
		stdout: os.Stdout, log: os.Stderr,
	}, nil
}

func (b *bench) measure(ctx context.Context) {
	before := readUsage()
	b.facts = facts(ctx, b)
	b.startUp(ctx)
	b.kernels(ctx)
	b.memory(ctx)
	b.serve(ctx)
	if list := b.bounds(); !missing(list) {
		b.show(boundTable(list))
	}
	b.facts = append(b.facts,
		fact{"load average after", content("/proc/loadavg")},
		fact{"used by others meanwhile", fmt.Sprintf("%.0f %% of the machine", 100*before.elsewhere())})
	b.show(factTable(b.facts))
}

func (b *bench) writeJSON(file string) error {
	text, err := json.MarshalIndent(map[string]any{
		"facts": b.facts, "rows": b.rows, "memory": b.footprints, "serve": b.servers, "bounds": b.bounds(),
	}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

func (b *bench) writeMarkdown(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "# What `make bench` printed\n")
	last := len(b.tables) - 1
	b.tables[last].markdown(f) // the machine comes first in a document
	for _, t := range b.tables[:last] {
		t.markdown(f)
	}
	return f.Close()
}
