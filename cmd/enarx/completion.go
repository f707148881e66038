// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish}",
		Short: "Print a completion script for a shell",
		Example: "  source <(enarx completion bash)\n" +
			"  enarx completion fish > ~/.config/fish/completions/enarx.fish",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      args(cobra.ExactArgs(1)),
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
			return usage(cmd, fmt.Errorf("no completion for the shell %q", args[0]))
		},
	}
}
