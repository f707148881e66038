// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"enarx.dev/enarx/drawbridge/client"
)

// progress draws how far a transfer is: a line that is drawn over itself, on a
// terminal; elsewhere it is silent. Its methods may be called by several
// goroutines.
type progress struct {
	out   io.Writer // nil: silent
	width func() int
	now   func() time.Time

	mu      sync.Mutex
	total   int64 // bytes; 0: not known
	done    int64
	moved   int64 // of done, what was sent or received in this run
	what    string
	step    client.Step
	drawn   time.Time
	line    int // columns of what is on the screen
	samples []sample
}

// sample is how much had been moved at a time.
type sample struct {
	at    time.Time
	moved int64
}

const (
	progressInterval = 100 * time.Millisecond
	progressWindow   = 5 * time.Second // that the rate is the average of
)

// newProgress draws on standard error, if that is a terminal.
func newProgress(stderr io.Writer) *progress {
	p := &progress{now: time.Now}
	if f, ok := stderr.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
		p.out = f
		p.width = func() int {
			w, _, err := term.GetSize(int(f.Fd()))
			if err != nil || w <= 0 {
				return 80
			}
			return w
		}
	}
	return p
}

// expect sets how many bytes there will be in all.
func (p *progress) expect(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = total
}

// add counts bytes that were moved, or that need not be: they are there already.
func (p *progress) add(what string, n int64, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	p.done += n
	if moved {
		p.moved += n
	}
	p.tick()
}

// tick draws, if it is time. The caller holds p.mu.
func (p *progress) tick() {
	if p.out == nil {
		return
	}
	now := p.now()
	if now.Sub(p.drawn) < progressInterval {
		return
	}
	p.drawn = now
	p.samples = append(p.samples, sample{now, p.moved})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) >= progressWindow {
		p.samples = p.samples[1:]
	}
	p.draw(p.text(now))
}

// event is how the client tells of itself. It counts from 0 in each step, and
// leaves out what need not be done.
func (p *progress) event(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Step != p.step { // the first of a step is drawn at once
		p.step, p.samples, p.drawn = e.Step, nil, time.Time{}
	}
	p.what, p.done, p.total, p.moved = cmp.Or(e.Path, string(e.Step)), e.Done, e.Total, e.Done
	p.tick()
}

// finish takes the line away.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil && p.line > 0 {
		p.draw("")
	}
}

// draw puts one line over the last one.
func (p *progress) draw(text string) {
	clear := strings.Repeat(" ", max(p.line-len([]rune(text)), 0))
	fmt.Fprintf(p.out, "\r%s%s\r", text, clear)
	p.line = len([]rune(text))
}

// text is like "main.wasm   12.3 MiB of 40.0 MiB   31%   8.1 MiB/s   3s left".
func (p *progress) text(now time.Time) string {
	amount := size(p.done)
	if p.total > 0 {
		amount += fmt.Sprintf(" of %s  %3d%%", size(p.total), min(100, p.done*100/p.total))
	}
	first := p.samples[0]
	if over := now.Sub(first.at).Seconds(); over > 0.2 {
		rate := float64(p.moved-first.moved) / over
		amount += fmt.Sprintf("  %s/s", size(int64(rate)))
		if left := float64(p.total - p.done); p.total > 0 && left > 0 && rate > 0 && left/rate < 100*3600 {
			amount += "  " + (time.Duration(left/rate) * time.Second).Round(time.Second).String() + " left"
		}
	}
	// The name gives way where the terminal is narrow; it is a path of the user's
	// or of the store's, so nothing in it may drive the terminal.
	room := p.width() - 1 - len(amount) - 2
	name := []rune(oneLine(p.what))
	if len(name) > room {
		if room < 8 {
			return amount[:min(len(amount), max(p.width()-1, 0))]
		}
		name = append([]rune("…"), name[len(name)-room+1:]...)
	}
	return string(name) + "  " + amount
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB", "PiB", "EiB"} {
		if f < 1<<10 {
			break
		}
		f, unit = f/(1<<10), next
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
