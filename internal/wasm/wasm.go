// SPDX-License-Identifier: Apache-2.0

// Package wasm compiles and runs WebAssembly modules inside a Keep.
//
// It is the glue between an engine, which knows nothing of files or sockets,
// and internal/wasi, which knows nothing of engines. The one engine today is
// wazero; see docs/rationale.md. Nothing of wazero's own WASI or directory
// mounts is used.
//
// The package also owns the rule that keeps a Keep alive beside a guest that
// computes for ever: while a guest runs, nothing stops the world. See
// [Collector].
//
// Modules are hostile input. What decodes and validates them is the engine.
package wasm

import (
	"context"
	"errors"
	"fmt"

	"enarx.dev/enarx/internal/wasi"
)

var (
	// ErrModule marks bytes that are not a module the engine accepts.
	ErrModule = errors.New("wasm: invalid module")
	// ErrLink marks a valid module whose imports or entry points do not fit.
	ErrLink = errors.New("wasm: module cannot be linked")
)

// Engine compiles modules. It is the smallest interface that a second engine
// could also meet: everything else a guest touches goes through wasi.Function
// values, which are plain Go functions over a byte slice.
type Engine interface {
	// Compile validates bin and translates it to something runnable. The
	// error wraps ErrModule when bin is at fault.
	Compile(ctx context.Context, bin []byte) (Module, error)
	// Close releases everything compiled by the engine.
	Close() error
}

// Module is a compiled module.
type Module interface {
	// Link checks imports and entry points. The error wraps ErrLink.
	Link() error
	// Run instantiates the module over host and calls it on the calling
	// goroutine until it returns, exits or traps. It returns the exit code of
	// proc_exit, 0 when the entry point returned, or a *Trap. Run is called at
	// most once.
	Run(ctx context.Context, host *wasi.Host) (code uint32, err error)
}

// Config says how modules are compiled and run.
type Config struct {
	// MaxMemory bounds the linear memory of one module, in bytes; 0 means the
	// 4 GiB that 32-bit WebAssembly can address.
	MaxMemory uint64
	// Workers is the number of goroutines that compile; 0 means one.
	Workers int
	// Cache makes Restore and Blob work. Compiled modules are native code:
	// whoever writes them owns the Keep. Never set it in a TEE.
	Cache bool
}

// Trap is the end of a guest that broke a rule of WebAssembly.
type Trap struct {
	Reason string   // "unreachable", "integer divide by zero", …
	Frames []string // innermost first, with function names where the module has them
}

// ExitTrap is the exit code of a workload that trapped: 128 + SIGABRT, as a
// native program that aborts.
const ExitTrap = 134

func (t *Trap) Error() string {
	return fmt.Sprintf("the workload trapped: %s", t.Reason)
}
