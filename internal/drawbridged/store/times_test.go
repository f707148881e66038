// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"testing"
	"time"

	"gocloud.dev/blob"

	"enarx.dev/enarx/internal/drawbridged/disk"
)

// TestTimes opens one bucket with different times: all servers of it must have
// the same.
func TestTimes(t *testing.T) {
	b := emptyBuckets["memory"](t)
	t.Cleanup(func() { _ = b.Close() })
	const day = 24 * time.Hour
	for i, tt := range []struct {
		opts       Options
		life, wait time.Duration // 0: refused
		err        error
	}{
		{Options{GCWait: 7 * time.Hour}, 0, 0, nil}, // for a life of a day
		{Options{GCWait: -1}, 0, 0, nil},
		{Options{Offline: true, GCWait: time.Second}, day, time.Second, nil},
		{Options{}, day, 15 * time.Minute, nil},
		{Options{GCWait: 15 * time.Minute}, day, 15 * time.Minute, nil},
		{Options{GCWait: time.Hour}, 0, 0, ErrTimes},
		{Options{StagingLife: 2 * day}, 0, 0, ErrTimes},
		{Options{GCWait: time.Hour, Offline: true}, day, time.Hour, nil},
		{Options{GCWait: time.Hour, NewTimes: true}, day, time.Hour, nil},
		{Options{}, day, time.Hour, nil},
		{Options{GCWait: 15 * time.Minute}, 0, 0, ErrTimes},
	} {
		s, err := Open(t.Context(), b, tt.opts)
		if tt.wait == 0 {
			if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("%d: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if life, wait := s.Times(); life != tt.life || wait != tt.wait {
			t.Errorf("%d: %v and %v", i, life, wait)
		}
	}
}

// TestTimesOutliveCollecting has the collector clear away what it needs no more.
func TestTimesOutliveCollecting(t *testing.T) {
	b := emptyBuckets["memory"](t)
	t.Cleanup(func() { _ = b.Close() })
	s, err := Open(t.Context(), b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), b, Options{GCWait: time.Hour}); !errors.Is(err, ErrTimes) {
		t.Errorf("a server with other times, after a pass of collecting: %v", err)
	}
}

// TestProbe has a bucket that takes a second object of one key.
func TestProbe(t *testing.T) {
	s := memStore(t, Options{})
	if err := s.probe(t.Context()); err != nil {
		t.Error(err)
	}
	// A disk that loses what it has just linked stands for a server that does not
	// know put-if-absent.
	dir := fastDir(t)
	var b *blob.Bucket
	b, err := disk.Open(dir, disk.Options{After: func(s disk.Step, err error) {
		if s.Op == disk.Link && err == nil {
			defer func() { _ = b.Delete(t.Context(), s.To) }()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	forgetful, err := Open(t.Context(), b, Options{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = forgetful.Close() })
	if err := forgetful.probe(t.Context()); err == nil {
		t.Error("a bucket without put-if-absent was taken")
	}
}
