// SPDX-License-Identifier: Apache-2.0

package testprogs

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
)

// TestLinux runs every program that plain Linux can run: what the list says of them
// must hold there before it can say anything about a Keep.
func TestLinux(t *testing.T) {
	programs, err := Build(t.Context(), filepath.Join(need.Root(t), "build", "testprogs"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range programs {
		if seen[p.Name] {
			t.Errorf("%s is in the list twice", p.Name)
		}
		seen[p.Name] = true
		t.Run(p.Name, func(t *testing.T) {
			switch {
			case p.Missing != "":
				t.Skip("skipped: " + p.Missing)
			case !p.Linux:
				t.Skip("skipped: this program is for a Keep only")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*p.Limit)
			defer cancel()
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(ctx, p.Path, p.Args...)
			cmd.Dir, cmd.Env = t.TempDir(), []string{}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.Stdin), &stdout, &stderr
			start := time.Now()
			err := cmd.Run()
			if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				t.Fatal(err)
			}
			code := cmd.ProcessState.ExitCode()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				code = 128 + int(status.Signal())
			}
			if err := p.Judge(stdout.Bytes(), code); err != nil {
				if p.Parallel {
					t.Skipf("skipped: two processors were not free: %s", stderr.String())
				}
				t.Errorf("%v\nstderr:\n%.4000s", err, stderr.String())
			}
			if took := time.Since(start); took > p.Limit {
				t.Errorf("took %v, the limit is %v", took, p.Limit)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	p := Program{Code: 3, Stdout: "abc"}
	for _, x := range []struct {
		stdout string
		code   int
		want   string
	}{
		{"abc", 3, ""}, {"abc", 4, "exit code 4, want 3"}, {"abd", 3, `printed 3 bytes, want 3: "abd"…`}, {"", 3, `printed 0 bytes, want 3: ""…`},
	} {
		got := ""
		if err := p.Judge([]byte(x.stdout), x.code); err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%q, %d: %q, want %q", x.stdout, x.code, got, x.want)
		}
	}
	check := passes(2)
	for text, good := range map[string]bool{
		"--- PASS: TestA (0.00s)\n--- PASS: TestB (1.00s)\nPASS\n":                                  true,
		"--- PASS: TestA (0.00s)\nPASS\n":                                                           false,
		"--- PASS: TestA (0.00s)\n--- PASS: TestB (1.00s)\n":                                        false,
		"--- PASS: TestA (0.00s)\n--- PASS: TestB (1.00s)\n--- FAIL: TestC (0.00s)\nPASS\n":         false,
		"--- PASS: TestA (0.00s)\n    --- PASS: TestA/sub (1.00s)\n--- SKIP: TestB (0.00s)\nPASS\n": false,
	} {
		if err := check([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
