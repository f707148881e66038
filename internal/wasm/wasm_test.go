// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/wasi"
	"enarx.dev/enarx/internal/wasm/wasmtest"
	"enarx.dev/enarx/workload"
)

// run compiles and runs bin over a host with no descriptors.
func run(t *testing.T, cfg Config, bin []byte) (uint32, error) {
	t.Helper()
	engine := NewWazero(cfg)
	defer engine.Close()
	ctx := context.Background()
	m, err := engine.Compile(ctx, bin)
	if err != nil {
		return 0, err
	}
	if err := m.Link(); err != nil {
		return 0, err
	}
	return m.Run(ctx, wasi.New(wasi.Config{}))
}

func TestExitCodes(t *testing.T) {
	for _, code := range []uint32{0, 1, 42, 125, 126, 255, 256, 1 << 31} {
		got, err := run(t, Config{}, wasmtest.Exits(int64(int32(code))).Bytes())
		if err != nil || got != code {
			t.Errorf("proc_exit(%d): got %d, %v", code, got, err)
		}
	}
}

func TestEntryPoints(t *testing.T) {
	unreachable := []byte{wasmtest.OpUnreachable}
	entry := func(names ...string) []byte {
		m := &wasmtest.Module{Memory: []byte{0, 1}}
		for _, name := range names {
			m.Export(name, 0, m.Function(nil, nil, 0))
		}
		return m.Bytes()
	}
	result := &wasmtest.Module{}
	result.Export("", 0, result.Function(nil, []byte{wasmtest.I32}, 0, wasmtest.OpI32Const, 1))
	trapInit := &wasmtest.Module{}
	trapInit.Export("_initialize", 0, trapInit.Function(nil, nil, 0, unreachable...))
	trapInit.Export("", 0, trapInit.Function(nil, nil, 0))
	memory := &wasmtest.Module{Memory: []byte{0, 1}}
	memory.Export("", 2, 0)
	params := &wasmtest.Module{}
	params.Export("_start", 0, params.Function([]byte{wasmtest.I32}, nil, 0))

	tests := []struct {
		name string
		bin  []byte
		want string // "" is success
	}{
		{"command", entry("_start"), ""},
		{"reactor", entry("_initialize"), ""},
		{"default", entry(""), ""},
		{"default with a result", result.Bytes(), ""},
		{"nothing to call", entry("other"), ""},
		{"command and reactor", entry("_start", "_initialize"), "both _start and _initialize"},
		{"reactor is initialised", trapInit.Bytes(), "unreachable"},
		{"memory as default export", memory.Bytes(), "default export \"\" is not a function"},
		{"parameters", params.Bytes(), "takes parameters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, err := run(t, Config{}, tt.bin)
			switch {
			case tt.want == "" && (err != nil || code != 0):
				t.Errorf("got %d, %v", code, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTrapHasNamedBacktrace(t *testing.T) {
	m := &wasmtest.Module{Memory: []byte{0, 1}, Names: map[uint32]string{0: "divide", 1: "main"}}
	divide := m.Function([]byte{wasmtest.I32}, []byte{wasmtest.I32}, 0, wasmtest.OpLocalGet, 0, wasmtest.OpI32Const, 0, wasmtest.OpI32DivS)
	m.Export("_start", 0, m.Function(nil, nil, 0, wasmtest.OpI32Const, 7, wasmtest.OpCall, byte(divide), wasmtest.OpDrop))
	_, err := run(t, Config{}, m.Bytes())
	trap, ok := errors.AsType[*Trap](err)
	if !ok {
		t.Fatalf("got %v, want a trap", err)
	}
	if trap.Reason != "integer divide by zero" {
		t.Errorf("reason %q", trap.Reason)
	}
	if len(trap.Frames) != 2 || trap.Frames[0] != "divide(i32) i32" || trap.Frames[1] != "main()" {
		t.Errorf("frames %q", trap.Frames)
	}
}

func TestStackOverflowTraps(t *testing.T) {
	m := &wasmtest.Module{}
	m.Export("_start", 0, m.Function(nil, nil, 0, wasmtest.OpCall, 0))
	_, err := run(t, Config{}, m.Bytes())
	if trap, ok := errors.AsType[*Trap](err); !ok || trap.Reason != "stack overflow" {
		t.Fatalf("got %v, want a stack overflow", err)
	}
}

func TestLinkErrors(t *testing.T) {
	imports := func(mod, name string, params, results []byte) []byte {
		m := &wasmtest.Module{}
		m.Import(mod, name, params, results)
		m.Export("_start", 0, m.Function(nil, nil, 0))
		return m.Bytes()
	}
	importsMemory := &wasmtest.Module{Imports: [][]byte{wasmtest.Cat(wasmtest.Str("env"), wasmtest.Str("memory"), []byte{2, 0, 1})}}
	tests := map[string]struct {
		bin  []byte
		want string
	}{
		"module":    {imports("env", "emscripten_sleep", []byte{wasmtest.I32}, nil), `function "emscripten_sleep" of module "env"`},
		"function":  {imports("wasi_snapshot_preview1", "fd_fly", nil, nil), `function "fd_fly", which wasi_snapshot_preview1 does not have`},
		"signature": {imports("wasi_snapshot_preview1", "fd_close", []byte{wasmtest.I64}, []byte{wasmtest.I32}), "signature"},
		"memory":    {importsMemory.Bytes(), `memory "memory" of module "env"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, Config{}, tt.bin)
			if !errors.Is(err, ErrLink) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestInvalidModules(t *testing.T) {
	good := wasmtest.Command(0).Bytes()
	tests := map[string]struct {
		bin  []byte
		want error
	}{
		"empty":     {nil, workload.ErrEmptyModule},
		"cut short": {good[:6], workload.ErrTruncatedModule},
		"text":      {[]byte("\n  (module (func))"), workload.ErrTextModule},
		"component": {[]byte("\x00asm\x0d\x00\x01\x00rest"), workload.ErrComponent},
		"ELF":       {[]byte("\x7fELF\x02\x01\x01\x00"), workload.ErrNotModule},
		"cut later": {good[:len(good)-3], ErrModule},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, Config{}, tt.bin)
			if !errors.Is(err, tt.want) || !errors.Is(err, ErrModule) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// growBy returns a command that exits with what memory.grow(pages) returns.
func growBy(pages int64) []byte {
	m := &wasmtest.Module{Memory: []byte{0, 1}}
	exit := m.Import("wasi_snapshot_preview1", "proc_exit", []byte{wasmtest.I32}, nil)
	m.Export("_start", 0, m.Function(nil, nil, 0, wasmtest.Cat([]byte{wasmtest.OpI32Const}, wasmtest.Sleb(pages), []byte{wasmtest.OpMemoryGrow, 0, wasmtest.OpCall}, wasmtest.Uleb(exit))...))
	return m.Bytes()
}

func TestMemoryLimit(t *testing.T) {
	const refused = 1<<32 - 1
	for _, tt := range []struct {
		most  uint64
		pages int64
		want  uint32
	}{
		{0, 100, 1},
		{4 << 20, 63, 1},
		{4 << 20, 64, refused},
		{0, 65535, 1}, // all of 4 GiB: address space only
		{0, 65536, refused},
	} {
		if got, err := run(t, Config{MaxMemory: tt.most}, growBy(tt.pages)); err != nil || got != tt.want {
			t.Errorf("memory.grow(%d) under %d bytes: got %d, %v, want %d", tt.pages, tt.most, got, err, tt.want)
		}
	}
	m := &wasmtest.Module{Memory: []byte{0, 100}}
	if _, err := run(t, Config{MaxMemory: 1 << 20}, m.Bytes()); !errors.Is(err, ErrModule) {
		t.Errorf("a module that starts over its limit: got %v", err)
	}
}

func TestGuestWithoutMemory(t *testing.T) {
	m := &wasmtest.Module{}
	exit := m.Import("wasi_snapshot_preview1", "proc_exit", []byte{wasmtest.I32}, nil)
	random := m.Import("wasi_snapshot_preview1", "random_get", []byte{wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32})
	m.Export("_start", 0, m.Function(nil, nil, 0, wasmtest.OpI32Const, 0, wasmtest.OpI32Const, 8, wasmtest.OpCall, byte(random), wasmtest.OpCall, byte(exit)))
	const efault = 21
	if code, err := run(t, Config{}, m.Bytes()); err != nil || code != efault {
		t.Errorf("got %d, %v, want errno %d", code, err, efault)
	}
}

func TestYieldRunsAtEachHostCall(t *testing.T) {
	engine := NewWazero(Config{})
	defer engine.Close()
	m, err := engine.Compile(context.Background(), wasmtest.Exits(0).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	if _, err := m.Run(context.Background(), wasi.New(wasi.Config{Yield: func() { calls++ }})); err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
