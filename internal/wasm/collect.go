// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Collector decides when a Keep's garbage is collected.
//
// Go stops the world to start and to end a collection, and it cannot stop a
// goroutine that is inside compiled WebAssembly: a collection that begins
// while the guest loops without calling the host would freeze every other
// goroutine (TLS, timers, limits, certificate renewal) until the loop ends,
// with the collector spinning on a second core meanwhile. A guest can cause
// that at will.
//
// So automatic collection is off while a guest runs, and garbage is collected
// only inside host calls, where the guest's goroutine is in Go and stops like
// any other. A watcher looks at the heap a few times a second, without
// stopping anything, and asks for a collection at the next host call when the
// heap has grown enough. If the heap reaches a bound before the guest calls,
// the Keep ends with an error: better than freezing.
type Collector struct {
	// Bound is how large the heap may grow, in bytes; 0 means DefaultHeapBound.
	Bound uint64
	// Exceeded is called, on a goroutine of the watcher or on the guest's,
	// when the heap is over the bound. It must end the process.
	Exceeded func(heap uint64)
	// Wake, when not nil, makes a host call that waits look at Yield.
	Wake func()

	due   atomic.Bool
	floor atomic.Uint64 // heap size that makes a collection due
}

const (
	// DefaultHeapBound is how much memory the runtime around a guest may use,
	// the guest's own linear memory not counted.
	DefaultHeapBound = 1 << 30
	// minFloor keeps small Keeps from collecting at all.
	minFloor = 32 << 20

	watchFast = 25 * time.Millisecond
	watchSlow = 500 * time.Millisecond
)

// Start switches automatic collection off and begins to watch the heap until
// ctx ends. Nothing that stops the world may run on any other goroutine from
// now on. It must be called before the guest runs, on the goroutine that will
// run it. A collection that is under way is ended first: it would have to wait
// for the guest.
func (c *Collector) Start(ctx context.Context) {
	if c.Bound == 0 {
		c.Bound = DefaultHeapBound
	}
	c.floor.Store(minFloor)
	// SetGCPercent says what was set before: with collection off all along,
	// as for a small module, there is nothing to end.
	if debug.SetGCPercent(-1) >= 0 {
		runtime.GC()
		c.floor.Store(max(minFloor, 2*heapBytes()))
	}
	// The first look comes with a timer and not with a goroutine: most
	// workloads are gone before it, and a goroutine costs a thread.
	first := time.AfterFunc(watchFast, func() { c.watch(ctx) })
	context.AfterFunc(ctx, func() { first.Stop() })
}

// Yield collects garbage if that is due. The guest's goroutine calls it at the
// start of each host call and each time that one stops waiting; most times it
// costs one atomic load.
func (c *Collector) Yield() {
	if c.due.Load() {
		c.collect()
	}
}

func (c *Collector) collect() {
	runtime.GC()
	live := heapBytes()
	if live > c.Bound && c.Exceeded != nil {
		c.Exceeded(live)
	}
	c.floor.Store(max(minFloor, 2*live))
	c.due.Store(false)
}

// watch looks often while the heap grows and seldom while it does not, so that
// an idle Keep stays idle.
func (c *Collector) watch(ctx context.Context) {
	interval := watchFast
	timer := time.NewTimer(interval)
	defer timer.Stop()
	last := heapBytes()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		heap := heapBytes()
		if heap > c.Bound && c.due.Load() && c.Exceeded != nil {
			// Asked for at an earlier look, and the guest has not called since.
			c.Exceeded(heap)
			return
		}
		if heap > c.floor.Load() {
			c.due.Store(true)
			if c.Wake != nil {
				c.Wake()
			}
		}
		if heap > last && heap-last > 1<<20 {
			interval = watchFast
		} else {
			interval = min(2*interval, watchSlow)
		}
		last = heap
		timer.Reset(interval)
	}
}

// heapBytes is the size of the heap's objects, dead ones that were not yet
// swept included. Reading a metric does not stop the world.
func heapBytes() uint64 {
	sample := [1]metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample[:])
	return sample[0].Value.Uint64()
}
