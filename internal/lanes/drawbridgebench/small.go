// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A crowd is what many connections at once measured, over all rounds.
type crowd struct {
	name  string
	do    func(data []byte) error // data is new each time
	rates []float64               // per second, in each round
	each  []time.Duration         // every request of every round
}

// run lets clients do it over and over for a while.
func (c *crowd) run(clients, size int, slice time.Duration, counter *atomic.Uint64) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		each []time.Duration
		fail error
	)
	begin := time.Now()
	for range clients {
		wg.Go(func() {
			data := make([]byte, size)
			_, _ = rand.Read(data)
			var mine []time.Duration
			var err error
			for err == nil && time.Since(begin) < slice {
				n := counter.Add(1)
				fresh(data, &n)
				start := time.Now()
				err = c.do(data)
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			each = append(each, mine...)
			if err != nil {
				fail = err
			}
		})
	}
	wg.Wait()
	c.rates = append(c.rates, float64(len(each))/time.Since(begin).Seconds())
	c.each = append(c.each, each...)
	if fail != nil {
		return fmt.Errorf("%s: %w", c.name, fail)
	}
	return nil
}

func (c *crowd) quantile(q float64) time.Duration {
	return c.each[int(q*float64(len(c.each)-1))]
}

func small(ctx context.Context, o options, r *rig) error {
	data := make([]byte, o.small)
	_, _ = rand.Read(data)
	known := metaOf(data, drawbridge.SHA256)
	const tag = "9.0.0"
	if err := r.ours.publish(ctx, tag, known, data); err != nil {
		return err
	}
	if err := r.theirs.upload(ctx, known, data); err != nil {
		return err
	}
	crowds := []*crowd{
		{name: "download", do: func([]byte) error { return r.ours.download(ctx, tag, o.small) }},
		{name: "download from distribution", do: func([]byte) error { return r.theirs.download(ctx, known) }},
		{name: "upload", do: func(data []byte) error { return r.ours.upload(ctx, metaOf(data, drawbridge.SHA256), data) }},
		{name: "upload, four digests declared", do: func(data []byte) error { return r.ours.upload(ctx, metaOf(data, drawbridge.All()...), data) }},
		{name: "upload to distribution", do: func(data []byte) error { return r.theirs.upload(ctx, metaOf(data, drawbridge.SHA256), data) }},
	}
	var counter atomic.Uint64
	for round := range o.rounds + 1 {
		for _, c := range crowds {
			if err := c.run(o.clients, o.small, o.slice, &counter); err != nil {
				return err
			}
			if round == 0 { // it warms up
				c.rates, c.each = nil, nil
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nfiles of %d bytes, %d connections\tper second (range)\tp50\tp99\n", o.small, o.clients)
	for _, c := range crowds {
		slices.Sort(c.rates)
		slices.Sort(c.each)
		fmt.Fprintf(w, "%s\t%.0f (%.0f to %.0f)\t%v\t%v\n", c.name, c.rates[len(c.rates)/2], c.rates[0], c.rates[len(c.rates)-1],
			c.quantile(.5).Round(10*time.Microsecond), c.quantile(.99).Round(10*time.Microsecond))
	}
	return w.Flush()
}
