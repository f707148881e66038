// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// guest is a program that is measured: a Go package, C sources or a text module.
type guest struct {
	language string // go, c or wat
	dir      string // where to build, relative to the top folder
	source   string // package, or pattern of files in dir
}

var guests = map[string]guest{
	"hello-wat":  {"wat", "examples/hello-wat", "*.wat"},
	"hello-c":    {"c", "examples/hello-c", "*.c"},
	"hello-go":   {"go", ".", "./examples/hello-go"},
	"gofmt":      {"go", "bench", "cmd/gofmt"}, // of the installed Go: a few MB of code
	"kernels-c":  {"c", "bench/guests/kernels-c", "*.c"},
	"kernels-go": {"go", "bench", "./guests/kernels-go"},
	"hold-wat":   {"wat", "bench/guests/hold-wat", "*.wat"},
	"hold-c":     {"c", "bench/guests/hold-c", "*.c"},
	"hold-go":    {"go", "bench", "./guests/hold-go"},
	"server-go":  {"go", "bench", "./guests/server-go"},
}

// builder makes the guests, each once.
type builder struct {
	root, out string
	made      map[string]built
}

type built struct {
	path string
	err  error
}

// path returns the executable of a guest, building it if this run has not yet.
func (b *builder) path(ctx context.Context, name string, wasm bool) (string, error) {
	key := name
	if wasm {
		key += ".wasm"
	}
	if done, ok := b.made[key]; ok {
		return done.path, done.err
	}
	file := filepath.Join(b.out, key)
	err := b.build(ctx, guests[name], file, wasm)
	if err != nil {
		err = fmt.Errorf("building %s: %w", key, err)
	}
	b.made[key] = built{file, err}
	return file, err
}

func (b *builder) build(ctx context.Context, g guest, file string, wasm bool) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	dir := filepath.Join(b.root, filepath.FromSlash(g.dir))
	sources, err := filepath.Glob(filepath.Join(dir, g.source))
	if err != nil || g.language != "go" && len(sources) == 0 {
		return fmt.Errorf("no sources at %s/%s", g.dir, g.source)
	}
	var argv []string
	env := os.Environ()
	switch g.language {
	case "go":
		argv = []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, g.source}
		env = append(env, "CGO_ENABLED=0")
		if wasm {
			env = append(env, "GOOS=wasip1", "GOARCH=wasm")
		}
	case "c":
		// Without contraction: a fused multiply-add rounds once less, and sums differ.
		argv = []string{"clang", "-O2", "-std=c11", "-ffp-contract=off", "-o", file}
		if wasm {
			argv = append(argv, "--target=wasm32-wasi", "--sysroot=/usr")
		}
		argv = append(append(argv, sources...), "-lm")
	case "wat":
		argv = append([]string{"wat2wasm", "-o", file}, sources...)
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return fmt.Errorf("%s is not on PATH (scripts/setup.sh installs it)", argv[0])
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
