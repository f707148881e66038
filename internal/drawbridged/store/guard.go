// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Collecting without locks. Let W be Options.GCWait.
//
// The collector writes a marker with the keys that it condemns, at T0; a pass
// after T0+W looks again for references, and deletes what still has none, until
// T0+2W and no longer. Markers are never used twice, and each is only acted
// upon by who wrote it, so that whatever dies or sleeps in between has no
// effect but that nothing is deleted.
//
// A writer who relies on an object that is there, say a blob that his node
// record will name, proceeds in this order: he lists the markers, at t; he sees
// that the object is there, or writes it; he writes what refers to it; and all
// that before t+W/4, or he takes the write for failed. If at t a marker was
// older than W/2 and condemned the object, he is to come again later.
//
// So nothing that is referred to is deleted. A reference that was complete at
// T0+W is found. One that came later was written by somebody who listed the
// markers after T0+3W/4, saw this one, too old, and gave up; or it was already
// gone, and then so were the deletions, and he saw the object missing. W/4
// remains for clocks that differ.

// markerRecord says what is condemned, from when on.
type markerRecord struct {
	Owner     string    `json:"owner"`
	T0        time.Time `json:"t0"`
	Condemned []byte    `json:"condemned"` // short of each key, in ascending order, 8 bytes each
}

type marker struct {
	t0        time.Time
	all       bool // the marker cannot be read, and may condemn everything
	condemned []uint64
}

// short stands for a key in a marker. That two keys have the same is harmless:
// a writer comes again later without need.
func short(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:8])
}

func packShort(keys []string) []byte {
	shorts := make([]uint64, len(keys))
	for i, key := range keys {
		shorts[i] = short(key)
	}
	slices.Sort(shorts)
	var packed []byte
	for _, n := range shorts {
		packed = binary.BigEndian.AppendUint64(packed, n)
	}
	return packed
}

func (r *markerRecord) marker() (marker, error) {
	m := marker{t0: r.T0, condemned: make([]uint64, 0, len(r.Condemned)/8)}
	for rest := r.Condemned; len(rest) > 0; rest = rest[8:] {
		if len(rest) < 8 {
			return m, fmt.Errorf("%w: a marker of %d bytes", ErrCorrupt, len(r.Condemned))
		}
		m.condemned = append(m.condemned, binary.BigEndian.Uint64(rest))
	}
	return m, nil
}

// guard is what the markers below a prefix said at an instant.
type guard struct {
	at      time.Time // before they were listed
	markers []marker
}

// guard lists the markers below a prefix, or returns what was listed within
// W/8.
func (s *Store) guard(ctx context.Context, prefix string) (*guard, error) {
	if g, ok := s.guards.get(prefix); ok {
		if age := s.now().Sub(g.at); age >= 0 && age <= s.opts.GCWait/8 {
			return g, nil
		}
	}
	g := &guard{at: s.now()}
	cost := int64(256)
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		l, ok := parseKey(o.Key)
		if !ok || l.kind != kindMarker {
			continue
		}
		var r markerRecord
		err := s.readRecord(ctx, o.Key, &r)
		m, err2 := r.marker()
		switch {
		case errors.Is(err, ErrNotFound): // its round is over
			continue
		case errors.Is(err, ErrCorrupt) || err == nil && err2 != nil:
			m = marker{t0: l.at, all: true}
		case err != nil:
			return nil, err
		}
		g.markers = append(g.markers, m)
		cost += 64 + 8*int64(len(m.condemned))
	}
	s.guards.put(prefix, g, cost)
	return g, nil
}

// blocks reports whether an object is so far condemned that nothing may be
// built on it any more.
func (g *guard) blocks(key string, wait time.Duration) bool {
	for _, m := range g.markers {
		age := g.at.Sub(m.t0)
		if age >= -wait/4 && age < wait/2 || age > 4*wait {
			continue // deletion is far, or long over
		}
		if _, found := slices.BinarySearch(m.condemned, short(key)); found || m.all {
			return true
		}
	}
	return false
}

// A permit is what a writer holds between listing the markers and having
// written.
type permit struct {
	s           *Store
	blobs, repo *guard
	at          time.Time
}

// permit lists the markers that concern writes to a repository.
func (s *Store) permit(ctx context.Context, user, repo string) (permit, error) {
	blobs, err := s.guard(ctx, blobMarkers)
	if err != nil {
		return permit{}, err
	}
	g, err := s.guard(ctx, repoMarkers(user, repo))
	if err != nil {
		return permit{}, err
	}
	at := blobs.at
	if g.at.Before(at) {
		at = g.at
	}
	return permit{s, blobs, g, at}, nil
}

// stale reports whether the writing that should begin now needs a new permit.
func (p permit) stale() bool {
	age := p.s.now().Sub(p.at)
	return age < 0 || age > p.s.opts.GCWait/8
}

// late reports whether what was just written came too late to be relied upon.
func (p permit) late() bool {
	age := p.s.now().Sub(p.at)
	return age < 0 || age > p.s.opts.GCWait/4
}

// check returns ErrBusy if one of the keys is condemned.
func (p permit) check(keys ...string) error {
	for _, key := range keys {
		g := p.repo
		if strings.HasPrefix(key, "blobs/") {
			g = p.blobs
		}
		if g.blocks(key, p.s.opts.GCWait) {
			return ErrBusy
		}
	}
	return nil
}

// context returns one that ends when it is too late to write.
func (p permit) context(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.s.opts.GCWait/4-p.s.now().Sub(p.at))
}

// done is the error of a write under the permit: ErrBusy if it came too late.
func (p permit) done(err error) error {
	if p.late() {
		return ErrBusy
	}
	return err
}

// markerKey returns the key of a new marker. None has ever the same.
func markerKey(prefix string, t0 time.Time) string {
	return prefix + hexNumber(max(0, t0.UnixNano())) + "-" + randomID()
}
