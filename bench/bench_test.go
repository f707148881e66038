// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		numbers []float64
		want    spread
		ok      bool
	}{
		{nil, spread{}, false},
		{[]float64{2}, spread{2, 2, 2}, true},
		{[]float64{3, 1, 2}, spread{1, 2, 3}, true},
		{[]float64{4, 1, 3, 2}, spread{1, 2.5, 4}, true},
	} {
		if got, ok := spreadOf(c.numbers); got != c.want || ok != c.ok {
			t.Errorf("spreadOf(%v) = %v, %t, want %v, %t", c.numbers, got, ok, c.want, c.ok)
		}
	}
}

func TestGeomean(t *testing.T) {
	for _, c := range []struct {
		ratios []float64
		want   float64
		ok     bool
	}{
		{nil, 0, false},
		{[]float64{1, 0}, 0, false},
		{[]float64{2}, 2, true},
		{[]float64{2, 0.5}, 1, true},
		{[]float64{1, 10, 100}, 10, true},
	} {
		if got, ok := geomean(c.ratios); !near(got, c.want) || ok != c.ok {
			t.Errorf("geomean(%v) = %v, %t, want %v, %t", c.ratios, got, ok, c.want, c.ok)
		}
	}
}

// The ratio must pair the runs of one round: the quotient of two medians would not.
func TestRatioIsByRound(t *testing.T) {
	r := row{Results: []*result{
		{Runner: "a", Samples: []sample{{CPU: 1}, {CPU: 20}, {CPU: 6}}},
		{Runner: "b", Samples: []sample{{CPU: 1}, {CPU: 10}, {CPU: 2}}},
	}}
	if got, ok := r.ratio("a", "b", cpuOf); !ok || got != (spread{1, 2, 3}) {
		t.Errorf("got %v, %t", got, ok)
	}
	if _, ok := r.ratio("a", "c", cpuOf); ok {
		t.Error("a runner without samples has a ratio")
	}
}

func TestQuantile(t *testing.T) {
	numbers := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]float64{0: 1, 0.5: 5, 0.99: 10, 1: 10} {
		if got := quantile(numbers, q); got != want {
			t.Errorf("quantile(%v) = %v, want %v", q, got, want)
		}
	}
}

func TestTableSaysWhyACellIsEmpty(t *testing.T) {
	var text, md bytes.Buffer
	tab := &table{title: "Title", head: []string{"a", "b"}}
	tab.add("x", tab.absent("node", "gone"))
	tab.add("yy", tab.absent("node", "gone"))
	tab.text(&text)
	tab.markdown(&md)
	if got, want := text.String(), "\nTitle\n=====\n\na       b\nx   - [1]\nyy  - [1]\n[1] node: gone\n"; got != want {
		t.Errorf("text:\n%q\nwant\n%q", got, want)
	}
	if want := "| yy | - \\[1] |\n\n\\[1] node: gone\n"; !strings.HasSuffix(md.String(), want) {
		t.Errorf("Markdown:\n%s\ndoes not end in\n%s", md.String(), want)
	}
}

// testBench has the guest "say", which is /bin/echo and prints its arguments.
func testBench(runners ...runner) *bench {
	return &bench{
		rounds: 2, only: regexp.MustCompile(""), stdout: io.Discard, log: io.Discard, runners: runners,
		builder: &builder{made: map[string]built{"say": {path: "/bin/echo"}}},
	}
}

func TestSeries(t *testing.T) {
	b := testBench(
		runner{name: enarx, why: "not built"},
		runner{name: native},
		runner{name: node, prefix: []string{"/bin/false"}})
	b.builder.made["say.wasm"] = built{path: "/bin/echo"}
	say := task{section: "s", name: "n", guest: "say", args: []string{"42"}, rounds: 2,
		runners: []string{enarx, native, node}, check: prints("42\n")}
	r := b.series(t.Context(), say)
	if got := r.result(native); len(got.Samples) != 2 || got.Why != "" || got.Samples[0].Wall <= 0 {
		t.Errorf("native: %+v", got)
	}
	if got := r.result(enarx); len(got.Samples) != 0 || got.Why != "not built" {
		t.Errorf("enarx: %+v", got)
	}
	if got := r.result(node); len(got.Samples) != 0 || !strings.Contains(got.Why, "exit status 1") {
		t.Errorf("a runner that exits 1: %+v", got)
	}
	say.check = prints("43\n")
	if got := b.series(t.Context(), say).result(native); len(got.Samples) != 0 || !strings.Contains(got.Why, "output is wrong") {
		t.Errorf("a wrong checksum: %+v", got)
	}
	if b.failed != 1 {
		t.Errorf("%d failures counted, want 1: that of native; a peer's is not ours", b.failed)
	}
}

func TestRunCountsChildren(t *testing.T) {
	busy := "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	s, _, err := run(t.Context(), []string{"/bin/sh", "-c", "sh -c '" + busy + "'; true"}, []string{"PATH=/usr/bin:/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if s.CPU < 0.01 {
		t.Errorf("%v CPU seconds: the child's are not in them", s.CPU)
	}
}

func TestTree(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "cat; true")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(stdin, "x") // comes back when cat, the grandchild, runs
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	mib, processes := treePeak(os.Getpid())
	if self, _ := readProcess(os.Getpid()); processes < 3 || mib <= float64(self.peak)/1024 {
		t.Errorf("%d processes, %v MiB, %v of them this one", processes, mib, float64(self.peak)/1024)
	}
	stdin.Close()
	cmd.Wait()
}

func TestClient(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var wrong atomic.Bool
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, map[bool]string{false: answer, true: "something else"}[wrong.Load()])
		}))
		if secure {
			server.StartTLS()
		} else {
			server.Start()
		}
		clients, err := dialAll(t.Context(), server.Listener.Addr().String(), secure, 3)
		if err != nil {
			t.Fatalf("TLS %t: %v", secure, err)
		}
		wrong.Store(true)
		if err := clients[0].get(); err == nil {
			t.Errorf("TLS %t: a wrong answer passes", secure)
		}
		closeAll(clients)
		server.Close()
	}
}

// Every kernel, once, natively, in both languages: the constants in the table are
// what all runners are checked against.
func TestKernelChecksums(t *testing.T) {
	b, err := newBench(1, true, regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	b.builder.out = t.TempDir()
	for _, language := range []string{"c", "go"} {
		t.Run(language, func(t *testing.T) {
			if _, err := exec.LookPath("clang"); language == "c" && err != nil {
				t.Skip("clang is not on PATH")
			}
			file, err := b.builder.path(t.Context(), "kernels-"+language, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range kernels {
				if k.timesC == 0 && language == "c" {
					continue
				}
				checkKernel(t.Context(), t, file, k)
			}
		})
	}
}

func checkKernel(ctx context.Context, t *testing.T, file string, k kernel) {
	t.Helper()
	_, stdout, err := run(ctx, []string{file, k.name, "1"}, nil)
	if err != nil {
		t.Errorf("%s: %v", k.name, err)
	} else if err := prints(k.output())(string(stdout)); err != nil {
		t.Errorf("%s: %v", k.name, err)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		measured float64
		known    bool
		atMost   bool
		want     string
	}{
		{1, true, true, "met"},
		{1.1, true, true, "missed"},
		{0.9, true, false, "missed"},
		{1, true, false, "met"},
		{0, false, true, "not measured in this run"},
	} {
		if got := judge("x", c.measured, c.known, 1, c.atMost); got.Verdict != c.want {
			t.Errorf("%+v: %s", c, got.Verdict)
		}
	}
}
