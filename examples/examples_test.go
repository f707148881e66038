// SPDX-License-Identifier: Apache-2.0

// Package examples builds every example, runs it in a Keep, and checks what it does.
package examples

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/workload"
)

// patience bounds one program; only a hang comes near it, however busy the machine.
var patience = need.Scale(2 * time.Minute)

// toolchains are the goals of the Makefile and the executables each one wants.
var toolchains = map[string]struct {
	tools []string
	make  func() ([]byte, error)
}{
	"go":  {[]string{"make"}, makeOnce("go")},
	"c":   {[]string{"make", "clang", "wasm-ld"}, makeOnce("c")},
	"as":  {[]string{"make", "node", "npm"}, makeOnce("as")},
	"wat": {[]string{"make", "wat2wasm"}, makeOnce("wat")},
}

func makeOnce(goal string) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		return exec.Command("make", "--no-print-directory", goal).CombinedOutput()
	})
}

// built returns the package directory of an example, whose name ends in its language.
func built(t *testing.T, name string) string {
	t.Helper()
	language := name[strings.LastIndex(name, "-")+1:]
	if !need.Emulated() { // that machine has no compiler, and the examples as they were built here
		chain := toolchains[language]
		for _, tool := range chain.tools {
			need.Tool(t, tool)
		}
		if out, err := chain.make(); err != nil {
			t.Fatalf("make %s: %v\n%s", language, err, out)
		}
	}
	dir := filepath.Join(need.Root(t), "build", "examples", name)
	// Only files that the test itself looks at count in `go test`'s cache of results.
	if _, err := os.Stat(filepath.Join(dir, "main.wasm")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// keep returns the command `enarx run` with the given arguments.
func keep(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, need.Enarx(t), append([]string{"run", "--backend", need.Backend()}, args...)...)
	cmd.WaitDelay = need.Scale(10 * time.Second)
	return cmd
}

// kernelWarning is what enarx says of a kernel that cannot confine a Keep fully.
var kernelWarning = regexp.MustCompile(`(?m)^enarx: warning: this kernel lacks .*\n`)

func TestPrograms(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 2<<20/16)
	tests := []struct {
		name    string
		example string
		args    []string // after --
		flags   []string // before the package
		stdin   string
		stdout  string
		stderr  string
		code    int
	}{
		{name: "wat", example: "hello-wat", stdout: "Hello from WebAssembly text format\n"},
		{name: "c", example: "hello-c", stdout: "Hello from C\n"},
		{name: "go", example: "hello-go", stdout: "Hello from Go on wasip1/wasm\n"},
		{name: "as", example: "hello-as", stdout: "Hello from AssemblyScript\n"},
		{name: "echo nothing", example: "echo-c"},
		{name: "echo 2 MiB", example: "echo-c", stdin: text, stdout: text},
		{name: "exit 0", example: "exit-c"},
		{name: "exit 1", example: "exit-c", args: []string{"1"}, stdout: "argument 1: 1\n", code: 1},
		{name: "exit 125", example: "exit-c", args: []string{"125"}, stdout: "argument 1: 125\n", code: 125},
		{
			name: "arguments pass unchanged", example: "exit-c",
			args:   []string{"42", "two words", "", "--backend", "ünï\n"},
			stdout: "argument 1: 42\nargument 2: two words\nargument 3: \nargument 4: --backend\nargument 5: ünï\n\n",
			code:   42,
		},
		{
			name: "stderr", example: "exit-c", args: []string{"-1"},
			stdout: "argument 1: -1\n", stderr: "exit: -1 is not an exit code between 0 and 125\n", code: 2,
		},
		{name: "args and env of Enarx.toml", example: "args-as", stdout: "fibonacci(7) = 13\nfibonacci(21) = 10946\n"},
		{
			name: "args and env of the command line", example: "args-as",
			args: []string{"93"}, flags: []string{"--env", "LABEL=f"},
			stdout: "f(93) = 12200160415121876738\n",
		},
		{
			name: "as exit code", example: "args-as", args: []string{"94"},
			stderr: "args-as: not between 0 and 93: 94\n", code: 1,
		},
		{
			name: "files from c", example: "files-c",
			stdout: "entry: final\nsize: 37\ncontent: memory only: gone when the Keep ends\n/etc/passwd: Capabilities insufficient\n",
		},
		{
			name: "files from go", example: "files-go",
			stdout: "/data/colours.txt: 15 bytes\n/data/notes/readme.txt: 73 bytes\n/data is read-only\n" +
				"/tmp/a/b/sorted: blue green red\nleft in /tmp: a\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			args := append(test.flags, built(t, test.example))
			if len(test.args) > 0 {
				args = append(append(args, "--"), test.args...)
			}
			var stdout, stderr bytes.Buffer
			cmd := keep(ctx, t, args...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(test.stdin), &stdout, &stderr
			err := cmd.Run()
			if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, not %d", code, test.code)
			}
			if got := stdout.String(); got != test.stdout {
				t.Errorf("stdout %.200q (%d bytes), not %.200q (%d bytes)", got, len(got), test.stdout, len(test.stdout))
			}
			if got := kernelWarning.ReplaceAllString(stderr.String(), ""); got != test.stderr {
				t.Errorf("stderr %q, not %q", got, test.stderr)
			}
		})
	}
}

// What a program writes stays in its Keep: the host's folder is only copied.
func TestHostUntouched(t *testing.T) {
	t.Parallel()
	pkg := built(t, "files-c")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host := t.TempDir()
	out, err := keep(ctx, t, "--dir", host+"::/tmp", filepath.Join(pkg, "main.wasm")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	entries, err := os.ReadDir(host)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("the host's folder now holds %v", entries)
	}
}

// TestConfigurations parses each Enarx.toml and looks for each example in README.md.
func TestConfigurations(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("*-*")
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) == 0 {
		t.Fatal("no examples found")
	}
	for _, folder := range folders {
		if !bytes.Contains(readme, []byte("`"+folder+"/`")) {
			t.Errorf("README.md does not list %s", folder)
		}
		text, err := os.ReadFile(filepath.Join(folder, "Enarx.toml"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := workload.Parse(text)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s/Enarx.toml: %v %v", folder, err, warnings)
		}
	}
}
