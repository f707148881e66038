// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/workload"
)

func configCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "config",
		Short:   "Work with Enarx.toml",
		Example: "  enarx config init",
	})
	cmd.AddCommand(&cobra.Command{
		Use:     "init",
		Short:   "Write an Enarx.toml with everything explained into this folder",
		Example: "  enarx config init && $EDITOR Enarx.toml",
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return configInit() },
	})
	return cmd
}

func configInit() error {
	f, err := os.OpenFile(workload.FileName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return diag.Hint(fmt.Errorf("%q does already exist", workload.FileName), "move it away to start anew")
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", workload.FileName, err)
	}
	_, err = f.Write(workload.Template())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", workload.FileName, err)
	}
	return nil
}
