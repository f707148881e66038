// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/version"
)

// errUsage marks errors of the command line itself.
var errUsage = errors.New("usage")

// usageError is an error of the command line, with the way to the manual as
// its hint unless there is a better one.
type usageError struct{ error }

func (e usageError) Unwrap() error        { return e.error }
func (e usageError) Is(target error) bool { return target == errUsage }

func usage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if diag.HintOf(err) == "" {
		err = diag.Hint(err, "see `%s --help`", cmd.CommandPath())
	}
	return usageError{err}
}

func newRoot() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "enarx",
		Short: "Run WebAssembly programs in Keeps",
		Long: "Enarx runs WebAssembly programs in Keeps, which are trusted execution\n" +
			"environments (TEEs) where the hardware has one.",
		Example: "  enarx run hello.wasm\n" +
			"  enarx run --wasmcfgfile Enarx.toml server.wasm\n" +
			"  enarx platform info",
		Version:           version.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	})
	root.SetVersionTemplate("enarx {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetFlagErrorFunc(usage)

	var log logging
	root.PersistentFlags().StringVar(&log.filter, "log-filter", "", "what to log, like info or enarx=debug (env ENARX_LOG)")
	root.PersistentFlags().Var(&log.target, "log-target", "where to log: stderr or stdout")
	root.AddCommand(runCommand(&log), configCommand(), attestCommand(), platformCommand(), unstableCommand(&log), completionCommand())
	return root
}

// group makes cmd a command that only has subcommands.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(cmd.ErrOrStderr())
			if err := cmd.Help(); err != nil {
				return err
			}
			return exitCode(2)
		}
		err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
			err = diag.Hint(err, "did you mean `%s %s`?", cmd.CommandPath(), strings.Join(like, "` or `"+cmd.CommandPath()+" "))
		}
		return usage(cmd, err)
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// args wraps one of cobra's checks on the number of arguments.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return usage(cmd, check(cmd, args)) }
}
