// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/lanes/keepbench/microvm"
)

// maxProgram ends one program that hangs. The slowest one compiles net/http in an
// emulated Keep.
const maxProgram = 5 * time.Minute

// measureAll is the measuring program: it runs in the machine where Keeps run, and
// writes its results as JSON.
func measureAll(ctx context.Context, args []string, out io.Writer) error {
	var o options
	if len(args) != 1 {
		return errors.New("measure is for keepbench itself")
	}
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	r := &results{Rounds: o.Rounds, CPUs: runtime.NumCPU(), Microvm: microvm.CommandLine, Series: map[string][]float64{}}
	r.Kernel, r.CPU = describeMachine()
	r.Clock = readLine("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	measure := map[string]func(context.Context, options, *results) error{
		"calls": measureCalls, "start": measureStart, "memory": measureMemory, "serve": measureServe,
	}[o.Area]
	if measure == nil {
		return fmt.Errorf("nobody measures %q", o.Area)
	}
	began := time.Now()
	if err := measure(ctx, o, r); err != nil {
		r.Errors = append(r.Errors, o.Area+": "+err.Error())
	}
	progress("%s took %v", o.Area, time.Since(began).Round(time.Second))
	return json.NewEncoder(out).Encode(r)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "keepbench: "+format+"\n", args...) }

func describeMachine() (kernel, cpu string) {
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		kernel = unix.ByteSliceToString(name.Release[:])
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return kernel, ""
	}
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	cpu, _, _ = strings.Cut(rest, "\n")
	return kernel, cpu
}

func readLine(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// child is a program that runs.
type child struct {
	cmd    *exec.Cmd
	began  time.Time
	stdin  io.Closer // its end ends a program that waits for that
	stdout *bufio.Reader
	stderr bytes.Buffer
	cancel context.CancelFunc
}

// start runs a program in a process group of its own, which goes as a whole. A nil
// stdin is a pipe that says nothing.
func start(ctx context.Context, limit time.Duration, stdin *os.File, argv ...string) (*child, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	c := &child{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), cancel: cancel}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Cancel = func() error { return syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }
	c.cmd.WaitDelay = 10 * time.Second
	c.cmd.Stderr = &c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err == nil && stdin == nil {
		c.stdin, err = c.cmd.StdinPipe()
	} else if err == nil {
		c.cmd.Stdin = stdin
	}
	if err == nil {
		c.stdout, c.began = bufio.NewReader(stdout), time.Now()
		err = c.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// end closes the program's input, reads the rest of its output and waits for it.
func (c *child) end() (string, error) {
	defer c.cancel()
	if c.stdin != nil {
		c.stdin.Close()
	}
	text, _ := io.ReadAll(c.stdout) // what is wrong, the exit code says
	if err := c.cmd.Wait(); err != nil {
		return "", c.failed(err)
	}
	return string(text), nil
}

// kill ends the program now.
func (c *child) kill() {
	c.cancel()
	_ = c.cmd.Wait() // it was killed
}

// failed adds what the program said, which is known when it has ended.
func (c *child) failed(err error) error {
	text := strings.TrimSpace(c.stderr.String())
	return fmt.Errorf("%s: %w: %s", strings.Join(c.cmd.Args, " "), err, text[max(0, len(text)-500):])
}

// measureCalls has the same program measure its calls on plain Linux and in a Keep.
func measureCalls(ctx context.Context, o options, r *results) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for round := range o.Rounds {
		progress("calls, round %d of %d", round+1, o.Rounds)
		for _, where := range []struct {
			name string
			argv []string
		}{
			{"plain", []string{o.Files.Guest}},
			{"keep", []string{o.Files.Enarx, "unstable", "exec", "--backend", "kvm", o.Files.Guest}},
		} {
			c, err := start(ctx, maxProgram, null, where.argv...)
			if err != nil {
				return err
			}
			text, err := c.end()
			if err != nil {
				return err
			}
			for line := range strings.Lines(text) {
				name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
				ns, err := strconv.ParseFloat(number, 64)
				if err != nil {
					return fmt.Errorf("%s: %w", o.Files.Guest, err)
				}
				r.add("calls/"+where.name+"/"+name, ns)
			}
		}
	}
	return nil
}
