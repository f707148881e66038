// SPDX-License-Identifier: Apache-2.0

// Enarx-steward is the attestation CA of Enarx: it turns certificate requests
// with evidence of a trusted execution environment into certificates.
//
// This package is parsing, wiring and printing; docs/steward.md is the manual.
// The exit code is 1 for an error and 2 for a wrong command line.
package main

import (
	"errors"
	"io"
	"os"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func main() { os.Exit(enarxSteward(os.Args[1:], os.Stdout, os.Stderr)) }

// enarxSteward runs one command line and returns the exit code.
func enarxSteward(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	err := cli.Expand(root, &args)
	if err == nil {
		root.SetArgs(args)
		root.SetOut(stdout)
		root.SetErr(stderr)
		err = root.Execute()
	}
	if err == nil {
		return 0
	}
	diag.Print(stderr, err)
	if errors.Is(err, cli.ErrUsage) {
		return 2
	}
	return 1
}
