// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
)

// The targets of issue 3.
const (
	leastBoot  = 10  // microVM's start : Keep's
	leastServe = 0.8 // requests per second, kvm : nil
)

// table is printed as Markdown.
type table struct {
	title, intro string
	words        int // how many columns are text, from the left
	head         []string
	rows         [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n", t.title, t.intro)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---:"
		if i < t.words {
			rule[i] = "---"
		}
	}
	for _, row := range append([][]string{t.head, rule}, t.rows...) {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// ratio is a cell: the median of the ratios of each round, or a dash.
func (r *results) ratio(a, b string) string {
	s, ok := spreadOf(quotients(r.Series[a], r.Series[b]))
	if !ok {
		return "-"
	}
	return s.String()
}

// value is a cell: the median, or a dash.
func (r *results) value(key string) string {
	s, ok := spreadOf(r.Series[key])
	if !ok {
		return "-"
	}
	return short(s.median)
}

func (r *results) has(prefix string) bool {
	for key := range r.Series {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// report prints everything.
func report(w io.Writer, r *results) {
	machine := &table{
		title: "Keep: the machine", words: 2, head: []string{"what", "value"},
		intro: "Where a Keep of the kvm backend was measured, and everything that it was compared with.",
	}
	where := "native"
	if r.Emulated {
		where = "emulated by QEMU TCG, `-cpu max,+svm`: only the ratios mean something, and of those, less than on a processor"
	}
	machine.add("machine", where)
	machine.add("kernel", r.Kernel)
	machine.add("processor", fmt.Sprintf("%s, %d in use", r.CPU, r.CPUs))
	machine.add("clock source", r.Clock+"; only with tsc does plain Linux read the clock in the program")
	machine.add("rounds", fmt.Sprint(r.Rounds))
	machine.add("the microVM's kernel", "Debian's cloud kernel, uncompressed, "+fmt.Sprint(microvmMemory>>20)+" MiB")
	machine.add("its command line", "`"+r.Microvm+"`")
	for _, e := range r.Errors {
		machine.add("error", strings.Join(strings.Fields(e), " "))
	}
	machine.print(w)
	callTable(r).print(w)
	startTable(r).print(w)
	memoryTable(r).print(w)
	serveTable(r).print(w)
	targets(r).print(w)
}

func callTable(r *results) *table {
	t := &table{
		title: "Keep: system calls", words: 2, head: []string{"call", "served by", "Keep : plain Linux", "Keep: call : getpid"},
		intro: "The same static program in a Keep (`enarx unstable exec`) and on plain Linux. Median (least-greatest) of the ratios of each " +
			"round; below 1 the first of the two is faster. Getpid is served in the shim: the last column says what leaving the guest costs.",
	}
	if !r.has("calls/") {
		return t
	}
	for _, c := range []struct{ key, name, by string }{
		{"computation", "none: 1000 multiplications", "-"},
		{"vdso", "clock_gettime, by the vDSO", "the program"},
		{"getpid", "getpid", "the shim"},
		{"clock_gettime", "clock_gettime, by a system call", "the shim"},
		{"getsockname", "getsockname", "the host"},
		{"write", "write of 1 byte to /dev/null", "the host"},
	} {
		leaving := "-"
		if c.key != "computation" {
			leaving = r.ratio("calls/keep/"+c.key, "calls/keep/getpid")
		}
		t.add(c.name, c.by, r.ratio("calls/keep/"+c.key, "calls/plain/"+c.key), leaving)
	}
	return t
}

func startTable(r *results) *table {
	t := &table{
		title: "Keep: start", words: 1, head: []string{"from ... until ...", "microVM : Keep"},
		intro: "A microVM that boots Linux to the same enarx-exec, against a Keep. Both sides end when the host is told of the first " +
			"instruction, by the same instructions. In the rows of a call the time begins where a program makes the machine; in those " +
			"of a process, before the program is started; for the Keep, both hold finding out whether KVM is usable. Median (least-greatest) of the ratios of each round: so many times faster is the Keep.",
	}
	if !r.has("start/") {
		return t
	}
	for _, row := range []struct{ name, from, key string }{
		{"the call, first instruction of exec", "call", "keep"},
		{"the call, first WebAssembly instruction", "call", "wasm"},
		{"the process, first instruction of exec (`enarx unstable exec`)", "process", "exec-cli"},
		{"the process, first WebAssembly instruction (`enarx run --backend kvm`)", "process", "run-kvm-cli"},
		{"the process, first WebAssembly instruction (`enarx run --backend nil`)", "process", "run-nil-cli"},
	} {
		t.add(row.name, r.ratio("start/"+row.from+"/microvm", "start/"+row.from+"/"+row.key))
	}
	t.add("for comparison, `enarx run`: kvm : nil", r.ratio("start/process/run-kvm-cli", "start/process/run-nil-cli"))
	return t
}

func memoryTable(r *results) *table {
	t := &table{
		title: "Keep: memory of an idle one", words: 2,
		head: []string{"program", "backend", "processes", "RSS", "PSS", "of PSS anonymous", "guest memory backed", "of it pages"},
		intro: "`enarx run` of a module that waits for its input, all processes of it together; MiB, medians. What is anonymous belongs to " +
			"the Keep alone; the rest is pages of files that other Keeps share. Guest memory is part of the anonymous.",
	}
	if !r.has("memory/") {
		return t
	}
	for _, program := range []string{"wat", "go"} {
		for _, backend := range backends {
			key := "memory/" + program + "/" + backend + "/"
			guest, pages := "-", "-"
			if s, ok := spreadOf(r.Series[key+"guest"]); ok && backend == "kvm" {
				guest, pages = short(s.median), fmt.Sprint(int(s.median*256))
			}
			t.add("hold "+program, backend, r.value(key+"processes"), r.value(key+"rss"), r.value(key+"pss"), r.value(key+"anonymous"), guest, pages)
		}
	}
	return t
}

func serveTable(r *results) *table {
	t := &table{
		title: "Keep: HTTP server", words: 1, head: []string{"kvm : nil"},
		intro: "Requests per second of a Go net/http server in a Keep, with C keep-alive connections from a program in the same machine. " +
			"Median (least-greatest) of the ratios of each round; above 1 the first of the two serves more.",
	}
	for _, crowd := range crowds {
		t.head = append(t.head, fmt.Sprintf("C=%d", crowd))
	}
	if !r.has("serve/") {
		return t
	}
	for _, protocol := range protocols {
		row := []string{serveName(protocol)}
		for _, crowd := range crowds {
			row = append(row, r.ratio(fmt.Sprintf("serve/%s/kvm/%d", protocol, crowd), fmt.Sprintf("serve/%s/nil/%d", protocol, crowd)))
		}
		t.add(row...)
	}
	return t
}

func serveName(protocol string) string {
	if protocol == "tls" {
		return "HTTPS"
	}
	return "HTTP"
}

// targets says by the medians what of issue 3 is met. A quick run decides nothing.
func targets(r *results) *table {
	t := &table{
		title: "Keep: targets", words: 2, head: []string{"target", "limit", "measured", "verdict"},
		intro: "By the medians.",
	}
	add := func(name string, least float64, a, b string) {
		s, ok := spreadOf(quotients(r.Series[a], r.Series[b]))
		switch verdict := "missed"; {
		case !ok:
			t.add(name, "at least "+short(least), "-", "not measured")
		default:
			if s.median >= least {
				verdict = "met"
			}
			t.add(name, "at least "+short(least), short(s.median), verdict)
		}
	}
	add("start until the first instruction of exec, microVM : Keep", leastBoot, "start/call/microvm", "start/call/keep")
	for _, protocol := range protocols {
		for _, crowd := range crowds {
			add(fmt.Sprintf("%s requests per second, C=%d, kvm : nil", serveName(protocol), crowd), leastServe,
				fmt.Sprintf("serve/%s/kvm/%d", protocol, crowd), fmt.Sprintf("serve/%s/nil/%d", protocol, crowd))
		}
	}
	return t
}
