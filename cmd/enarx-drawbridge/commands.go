// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/version"
)

func auditCommand() *cobra.Command {
	var head string
	cmd := &cobra.Command{
		Use:   "audit FILE",
		Short: "Check the chain of an audit log and sum it up",
		Long: "Checks that every line of an audit log continues the one before it, and prints\n" +
			"what is in it. Lines missing at the end can only be noticed by somebody who\n" +
			"remembers a later head: give that with --head.",
		Example: "  enarx-drawbridge audit /var/log/enarx-drawbridge/audit.jsonl",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var want *ledger.Hash
			if head != "" {
				want = new(ledger.Hash)
				if err := want.UnmarshalText([]byte(head)); err != nil {
					return cli.Usage(cmd, fmt.Errorf("--head: %w", err))
				}
			}
			return audit(cmd.OutOrStdout(), args[0], want)
		},
	}
	cmd.Flags().StringVar(&head, "head", "", "hash of a line that must be in the log, from an earlier audit")
	return cmd
}

func audit(w io.Writer, name string, want *ledger.Hash) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	outcomes, actions := map[string]int{}, map[string]int{}
	s, err := ledger.Audit(f, want, func(r drawbridged.Record) {
		outcomes[r.Outcome]++
		actions[r.Action]++
	})
	if bad, ok := errors.AsType[*ledger.BadLine](err); ok {
		return fmt.Errorf("%s:%d: %w", name, bad.Line, bad.Err)
	}
	if err != nil {
		return err
	}
	if want != nil && !s.Found {
		return diag.Hint(fmt.Errorf("%s: no line has the hash %s", name, want), "lines were removed from its end, or it is another log")
	}
	if s.Lines == 0 {
		_, err := fmt.Fprintf(w, "%s: sound, empty\n", name)
		return err
	}
	fmt.Fprintf(w, "%s: sound\n", name)
	fmt.Fprintf(w, "  records    %d, numbers %d to %d (%s)\n", s.Lines, s.Start, s.Next-1, counts(outcomes))
	fmt.Fprintf(w, "  actions    %s\n", counts(actions))
	fmt.Fprintf(w, "  time       %s to %s\n", s.First.UTC().Format(time.RFC3339), s.Last.UTC().Format(time.RFC3339))
	if s.Start != 1 {
		fmt.Fprintf(w, "  continues  %s\n", s.StartAfter)
	}
	_, err = fmt.Fprintf(w, "  head       %s\n", s.Head)
	return err
}

// counts is a map in words, in order.
func counts(m map[string]int) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(all, ", ")
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  enarx-drawbridge version",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "enarx-drawbridge %s\n", version.Version)
			return err
		},
	}
}
