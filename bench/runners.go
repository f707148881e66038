// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The names of the runners, as the tables show them.
const (
	enarx       = "enarx"
	enarxFresh  = "enarx --no-cache"
	wasmtime    = "wasmtime"
	wasmtimeNew = "wasmtime -C cache=n"
	node        = "node"
	native      = "native"
)

// runner is one way to run a guest.
type runner struct {
	name   string
	why    string   // why it cannot be used here; empty if it can
	prefix []string // what stands before the guest's file
	infix  []string // what stands between it and the guest's arguments
}

func (r runner) wasm() bool { return r.name != native }

func (r runner) argv(file string, args []string) []string {
	argv := append([]string{}, r.prefix...)
	argv = append(argv, file)
	if len(args) > 0 {
		argv = append(argv, r.infix...)
	}
	return append(argv, args...)
}

// findRunners looks for every runner, in the order in which a round takes them.
func findRunners(root string) []runner {
	keep := filepath.Join(root, "bin", "enarx")
	keepWhy := ""
	if _, err := os.Stat(keep); err != nil {
		keepWhy = "not built: there is no bin/enarx, run `make build`"
	}
	peer, peerWhy := onPath("wasmtime", "bench/README.md says how to get it")
	js, jsWhy := onPath("node", "scripts/setup.sh installs it")
	// Node's fast path for calls from WebAssembly crashes after memory.grow:
	// https://github.com/nodejs/node/issues/53087
	jsArgs := []string{js, "--no-warnings", "--no-turbo-fast-api-calls", filepath.Join(root, "bench", "wasi.mjs")}
	args := []string{"--"}
	return []runner{
		{enarx, keepWhy, []string{keep, "run", "--backend", "nil"}, args},
		{wasmtime, peerWhy, []string{peer, "run"}, nil},
		{enarxFresh, keepWhy, []string{keep, "run", "--backend", "nil", "--no-cache"}, args},
		{wasmtimeNew, peerWhy, []string{peer, "run", "-C", "cache=n"}, nil},
		{node, jsWhy, jsArgs, nil},
		{native, "", nil, nil},
	}
}

func onPath(name, hint string) (file, why string) {
	file, err := exec.LookPath(name)
	if err != nil {
		return name, fmt.Sprintf("%s is not on PATH; %s", name, hint)
	}
	return file, ""
}

// environment is what every runner gets. Their caches of compiled modules are ours
// alone, so that no earlier use of the machine decides what is warm.
func environment(out string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"),
		"XDG_CACHE_HOME=" + filepath.Join(out, "cache"),
	}
}
