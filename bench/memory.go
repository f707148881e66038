// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// footprint is the memory of a program at rest.
type footprint struct {
	Program   string  `json:"program"`
	Runner    string  `json:"runner"`
	Why       string  `json:"why,omitempty"`
	MiB       float64 `json:"mib,omitempty"` // sum of the peaks of all processes
	Processes int     `json:"processes,omitempty"`
}

type memoryTask struct {
	name, guest string
	args        []string
}

var memoryTasks = []memoryTask{
	{"wat", "hold-wat", nil},
	{"c", "hold-c", nil},
	{"go", "hold-go", nil},
	{"c-256", "hold-c", []string{"256"}},
	{"go-256", "hold-go", []string{"256"}},
}

func (b *bench) memory(ctx context.Context) {
	t := &table{
		title: "Memory: peak of all processes together",
		intro: "MiB, the sum of VmHWM over the processes; (2) where there are two. Modules are cached, except in the " +
			"columns that say so. The last two programs write to every page of 256 MiB.",
		head: append([]string{"program"}, everyRunner...),
	}
	for _, m := range memoryTasks {
		if !b.wants("memory/"+m.name) || ctx.Err() != nil {
			continue
		}
		b.progress("memory/%s", m.name)
		cells := []string{"hold " + m.name}
		for _, r := range b.runners {
			f := b.hold(ctx, r, m)
			b.footprints = append(b.footprints, f)
			cells = append(cells, footprintCell(t, f))
		}
		t.add(cells...)
	}
	if len(t.rows) > 0 {
		b.show(t)
	}
}

func footprintCell(t *table, f footprint) string {
	switch {
	case f.Why != "":
		return t.absent(f.Runner, f.Why)
	case f.Processes != 1:
		return fmt.Sprintf("%s (%d)", short(f.MiB), f.Processes)
	}
	return short(f.MiB)
}

// hold measures one program. A first run fills the cache: compiling takes more
// memory than running.
func (b *bench) hold(ctx context.Context, r runner, m memoryTask) footprint {
	f := footprint{Program: m.name, Runner: r.name, Why: r.why}
	if r.name == native && guests[m.guest].language == "wat" {
		f.Why = noNative
	}
	if f.Why != "" {
		return f
	}
	file, err := b.builder.path(ctx, m.guest, r.wasm())
	if err != nil {
		f.Why = err.Error()
		return f
	}
	argv := r.argv(file, m.args)
	if _, _, err := run(ctx, argv, b.env); err != nil {
		f.Why = "the run failed: " + err.Error()
	} else if f.MiB, f.Processes, err = rest(ctx, argv, b.env); err != nil {
		f.Why = "the run failed: " + err.Error()
	}
	if f.Why != "" {
		b.fail(r.name, "memory/%s: %s: %s", m.name, r.name, f.Why)
	}
	return f
}

// rest starts a program that says "ready" and waits for the end of its standard
// input, and reads its peaks in between, while all its processes are alive.
func rest(ctx context.Context, argv, env []string) (mib float64, processes int, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	defer cancel()
	var stderr bytes.Buffer
	cmd := command(ctx, argv, env)
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line == "ready\n" {
		// What a runner does just after the first output belongs to it as well.
		time.Sleep(100 * time.Millisecond)
		mib, processes = treePeak(cmd.Process.Pid)
	}
	stdin.Close()
	if waited := cmd.Wait(); waited != nil {
		return 0, 0, fmt.Errorf("%w: %s", waited, lastLine(stderr.Bytes()))
	}
	if line != "ready\n" {
		return 0, 0, fmt.Errorf("it printed %.40q (%v)", line, err)
	}
	if processes == 0 {
		return 0, 0, errors.New("it ended before its standard input did")
	}
	return mib, processes, nil
}
