// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"enarx.dev/enarx/internal/need"
)

// programs are what this binary is as well, by the name it is called by.
var programs = map[string]func(){"enarx": main}

func TestMain(m *testing.M) { testscript.Main(m, programs) }

// TestCLI runs the sessions that need no Keep, with the command in this binary.
func TestCLI(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/cli", Setup: home, Cmds: commands})
}

// TestRun runs the sessions in Keeps, with bin/enarx. $backend is the backend that
// is tested, [nil] whether it is that one.
func TestRun(t *testing.T) {
	enarx := need.Enarx(t)
	setup := func(env *testscript.Env) error {
		env.Setenv("backend", need.Backend())
		env.Setenv("PATH", filepath.Dir(enarx)+string(os.PathListSeparator)+env.Getenv("PATH"))
		return home(env)
	}
	condition := func(name string) (bool, error) {
		if name != "nil" {
			return false, fmt.Errorf("no such condition")
		}
		return need.Backend() == name, nil
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/run", Setup: setup, Cmds: commands, Condition: condition})
}

// home gives the session a home of its own, and with it a cache.
func home(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", dir)
	return os.Mkdir(dir, 0o700)
}

// kernelWarning is what enarx says of a kernel that cannot confine a Keep fully.
var kernelWarning = regexp.MustCompile(`(?m)^enarx: warning: this kernel lacks .*\n`)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// wasm FILE KIND [N] writes a small module; see modules.
	"wasm": func(ts *testscript.TestScript, neg bool, args []string) {
		n := 0
		if len(args) == 3 {
			n, _ = strconv.Atoi(args[2])
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), modules[args[1]](n), 0o644))
	},
	// code N PROGRAM ARG… runs a program that must end with exit code N.
	"code": func(ts *testscript.TestScript, neg bool, args []string) {
		code := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				ts.Fatalf("%v", err)
			}
			code = exit.ExitCode()
		}
		if strconv.Itoa(code) != args[0] {
			ts.Fatalf("exit code %d, want %s", code, args[0])
		}
	},
	// silent checks that nothing was printed on standard error that is of enarx.
	"silent": func(ts *testscript.TestScript, neg bool, args []string) {
		if text := kernelWarning.ReplaceAllString(ts.ReadFile("stderr"), ""); text != "" {
			ts.Fatalf("printed %q", text)
		}
	},
	// entries FOLDER N checks how many files there are.
	"entries": func(ts *testscript.TestScript, neg bool, args []string) {
		list, err := os.ReadDir(ts.MkAbs(args[0]))
		ts.Check(err)
		if strconv.Itoa(len(list)) != args[1] {
			ts.Fatalf("%d files, want %s: %v", len(list), args[1], list)
		}
	},
	// damage FOLDER changes a byte in the middle of each file.
	"damage": func(ts *testscript.TestScript, neg bool, args []string) {
		files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
		ts.Check(err)
		for _, name := range files {
			data, err := os.ReadFile(name)
			ts.Check(err)
			data[len(data)/2] ^= 0xff
			ts.Check(os.WriteFile(name, data, 0o600))
		}
	},
	// bytes FILE STRING writes the string, which may have Go's escapes in it.
	"bytes": func(ts *testscript.TestScript, neg bool, args []string) {
		s, err := strconv.Unquote(`"` + args[1] + `"`)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(s), 0o644))
	},
}

// TestSignals stops workloads that never would by themselves. What counts is
// the status that a shell shows, whether enarx saw its Keep end first, by the
// same signal from the terminal, or was ended itself.
func TestSignals(t *testing.T) {
	enarx := need.Enarx(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(sig) { // as nohup does; what it starts ignores it too, and should
			t.Logf("%v is not tested: whoever started this test has it ignored", sig)
			continue
		}
		for _, group := range []bool{false, true} {
			if code := interrupted(t, enarx, sig, group); code != 128+int(sig) {
				t.Errorf("%v (to the group: %v): exit code %d", sig, group, code)
			}
		}
	}
}

// interrupted starts a workload that spins, sends it sig once it does, and
// returns the exit code as a shell has it. A terminal signals the whole group of
// processes.
func interrupted(t *testing.T, enarx string, sig syscall.Signal, group bool) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spin.wasm")
	if err := os.WriteFile(path, modules["spin"](0), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(enarx, "run", "--backend", need.Backend(), "--no-cache", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = need.Scale(10 * time.Second)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	pid := cmd.Process.Pid
	if group {
		pid = -pid
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	// The Keep holds the other end: the end of the file is its end.
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // a non-zero exit code is what is wanted
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// TestQuitPrintsNoGoroutines: Ctrl-\ reaches enarx and its Keep, both Go
// programs that would each show a stack trace.
func TestQuitPrintsNoGoroutines(t *testing.T) {
	enarx := need.Enarx(t)
	path := filepath.Join(t.TempDir(), "spin.wasm")
	if err := os.WriteFile(path, modules["spin"](0), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(enarx, "run", "--backend", need.Backend(), "--no-cache", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM} {
		if err := syscall.Kill(-cmd.Process.Pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if text := kernelWarning.ReplaceAllString(stderr.String(), ""); text != "" {
		t.Errorf("printed %q", text)
	}
}

// TestBrokenKVM is for machines whose KVM accepts every request and still does not
// run a Keep: that is said, soon, and such a KVM is not chosen.
func TestBrokenKVM(t *testing.T) {
	enarx := need.Enarx(t)
	begin := time.Now()
	info, err := exec.Command(enarx, "platform", "info").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(info), "present but unusable") {
		t.Skip("skipped: this machine's KVM is not a broken one")
	}
	if took := time.Since(begin); took > need.Scale(2*time.Second) {
		t.Errorf("it took %v", took)
	}
	if want := "✗ Keep can be started: present but unusable: guest SYSCALL not delivered\n"; !strings.Contains(string(info), want) {
		t.Errorf("it does not say %q:\n%s", want, info)
	}
	module := filepath.Join(t.TempDir(), "exit.wasm")
	if err := os.WriteFile(module, modules["exit"](42), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stderr string, code int) {
		cmd := exec.Command(enarx, append(append([]string{"run"}, args...), module)...)
		var text strings.Builder
		cmd.Stderr = &text
		_ = cmd.Run()
		return text.String(), cmd.ProcessState.ExitCode()
	}
	if stderr, code := run(); code != 42 || !strings.Contains(stderr, "no TEE in use: the nil backend") {
		t.Errorf("without --backend: %d, %s", code, stderr)
	}
	if stderr, code := run("--backend", "kvm"); code != 1 || !strings.Contains(stderr, "present but unusable: guest SYSCALL not delivered\n") {
		t.Errorf("--backend kvm: %d, %s", code, stderr)
	}
}
