// SPDX-License-Identifier: Apache-2.0

// Keep the Go runtime from looking for a new CPU quota now and then: taking
// one stops the world; see internal/wasm.Collector.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Enarx-exec is the only program inside a Keep. It reads a hand-over document
// from descriptor 3 and runs the workload that this describes. Nothing in it
// knows which kind of Keep it is in; it is a plain static Linux program, and
// the system calls it makes are the list of internal/confine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/runner"
	"enarx.dev/enarx/internal/wasm"
)

func main() {
	// A short-lived workload is gone before a collection would pay; the
	// runner switches it on for large modules and the Collector takes over.
	debug.SetGCPercent(-1)
	// One P may be held by the guest for ever. The rest of exec needs another.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	// A closed standard output is the workload's to see, as EPIPE. On SIGQUIT
	// the Go runtime would print its goroutines.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGQUIT)
	os.Exit(run())
}

func run() int {
	if _, err := confine.Self(); err != nil {
		return fail(fmt.Errorf("confining enarx-exec: %w", err))
	}
	in := os.NewFile(handover.FD, "hand-over")
	doc, err := handover.Read(in)
	_ = in.Close() // read to its end
	if err != nil {
		return fail(diag.Hint(err, "enarx-exec is started by `enarx run`, not by hand"))
	}
	keep := &runner.Keep{
		Doc: doc, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Open: func(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)) },
		Exit: os.Exit,
	}
	code, err := keep.Run(context.Background())
	if err != nil {
		fail(err)
	}
	return code
}

// fail prints err and returns the exit code of a Keep that did not run.
func fail(err error) int {
	diag.Print(os.Stderr, err)
	if trap, ok := errors.AsType[*wasm.Trap](err); ok {
		for i, frame := range trap.Frames {
			fmt.Fprintf(os.Stderr, "    %2d: %s\n", i, diag.Clean(frame))
		}
	}
	return 1
}
