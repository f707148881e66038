// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"enarx.dev/enarx/internal/lanes/keepbench/microvm"
)

// programs is the paths of everything that is measured or measures.
type programs struct {
	Measure   string // this program, with the Keep's images in it
	Enarx     string
	Guest     string // see guest/main.go
	First     string // enarx-exec, which signals that it has begun and ends
	Kernel    string // vmlinux of the microVM
	Initramfs string // with First in it
	Hello     string // Wasm: the first instruction that has an effect writes
	Hold      string // Wasm: writes "ready" and waits for the end of its input
	HoldGo    string // the same in Go
	Server    string // Wasm: net/http on descriptor 3
}

func (p *programs) all() []string {
	return []string{p.Measure, p.Enarx, p.Guest, p.First, p.Kernel, p.Initramfs, p.Hello, p.Hold, p.HoldGo, p.Server}
}

// buildAll makes what `make build` does not.
func buildAll(ctx context.Context, root string) (programs, error) {
	out := filepath.Join(root, "build", "keepbench")
	in := func(name string) string { return filepath.Join(out, name) }
	p := programs{
		Measure: in("measure"), Enarx: filepath.Join(root, "bin", "enarx"), Guest: in("guest"),
		First: in("first"), Kernel: in("vmlinux"), Initramfs: in("initramfs"),
		Hello: in("hello.wasm"), Hold: in("hold.wasm"), HoldGo: in("hold-go.wasm"), Server: in("server.wasm"),
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return p, err
	}
	if _, err := os.Stat(p.Enarx); err != nil {
		return p, fmt.Errorf("%w: run `make build`", err)
	}
	wasm := []string{"GOOS=wasip1", "GOARCH=wasm"}
	for _, b := range []struct {
		dir  string
		env  []string
		argv []string
	}{
		{".", nil, []string{"go", "build", "-tags", "keepimages", "-o", p.Measure, "./internal/lanes/keepbench"}},
		{".", nil, []string{"go", "build", "-o", p.Guest, "./internal/lanes/keepbench/guest"}},
		{"bench", wasm, []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", p.Server, "./guests/server-go"}},
		{"bench", wasm, []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", p.HoldGo, "./guests/hold-go"}},
		{".", nil, []string{"wat2wasm", "-o", p.Hello, "examples/hello-wat/hello.wat"}},
		{".", nil, []string{"wat2wasm", "-o", p.Hold, "bench/guests/hold-wat/hold.wat"}},
	} {
		cmd := exec.CommandContext(ctx, b.argv[0], b.argv[1:]...)
		cmd.Dir = filepath.Join(root, b.dir)
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), b.env...)
		if text, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			return p, fmt.Errorf("%w: run `make setup`", err)
		} else if err != nil {
			return p, fmt.Errorf("%s: %w: %s", strings.Join(b.argv, " "), err, text)
		}
	}
	if err := convert(filepath.Join(root, "build", "enarx-exec"), p.First, 0o755, announcing); err != nil {
		return p, err
	}
	archive := func(program []byte) ([]byte, error) { return microvm.Initramfs(program), nil }
	if err := convert(p.First, p.Initramfs, 0o644, archive); err != nil {
		return p, err
	}
	return p, convert(filepath.Join(root, "build", "emulated", "kernel"), p.Kernel, 0o644, microvm.Extract)
}

// convert writes what f makes of a file.
func convert(from, to string, mode os.FileMode, f func([]byte) ([]byte, error)) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("%w: run `make setup build`", err)
	}
	if data, err = f(data); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, data, mode)
}
