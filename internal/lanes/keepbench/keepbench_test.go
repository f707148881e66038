// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	if _, ok := spreadOf(nil); ok {
		t.Error("a spread of nothing")
	}
	for want, numbers := range map[string][]float64{
		"2.00 (1.00-9.00)":  {9, 1, 2},
		"15.0 (10.0-20.0)":  {20, 10},
		"1500 (1500-1500)":  {1500},
		"0.50 (-0.25-0.75)": {0.75, -0.25, 0.5},
		"2.50 (1.00-4.00)":  {4, 3, 2, 1},
		"0.00 (0.00-0.00)":  {0},
		"99.9 (99.9-100)":   {99.9, 99.94, 100},
	} {
		if s, ok := spreadOf(numbers); ok && s.String() != want {
			t.Errorf("%v: %s, want %s", numbers, s, want)
		}
	}
}

func TestQuotients(t *testing.T) {
	if diff := cmp.Diff([]float64{2, 3}, quotients([]float64{4, 6, 8, 1}, []float64{2, 2, 0})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The program that signals does so on plain Linux too: the port, if it may write to
// it, listens to nothing, and it goes on to its standard output.
func TestAnnouncing(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", plain, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	program, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := announcing(program)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i := range program {
		if got[i] != program[i] {
			changed++
		}
	}
	if len(got) != len(program) || changed == 0 || changed > len(announcement) {
		t.Errorf("%d bytes changed, %d of %d left", changed, len(got), len(program))
	}
	file := filepath.Join(dir, "announcing")
	if err := os.WriteFile(file, got, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := exec.CommandContext(t.Context(), file).Output()
	if err != nil || string(text) != string(firstByte) {
		t.Errorf("it wrote %q, %v", text, err)
	}
	if _, err := announcing([]byte("no program")); err == nil {
		t.Error("what is no program was changed")
	}
}

func TestAnnouncingNeedsRoom(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(elf.ELFMAG)
	if _, err := announcing(b.Bytes()); err == nil {
		t.Error("half a header is a program")
	}
}

func TestGuestMemory(t *testing.T) {
	const smaps = `7f0000000000-7f0002000000 rw-p 00000000 00:00 0 
Size:              32768 kB
Rss:                1024 kB
VmFlags: rd wr mr mw me nr sd
7f0010000000-7f0012000000 rw-p 00000000 00:00 0 
Rss:                2048 kB
VmFlags: rd wr mr mw me sd
7f0020000000-7f0022000000 r--p 00000000 00:01 12 /memfd:enarx-exec (deleted)
Rss:                4096 kB
VmFlags: rd mr mw me nr sd
7f0030000000-7f0032000000 ---p 00000000 00:00 0 
Rss:                   0 kB
VmFlags: mr mw me nr sd
7f0040000000-7f0042000000 rw-p 00000000 00:00 0 
Rss:                  16 kB
VmFlags: rd wr mr mw me nr sd
`
	if got := guestMemory([]byte(smaps)); got != 1040 {
		t.Errorf("%d KiB, want 1040", got)
	}
	if got := field([]byte("Rss:  12 kB\nPss:  7 kB\nPss_Anon:  3 kB\n"), "Pss:"); got != 7 {
		t.Errorf("Pss %d, want 7", got)
	}
}

func TestTreeHasChildren(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids, err := tree(os.Getpid())
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err != nil || len(pids) < 2 || pids[0] != os.Getpid() {
		t.Errorf("%v, %v", pids, err)
	}
}

func TestReport(t *testing.T) {
	r := &results{Rounds: 2, Emulated: true, Series: map[string][]float64{
		"calls/plain/getpid": {10, 10}, "calls/keep/getpid": {15, 25},
		"start/call/microvm": {3, 2}, "start/call/keep": {0.2, 0.25},
		"serve/tcp/nil/1": {100, 100}, "serve/tcp/kvm/1": {70, 80},
	}, Errors: []string{"memory: it\nended"}}
	var b strings.Builder
	report(&b, r)
	for _, want := range []string{
		"| getpid | the shim | 2.00 (1.50-2.50) | 1.00 (1.00-1.00) |\n",
		"| the call, first instruction of exec | 11.5 (8.00-15.0) |\n",
		"| HTTP | 0.75 (0.70-0.80) | - |\n",
		"microVM : Keep | at least 10.0 | 11.5 | met |\n",
		"| HTTP requests per second, C=1, kvm : nil | at least 0.80 | 0.75 | missed |\n",
		"| HTTPS requests per second, C=1, kvm : nil | at least 0.80 | - | not measured |\n",
		"| error | memory: it ended |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "idle") {
		t.Error("a table of what was not measured")
	}
}
