// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/workload"
)

// readConfig reads and parses the Enarx.toml of the package. The host has
// parsed it too, for an early error; what counts is what is parsed here.
func (k *Keep) readConfig() error {
	if k.Doc.Package.Conf == 0 {
		return nil
	}
	f := k.Open(k.Doc.Package.Conf)
	data, err := readCapped(f, workload.MaxSize)
	_ = f.Close() // read-only
	if err != nil {
		return fmt.Errorf("reading Enarx.toml: %w", err)
	}
	k.config, _, err = workload.Parse(data) // the host has printed the warnings
	if e, ok := errors.AsType[*workload.Error](err); ok && e.Hint != "" {
		return diag.Hint(err, "%s", e.Hint)
	}
	return err
}

// errNeedsDeploy marks what a package asks for and this Keep must not run
// without.
var errNeedsDeploy = errors.New("this Keep is not attested")

// checkPolicy refuses packages that ask for more protection than a Keep
// without attestation gives. Running them anyway would be a silent downgrade.
func (k *Keep) checkPolicy() error {
	if k.config == nil {
		return nil
	}
	if k.config.Steward != "" {
		return diag.Hint(fmt.Errorf("the package names the Steward %s: %w", k.config.Steward, errNeedsDeploy),
			"this release cannot reach a Steward yet; remove `steward` to run with a self-signed certificate")
	}
	if k.config.Log.Mode == workload.LogEncrypted {
		return diag.Hint(fmt.Errorf("the package asks for encrypted logs: %w", errNeedsDeploy),
			"use mode = \"host\" or \"none\" under [log] for a local run")
	}
	for i, f := range k.config.Files {
		if f.Kind == workload.KindListen && f.CA == workload.CASteward {
			return diag.Hint(fmt.Errorf("files entry %d wants clients certified by a Steward: %w", i, errNeedsDeploy),
				"name trust anchors with `ca` for a local run")
		}
	}
	return nil
}

// quiet reports whether the package keeps its output from the host.
func (k *Keep) quiet() bool { return k.config != nil && k.config.Log.Mode == workload.LogNone }

// files returns the descriptor table.
func (k *Keep) files() []workload.File {
	if k.config == nil {
		return workload.DefaultFiles()
	}
	return k.config.Files
}

// args returns the program's arguments. argv[0] is the same on every host.
func (k *Keep) args() []string {
	args := []string{"main.wasm"}
	switch {
	case k.Doc.Args != nil:
		return append(args, k.Doc.Args...)
	case k.config != nil:
		return append(args, k.config.Args...)
	}
	return args
}

// env returns the program's environment: FD_COUNT and FD_NAMES first, as
// upstream, then Enarx.toml's in the order of the keys, then the command
// line's, which replace equal keys. Without an Enarx.toml there is no table to
// describe, and the environment starts empty, as in any other WASI runtime;
// upstream describes the three standard streams then.
func (k *Keep) env() []string {
	var env []string
	if k.config != nil {
		names := make([]string, len(k.config.Files))
		for i, f := range k.config.Files {
			names[i] = f.Name
		}
		env = append(env, fmt.Sprintf("FD_COUNT=%d", len(names)), "FD_NAMES="+strings.Join(names, ":"))
		for _, key := range slices.Sorted(maps.Keys(k.config.Env)) {
			env = append(env, key+"="+k.config.Env[key])
		}
	}
	for _, kv := range k.Doc.Env {
		key, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, key+"=") })
		env = append(env, kv)
	}
	return env
}

// logger returns the runtime's own log, on the Keep's stderr.
func (k *Keep) logger() *slog.Logger {
	levels := map[string]slog.Level{
		"": slog.LevelError, "error": slog.LevelError, "warn": slog.LevelWarn,
		"info": slog.LevelInfo, "debug": slog.LevelDebug, "trace": slog.LevelDebug - 4,
	}
	return slog.New(slog.NewTextHandler(k.Stderr, &slog.HandlerOptions{Level: levels[k.Doc.LogLevel]}))
}

// progress shows on a terminal that a large module is being compiled, from
// the moment that this takes noticeably long, and wipes the line at the end.
func (k *Keep) progress(size int) (done func()) {
	if !k.Doc.Progress {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		showProgress(k.Stderr, size, stop)
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func showProgress(w *os.File, size int, stop <-chan struct{}) {
	const (
		patience = 400 * time.Millisecond
		step     = 200 * time.Millisecond
		wipe     = "\r\x1b[K"
	)
	start := time.Now()
	next := time.NewTimer(patience)
	defer next.Stop()
	shown := false
	for {
		select {
		case <-stop:
			if shown {
				_, _ = io.WriteString(w, wipe)
			}
			return
		case <-next.C:
			fmt.Fprintf(w, "%senarx: compiling %.1f MB of WebAssembly … %.1f s", wipe, float64(size)/1e6, time.Since(start).Seconds())
			shown = true
			next.Reset(step)
		}
	}
}
