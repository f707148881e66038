// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// maxRun ends a program that hangs; the slowest sane one takes seconds.
const maxRun = 3 * time.Minute

// sample is what one run of a program cost, its child processes included.
type sample struct {
	Wall float64 `json:"wall"`    // seconds
	CPU  float64 `json:"cpu"`     // seconds, user and system
	RSS  int64   `json:"rss_kib"` // of the largest single process; see rssFloor
}

func wallOf(s sample) float64 { return s.Wall }
func cpuOf(s sample) float64  { return s.CPU }

// run executes a program with nothing on its standard input, and fails unless it
// exits 0.
func run(ctx context.Context, argv, env []string) (sample, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := command(ctx, argv, env)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if ctx.Err() != nil {
		return sample{}, nil, fmt.Errorf("running %s: %w", argv[0], ctx.Err())
	}
	if err != nil {
		return sample{}, nil, fmt.Errorf("%w: %s", err, lastLine(stderr.Bytes()))
	}
	// wait4 fills this in: the process and every descendant that was waited for.
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, nil, errors.New("this system does not tell what a process used")
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return sample{Wall: wall.Seconds(), CPU: cpu.Seconds(), RSS: usage.Maxrss}, stdout.Bytes(), nil
}

// command starts a program in a process group of its own, which a cancelled context
// ends as a whole.
func command(ctx context.Context, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := lines[len(lines)-1]
	return last[:min(len(last), 200)]
}

// rssFloor is the least peak that wait4 can report, in KiB: Go starts a child in its
// own address space, and Linux counts that space's peak as the child's.
func rssFloor() int64 {
	self, err := readProcess(os.Getpid())
	if err != nil {
		return 0
	}
	return self.peak
}
