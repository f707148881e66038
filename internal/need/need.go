// SPDX-License-Identifier: Apache-2.0

// Package need holds the gates of tests that want more than the Go toolchain.
// A gate that is closed skips the test and prints why; under CI=true the gates
// that CI promises to open fail instead.
package need

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Root returns the top folder of this module.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		t.Fatal("need: bug: tests must be built without -trimpath")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Enarx returns the path of bin/enarx as `make build` leaves it.
func Enarx(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Root(t), "bin", "enarx")
	if _, err := os.Stat(path); err != nil {
		Missing(t, "bin/enarx is not built: run `make build`")
	}
	return path
}

// Tool returns the path of an executable that `make setup` installs.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name+" is not installed: run `make setup`")
	}
	return path
}

// Server returns the path of a program of tools/servers that `make setup` builds.
func Server(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Root(t), "build", "servers", name)
	if _, err := os.Stat(path); err != nil {
		Missing(t, name+" is not built: run `make setup`")
	}
	return path
}

// KVM is for tests that start virtual machines. They run where ENARX_TEST_KVM=1
// says that KVM works: in internal/lanes TestKVM, directly or in an emulated machine.
func KVM(t testing.TB) {
	t.Helper()
	if os.Getenv("ENARX_TEST_KVM") != "1" {
		t.Skip("skipped: needs a usable KVM: run by internal/lanes TestKVM (make test-kvm)")
	}
}

// Backend returns the backend whose Keeps are to be tested.
func Backend() string {
	if name := os.Getenv("ENARX_TEST_BACKEND"); name != "" {
		return name
	}
	return "nil"
}

// Emulated reports whether the test runs in the machine of internal/lanes/emulated:
// nothing can be compiled there, and nothing about time be concluded.
func Emulated() bool { return os.Getenv("ENARX_TEST_SLOW") != "" }

// Scale returns a limit for d of work on an ordinary machine: d, or as many times
// d as ENARX_TEST_SLOW says that this machine is slower.
func Scale(d time.Duration) time.Duration {
	if factor, err := strconv.Atoi(os.Getenv("ENARX_TEST_SLOW")); err == nil && factor > 1 {
		return d * time.Duration(factor)
	}
	return d
}

// Missing skips the test because of something that `make setup` installs, or fails it
// where that is promised.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("skipped: " + why)
}

// Vectors returns the folder of the project's hardware evidence, which lies beside
// the repository and not in it, or skips the test.
func Vectors(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(Root(t)), "shared", "vectors")
	if env := os.Getenv("ENARX_VECTORS"); env != "" {
		dir = env
	}
	if _, err := os.Stat(filepath.Join(dir, "INDEX.md")); err != nil {
		t.Skip("skipped: no hardware evidence: " + dir + " is not on this machine (ENARX_VECTORS names another folder)")
	}
	return dir
}
