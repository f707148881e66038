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

func large(ctx context.Context, o options, r *rig) error {
	data := make([]byte, o.large)
	_, _ = rand.Read(data)
	var (
		n                              uint64
		hash, write, read              = &series{name: "SHA-256"}, &series{name: "disk: write and fsync"}, &series{name: "disk: read"}
		upload, uploadAll, uploadOther = &series{name: "upload, SHA-256 declared"}, &series{name: "upload, four digests declared"}, &series{name: "upload to distribution"}
		download, downloadOther        = &series{name: "download"}, &series{name: "download from distribution"}
	)
	for round := range o.rounds + 1 {
		fresh(data, &n)
		one := metaOf(data, drawbridge.SHA256)
		tag := fmt.Sprintf("0.%d.0", round)
		raw := r.file("raw")
		steps := []struct {
			s *series
			f func() error
		}{
			{hash, func() error { sha256.Sum256(data); return nil }},
			{write, func() error { return writeRaw(raw, data) }},
			{read, func() error { return readRaw(raw) }},
			{upload, func() error { return r.ours.publish(ctx, tag, one, data) }},
			{download, func() error { return r.ours.download(ctx, tag, len(data)) }},
			{uploadOther, func() error { return r.theirs.upload(ctx, one, data) }},
			{downloadOther, func() error { return r.theirs.download(ctx, one) }},
		}
		for _, step := range steps {
			if err := step.s.time(step.f); err != nil {
				return err
			}
		}
		fresh(data, &n)
		all := metaOf(data, drawbridge.All()...)
		if err := uploadAll.time(func() error { return r.ours.upload(ctx, all, data) }); err != nil {
			return err
		}
		if round == 0 { // it warms up
			for _, s := range []*series{hash, write, read, upload, uploadAll, uploadOther, download, downloadOther} {
				s.times = nil
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
	for _, s := range []*series{hash, write, read} {
		line(s)
	}
	for _, s := range []*series{upload, uploadAll, uploadOther} {
		line(s, hash, write)
	}
	for _, s := range []*series{download, downloadOther} {
		line(s, hash, read)
	}
	return w.Flush()
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
