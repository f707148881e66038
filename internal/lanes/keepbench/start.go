// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"enarx.dev/enarx/internal/lanes/keepbench/microvm"
	"enarx.dev/enarx/internal/loader"
)

// microvmMemory is little more than the kernel needs to boot.
const microvmMemory = 128 << 20

// settle is for what the kernel does after the end of a virtual machine: it shall
// not be counted as the next one's.
const settle = 500 * time.Millisecond

// measureStart takes the time of each way to start: of the whole process, and
// where this program makes the machine, from the call that makes it. Each start
// has a process of its own.
func measureStart(ctx context.Context, o options, r *results) error {
	f := o.Files
	ways := []struct {
		name string
		argv []string
	}{
		{"microvm", []string{f.Measure, "start", "microvm", f.Kernel, f.Initramfs}},
		{"keep", []string{f.Measure, "start", "keep", f.First}},
		{"wasm", []string{f.Measure, "start", "wasm", f.Hello}},
		{"exec-cli", []string{f.Enarx, "unstable", "exec", "--backend", "kvm", f.First}},
		{"run-kvm-cli", []string{f.Enarx, "run", "--backend", "kvm", f.Hello}},
		{"run-nil-cli", []string{f.Enarx, "run", "--backend", "nil", f.Hello}},
	}
	for round := range o.Rounds + 1 { // the first fills the caches
		progress("start, round %d of %d", round, o.Rounds)
		rand.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
		for _, way := range ways {
			time.Sleep(settle)
			whole, text, err := untilOutput(ctx, way.argv)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			r.add("start/process/"+way.name, whole.Seconds())
			if way.argv[1] != "start" {
				continue
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", strings.Join(way.argv, " "), err)
			}
			r.add("start/call/"+way.name, time.Duration(ns).Seconds())
		}
	}
	return nil
}

// untilOutput runs a program and returns when its first byte came.
func untilOutput(ctx context.Context, argv []string) (time.Duration, string, error) {
	c, err := start(ctx, maxProgram, nil, argv...)
	if err != nil {
		return 0, "", err
	}
	_, silent := c.stdout.Peek(1)
	took := time.Since(c.began)
	text, err := c.end()
	if err == nil && silent != nil {
		err = c.failed(silent)
	}
	return took, text, err
}

// startOne starts one machine and writes how many nanoseconds passed until its
// program had begun.
func startOne(ctx context.Context, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, maxProgram)
	defer cancel()
	var took time.Duration
	var err error
	switch {
	case len(args) == 3 && args[0] == "microvm":
		took, err = startMicrovm(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "keep":
		took, err = startKeep(ctx, args[1])
	case len(args) == 2 && args[0] == "wasm":
		took, err = startWasm(ctx, args[1])
	default:
		err = fmt.Errorf("start is for keepbench itself")
	}
	if err == nil {
		_, err = fmt.Fprintln(out, took.Nanoseconds())
	}
	return err
}

func startMicrovm(ctx context.Context, kernel, archive string) (time.Duration, error) {
	file, err := os.Open(kernel)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	initramfs, err := os.ReadFile(archive)
	if err != nil {
		return 0, err
	}
	return microvm.Boot(ctx, microvm.Config{
		Kernel: file, Initramfs: initramfs, CommandLine: microvm.CommandLine, Memory: microvmMemory,
	})
}

func startKeep(ctx context.Context, program string) (time.Duration, error) {
	file, err := os.Open(program)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	runtime.GOMAXPROCS(loader.Procs(loader.KVM))
	return untilByte(func(stdio [3]*os.File) (*loader.Keep, error) {
		return loader.Exec(ctx, loader.Program{
			Backend: loader.KVM, File: file, Args: []string{filepath.Base(program)}, Stdio: stdio,
		})
	})
}

// startWasm does what `enarx run` does, with its caches.
func startWasm(ctx context.Context, module string) (time.Duration, error) {
	file, err := os.Open(module)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	runtime.GOMAXPROCS(loader.Procs(loader.KVM))
	dir, err := loader.CacheDir()
	if err != nil {
		return 0, err
	}
	images, err := loader.OpenCache(filepath.Join(dir, "programs"), loader.MaxImages, nil)
	if err != nil {
		return 0, err
	}
	modules, err := loader.OpenCache(filepath.Join(dir, "modules"), loader.MaxModules, nil)
	if err != nil {
		return 0, err
	}
	return untilByte(func(stdio [3]*os.File) (*loader.Keep, error) {
		return loader.Start(ctx, loader.Launch{
			Backend: loader.KVM, Module: file, Name: module, Stdio: stdio, Images: images, Modules: modules,
		})
	})
}

// untilByte takes the time from the call that makes a Keep to the first byte of
// its output, and waits for its end.
func untilByte(launch func([3]*os.File) (*loader.Keep, error)) (time.Duration, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	began := time.Now()
	k, err := launch([3]*os.File{null, w, os.Stderr})
	if err != nil {
		w.Close()
		return 0, err
	}
	_, silent := r.Read(make([]byte, 1))
	took := time.Since(began)
	go io.Copy(io.Discard, r)
	code, err := k.Wait()
	w.Close()
	if err == nil && silent != nil {
		err = silent
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("the Keep ended with %d", code)
	}
	return took, err
}
