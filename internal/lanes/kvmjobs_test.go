// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/lanes/testprogs"
	"enarx.dev/enarx/internal/need"
)

// A job is one part of TestKVM. It counts what passed and failed in it, and fails
// its test if anything did.
type job struct {
	name string
	run  func(*testing.T, *place, *tally)
}

// testBinaries are the packages whose tests run in Keeps, with what they want
// beside themselves. Paths are relative to the top folder.
var testBinaries = []struct {
	pkg   string
	args  []string
	files []string
}{
	{pkg: "examples", files: []string{"bin/enarx", "examples", "build/examples"}},
	{pkg: "internal/loader", args: []string{"-test.run=KVM|Exec"}, files: []string{"bin/enarx", "build/examples/hello-wat"}},
	{pkg: "cmd/enarx", args: []string{"-test.skip=^(TestCLI|TestAttest)$"}, files: []string{"bin/enarx", "cmd/enarx/testdata"}},
	{pkg: "internal/keep"},
	{pkg: "internal/kvm"},
}

// jobs returns the jobs of TestKVM, the longest first, and those that want both
// processors of this machine to themselves.
func jobs(t *testing.T) (all, alone []job) {
	root, dir := need.Root(t), t.TempDir()
	for _, b := range testBinaries {
		all = append(all, job{b.pkg, func(t *testing.T, p *place, count *tally) {
			files := make([]string, len(b.files))
			for i, name := range b.files {
				files[i] = filepath.Join(root, name)
			}
			runTests(t, p, count, dir, b.pkg, b.args, files)
		}})
	}
	programs, err := testprogs.Build(t.Context(), filepath.Join(root, "build", "testprogs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		list := &all
		if program.Parallel {
			list = &alone
		}
		*list = append(*list, job{"exec/" + program.Name, func(t *testing.T, p *place, count *tally) {
			where := p
			if program.Parallel {
				where = p.parallel(t)
			}
			runProgram(t, where, &program)
			if !t.Failed() {
				count.passed = 1
			}
		}})
	}
	if suite := os.Getenv("WASI_TESTSUITE"); suite != "" {
		all = append(all, job{"wasi-testsuite", func(t *testing.T, p *place, count *tally) {
			files := []string{need.Enarx(t)}
			for _, folder := range suiteFolders {
				files = append(files, filepath.Join(suite, folder))
			}
			runTests(t, p, count, dir, "internal/lanes", []string{"-test.run=^TestWASITestsuite$"}, files)
		}})
	}
	return all, alone
}

// runTests compiles the tests of a package and runs them in its folder.
func runTests(t *testing.T, p *place, count *tally, dir, pkg string, args, files []string) {
	t.Helper()
	root := need.Root(t)
	binary := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+".test")
	build(t, root, "go", "test", "-c", "-tags=keepimages", "-ldflags=-s -w", "-o", binary, "./"+pkg)
	p.put(t, append(files, binary)...)
	p.mkdir(t, filepath.Join(root, pkg))
	limit := p.scale(2 * time.Minute)
	got := p.run(t, program{
		argv:  append([]string{binary, "-test.v", "-test.timeout=" + limit.String()}, args...),
		dir:   filepath.Join(root, pkg),
		env:   map[string]string{"WASI_TESTSUITE": os.Getenv("WASI_TESTSUITE")},
		limit: limit + time.Minute, // so that the tests themselves say where they hang
	})
	passed, skipped, failed := leaves(got.stdout)
	count.passed, count.failed = len(passed), len(failed)
	for _, name := range skipped {
		t.Logf("skipped: %s", name)
	}
	switch {
	case got.code != 0 || len(failed) > 0:
		t.Errorf("exit code %d, failed: %v\nstdout:\n%s\nstderr:\n%s", got.code, failed, failures(got.stdout), tail(got.stderr))
	case len(passed) == 0:
		t.Errorf("no test ran:\n%s", tail(got.stdout))
	}
}

// parallelTries is how often a program may measure whether two processors work at the
// same time, in a machine whose processors share those of a busy one.
const parallelTries = 3

// runProgram runs a program without a Keep, where that is possible, and within.
func runProgram(t *testing.T, p *place, what *testprogs.Program) {
	if what.Missing != "" {
		need.Missing(t, what.Missing)
	}
	enarx := need.Enarx(t)
	p.put(t, append(interpreter(t, what.Path), what.Path, enarx)...)
	run := func(prefix ...string) ended {
		return p.run(t, program{
			argv: append(append(prefix, what.Path), what.Args...), dir: "/tmp",
			stdin: string(what.Stdin), limit: p.scale(what.Limit),
		})
	}
	tries := 1
	if what.Parallel && !p.here {
		tries = parallelTries
	}
	for try := 1; ; try++ {
		got := run(enarx, "unstable", "exec")
		err := what.Judge([]byte(got.stdout), got.code)
		if err != nil && try < tries {
			continue
		}
		if err != nil {
			t.Errorf("%v\nstdout:\n%s\nstderr:\n%s", err, tail(got.stdout), tail(got.stderr))
		}
		if !what.Linux {
			return
		}
		plain := run()
		if err := what.Judge([]byte(plain.stdout), plain.code); err != nil && !what.Parallel {
			t.Errorf("without a Keep: %v\nstdout:\n%s\nstderr:\n%s", err, tail(plain.stdout), tail(plain.stderr))
		}
		if diff := cmp.Diff(testprogs.Outcomes([]byte(plain.stdout)), testprogs.Outcomes([]byte(got.stdout))); diff != "" {
			t.Errorf("outcomes of tests without a Keep (-) and within (+):\n%s", diff)
		}
		return
	}
}

// interpreter returns the dynamic linker that Linux starts a program with, if it is
// not static, and what it is a link to. Go's position-independent executables name
// one and need nothing of it.
func interpreter(t *testing.T, binary string) []string {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
		if err != nil {
			t.Fatal(err)
		}
		path := string(bytes.TrimRight(name, "\x00"))
		target, err := os.Readlink(path)
		switch {
		case err != nil: // not a link
			return []string{path}
		case !filepath.IsAbs(target):
			target = filepath.Join(filepath.Dir(path), target)
		}
		return []string{path, target}
	}
	return nil
}

var anyOutcome = regexp.MustCompile(`(?m)^ *--- (PASS|SKIP|FAIL): (\S+)`)

// leaves sorts the tests of a verbose run that have no subtests.
func leaves(stdout string) (passed, skipped, failed []string) {
	verdicts := map[string]string{}
	parents := map[string]bool{}
	for _, match := range anyOutcome.FindAllStringSubmatch(stdout, -1) {
		name := match[2]
		verdicts[name] = match[1]
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			parents[name[:at]] = true
		}
	}
	for name, verdict := range verdicts {
		switch {
		case parents[name]:
		case verdict == "PASS":
			passed = append(passed, name)
		case verdict == "SKIP":
			skipped = append(skipped, name)
		default:
			failed = append(failed, name)
		}
	}
	slices.Sort(skipped)
	slices.Sort(failed)
	return passed, skipped, failed
}

// failures leaves out of a verbose run what passed, as far as a line tells.
func failures(stdout string) string {
	var kept strings.Builder
	for line := range strings.Lines(stdout) {
		if s := strings.TrimSpace(line); !strings.HasPrefix(s, "=== ") && !strings.HasPrefix(s, "--- PASS") {
			kept.WriteString(line)
		}
	}
	return tail(kept.String())
}
