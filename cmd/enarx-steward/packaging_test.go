// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/need"
)

// TestPackaging: the examples that are installed are good ones.
func TestPackaging(t *testing.T) {
	dir := filepath.Join(need.Root(t), "packaging", "steward")
	policy, err := readPolicy(filepath.Join(dir, "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(policy.Warnings) > 0 {
		t.Errorf("policy.toml: %v", policy.Warnings)
	}
	root := newRoot()
	flags, err := cli.ReadArgFile(filepath.Join(dir, "steward.toml"), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.ParseFlags(flags); err != nil || !slices.Contains(flags, "--fetch") {
		t.Errorf("steward.toml: %v, %q", err, flags)
	}
}

// TestUnits lets systemd read the units.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("skipped: no systemd-analyze on this machine")
	}
	from, to := filepath.Join(need.Root(t), "packaging", "steward"), t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"enarx-steward.service", "enarx-steward.socket", "enarx-steward-admin.socket"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/usr/bin/enarx-steward"), []byte(program))
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(to, name))
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "enarx-steward") { // the machine's own units may have faults
			t.Error(line)
		}
	}
	if err != nil && t.Failed() {
		t.Error(err)
	}
}
