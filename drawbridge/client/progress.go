// SPDX-License-Identifier: Apache-2.0

package client

import (
	"io"
	"sync"

	"enarx.dev/enarx/drawbridge"
)

// Step is what is being done.
type Step string

// The steps of publishing and fetching.
const (
	Hashing   Step = "hashing"
	Sending   Step = "sending"
	Receiving Step = "receiving"
)

// Event is how far a step is. Events come one at a time, for each piece of data
// that moved; what failed and is done again is subtracted from Done.
type Event struct {
	Step    Step
	Path    string // of the file that moved, "" for the root and for what concerns no file
	Done    int64  // bytes of all files together
	Total   int64  // bytes to be done
	Skipped int64  // bytes that needed not to be done: the other side has them
}

// meter adds up and tells. A nil callback is fine.
type meter struct {
	mu    sync.Mutex
	tell  func(Event) // called with mu held
	event Event
}

func newMeter(tell func(Event), step Step) *meter {
	return &meter{tell: tell, event: Event{Step: step}}
}

func (m *meter) change(p drawbridge.Path, change func(*Event)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.event)
	m.event.Path = p.String()
	if m.tell != nil {
		m.tell(m.event)
	}
}

// expect adds to what is to be done.
func (m *meter) expect(n int64) { m.change(nil, func(e *Event) { e.Total += n }) }

// add adds to what was done; n may be negative.
func (m *meter) add(p drawbridge.Path, n int64) { m.change(p, func(e *Event) { e.Done += n }) }

// skip adds to what needed not to be done, and was expected before.
func (m *meter) skip(p drawbridge.Path, n int64) {
	m.change(p, func(e *Event) { e.Total -= n; e.Skipped += n })
}

func (m *meter) last() Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.event
}

// counted is a body that is metered as it is read. net/http may read on for a
// moment after a request has failed, so undo also ends the counting.
type counted struct {
	io.ReadCloser
	meter *meter
	path  drawbridge.Path

	mu   sync.Mutex
	sent int64
	over bool
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.sent += int64(n)
		c.meter.add(c.path, int64(n))
	}
	return n, err
}

// settle ends the counting: of what was sent, only so many bytes have arrived.
func (c *counted) settle(arrived int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && c.sent != arrived {
		c.meter.add(c.path, arrived-c.sent)
	}
	c.over = true
}
