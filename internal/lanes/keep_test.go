// SPDX-License-Identifier: Apache-2.0

// Package lanes runs test programs that others wrote through `enarx run`: Go's own
// standard-library tests built for wasip1, and the public wasi-testsuite. It has
// no code of its own to offer.
package lanes

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
)

// ended is what one program did.
type ended struct {
	code           int
	stdout, stderr string
}

// run runs `enarx run` with args. It fails the test when the program does not end
// by itself within limit.
func run(t *testing.T, enarx string, limit time.Duration, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, enarx, append([]string{"run", "--backend", need.Backend()}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = need.Scale(10 * time.Second)
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("still running after %v\nstdout:\n%s\nstderr:\n%s", limit, tail(stdout.String()), tail(stderr.String()))
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// tail returns the end of a long output, where the reason of a failure mostly is, and a little of its head.
func tail(text string) string {
	const most = 8 << 10
	if len(text) <= most {
		return text
	}
	const head = 1 << 10 // why a Go program crashed stands before its goroutines
	return text[:head] + "[...]" + text[len(text)-most:]
}
