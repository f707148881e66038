// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
)

// measured is the Go release that the counts in stdPackages are of.
const measured = "go1.26.8"

// stdPackages lists the packages whose tests run in a Keep, with the least number
// of top-level tests that must pass: what wasmtime 48, the runtime that the Go
// project tests wasip1 with, passes in the same place. The others skip themselves.
var stdPackages = []struct {
	name   string
	passes int
	// reads lists folders of GOROOT that the tests read instead of just their own.
	reads []string
	// tolerated holds tests that may fail, with the reason.
	tolerated map[string]string
}{
	{name: "strings", passes: 127},
	{name: "bytes", passes: 158},
	{name: "sort", passes: 47},
	{name: "encoding/json", passes: 105},
	{name: "compress/flate", passes: 40, reads: []string{"src/compress", "src/testdata"}},
	{name: "crypto/sha256", passes: 15},
	{name: "io/fs", passes: 22, reads: []string{"src/io", "src/os"}},
	{name: "math/big", passes: 216},
	// Two of its 178 skip themselves when the machine is too busy for them.
	{name: "time", passes: 176, reads: []string{"src/time", "lib/time"}},
	{name: "path/filepath", passes: 40, reads: []string{"src/path", "src/unicode"}},
	// Two of its 162 read /proc of the host and skip themselves without it.
	{name: "os", passes: 159, tolerated: map[string]string{
		"TestDevNullFile": "a Keep's file system has no devices, and so no /dev/null",
	}},
	{name: "net", passes: 178, reads: []string{"src/net", "src/testdata"}},
}

// TestGoStd runs the standard library's own tests as Go's tree would run them with
// GOOS=wasip1, on a copy of the parts of GOROOT that they read.
func TestGoStd(t *testing.T) {
	enarx := need.Enarx(t)
	version := goEnv(t, "GOVERSION")
	goroot := goEnv(t, "GOROOT")
	programs := buildStd(t, version)
	for _, pkg := range stdPackages {
		t.Run(strings.ReplaceAll(pkg.name, "/", "_"), func(t *testing.T) {
			t.Parallel()
			dir := path.Join(goroot, "src", pkg.name)
			reads := pkg.reads
			if reads == nil {
				reads = []string{"src/" + pkg.name}
			}
			got := run(t, enarx, 10*time.Minute,
				"--dir", stageRoot(t, goroot, reads)+"::/",
				"--env", "PWD="+dir,
				"--env", "PATH=/bin",
				filepath.Join(programs, path.Base(pkg.name)+".test"),
				"--", "-test.short", "-test.v")
			passed, skipped, failed := outcomes(got.stdout)
			t.Logf("%d pass, %d skip, %d fail", len(passed), len(skipped), len(failed))
			for _, name := range failed {
				if reason, ok := pkg.tolerated[name]; ok {
					t.Logf("%s failed, tolerated: %s", name, reason)
				} else {
					t.Errorf("%s failed", name)
				}
			}
			// One failing test is reason enough for exit code 1.
			if got.code != 0 && len(failed) == 0 || got.code > 1 {
				t.Errorf("exit code %d", got.code)
			}
			if version == measured && len(passed) < pkg.passes {
				t.Errorf("%d tests passed, at least %d must", len(passed), pkg.passes)
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", tail(got.stdout), tail(got.stderr))
			}
		})
	}
}

// buildStd compiles the tests once per Go release and returns their folder.
func buildStd(t *testing.T, version string) string {
	t.Helper()
	cache := filepath.Join(need.Root(t), "build", "gostd")
	dir := filepath.Join(cache, version)
	complete := true
	packages := make([]string, len(stdPackages))
	for i, pkg := range stdPackages {
		packages[i] = pkg.name
		_, err := os.Stat(filepath.Join(dir, path.Base(pkg.name)+".test"))
		complete = complete && err == nil
	}
	if complete {
		return dir
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(cache, "building-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	args := append([]string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", fresh + "/"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building Go's tests for wasip1: %v\n%s", err, out)
	}
	// A half-made folder under the final name would be taken for a complete one.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// stageRoot makes the guest's root directory: the folders of GOROOT under their
// real names, the files of its top that os tests open, /tmp, /dev and /etc.
func stageRoot(t *testing.T, goroot string, reads []string) string {
	t.Helper()
	root := t.TempDir()
	copyTree := func(name string) {
		from := filepath.Join(goroot, name)
		if err := os.CopyFS(filepath.Join(root, from), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range reads {
		copyTree(name)
	}
	for _, name := range []string{"go.env", "LICENSE", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(goroot, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, goroot, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tmp", "dev", "etc"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hosts := []byte("127.0.0.1 localhost\n::1 localhost\n")
	if err := os.WriteFile(filepath.Join(root, "etc", "hosts"), hosts, 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

var outcome = regexp.MustCompile(`(?m)^--- (PASS|SKIP|FAIL): (\S+)`)

// outcomes sorts the top-level tests of a verbose run; subtests are indented.
func outcomes(stdout string) (passed, skipped, failed []string) {
	for _, match := range outcome.FindAllStringSubmatch(stdout, -1) {
		switch match[1] {
		case "PASS":
			passed = append(passed, match[2])
		case "SKIP":
			skipped = append(skipped, match[2])
		case "FAIL":
			failed = append(failed, match[2])
		}
	}
	return passed, skipped, failed
}
