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
	"testing"
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
		missing(t, "bin/enarx is not built: run `make build`")
	}
	return path
}

// Tool returns the path of an executable that `make setup` installs.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not installed: run `make setup`")
	}
	return path
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("skipped: " + why)
}
