// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"enarx.dev/enarx/internal/wasi"
	"enarx.dev/enarx/workload"
)

// pageSize is the unit of linear memory, WebAssembly core 4.2.8.
const pageSize = 65536

// workersFrom is the size of a module from which a second worker compiles more
// than its own start costs.
const workersFrom = 16 << 10

// Wazero is the engine on wazero.
type Wazero struct {
	cfg     Config
	runtime wazero.Runtime
	cache   *codeCache // nil when no cache is in use
}

// NewWazero returns the engine on wazero: its compiler, or its interpreter
// where the system refuses executable memory.
func NewWazero(cfg Config) *Wazero {
	e := &Wazero{cfg: cfg}
	rc := wazero.NewRuntimeConfig().WithDebugInfoEnabled(false)
	if cfg.MaxMemory > 0 && cfg.MaxMemory < pageSize<<16 {
		rc = rc.WithMemoryLimitPages(uint32(cfg.MaxMemory / pageSize))
	}
	if cfg.Cache {
		e.cache, rc = newCodeCache(rc)
	}
	e.runtime = wazero.NewRuntimeWithConfig(context.Background(), rc)
	return e
}

func (e *Wazero) Close() error { return e.runtime.Close(context.Background()) }

func (e *Wazero) Compile(ctx context.Context, bin []byte) (Module, error) {
	if err := workload.CheckModule(bin); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	if e.cfg.Workers > 1 && len(bin) >= workersFrom {
		ctx = experimental.WithCompilationWorkers(ctx, e.cfg.Workers)
	}
	compiled, err := e.runtime.CompileModule(ctx, bin)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	return &wazeroModule{engine: e, compiled: compiled, bin: bin}, nil
}

type wazeroModule struct {
	engine   *Wazero
	compiled wazero.CompiledModule
	bin      []byte // as given to Compile; nil for a restored module
}

// Blob returns the module just compiled, for a cache. It must be asked for
// before anything else is compiled.
func (m *wazeroModule) Blob() (*Blob, error) { return m.engine.cache.blob(m.bin) }

var functions = sync.OnceValue(wasi.Functions)

// function returns a function of WASI, or nil.
func function(module, name string) *wasi.Function {
	list := functions()
	for i := range list {
		if f := &list[i]; f.Name == name && f.Module == module {
			return f
		}
	}
	return nil
}

// hostModules are the import modules that this runtime serves.
var hostModules = map[string]bool{"wasi_snapshot_preview1": true, "wasi_unstable": true}

func (m *wazeroModule) Link() error {
	for _, def := range m.compiled.ImportedFunctions() {
		module, name, _ := def.Import()
		f := function(module, name)
		switch {
		case f == nil && !hostModules[module]:
			return fmt.Errorf("%w: it imports function %q of module %q, which does not exist in a Keep", ErrLink, name, module)
		case f == nil:
			return fmt.Errorf("%w: it imports function %q, which %s does not have", ErrLink, name, module)
		case string(f.Params) != string(def.ParamTypes()) || string(f.Results) != string(def.ResultTypes()):
			return fmt.Errorf("%w: it imports %s.%s with a signature that is not WASI's", ErrLink, module, name)
		}
	}
	if mems := m.compiled.ImportedMemories(); len(mems) > 0 {
		module, name, _ := mems[0].Import()
		return fmt.Errorf("%w: it imports memory %q of module %q; a Keep runs modules that bring their own", ErrLink, name, module)
	}
	return m.checkEntry()
}

// checkEntry applies the rules for commands and reactors of WASI's
// application ABI, and upstream's for the export with an empty name.
func (m *wazeroModule) checkEntry() error {
	functions := m.compiled.ExportedFunctions()
	_, command := functions["_start"]
	_, reactor := functions["_initialize"]
	if command && reactor {
		return fmt.Errorf("%w: it exports both _start and _initialize, so it is neither a command nor a reactor", ErrLink)
	}
	for _, name := range []string{"", "_start", "_initialize"} {
		if def := functions[name]; def != nil && len(def.ParamTypes()) > 0 {
			return fmt.Errorf("%w: its entry point %q takes parameters", ErrLink, name)
		}
	}
	if _, ok := m.compiled.ExportedMemories()[""]; ok {
		return fmt.Errorf("%w: its default export %q is not a function", ErrLink, "")
	}
	return nil
}

func (m *wazeroModule) Run(ctx context.Context, host *wasi.Host) (uint32, error) {
	if err := m.serve(ctx, host); err != nil {
		return 0, err
	}
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate))
	// No start functions here: they run below, when the instance is known.
	inst, err := m.instantiate(ctx)
	if err != nil {
		return ended(err)
	}
	for _, name := range entryPoints(inst) {
		entry := inst.ExportedFunction(name)
		// CallWithStack keeps the results, which nobody wants, off the heap.
		stack := make([]uint64, len(entry.Definition().ResultTypes()))
		if err := entry.CallWithStack(ctx, stack); err != nil {
			return ended(err)
		}
	}
	return 0, nil
}

// instantiate turns the engine's panic about memory that the system does not
// give into an error; the panic comes before any guest code runs.
func (m *wazeroModule) instantiate(ctx context.Context) (inst api.Module, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the system does not give it the memory it starts with", ErrLink)
		}
	}()
	return m.engine.runtime.InstantiateModule(ctx, m.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
}

// entryPoints returns the exports to call, in order: a reactor's _initialize,
// then the default export if there is one, else a command's _start.
func entryPoints(inst api.Module) []string {
	var names []string
	if inst.ExportedFunction("_initialize") != nil {
		names = append(names, "_initialize")
	}
	if inst.ExportedFunction("") != nil {
		return append(names, "")
	}
	if inst.ExportedFunction("_start") != nil {
		names = append(names, "_start")
	}
	return names
}

// serve instantiates the host modules with just the functions that the guest
// imports: each one costs a compiled trampoline.
func (m *wazeroModule) serve(ctx context.Context, host *wasi.Host) error {
	builders := map[string]wazero.HostModuleBuilder{}
	exported := map[*wasi.Function]bool{}
	for _, def := range m.compiled.ImportedFunctions() {
		module, name, _ := def.Import()
		f := function(module, name)
		if exported[f] {
			continue // a module may import a function twice
		}
		exported[f] = true
		b := builders[module]
		if b == nil {
			b = m.engine.runtime.NewHostModuleBuilder(module)
			builders[module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(m.hostCall(host, f.Call), f.Params, f.Results).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrLink, err)
		}
	}
	return nil
}

func (m *wazeroModule) hostCall(host *wasi.Host, call func(*wasi.Host, wasi.Memory, []uint64)) api.GoModuleFunc {
	var mem wasi.Memory // the guest has one goroutine and at most one memory
	return func(_ context.Context, mod api.Module, stack []uint64) {
		host.Yield()
		if mem == nil {
			mem = memoryOf(mod)
		}
		call(host, mem, stack)
	}
}

// memoryOf returns the guest's memory. wazero answers with a nil pointer in a
// non-nil interface for a guest that has none.
func memoryOf(mod api.Module) wasi.Memory {
	mem := mod.Memory()
	if mem == nil || reflect.ValueOf(mem).IsNil() {
		return noMemory{}
	}
	return mem
}

// noMemory stands in for the memory of a guest that has none.
type noMemory struct{}

func (noMemory) Read(uint32, uint32) ([]byte, bool) { return nil, false }

// stackOverflow is the one trap that the engine reports bare, without having
// unwound the stack.
const stackOverflow = "stack overflow"

// ended turns what the engine returned into an exit code or a trap.
func ended(err error) (uint32, error) {
	if exit, ok := errors.AsType[wasi.Exit](err); ok {
		return exit.Code, nil
	}
	if errors.Is(err, ErrLink) {
		return 0, err
	}
	text := err.Error()
	reason, trace, _ := strings.Cut(text, "\nwasm stack trace:\n")
	_, wasmErr, isTrap := strings.Cut(reason, "wasm error: ")
	if reason == stackOverflow {
		wasmErr, isTrap = reason, true
	}
	if !isTrap {
		// Not the guest's doing: the link failed late, or a host function broke.
		return 0, fmt.Errorf("%w: %s", ErrLink, reason)
	}
	t := &Trap{Reason: wasmErr}
	for line := range strings.Lines(trace) {
		if line = strings.TrimSpace(line); line != "" {
			t.Frames = append(t.Frames, strings.TrimPrefix(line, "."))
		}
	}
	return 0, t
}
