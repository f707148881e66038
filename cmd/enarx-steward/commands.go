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

	"enarx.dev/enarx/attest"
	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/ledger"
	"enarx.dev/enarx/internal/steward"
	"enarx.dev/enarx/internal/version"
)

func checkPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check-policy FILE",
		Short:   "Say in words what a policy asks for, or what is wrong in it",
		Example: "  enarx-steward check-policy /etc/enarx-steward/policy.toml",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			policy, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			return policy.Explain(cmd.OutOrStdout())
		},
	}
}

// maxPolicy bounds a policy file.
const maxPolicy = 4 << 20

func readPolicy(name string) (*attest.Policy, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxPolicy)
	}
	policy, err := attest.ParsePolicy(name, text)
	if e, ok := errors.AsType[*attest.PolicyError](err); ok && e.Hint != "" {
		return nil, diag.Hint(err, "%s", e.Hint)
	}
	return policy, err
}

func auditCommand() *cobra.Command {
	var head string
	cmd := &cobra.Command{
		Use:   "audit FILE",
		Short: "Check the chain of an issuance log and sum it up",
		Long: "Checks that every line of an issuance log continues the one before it, and\n" +
			"prints what is in it. Lines missing at the end can only be noticed by\n" +
			"somebody who remembers a later head: give that with --head.",
		Example: "  enarx-steward audit /var/log/enarx-steward/issued.jsonl",
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
	technology, insecure := map[string]int{}, 0
	s, err := ledger.Audit(f, want, func(e steward.Entry) {
		technology[e.Technology]++
		if e.Insecure {
			insecure++
		}
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
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(technology)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, technology[k]))
	}
	fmt.Fprintf(w, "%s: sound\n", name)
	fmt.Fprintf(w, "  certificates  %d, numbers %d to %d (%s)\n", s.Lines, s.Start, s.Next-1, strings.Join(kinds, ", "))
	if insecure > 0 {
		fmt.Fprintf(w, "  INSECURE      %d without any hardware vouching for the key\n", insecure)
	}
	fmt.Fprintf(w, "  issued        %s to %s\n", s.First.UTC().Format(time.RFC3339), s.Last.UTC().Format(time.RFC3339))
	if s.Start != 1 {
		fmt.Fprintf(w, "  continues     %s\n", s.StartAfter)
	}
	_, err = fmt.Fprintf(w, "  head          %s\n", s.Head)
	return err
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  enarx-steward version",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "enarx-steward %s\n", version.Version)
			return err
		},
	}
}
