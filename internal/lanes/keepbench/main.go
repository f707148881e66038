// SPDX-License-Identifier: Apache-2.0

// Command keepbench compares a Keep of the kvm backend with plain Linux, with a
// Linux microVM and with the nil backend, all in one machine: this one if its KVM
// runs Keeps, and otherwise the emulated one of internal/lanes/emulated. It prints
// tables in Markdown.
//
// Times from an emulated machine mean nothing, so only ratios are printed. Both
// numbers of a ratio are taken moments apart, in each of several rounds.
//
// `make build` must have been run before.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxRun ends what hangs. An emulated machine takes minutes for all.
const maxRun = 45 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	err := run(ctx, os.Args[1:])
	cancel()
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "keepbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "measure":
			return measureAll(ctx, args[1:], os.Stdout)
		case "start":
			return startOne(ctx, args[1:], os.Stdout)
		}
	}
	flags := flag.NewFlagSet("keepbench", flag.ContinueOnError)
	var o options
	flags.IntVar(&o.Rounds, "rounds", 5, "how often everything is measured")
	flags.BoolVar(&o.Quick, "quick", false, "one round, and less load")
	flags.StringVar(&o.Area, "only", "", "measure only one of "+strings.Join(areas, ", "))
	emulate := flags.Bool("emulated", false, "use the emulated machine even if this one's KVM is usable")
	raw := flags.String("json", "", "leave the raw numbers in this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Area != "" && !slices.Contains(areas, o.Area) || o.Rounds < 1 {
		return fmt.Errorf("there is nothing to measure with -only %q -rounds %d", o.Area, o.Rounds)
	}
	if o.Quick {
		o.Rounds = 1
	}
	_, source, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(source), "..", "..", "..")
	files, err := buildAll(ctx, root)
	if err != nil {
		return err
	}
	o.Files = files
	r, measured := measureIn(ctx, root, *emulate, o)
	if r == nil {
		return measured
	}
	report(os.Stdout, r)
	if *raw != "" {
		text, err := json.MarshalIndent(r, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*raw, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return measured
}
