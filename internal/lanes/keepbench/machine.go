// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"time"

	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/lanes/emulated"
)

// options is what is measured, and how often.
type options struct {
	Rounds int
	Quick  bool
	Area   string
	Files  programs
}

// areas are what is measured, each by a run of the measuring program.
var areas = []string{"calls", "start", "memory", "serve"}

// results is what the measuring program found out.
type results struct {
	Rounds   int
	Kernel   string
	CPU      string
	CPUs     int
	Clock    string // the kernel's clock source
	Emulated bool
	Microvm  string               // its command line
	Series   map[string][]float64 // by what was measured, a number for each round
	Errors   []string
}

func (r *results) add(key string, value float64) { r.Series[key] = append(r.Series[key], value) }

// merge takes over what a run for one area found.
func (r *results) merge(one *results) {
	if r.Series == nil {
		r.Series = map[string][]float64{}
	}
	maps.Copy(r.Series, one.Series)
	r.Errors = append(r.Errors, one.Errors...)
	r.Rounds, r.Kernel, r.CPU, r.CPUs, r.Clock, r.Microvm = one.Rounds, one.Kernel, one.CPU, one.CPUs, one.Clock, one.Microvm
}

// maxSilence is how long the measuring program may say nothing: it limits what it
// runs to maxProgram itself, so then its machine hangs.
const maxSilence = maxProgram + 2*time.Minute

var (
	errMeasured = errors.New("not everything could be measured")
	errSilent   = fmt.Errorf("the machine has said nothing for %v", maxSilence)
)

// measureIn runs the measuring program where Keeps run, for one area or for all.
func measureIn(ctx context.Context, root string, emulate bool, o options) (*results, error) {
	why := errors.New("-emulated was given")
	if !emulate {
		why = kvm.Probe(ctx)
	}
	run := runHere
	if why == nil {
		progress("this machine's KVM is used")
	} else {
		progress("the emulated machine is used: %.200v", why)
		e := &emulator{root: root, files: o.Files.all()}
		defer e.stop()
		run = e.run
	}
	all := &results{Emulated: why != nil}
	for _, area := range areas {
		if o.Area != "" && o.Area != area {
			continue
		}
		one := o
		one.Area = area
		r, err := measureArea(ctx, run, one)
		if errors.Is(err, errSilent) || errors.Is(err, emulated.ErrGone) {
			progress("%s: %v: once more", area, err)
			r, err = measureArea(ctx, run, one)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			all.Errors = append(all.Errors, area+": "+err.Error())
			continue
		}
		all.merge(r)
	}
	if len(all.Errors) > 0 {
		return all, errMeasured
	}
	return all, nil
}

// runner runs a program, and fails unless it exits 0.
type runner func(ctx context.Context, argv []string, stdout, stderr io.Writer) error

func measureArea(ctx context.Context, run runner, o options) (*results, error) {
	spec, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := &watched{to: os.Stderr, timer: time.AfterFunc(maxSilence, func() { cancel(errSilent) })}
	defer watch.timer.Stop()
	var stdout bytes.Buffer
	if err := run(ctx, []string{o.Files.Measure, "measure", string(spec)}, &stdout, watch); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	var r results
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("the measuring program's answer: %w", err)
	}
	return &r, nil
}

// watched starts its timer again whenever something is written.
type watched struct {
	to    io.Writer
	timer *time.Timer
}

func (w *watched) Write(p []byte) (int, error) {
	w.timer.Reset(maxSilence)
	return w.to.Write(p)
}

func runHere(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, 10*time.Second
	return cmd.Run()
}

// emulator keeps one machine as long as it answers.
type emulator struct {
	root    string
	files   []string
	machine *emulated.Machine
}

func (e *emulator) run(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	if e.machine == nil {
		m, err := emulated.Start(ctx, emulated.Config{Root: e.root})
		if err != nil {
			return err
		}
		e.machine = m
	}
	err := e.machine.Put(ctx, e.files...)
	code := 0
	if err == nil {
		code, err = e.machine.Run(ctx, emulated.Command{Argv: argv, Dir: "/tmp", Stdout: stdout, Stderr: stderr})
	}
	if err != nil {
		e.stop() // the next one gets a machine that works
		return err
	}
	if code != 0 {
		return fmt.Errorf("the measuring program ended with %d", code)
	}
	return nil
}

func (e *emulator) stop() {
	if e.machine != nil {
		e.machine.Close()
		e.machine = nil
	}
}
