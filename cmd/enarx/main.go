// SPDX-License-Identifier: Apache-2.0

// Looking for a CPU quota is work at every start, and nothing here computes.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Enarx runs WebAssembly programs in Keeps: trusted execution environments
// where the hardware has one, and otherwise a confined process that says so.
//
// This package is parsing, wiring and printing. What goes to standard output
// is a command's result or the workload's own; everything else goes to
// standard error as "enarx: error: …", "enarx: warning: …" or "enarx: hint: …"
// lines. The exit code is 1 for an error, 2 for a wrong command line, and for
// `enarx run` that of the workload, or 254 when its Keep came to grief.
package main

import (
	"errors"
	"io"
	"os"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/diag"
)

func main() { os.Exit(enarx(os.Args[1:], os.Stdout, os.Stderr)) }

// enarx runs one command line and returns the exit code.
func enarx(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	diag.Print(stderr, err)
	if errors.Is(err, cli.ErrUsage) {
		return 2
	}
	if ended, ok := errors.AsType[endedError](err); ok {
		return ended.code
	}
	return 1
}

// endedError is an error of a Keep that had started, with an exit code that
// says so to a script: 254 when its shim gave up.
type endedError struct {
	error
	code int
}

func (e endedError) Unwrap() error { return e.error }

// exitCode is the way a workload's exit code leaves a command. It is not
// printed: whatever there was to say has been said.
type exitCode int

func (exitCode) Error() string { return "bug: an exit code is not a message" }
