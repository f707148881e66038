// SPDX-License-Identifier: Apache-2.0

// Enarx-drawbridge is the workload repository of Enarx: users publish packages
// under tags, and Keeps fetch them, every byte accounted for by digests.
//
// This package is parsing, wiring and printing; docs/drawbridge.md is the
// manual. The exit code is 1 for an error and 2 for a wrong command line.
package main

import (
	"errors"
	"io"
	"os"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func main() { os.Exit(enarxDrawbridge(os.Args[1:], os.Stdout, os.Stderr)) }

// enarxDrawbridge runs one command line and returns the exit code.
func enarxDrawbridge(args []string, stdout, stderr io.Writer) int {
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
