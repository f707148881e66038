// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/version"
)

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
	root.SetFlagErrorFunc(cli.Usage)

	var log logging
	root.PersistentFlags().StringVar(&log.filter, "log-filter", "", "what to log, like info or enarx=debug (env ENARX_LOG)")
	root.PersistentFlags().Var(&log.target, "log-target", "where to log: stderr or stdout")
	root.AddCommand(runCommand(&log), userCommand(), repoCommand(), packageCommand(), treeCommand(),
		configCommand(), attestCommand(), platformCommand(), unstableCommand(&log), cli.Completion("enarx"))
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
		return cli.Usage(cmd, err)
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}
