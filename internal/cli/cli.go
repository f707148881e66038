// SPDX-License-Identifier: Apache-2.0

// Package cli is what the command lines of all enarx programs have in common:
// errors of usage that say where the manual is, and completions.
package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/diag"
)

// ErrUsage marks errors of the command line itself, for which the exit code is 2.
var ErrUsage = errors.New("usage")

type usageError struct{ error }

func (e usageError) Unwrap() error        { return e.error }
func (e usageError) Is(target error) bool { return target == ErrUsage }

// Usage makes err, if there is one, an error of cmd's line, with the way to the
// manual as its hint unless there is a better one or cmd is nil.
func Usage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if cmd != nil && diag.HintOf(err) == "" {
		err = diag.Hint(err, "see `%s --help`", cmd.CommandPath())
	}
	return usageError{err}
}

// Args wraps one of cobra's checks on the number of arguments.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return Usage(cmd, check(cmd, args)) }
}

// Completion is the command that prints completion scripts of a program.
func Completion(program string) *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish}",
		Short: "Print a completion script for a shell",
		Example: "  source <(" + program + " completion bash)\n" +
			"  " + program + " completion fish > ~/.config/fish/completions/" + program + ".fish",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return Usage(cmd, fmt.Errorf("no completion for the shell %q", args[0]))
		},
	}
}
