// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// everyRunner is the field of the rows in which starting is what counts.
var everyRunner = []string{enarx, wasmtime, enarxFresh, wasmtimeNew, node, native}

const noNative = "a module in text format has no native twin"

// startTasks are whole processes from nothing to exit. Short ones get more rounds:
// their time is within the noise of one.
func (b *bench) startTasks() []task {
	hello := func(language string, times, fields int) task {
		return task{
			section: "hello", name: language, guest: "hello-" + language,
			runners: everyRunner[:fields], rounds: times * b.rounds,
			check: func(stdout string) error {
				if !strings.HasPrefix(stdout, "Hello from") {
					return fmt.Errorf("%.80q is no greeting", stdout)
				}
				return nil
			},
		}
	}
	return []task{
		hello("wat", 4, 5),
		hello("c", 4, 6),
		hello("go", 2, 6),
		{
			section: "compile", name: "gofmt", guest: "gofmt",
			runners: everyRunner, rounds: b.rounds, check: prints(""),
		},
	}
}

func (b *bench) startUp(ctx context.Context) {
	var rows []row
	for _, t := range b.startTasks() {
		if b.wants(t.id()) && ctx.Err() == nil {
			rows = append(rows, b.series(ctx, t))
		}
	}
	if len(rows) == 0 {
		return
	}
	b.rows = append(b.rows, rows...)
	b.show(b.startTable(ctx, rows))
	b.show(startRatios(rows))
}

func (b *bench) startTable(ctx context.Context, rows []row) *table {
	t := &table{
		title: "Start: the whole process, from nothing to exit",
		intro: "Median wall ms / CPU ms / MiB of the largest process. gofmt, a few MB of code with nothing to do, " +
			"is compiled in the two columns without a cache and only loaded in the two with one. Node compiles lazily.",
		head: append([]string{"program"}, everyRunner...),
	}
	floor := rssFloor()
	for _, r := range rows {
		cells := []string{r.Section + " " + r.Name + b.size(ctx, r)}
		for _, name := range everyRunner {
			cells = append(cells, startCell(t, r.result(name), r.Language, floor))
		}
		t.add(cells...)
	}
	return t
}

// size says how large the module of a row is.
func (b *bench) size(ctx context.Context, r row) string {
	file, err := b.builder.path(ctx, r.Guest, true)
	if err != nil {
		return ""
	}
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (%s KB)", short(float64(info.Size())/1000))
}

func startCell(t *table, res result, language string, floor int64) string {
	if res.Runner == native && language == "wat" {
		return t.absent(native, noNative)
	}
	wall, ok := spreadOf(res.of(wallOf))
	if !ok {
		return t.absent(res.Runner, res.Why)
	}
	cpu, _ := spreadOf(res.of(cpuOf))
	return fmt.Sprintf("%s / %s / %s", short(1000*wall.Median), short(1000*cpu.Median), peakOf(res, floor))
}

// peakOf prints the MiB of the largest process.
func peakOf(res result, floor int64) string {
	peak, _ := spreadOf(res.of(func(s sample) float64 { return float64(s.RSS) }))
	if int64(peak.Median) <= floor {
		return "≤" + short(float64(floor)/1024) // all that wait4 can say
	}
	return short(peak.Median / 1024)
}

// comparison names the two runners of a quotient.
type comparison struct{ a, b string }

func (c comparison) String() string { return c.a + " : " + c.b }

func startRatios(rows []row) *table {
	t := &table{
		title: "Start: ratios of wall time",
		intro: "Median (least-greatest) of the ratios of each round; below 1 the first of the two is faster.",
		head:  []string{"program"},
	}
	pairs := []comparison{{enarx, wasmtime}, {enarxFresh, wasmtimeNew}, {enarx, node}, {enarxFresh, node}, {enarxFresh, enarx}}
	for _, p := range pairs {
		t.head = append(t.head, p.String())
	}
	for _, r := range rows {
		cells := []string{r.Section + " " + r.Name}
		for _, p := range pairs {
			cells = append(cells, ratioCell(t, r, p, wallOf))
		}
		t.add(cells...)
	}
	return t
}

func ratioCell(t *table, r row, p comparison, quantity func(sample) float64) string {
	s, ok := r.ratio(p.a, p.b, quantity)
	if ok {
		return s.String()
	}
	for _, name := range []string{p.a, p.b} {
		if res := r.result(name); len(res.Samples) == 0 {
			return t.absent(name, res.Why)
		}
	}
	return t.absent(p.String(), "too short to measure")
}
