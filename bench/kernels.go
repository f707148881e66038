// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// kernel is a piece of work that computes the same checksum wherever it runs. The
// number of times makes it about 0.2 s natively on the machine it was sized on; zero
// means that the language has no such kernel.
type kernel struct {
	name            string
	timesC, timesGo int
	sum             uint64
}

var kernels = []kernel{
	{"none", 1, 1, 0},
	{"mix", 20, 6, 0x23afad4b12ea01a9},
	{"fnv", 14, 10, 0x6b305ddd4a144125},
	{"sha256", 15, 10, 0xbb9f8df61474d25e},
	{"sieve", 20, 12, 0x00064cb1005b8d79},
	{"interp", 20, 12, 0xb85974d11c2cdff0},
	{"strings", 10, 12, 0x80f4137cb22325e5},
	{"sort", 20, 10, 0x6b302ee718d9fcbe},
	{"json", 40, 14, 0x20d34a07df5a0522},
	{"regexp", 0, 10, 0x9438574579f9e840},
	{"map", 25, 8, 0x05125e477459e1a7},
	{"tree", 60, 30, 0xa9fa980e063392e7},
	{"gemm", 50, 16, 0x61ffc16e817a2b4c},
	{"jacobi", 40, 16, 0x5b56a5cbb7831d69},
	{"nbody", 25, 12, 0xbb051a9f6063758d},
	{"mandel", 12, 10, 0xbac5f0d820c4ea20},
}

var kernelRunners = []string{enarx, wasmtime, node, native}

// kernelTasks lists the kernels of one language.
func (b *bench) kernelTasks(language string) []task {
	var tasks []task
	for _, k := range kernels {
		times := k.timesC
		if language == "go" {
			times = k.timesGo
		}
		if times == 0 {
			continue
		}
		if b.quick {
			times = (times + 4) / 5
		}
		tasks = append(tasks, task{
			section: "kernel", name: language + "-" + k.name, guest: "kernels-" + language,
			args: []string{k.name, fmt.Sprint(times)}, runners: kernelRunners, rounds: b.rounds,
			check: prints(k.output()),
		})
	}
	return tasks
}

func (k kernel) output() string { return fmt.Sprintf("%s %016x\n", k.name, k.sum) }

// isKernel tells the rows that count from those that show a common cost.
func isKernel(r row) bool {
	return r.Section == "kernel" && r.Name != "c-none" && r.Name != "go-none"
}

func (b *bench) kernels(ctx context.Context) {
	var rows []row
	for _, language := range []string{"c", "go"} {
		for _, t := range b.kernelTasks(language) {
			if b.wants(t.id()) && ctx.Err() == nil {
				rows = append(rows, b.series(ctx, t))
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	b.rows = append(b.rows, rows...)
	b.show(kernelTimes(rows))
	b.show(kernelRatios(rows))
}

func kernelTimes(rows []row) *table {
	t := &table{
		title: "CPU kernels: seconds",
		intro: "Median CPU seconds of the whole process, modules cached; c-none and go-none do nothing: what they cost is in every row. " +
			"The last two columns are enarx alone: CPU seconds per wall second, and MiB of its largest process.",
		head: []string{"kernel", enarx, wasmtime, node, native, "CPU/wall", "MiB"},
	}
	floor := rssFloor()
	for _, r := range rows {
		cells := []string{r.Name}
		for _, name := range kernelRunners {
			res := r.result(name)
			cpu, ok := spreadOf(res.of(cpuOf))
			if !ok {
				cells = append(cells, t.absent(name, res.Why))
				continue
			}
			cells = append(cells, fmt.Sprintf("%.3f", cpu.Median))
		}
		ours := r.result(enarx)
		busy, ok := spreadOf(ours.of(busyOf))
		if !ok {
			cells = append(cells, t.absent(enarx, ours.Why), t.absent(enarx, ours.Why))
		} else {
			cells = append(cells, busy.String(), peakOf(ours, floor))
		}
		t.add(cells...)
	}
	return t
}

// busyOf is how many processors a program kept busy on average.
func busyOf(s sample) float64 { return s.CPU / s.Wall }

var kernelPairs = []comparison{{enarx, wasmtime}, {enarx, node}, {enarx, native}, {wasmtime, native}}

func kernelRatios(rows []row) *table {
	t := &table{
		title: "CPU kernels: ratios of CPU seconds",
		intro: "Median (least-greatest) of the ratios of each round; below 1 the first of the two needs less.",
		head:  []string{"kernel"},
	}
	for _, p := range kernelPairs {
		t.head = append(t.head, p.String())
	}
	for _, r := range rows {
		cells := []string{r.Name}
		for _, p := range kernelPairs {
			cells = append(cells, ratioCell(t, r, p, cpuOf))
		}
		t.add(cells...)
	}
	for _, language := range []string{"c", "go", ""} {
		cells := []string{"geometric mean: " + map[string]string{"c": "C", "go": "Go", "": "all"}[language]}
		for _, p := range kernelPairs {
			if mean, n, ok := kernelMean(rows, language, p); ok {
				cells = append(cells, fmt.Sprintf("%s of %d", short(mean), n))
			} else {
				cells = append(cells, t.absent("geometric mean", "no kernel has both numbers"))
			}
		}
		t.add(cells...)
	}
	return t
}

// kernelMean is the geometric mean of the median ratios of a language's kernels, or
// of all, and how many there are: a kernel that failed must not go unnoticed in it.
func kernelMean(rows []row, language string, p comparison) (mean float64, n int, ok bool) {
	var medians []float64
	for _, r := range rows {
		if !isKernel(r) || language != "" && r.Language != language {
			continue
		}
		if s, ok := r.ratio(p.a, p.b, cpuOf); ok {
			medians = append(medians, s.Median)
		}
	}
	mean, ok = geomean(medians)
	return mean, len(medians), ok
}
