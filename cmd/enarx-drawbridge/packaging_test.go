// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"enarx.dev/enarx/internal/cli"
	"enarx.dev/enarx/internal/need"
)

// TestPackaging: the example configuration is good, and stays so with what is
// commented out in it.
func TestPackaging(t *testing.T) {
	file := filepath.Join(need.Root(t), "packaging", "drawbridge", "drawbridge.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(t.TempDir(), "all.toml")
	full := bytes.ReplaceAll(text, []byte("\n#   "), []byte("\n"))
	full = bytes.Replace(full, []byte("\nstore ="), []byte("\n# store ="), 2) // it has one store
	if err := os.WriteFile(all, full, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, all} {
		root := newRoot()
		flags, err := cli.ReadArgFile(name, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.ParseFlags(flags); err != nil || !slices.Contains(flags, "--host=store.example") {
			t.Errorf("%s: %v, %q", name, err, flags)
		}
		if err := checkLimits(root.Flags()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExamples: the files of examples/drawbridge are good too.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(need.Root(t), "examples", "drawbridge", "*.toml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range files {
		if filepath.Base(name) == "policy.toml" {
			continue // for `enarx repo policy`, whose tests read it
		}
		root := newRoot()
		flags, err := cli.ReadArgFile(name, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.ParseFlags(flags); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := checkLimits(root.Flags()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnits lets systemd read the units.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("skipped: no systemd-analyze on this machine")
	}
	from, to := filepath.Join(need.Root(t), "packaging", "drawbridge"), t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"enarx-drawbridge.service", "enarx-drawbridge.socket", "enarx-drawbridge-admin.socket"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/usr/bin/enarx-drawbridge"), []byte(program))
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(to, name))
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "enarx-drawbridge") { // the machine's own units may have faults
			t.Error(line)
		}
	}
	if err != nil && t.Failed() {
		t.Error(err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1000": 1000, "64GiB": 64 << 30, "2GB": 2e9, "5B": 5, "-1": -1, "1kB": 1000, "3KiB": 3072} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		if again, err := parseSize(formatSize(got)); err != nil || again != got {
			t.Errorf("%s is printed as %s", text, formatSize(got))
		}
	}
	for _, bad := range []string{"", "x", "1.5GiB", "GiB", "1 GiB", "9999999TiB", "0x10"} {
		if n, err := parseSize(bad); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
}

// TestManual: the manual has every flag, and no flag that is not.
func TestManual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(need.Root(t), "docs", "drawbridge.md"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{"sign", "signer"} // of enarx
	known := map[string]bool{}
	for _, name := range elsewhere {
		known[name] = true
	}
	root := newRoot()
	for _, cmd := range append(root.Commands(), root) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			known[f.Name] = true
			if !bytes.Contains(text, []byte("--"+f.Name)) && f.Name != "help" && f.Name != "version" && f.Name != "quiet" {
				t.Errorf("%s --%s is not in the manual", cmd.Name(), f.Name)
			}
		})
	}
	for _, m := range regexp.MustCompile("`[^`\n]*`").FindAll(text, -1) {
		for _, f := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllSubmatch(m, -1) {
			if !known[string(f[1])] {
				t.Errorf("the manual has --%s, which is no flag", f[1])
			}
		}
	}
}
