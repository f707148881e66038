// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
)

func startMachine(t *testing.T) *Machine {
	t.Helper()
	need.Tool(t, program)
	m, err := Start(t.Context(), Config{Root: need.Root(t)})
	if errors.Is(err, ErrNotSetUp) {
		need.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestMachine boots once and uses the machine in every way that there is.
func TestMachine(t *testing.T) {
	m := startMachine(t)
	t.Logf("kernel %s", m.Kernel())
	dir := t.TempDir()
	echo := filepath.Join(dir, "echo")
	cmd := exec.Command("go", "build", "-o", echo, "./testdata/echo")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	note := filepath.Join(dir, "note")
	if err := os.WriteFile(note, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 5<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	tests := []struct {
		name           string
		args           []string
		stdin          string
		code           int
		stdout, stderr string
	}{
		{name: "binary input and output", args: []string{"cat"}, stdin: string(noise), stdout: string(noise)},
		{name: "no input", args: []string{"cat"}},
		{name: "unread input", args: []string{"exit", "7"}, stdin: string(noise), code: 7},
		{name: "streams, folder, environment", args: []string{"where"}, stdout: dir + " b c\n", stderr: "to stderr\n"},
		{name: "signal", args: []string{"abort"}, code: 128 + 9},
		{name: "file", args: []string{"read", note}, stdout: "first<nil>"},
		{name: "KVM and loopback", args: []string{"devices"}, stdout: "<nil> <nil> <nil>\ntrue <nil>\n"},
	}
	run := func(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string, err error) {
		var out, errs bytes.Buffer
		code, err = m.Run(ctx, Command{
			Argv: append([]string{echo}, args...), Dir: dir, Env: map[string]string{"A": "b c"},
			Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		})
		return code, out.String(), errs.String(), err
	}
	// All at once: the commands of a machine do not wait for each other.
	var wait sync.WaitGroup
	for _, test := range tests {
		wait.Go(func() {
			code, stdout, stderr, err := run(t.Context(), test.stdin, test.args...)
			if err != nil || code != test.code || stdout != test.stdout || stderr != test.stderr {
				t.Errorf("%s: %v, exit code %d, stdout %.80q (%d bytes), stderr %.80q", test.name, err, code, stdout, len(stdout), stderr)
			}
		})
	}
	wait.Wait()

	if _, err := m.Run(t.Context(), Command{Argv: []string{"/no/such"}}); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("a program that is not there: %v", err)
	}

	if err := os.WriteFile(note, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), note, note); err != nil {
		t.Fatal(err)
	}
	if _, stdout, _, err := run(t.Context(), "", "read", note); stdout != "second<nil>" {
		t.Errorf("a changed file reads %q, %v", stdout, err)
	}
	if err := m.Put(t.Context(), filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}

	_, cpuinfo, _, err := run(t.Context(), "", "read", "/proc/cpuinfo")
	var mhz float64
	if match := regexp.MustCompile(`cpu MHz\s*: ([0-9.]+)`).FindStringSubmatch(cpuinfo); match != nil {
		mhz, err = strconv.ParseFloat(match[1], 64)
	}
	if want := float64(tickRate()) / 1e6; err != nil || math.Abs(mhz-want) > want/100 {
		t.Errorf("the processor runs at %v MHz, not %v: %v", mhz, want, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, stdout, _, err := run(ctx, "", "sleep"); !errors.Is(err, context.DeadlineExceeded) || stdout != "asleep\n" {
		t.Errorf("a program that takes too long: %v, %q", err, stdout)
	}
	if _, stdout, _, err := run(t.Context(), "", "processes"); stdout != "1\n" {
		t.Errorf("%q processes are left, %v", stdout, err)
	}

	m.Close()
	if _, err := m.Run(t.Context(), Command{Argv: []string{echo}}); !errors.Is(err, ErrGone) {
		t.Errorf("a machine that is off: %v", err)
	}
	if !m.Gone() {
		t.Error("a machine that is off is not gone")
	}
}

func TestBootFails(t *testing.T) {
	need.Tool(t, program)
	root := t.TempDir()
	if _, err := Start(t.Context(), Config{Root: root}); !errors.Is(err, ErrNotSetUp) {
		t.Errorf("without a kernel: %v", err)
	}
	dir := filepath.Join(root, "build", "emulated")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel"), []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := boot(t.Context(), Config{Root: root}, nil)
	if !errors.Is(err, ErrBoot) || !strings.Contains(err.Error(), "qemu") {
		t.Errorf("with a bad kernel: %v", err)
	}
}

func TestArchive(t *testing.T) {
	var a archive
	a.add("a/b/c", 0o755, []byte("text!"))
	a.add("a/d", 0o644, nil)
	got := string(a.bytes())
	const want = "" +
		"070701" + "00000001" + "000041ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000002" + "00000000" + "a\x00" +
		"070701" + "00000002" + "000041ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "a/b\x00\x00\x00" +
		"070701" + "00000003" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000006" + "00000000" + "a/b/c\x00" + "text!\x00\x00\x00" +
		"070701" + "00000004" + "000081A4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "a/d\x00\x00\x00" +
		"070701" + "00000005" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000B" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
