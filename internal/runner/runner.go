// SPDX-License-Identifier: Apache-2.0

// Package runner is what enarx-exec does: from the hand-over document that the
// host wrote, to the exit code of the workload.
//
// The order is fixed and each step fails closed: read the package, check its
// policy, compile, make the identity, open sockets, run. The document and all
// that its descriptors deliver come from the host and are hostile input.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/identity"
	"enarx.dev/enarx/internal/wasm"
	"enarx.dev/enarx/workload"
)

const (
	// collectFrom is the module size from which compiling collects garbage;
	// below it the process is gone before that would pay.
	collectFrom = 512 << 10
	// drainTime is how long the end of a workload waits for data that it
	// wrote to its connections.
	drainTime = 5 * time.Second
)

// Keep is one run of one workload.
type Keep struct {
	Doc    *handover.Document
	Stdin  *os.File
	Stdout *os.File
	Stderr *os.File
	// Open returns the descriptor that the document names by number.
	Open func(fd int) *os.File
	// Exit ends the process at once, from any goroutine, with an error that
	// was already printed.
	Exit func(code int)

	// testOnlyHardware stands in for identity.Hardware.
	testOnlyHardware func() (identity.Technology, error)

	log    *slog.Logger
	config *workload.Config // nil when the package has no Enarx.toml
}

// Run does the whole of it. The error, when there is one, is to be printed by
// the caller; the code is the exit code in any case.
func (k *Keep) Run(ctx context.Context) (code int, err error) {
	k.log = k.logger()
	if err := k.readConfig(); err != nil {
		return 1, err
	}
	if err := k.checkPolicy(); err != nil {
		return 1, err
	}
	if err := k.checkCache(); err != nil {
		return 1, err
	}
	k.limitTime()

	collector := &wasm.Collector{Bound: wasm.DefaultHeapBound + handover.MaxFiles, Exceeded: k.heapExceeded}
	engine := wasm.NewWazero(wasm.Config{
		MaxMemory: uint64(k.limits().Memory),
		Workers:   runtime.GOMAXPROCS(0),
		Cache:     k.cached(),
	})
	module, stored, err := k.compile(ctx, engine)
	if err != nil {
		return 1, err
	}
	defer stored()
	if err := module.Link(); err != nil {
		return 1, diag.Hint(err, "a Keep serves wasi_snapshot_preview1; see docs/wasi.md")
	}

	host, closeHost, err := k.host(ctx, collector.Yield)
	if err != nil {
		return 1, err
	}
	defer closeHost()

	collector.Wake = host.Wake
	collector.Start(ctx)
	exit, err := module.Run(ctx, host)
	if err != nil {
		if _, ok := errors.AsType[*wasm.Trap](err); ok {
			return wasm.ExitTrap, err
		}
		return 1, err
	}
	if exit > 255 {
		return 1, fmt.Errorf("keep exited with a non-portable exit code `%d`, which exceeds 255", exit)
	}
	return int(exit), nil
}

func (k *Keep) limits() workload.Limits {
	if k.config == nil {
		return workload.Limits{}
	}
	return k.config.Limits
}

// limitTime starts the clock of [limits] wall. The guest may not be stoppable,
// so the process ends.
func (k *Keep) limitTime() {
	if wall := k.limits().Wall; wall > 0 {
		time.AfterFunc(wall, func() {
			diag.Print(k.Stderr, diag.Hint(fmt.Errorf("the workload ran longer than its limit of %s", wall),
				"raise `wall` under [limits] in Enarx.toml"))
			k.Exit(1)
		})
	}
}

func (k *Keep) heapExceeded(heap uint64) {
	diag.Print(k.Stderr, fmt.Errorf("the Keep is out of memory: its runtime holds %d MiB beside the workload's own memory", heap>>20))
	k.Exit(1)
}

// checkCache refuses compiled code from the host where there is hardware to
// protect the workload from it.
func (k *Keep) checkCache() error {
	if !k.cached() {
		return nil
	}
	hardware := identity.Hardware
	if k.testOnlyHardware != nil {
		hardware = k.testOnlyHardware
	}
	technology, err := hardware()
	if err != nil {
		return err
	}
	if technology != identity.NoHardware {
		return errors.New("the host passed a cache of compiled modules into a TEE: refused")
	}
	return nil
}

func (k *Keep) cached() bool { return k.Doc.Cache.Entry != 0 || k.Doc.Cache.Store != 0 }

// compile restores the module from the cache entry that the host passed, or
// else compiles it. stored waits until what was compiled is in the cache.
func (k *Keep) compile(ctx context.Context, engine *wasm.Wazero) (m wasm.Module, stored func(), err error) {
	if k.Doc.Cache.Entry != 0 {
		entry := k.Open(k.Doc.Cache.Entry)
		m, err := engine.Restore(ctx, entry)
		_ = entry.Close() // read-only
		if err == nil {
			return m, func() {}, nil
		}
		k.log.Warn("compiled module not restored", "err", err)
	}
	file := k.Open(k.Doc.Package.Wasm)
	bin, err := readCapped(file, handover.MaxModule)
	_ = file.Close() // read-only
	if err != nil {
		return nil, nil, fmt.Errorf("reading the module: %w", err)
	}
	done := k.progress(len(bin))
	if len(bin) >= collectFrom {
		debug.SetGCPercent(200) // until the Collector starts
	}
	m, err = engine.Compile(ctx, bin)
	done()
	if err != nil {
		return nil, nil, diag.Hint(err, "%s", workload.ModuleHint(err))
	}
	return m, k.store(m), nil
}

// store hands the compiled module to the host's cache while the workload runs.
func (k *Keep) store(m wasm.Module) (wait func()) {
	blobber, ok := m.(interface{ Blob() (*wasm.Blob, error) })
	if k.Doc.Cache.Store == 0 || !ok {
		return func() {}
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		pipe := k.Open(k.Doc.Cache.Store)
		defer pipe.Close()
		blob, err := blobber.Blob()
		if err == nil {
			_, err = blob.WriteTo(pipe)
		}
		if err != nil {
			k.log.Warn("compiled module not cached", "err", err)
		}
	}()
	return func() {
		select {
		case <-finished:
		case <-time.After(drainTime):
		}
	}
}

// readCapped reads a descriptor of the host to its end.
func readCapped(f *os.File, most int64) ([]byte, error) {
	var size int64
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = min(info.Size(), most)
	}
	buf := make([]byte, 0, size+512)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > most:
			return nil, fmt.Errorf("it has more than %d bytes", most)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			buf = append(buf, 0)[:len(buf)]
		}
	}
}
