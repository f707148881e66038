// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/collateral"
	"enarx.dev/enarx/internal/collateral/cachefile"
	"enarx.dev/enarx/internal/diag"
)

// registerRequest is the variable in which the firmware of a platform that
// Intel does not know leaves its manifest.
const registerRequest = "/sys/firmware/efi/efivars/SgxRegistrationServerRequest-304e0796-d515-4698-ac6e-e76cb1a71c28"

// Before the manifest: the variable's attributes, which the kernel puts there,
// and the version and size of what follows.
const registerHeader = 8

func sgxRegisterCommand() *cobra.Command {
	var cache vendorCache
	var path string
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Make this machine known to Intel",
		Long: "Make this machine known to Intel: machines with several processors are, once,\n" +
			"before they can have certificates for evidence. Its firmware says what to send.",
		Example: "  enarx platform sgx register",
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := os.ReadFile(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return diag.Hint(fmt.Errorf("this machine's firmware asks for no registration: %w", err),
					"it is registered, has one processor, or is no SGX machine; SGX Auto MP Registration is a setting of its firmware")
			case err != nil:
				return err
			case len(request) <= registerHeader:
				return fmt.Errorf("%s holds no manifest", path)
			}
			return cache.fetch(cmd, func(ctx context.Context, f *collateral.Fetcher) error {
				ppid, err := f.Register(ctx, request[registerHeader:])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "registered: PPID %s\n", ppid)
				return err
			})
		},
	}
	cache.flags(cmd, cachefile.IntelDir)
	cmd.Flags().StringVar(&path, "request", registerRequest, "the `file` that the firmware's request is in")
	return cmd
}
