// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package main

import (
	"strings"
	"testing"
	"time"
)

// TestProgress: what is on the screen while bytes arrive.
func TestProgress(t *testing.T) {
	var screen strings.Builder
	now := time.Unix(1000, 0)
	width := 80
	p := &progress{out: &screen, width: func() int { return width }, now: func() time.Time { return now }}
	p.expect(10 << 20)
	last := func() string {
		lines := strings.Split(screen.String(), "\r")
		return strings.TrimRight(lines[len(lines)-2], " ")
	}
	for _, step := range []struct {
		after time.Duration
		what  string
		n     int64
		moved bool
		width int
		want  string
	}{
		{0, "main.wasm", 1 << 20, false, 80, "main.wasm  1.0 MiB of 10.0 MiB   10%"},
		{50 * time.Millisecond, "main.wasm", 0, true, 80, "main.wasm  1.0 MiB of 10.0 MiB   10%"}, // too soon
		{450 * time.Millisecond, "main.wasm", 1 << 20, true, 80, "main.wasm  2.0 MiB of 10.0 MiB   20%  2.0 MiB/s  4s left"},
		{500 * time.Millisecond, "data/\x1b[31m", 0, true, 80, `data/\x1b[31m  2.0 MiB of 10.0 MiB   20%  1.0 MiB/s  8s left`},
		{time.Second, strings.Repeat("long/", 20), 1 << 20, true, 60, "…/long/long/  3.0 MiB of 10.0 MiB   30%  1.0 MiB/s  7s left"},
		{time.Second, "x", 1 << 20, true, 30, "4.0 MiB of 10.0 MiB   40%  1."},
		{20 * time.Second, "x", 0, true, 80, "x  4.0 MiB of 10.0 MiB   40%  0 B/s"},
		{time.Second, "x", 6 << 20, true, 80, "x  10.0 MiB of 10.0 MiB  100%  292.6 KiB/s"},
	} {
		now = now.Add(step.after)
		width = step.width
		p.add(step.what, step.n, step.moved)
		if got := last(); got != step.want {
			t.Errorf("after %v of %q: %q, want %q", step.after, step.what, got, step.want)
		}
		if strings.ContainsAny(screen.String(), "\n\x1b") {
			t.Fatalf("%q", screen.String())
		}
	}
	p.finish()
	if got := last(); got != "" {
		t.Errorf("left on the screen: %q", got)
	}

	silent := newProgress(&screen)
	before := screen.Len()
	silent.expect(1)
	silent.add("x", 1, true)
	silent.finish()
	if screen.Len() != before {
		t.Error("it draws where there is no terminal")
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 29: "1.5 GiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
