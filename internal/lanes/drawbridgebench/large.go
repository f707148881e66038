// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A series is how long one thing took in each round, on the same bytes.
type series struct {
	name  string
	times []time.Duration
}

func (s *series) time(f func() error) error {
	begin := time.Now()
	err := f()
	s.times = append(s.times, time.Since(begin))
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// against returns how fast s is in units of the slower of the yardsticks,
// compared within each round: the lowest, middle and highest ratio.
func (s *series) against(yardsticks ...*series) (lo, mid, hi float64) {
	ratios := make([]float64, len(s.times))
	for i, t := range s.times {
		var slowest time.Duration
		for _, y := range yardsticks {
			slowest = max(slowest, y.times[i])
		}
		ratios[i] = float64(slowest) / float64(t)
	}
	slices.Sort(ratios)
	return ratios[0], ratios[len(ratios)/2], ratios[len(ratios)-1]
}

func (s *series) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s.times))
	return sorted[len(sorted)/2]
}

// Each round's content is new, or nothing would be stored.
func fresh(data []byte, n *uint64) {
	*n++
	binary.LittleEndian.PutUint64(data, *n)
}

// A virtual machine's disk may be much faster where it was written before than
// where it is written for the first time, as every upload is. So each is
// measured between two writes of the same size to new files, all of which are
// kept to the end, and compared with these.
func large(ctx context.Context, o options, r *rig) error {
	data := make([]byte, o.large)
	_, _ = rand.Read(data)
	var n uint64
	hash, read := &series{name: "SHA-256"}, &series{name: "disk: read"}
	download, downloadOther := &series{name: "download"}, &series{name: "download from distribution"}
	uploads := []*upload{
		{series: series{name: "upload, SHA-256 declared"}, algorithms: []drawbridge.Algorithm{drawbridge.SHA256}, do: r.ours.publish},
		{series: series{name: "upload, four digests declared"}, algorithms: drawbridge.All(), do: r.ours.publish},
		{series: series{name: "upload to distribution"}, algorithms: []drawbridge.Algorithm{drawbridge.SHA256}, do: func(ctx context.Context, _ string, meta drawbridge.Meta, data []byte) error {
			return r.theirs.upload(ctx, meta, data)
		}},
	}
	for round := range o.rounds + 1 {
		for i, u := range uploads {
			fresh(data, &n)
			if err := u.round(ctx, r, fmt.Sprintf("%d.%d.0", i, round), data); err != nil {
				return err
			}
		}
		one := metaOf(data, drawbridge.SHA256) // the last upload's
		for _, step := range []struct {
			s *series
			f func() error
		}{
			{hash, func() error { sha256.Sum256(data); return nil }},
			{read, func() error { return readRaw(r.raw()) }},
			{download, func() error { return r.ours.download(ctx, fmt.Sprintf("0.%d.0", round), len(data)) }},
			{downloadOther, func() error { return r.theirs.download(ctx, one) }},
		} {
			if err := step.s.time(step.f); err != nil {
				return err
			}
		}
		if round == 0 { // it warms up
			for _, s := range []*series{hash, read, download, downloadOther} {
				s.times = nil
			}
			for _, u := range uploads {
				u.times, u.disk.times = nil, nil
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\na file of %d MiB\tMiB/s\tof the slower of SHA-256 and disk (range)\n", o.large>>20)
	line := func(s *series, yardsticks ...*series) {
		fmt.Fprintf(w, "%s\t%.0f\t", s.name, float64(o.large>>20)/s.median().Seconds())
		if yardsticks != nil {
			lo, mid, hi := s.against(yardsticks...)
			fmt.Fprintf(w, "%.2f (%.2f to %.2f)", mid, lo, hi)
		}
		fmt.Fprintln(w)
	}
	line(hash)
	for _, u := range uploads {
		u.disk.name = "disk: write and fsync, around the next"
		line(&u.disk)
		line(&u.series, hash, &u.disk)
	}
	line(read)
	line(download, hash, read)
	line(downloadOther, hash, read)
	return w.Flush()
}

// An upload is one way to do it, with what the disk did around it.
type upload struct {
	series
	disk       series
	algorithms []drawbridge.Algorithm
	do         func(ctx context.Context, tag string, meta drawbridge.Meta, data []byte) error
}

func (u *upload) round(ctx context.Context, r *rig, tag string, data []byte) error {
	meta := metaOf(data, u.algorithms...)
	raw := func() error {
		r.files++
		return writeRaw(r.raw(), data)
	}
	var around series
	if err := around.time(raw); err != nil {
		return err
	}
	if err := u.time(func() error { return u.do(ctx, tag, meta, data) }); err != nil {
		return err
	}
	if err := around.time(raw); err != nil {
		return err
	}
	u.disk.times = append(u.disk.times, (around.times[0]+around.times[1])/2)
	return nil
}

func writeRaw(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := range slices.Chunk(data, 1<<20) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Sync()
}

func readRaw(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}
