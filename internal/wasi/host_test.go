// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFunctions(t *testing.T) {
	if n := len(byName[Preview1]); n != 46 {
		t.Errorf("preview 1 has %d functions", n)
	}
	if n := len(byName[Preview0]); n != 45 {
		t.Errorf("preview 0 has %d functions", n)
	}
	for name, f := range byName[Preview0] {
		p1 := byName[Preview1][name]
		if diff := cmp.Diff([][]byte{p1.Params, p1.Results}, [][]byte{f.Params, f.Results}); diff != "" {
			t.Errorf("%s: signatures differ: %s", name, diff)
		}
	}
}

func TestArgs(t *testing.T) {
	tests := []struct {
		name       string
		list       []string
		count, len uint32
		data       string
	}{
		{"none", nil, 0, 0, ""},
		{"one", []string{"a"}, 1, 2, "a\x00"},
		{"quotes", []string{"first", `the "second" arg`, "3"}, 3, 25, "first\x00the \"second\" arg\x003\x00"},
		{"empty string", []string{"", "x"}, 2, 3, "\x00x\x00"},
	}
	for _, tt := range tests {
		for _, which := range []string{"args", "environ"} {
			t.Run(tt.name+"/"+which, func(t *testing.T) {
				g := newGuest(t, Config{Args: tt.list, Env: tt.list})
				g.must(which+"_sizes_get", out, out+4)
				if g.u32(out) != tt.count || g.u32(out+4) != tt.len {
					t.Errorf("sizes %d, %d; want %d, %d", g.u32(out), g.u32(out+4), tt.count, tt.len)
				}
				g.must(which+"_get", 100, 200)
				if got := string(g.mem[200 : 200+tt.len]); got != tt.data {
					t.Errorf("data %q, want %q", got, tt.data)
				}
				for i, s := range tt.list {
					at := g.u32(100 + 4*uint32(i))
					if !strings.HasPrefix(string(g.mem[at:]), s+"\x00") {
						t.Errorf("pointer %d is wrong", i)
					}
				}
				if tt.count > 0 {
					end := len(g.mem) - 1
					g.want(eFault, which+"_get", end, 200)
					g.want(eFault, which+"_get", 100, end)
				}
				g.want(eFault, which+"_sizes_get", len(g.mem)-3, out)
				g.want(eFault, which+"_sizes_get", out, -1)
			})
		}
	}
}

func TestNoMemory(t *testing.T) {
	h := New(Config{Args: []string{"a"}})
	stack := []uint64{0, 0}
	byName[Preview1]["args_get"].Call(h, nil, stack)
	if errno(stack[0]) != eFault {
		t.Errorf("args_get without memory = %d", stack[0])
	}
}

// exitOf returns the code that f panics with.
func exitOf(f func()) (code uint32, exited bool) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case Exit:
			code, exited = e.Code, true
		default:
			panic(e)
		}
	}()
	f()
	return 0, false
}

func TestExit(t *testing.T) {
	g := newGuest(t, Config{})
	for _, want := range []uint32{0, 1, 42, 125, 0xffffffff} {
		code, ok := exitOf(func() { g.call("proc_exit", want) })
		if !ok || code != want {
			t.Errorf("proc_exit(%d): %d, %v", want, code, ok)
		}
	}
	var err error = Exit{3}
	if e, ok := errors.AsType[Exit](err); !ok || e.Code != 3 {
		t.Error("Exit is not found in an error chain")
	}
}

func TestRaise(t *testing.T) {
	g := newGuest(t, Config{})
	tests := []struct {
		sig  int
		want errno
		exit uint32 // if not zero
	}{
		{0, success, 0}, {sigChld, success, 0}, {sigCont, success, 0}, {sigWinch, success, 0},
		{sigStop, eNotsup, 0}, {31, eInval, 0}, {-1, eInval, 0},
		{6, 0, 134}, {9, 0, 137}, {15, 0, 143},
	}
	for _, tt := range tests {
		var got errno
		code, exited := exitOf(func() { got = g.call("proc_raise", tt.sig) })
		if exited != (tt.exit != 0) || code != tt.exit || got != tt.want {
			t.Errorf("proc_raise(%d) = %d, exit %v %d; want %d, exit %d", tt.sig, got, exited, code, tt.want, tt.exit)
		}
	}
}

func TestRandom(t *testing.T) {
	g := newGuest(t, Config{})
	g.must("sched_yield")
	g.must("random_get", 1024, 4096)
	if strings.Count(string(g.mem[1024:1024+4096]), "\x00") > 200 {
		t.Error("random bytes are mostly zero")
	}
	before := g.mem[2048]
	g.must("random_get", 2048, 0)
	if g.mem[2048] != before {
		t.Error("a request for nothing wrote something")
	}
	g.want(eFault, "random_get", len(g.mem)-8, 9)
	g.want(eFault, "random_get", 1, -1)

	chunks := newGuest(t, Config{Random: io.LimitReader(zeros{}, 3<<20)})
	chunks.mem = make(memory, 4<<20)
	chunks.must("random_get", 0, 3<<20)
	chunks.want(eIO, "random_get", 0, 1)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClocks(t *testing.T) {
	now := time.Unix(1000, 0)
	g := newGuest(t, Config{Now: func() time.Time { return now }})
	read := func(id int) uint64 {
		g.must("clock_time_get", id, uint64(1), out)
		return g.u64(out)
	}
	if got := read(clockRealtime); got != 1000e9 {
		t.Errorf("real time %d", got)
	}
	mono := read(clockMonotonic)
	if mono == 0 {
		t.Error("the monotonic clock starts at zero, which Go takes for no clock")
	}
	now = now.Add(5 * time.Second)
	if got := read(clockMonotonic) - mono; got != 5e9 {
		t.Errorf("5 s are %d ns", got)
	}
	now = now.Add(-time.Hour)
	if got := read(clockMonotonic) - mono; got != 5e9 {
		t.Errorf("the monotonic clock went to %d", got)
	}
	read(clockRealtime)
	now = time.Unix(-5, 0)
	if got := read(clockRealtime); got != 1000e9 {
		t.Errorf("real time went back to %d", got)
	}
	for id := range 4 {
		g.must("clock_res_get", id, out)
		if g.u64(out) == 0 {
			t.Errorf("clock %d has no resolution", id)
		}
		first := read(id)
		if second := read(id); second < first {
			t.Errorf("clock %d went back", id)
		}
	}
	g.want(eInval, "clock_time_get", 4, uint64(0), out)
	g.want(eInval, "clock_res_get", 4, out)
	g.want(eFault, "clock_time_get", 0, uint64(0), len(g.mem)-7)
	g.want(eFault, "clock_res_get", 0, len(g.mem)-7)
}

func TestErrnoOf(t *testing.T) {
	if got := errnoOf(io.ErrUnexpectedEOF); got != eIO {
		t.Errorf("unknown error is %d", got)
	}
	seen := map[errno]bool{}
	for _, e := range fromLinux {
		if e != success && seen[e] {
			t.Errorf("errno %d is used twice", e)
		}
		seen[e] = true
	}
}
