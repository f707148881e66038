// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
)

// bound is something the project holds itself to.
type bound struct {
	What     string  `json:"what"`
	Limit    string  `json:"limit"`
	Measured float64 `json:"measured"`
	Verdict  string  `json:"verdict"` // met, missed, or why it is not known
}

func (b *bench) bounds() []bound {
	list := []bound{
		b.startBound("hello/wat", enarx, wasmtime),
		b.startBound("hello/c", enarx, wasmtime),
		b.startBound("hello/go", enarx, wasmtime),
		b.startBound("hello/wat", enarxFresh, wasmtimeNew),
		b.startBound("hello/c", enarxFresh, wasmtimeNew),
		b.busyBound(),
	}
	mean, n, ok := kernelMean(b.rows, "", comparison{enarx, wasmtime})
	list = append(list,
		judge(fmt.Sprintf("CPU of %d kernels, enarx : wasmtime, geometric mean", n), mean, ok, 2.1, true))
	for _, crowd := range crowds {
		s, ok := serveRatio(b.servers, comparison{keepTLS, keepTCP}, crowd)
		list = append(list, judge(fmt.Sprintf("requests per second in a Keep, C=%d, TLS : TCP", crowd), s.Median, ok, 0.9, false))
	}
	for _, name := range []string{keepTLS, keepTCP} {
		s := serverNamed(b.servers, name)
		// Two ticks of the kernel's clock, the least it can count, in two seconds.
		list = append(list, judge("CPU seconds per second of an idle server: "+name, s.Idle, s.Why == "", 0.01, true))
	}
	return list
}

// judge compares; atMost tells a ceiling from a floor.
func judge(what string, measured float64, known bool, limit float64, atMost bool) bound {
	v := bound{What: what, Measured: measured, Verdict: "missed"}
	if atMost {
		v.Limit = "at most " + short(limit)
	} else {
		v.Limit = "at least " + short(limit)
	}
	switch {
	case !known:
		v.Verdict = "not measured in this run"
	case atMost && measured <= limit, !atMost && measured >= limit:
		v.Verdict = "met"
	}
	return v
}

func (b *bench) startBound(id, ours, theirs string) bound {
	what := fmt.Sprintf("wall time of %s, %s : %s", id, ours, theirs)
	for _, r := range b.rows {
		if r.Section+"/"+r.Name == id {
			s, ok := r.ratio(ours, theirs, wallOf)
			return judge(what, s.Median, ok, 1, true)
		}
	}
	return judge(what, 0, false, 1, true)
}

// busyBound is over all kernels: a second processor kept busy is Go's collector
// waiting for a guest that it cannot stop.
func (b *bench) busyBound() bound {
	worst, where := 0.0, "no kernel"
	for _, r := range b.rows {
		if !isKernel(r) {
			continue
		}
		if s, ok := spreadOf(r.result(enarx).of(busyOf)); ok && s.Median > worst {
			worst, where = s.Median, r.Name
		}
	}
	return judge("CPU seconds per wall second of the busiest kernel ("+where+")", worst, worst > 0, 1.1, true)
}

func boundTable(list []bound) *table {
	t := &table{
		title: "Bounds",
		intro: "What this version is held to, by the median. A quick run, and one on a machine that did other work, decides nothing.",
		head:  []string{"bound", "limit", "measured", "verdict"},
		words: 2,
	}
	for _, v := range list {
		measured := "-"
		if v.Verdict == "met" || v.Verdict == "missed" {
			measured = fmt.Sprintf("%.3f", v.Measured)
		}
		t.add(v.What, v.Limit, measured, v.Verdict)
	}
	return t
}

// missing tells whether nothing at all was measured of a bound's subject.
func missing(list []bound) bool {
	return !slices.ContainsFunc(list, func(v bound) bool { return v.Verdict == "met" || v.Verdict == "missed" })
}
