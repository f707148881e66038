// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// FsckOptions are how a store is checked. The zero value checks everything and
// changes nothing.
type FsckOptions struct {
	// Repair moves to quarantine/ what is provably not what its key says: blobs
	// of other bytes, so that they can be uploaded again, and records with a
	// broken seal, except those of users, repositories and tags, whose names
	// must not become free. Nothing is deleted. No server should run meanwhile.
	Repair bool

	// After is the SHA-256 in hexadecimal digits after which contents are
	// verified, to continue a check that was cut off: its report's Last.
	After string

	// Progress is called now and then, from one goroutine at a time.
	Progress func(FsckReport)
}

// Severity is what a finding means.
type Severity string

// The severities of findings.
const (
	Damaged  Severity = "damaged"  // a reader or a publisher would notice
	Leftover Severity = "leftover" // nobody needs it: collecting takes it, sooner or later
	Unknown  Severity = "unknown"  // not a key of ours: nothing reads it, nothing removes it
)

// A Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity `json:"severity"`
	Key      string   `json:"key"`
	Reason   string   `json:"reason"`
	Repaired bool     `json:"repaired,omitempty"` // it is in quarantine now
}

func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s: %s", f.Severity, printable(f.Key), f.Reason)
	if f.Repaired {
		text += " (moved to quarantine)"
	}
	return text
}

// FsckReport is what a check found.
type FsckReport struct {
	Users        int       `json:"users"`
	Repositories int       `json:"repositories"`
	Tags         int       `json:"tags"`
	Pending      int       `json:"pending"` // tags that wait for nodes
	Nodes        int       `json:"nodes"`   // in all repositories
	Uploads      int       `json:"uploads"` // sessions
	Tokens       int       `json:"tokens"`
	Blobs        int       `json:"blobs"`
	Bytes        int64     `json:"bytes"`          // of blobs
	Verified     int       `json:"verified"`       // blobs that were read
	Read         int64     `json:"read"`           // bytes of these
	Unreferenced int       `json:"unreferenced"`   // blobs that no node record names
	Garbage      int64     `json:"garbage"`        // bytes of these
	Quarantined  int       `json:"quarantined"`    // objects in quarantine/
	Last         string    `json:"last,omitempty"` // of the blobs that were verified, if the check was cut off
	Findings     []Finding `json:"findings"`
}

// Clean reports whether there is nothing damaged and nothing unknown.
func (r FsckReport) Clean() bool { return r.Count(Damaged)+r.Count(Unknown) == 0 }

// Count returns how many findings have a severity.
func (r FsckReport) Count(severity Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// String returns the report for people.
func (r FsckReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "users: %d\nrepositories: %d\ntags: %d, and %d pending\nnodes: %d\nuploads: %d\ntokens: %d\n",
		r.Users, r.Repositories, r.Tags, r.Pending, r.Nodes, r.Uploads, r.Tokens)
	fmt.Fprintf(&b, "contents: %d, %d bytes; %d verified, %d bytes\nunreferenced: %d, %d bytes\nin quarantine: %d\n",
		r.Blobs, r.Bytes, r.Verified, r.Read, r.Unreferenced, r.Garbage, r.Quarantined)
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f)
	}
	fmt.Fprintf(&b, "damaged: %d, leftovers: %d, unknown: %d\n", r.Count(Damaged), r.Count(Leftover), r.Count(Unknown))
	return b.String()
}

// Fsck checks everything in the store: that contents are what their names say
// and what every repository declared of them, that whatever is referred to is
// there, and that every record is whole. It does not trust what the store
// remembers. A server may run meanwhile: what seems to be missing is looked for
// once more. The error is of the context, in which case the report says how far
// the check came, or of the bucket.
func (s *Store) Fsck(ctx context.Context, o FsckOptions) (FsckReport, error) {
	f := &fsck{
		Store: s, FsckOptions: o, now: s.now(),
		users: map[string]*fsckUser{}, blobs: map[[32]byte]*fsckBlob{}, tokens: map[string]*fsckToken{},
	}
	f.report.Findings = []Finding{}
	if o.After != "" {
		if _, ok := parseSum(o.After); !ok {
			return f.report, fmt.Errorf("%w: %q is not a SHA-256", ErrInvalid, o.After)
		}
	}
	// References come before what they refer to, so that what is uploaded
	// meanwhile is never missed.
	for _, step := range []func(context.Context) error{f.list, f.verifyBlobs, f.checkUsers, f.checkTokens, f.checkSubjects, f.checkMarkers} {
		if err := step(ctx); err != nil {
			return f.finish(), err
		}
	}
	if o.Repair {
		if err := f.repair(ctx); err != nil {
			return f.finish(), err
		}
	}
	f.report.Last = ""
	return f.finish(), nil
}

// An fsck is one check. One goroutine uses it, but for what mu guards.
type fsck struct {
	*Store
	FsckOptions
	now      time.Time
	users    map[string]*fsckUser // by encoded name
	blobs    map[[32]byte]*fsckBlob
	tokens   map[string]*fsckToken // by encoded id
	subjects []string              // keys
	markers  []string              // keys
	settings string                // key

	mu     sync.Mutex // guards what follows, and bad of the blobs
	report FsckReport
}

func (f *fsck) finish() FsckReport {
	slices.SortStableFunc(f.report.Findings, func(a, b Finding) int { return cmp.Compare(a.Key, b.Key) })
	return f.report
}

func (f *fsck) find(severity Severity, key string, reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Findings = append(f.report.Findings, Finding{Severity: severity, Key: key, Reason: reason.Error()})
}

func (f *fsck) tell() {
	if f.Progress != nil {
		f.Progress(f.report)
	}
}

// broken files what cannot be used. It returns errors that say nothing of the
// object: those of the bucket and of the context.
func (f *fsck) broken(key string, err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrInvalid):
		f.find(Damaged, key, err)
		return nil
	case errors.Is(err, ErrNotFound):
		return nil // removed since it was listed
	}
	return err
}

func sumText(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
