// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// GCReport is what a pass of collecting did.
type GCReport struct {
	Condemned int   `json:"condemned"` // objects that may be deleted by a later pass
	Waiting   bool  `json:"waiting"`   // there is something for a later pass to delete
	Nodes     int   `json:"nodes"`     // node records that were deleted
	Orphans   int   `json:"orphans"`   // likewise
	Pending   int   `json:"pending"`   // pending tags
	Uploads   int   `json:"uploads"`   // upload sessions
	Blobs     int   `json:"blobs"`     // contents
	Bytes     int64 `json:"bytes"`     // of these
	Tokens    int   `json:"tokens"`    // what was left of tokens
	Temps     int   `json:"temps"`     // files that dead processes left on the disk
}

// Deleted returns how many objects the pass deleted.
func (r GCReport) Deleted() int {
	return r.Nodes + r.Orphans + r.Pending + r.Uploads + r.Blobs + r.Tokens + r.Temps
}

// String returns the report in one line.
func (r GCReport) String() string {
	return fmt.Sprintf("deleted %d contents of %d bytes, %d node records, %d orphans, %d pending tags, %d uploads, %d tokens, %d temporary files; condemned %d",
		r.Blobs, r.Bytes, r.Nodes, r.Orphans, r.Pending, r.Uploads, r.Tokens, r.Temps, r.Condemned)
}

// rounds is what this process has condemned.
type rounds struct {
	pass    sync.Mutex // one at a time; guards the maps
	open    map[string]*round
	scanned map[string]time.Time // when candidates were last looked for
}

// A round is a marker of this process. Only this value entitles to delete.
type round struct {
	marker string // its key
	t0     time.Time
	wrote  time.Time // when the marker was there, with the monotonic clock
	keys   map[string]bool
}

// maxCondemned is how many objects a marker has at most.
const maxCondemned = 20_000

// GC makes one pass of collecting, which never waits: what one pass condemns,
// a later one of the same process deletes, between one and two Options.GCWait
// later. So it is to be called every quarter of that. Any number of servers
// may do so. What cannot be judged, because the store is damaged there, is left
// alone; the error tells, and everything else was done.
func (s *Store) GC(ctx context.Context) (GCReport, error) {
	s.rounds.pass.Lock()
	defer s.rounds.pass.Unlock()
	if s.rounds.open == nil {
		s.rounds.open, s.rounds.scanned = map[string]*round{}, map[string]time.Time{}
	}
	var report GCReport
	problems := s.sweep(&report)
	users, err := s.Users(ctx, "", 0)
	if err != nil {
		return report, errors.Join(problems, err)
	}
	for _, user := range users {
		problems = errors.Join(problems, s.collectTokens(ctx, user, &report))
		repos, err := s.Repos(ctx, user)
		if err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		for _, repo := range repos {
			if err := s.collectRepo(ctx, user, repo, &report); err != nil {
				problems = errors.Join(problems, fmt.Errorf("collecting %s/%s: %w", user, repo, err))
			}
		}
	}
	// A repository that cannot be judged keeps its node records, and they alone
	// keep blobs.
	problems = errors.Join(problems, s.collectBlobs(ctx, &report), s.collectUses(ctx, &report), s.dropMarkers(ctx))
	report.Waiting = len(s.rounds.open) > 0
	return report, problems
}

func (s *Store) sweep(report *GCReport) (err error) {
	if s.disk != nil {
		report.Temps, err = s.disk.Sweep()
	}
	return err
}

// dropMarkers deletes the markers that have no effect any more: their
// collectors are gone.
func (s *Store) dropMarkers(ctx context.Context) error {
	for o, err := range s.list(ctx, "gc/", "") {
		if err != nil {
			return err
		}
		if l, ok := parseKey(o.Key); ok && l.kind == kindMarker && s.now().Sub(l.at) > 4*s.opts.GCWait {
			if err := s.remove(ctx, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// phase returns what is to be done about a prefix now: to look for candidates,
// to delete those of a round, or neither.
func (s *Store) phase(ctx context.Context, prefix string) (r *round, look bool, err error) {
	r = s.rounds.open[prefix]
	switch {
	case r == nil:
		now := s.now()
		if last, ok := s.rounds.scanned[prefix]; ok && now.Sub(last) >= 0 && now.Sub(last) < s.opts.StagingLife/4 {
			return nil, false, nil
		}
		s.rounds.scanned[prefix] = now
		return nil, true, nil
	case s.over(r):
		delete(s.rounds.open, prefix)
		return nil, false, s.remove(ctx, r.marker)
	case s.now().Sub(r.t0) < s.opts.GCWait || s.real && time.Since(r.wrote) < s.opts.GCWait:
		return r, false, nil
	}
	return r, true, nil
}

// over reports whether a round must delete nothing any more. The wall's clock
// may be set, and the other stands still while the machine sleeps: nothing is
// deleted unless both agree that it may be.
func (s *Store) over(r *round) bool {
	age := s.now().Sub(r.t0)
	return age < 0 || age >= 2*s.opts.GCWait || time.Since(r.wrote) >= 2*s.opts.GCWait
}

// condemn begins a round.
func (s *Store) condemn(ctx context.Context, prefix string, keys []string, report *GCReport) error {
	if len(keys) == 0 {
		return nil
	}
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if l, ok := parseKey(o.Key); ok && s.now().Sub(l.at) < 2*s.opts.GCWait {
			delete(s.rounds.scanned, prefix)
			return nil // another server's round; two are one too many, but no harm
		}
	}
	keys = keys[:min(len(keys), maxCondemned)]
	before := s.now()
	r := &round{marker: markerKey(prefix, before), keys: map[string]bool{}}
	for _, key := range keys {
		r.keys[key] = true
	}
	if err := s.replace(ctx, r.marker, sealed(markerRecord{s.owner, before, packShort(keys)})); err != nil {
		return errors.Join(err, s.remove(context.WithoutCancel(ctx), r.marker))
	}
	// From now on everybody sees it.
	if r.t0, r.wrote = s.now(), time.Now(); r.t0.Sub(before) > s.opts.GCWait/8 {
		return s.remove(ctx, r.marker) // writers count from before
	}
	s.guards.drop(prefix)
	s.rounds.open[prefix] = r
	report.Condemned += len(keys)
	return nil
}

// execute deletes what a round condemned and still is a candidate, and ends it.
func (s *Store) execute(ctx context.Context, prefix string, r *round, candidates []string, deleted func(key string)) error {
	for i, key := range candidates {
		if !r.keys[key] {
			continue
		}
		if i%16 == 0 {
			if size, _, err := s.stat(ctx, r.marker); err != nil || size < 0 {
				delete(s.rounds.open, prefix) // somebody took it for dead
				return err
			}
		}
		if s.over(r) {
			break
		}
		limited, cancel := context.WithTimeout(ctx, 2*s.opts.GCWait-s.now().Sub(r.t0))
		err := s.remove(limited, key)
		cancel()
		if err != nil {
			return err
		}
		deleted(key)
	}
	delete(s.rounds.open, prefix)
	delete(s.rounds.scanned, prefix) // there may be more than one round takes
	delete(s.rounds.scanned, blobMarkers)
	return s.remove(ctx, r.marker)
}

// collectRepo collects what a repository does not need any more.
func (s *Store) collectRepo(ctx context.Context, user, repo string, report *GCReport) error {
	prefix := repoMarkers(user, repo)
	r, look, err := s.phase(ctx, prefix)
	if err != nil || !look {
		return err
	}
	if err := s.dropUploads(ctx, user, repo, report); err != nil {
		return err
	}
	refs, err := s.references(ctx, user, repo, report)
	if err != nil {
		return err
	}
	candidates, err := s.unreferenced(ctx, user, repo, refs)
	if err != nil {
		return err
	}
	if r == nil {
		return s.condemn(ctx, prefix, candidates, report)
	}
	return s.execute(ctx, prefix, r, candidates, func(key string) {
		switch l, _ := parseKey(key); l.kind {
		case kindNode:
			report.Nodes++
			s.nodes.drop(nodePrefix(user, repo, l.node.meta))
			s.recount(user)
		case kindOrphan:
			report.Orphans++
		}
	})
}

// collectTokens deletes what is left of a user's tokens that were being made or
// deleted when a server died.
func (s *Store) collectTokens(ctx context.Context, user string, report *GCReport) error {
	prefix := userPrefix(user) + "k/"
	if _, look, err := s.phase(ctx, prefix); err != nil || !look {
		return err
	}
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		if !ok || s.now().Sub(o.ModTime) <= s.opts.GCWait {
			continue
		}
		id, _ := decodeName(l.name)
		if size, _, err := s.stat(ctx, tokenKey(id)); err != nil {
			return err
		} else if size >= 0 {
			continue
		}
		if err := s.DeleteToken(ctx, user, id); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		report.Tokens++
	}
	return nil
}

// collectUses deletes uses of what is no token.
func (s *Store) collectUses(ctx context.Context, report *GCReport) error {
	const prefix = "k/"
	if _, look, err := s.phase(ctx, prefix); err != nil || !look {
		return err
	}
	token := "" // the last one; its uses follow
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		switch {
		case !ok:
		case l.kind == kindToken:
			token = l.name
		case l.name != token && s.now().Sub(o.ModTime) > s.opts.GCWait:
			if err := s.remove(ctx, o.Key); err != nil {
				return err
			}
			report.Tokens++
		}
	}
	return nil
}

// refs is what a repository refers to.
type refs struct {
	nodes   map[uint64]struct{}   // by the start of their keys
	orphans map[[32]byte]struct{} // tag ids whose orphans count
}

func (r *refs) has(meta [32]byte) bool {
	_, ok := r.nodes[binary.BigEndian.Uint64(meta[:8])]
	return ok
}

// references returns what the tags of a repository reach, committed and
// pending ones, orphans too, and deletes pending tags whose time is long over.
func (s *Store) references(ctx context.Context, user, repo string, report *GCReport) (*refs, error) {
	found := &refs{map[uint64]struct{}{}, map[[32]byte]struct{}{}}
	names, err := s.TagNames(ctx, user, repo)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t, err := s.committed(ctx, user, repo, name.Name)
		if err != nil {
			return nil, err
		}
		if err := s.reach(ctx, found, t, true); err != nil {
			return nil, err
		}
	}
	for range 5 {
		err = s.pendingReferences(ctx, user, repo, found, report)
		// One that was listed and then gone was put again, perhaps, and is there
		// under another key. (Or it was committed: its writer obeys the marker.)
		if !errors.Is(err, ErrNotFound) {
			break
		}
	}
	return found, err
}

// pendingReferences adds what pending tags reach. It fails with ErrNotFound if
// one goes meanwhile.
func (s *Store) pendingReferences(ctx context.Context, user, repo string, found *refs, report *GCReport) error {
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"p/", "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		if !ok {
			continue
		}
		if s.now().Sub(l.at) > s.opts.StagingLife+s.opts.GCWait {
			if err := s.remove(ctx, o.Key); err != nil {
				return err
			}
			report.Pending++
			continue
		}
		t, err := s.anyPending(ctx, o.Key, user, repo)
		if err == nil {
			err = s.reach(ctx, found, t, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// anyPending reads a pending tag whose name only its record may tell.
func (s *Store) anyPending(ctx context.Context, key, user, repo string) (*tagged, error) {
	var r objectRecord
	if err := s.readRecord(ctx, key, &r); err != nil {
		return nil, err
	}
	t, err := newTagged(&r)
	if err == nil && (r.Kind != kindPending || r.User != user || r.Repo != repo) {
		err = errors.New("it is in another's place")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	}
	return t, nil
}

// reach adds what a tag reaches. A committed one must have all that it lists.
func (s *Store) reach(ctx context.Context, found *refs, t *tagged, whole bool) error {
	user, repo := t.record.User, t.record.Repo
	if _, ok := found.orphans[t.id]; ok {
		return nil // the same pending tag, made twice
	}
	found.orphans[t.id] = struct{}{}
	if err := s.reachFrom(ctx, found, user, repo, t.root, whole); err != nil {
		return err
	}
	orphans, err := s.orphans(ctx, user, repo, t.id)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if err := s.reachFrom(ctx, found, user, repo, nodeOf(o.Meta), false); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) reachFrom(ctx context.Context, found *refs, user, repo string, root node, whole bool) error {
	for todo := []node{root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if found.has(n.key) {
			continue
		}
		found.nodes[binary.BigEndian.Uint64(n.key[:8])] = struct{}{}
		if !n.isDir() {
			continue
		}
		h, ok, err := s.lookup(ctx, user, repo, n, true)
		if err != nil {
			return err
		}
		var d *dir
		if ok {
			d, err = s.dir(ctx, h.id.blob)
		} else {
			err = ErrNotFound
		}
		switch {
		case err == nil:
			todo = append(todo, d.nodes...)
		case !errors.Is(err, ErrNotFound):
			return err
		case whole:
			return fmt.Errorf("%w: a directory of a tag is missing", ErrCorrupt)
		default:
			// It was not received yet. Should it be, its children are found then.
			delete(found.nodes, binary.BigEndian.Uint64(n.key[:8]))
			if ok {
				return fmt.Errorf("%w: a directory is missing that was received", ErrCorrupt)
			}
		}
	}
	return nil
}

// unreferenced returns the keys of node records and orphans that nothing
// refers to and whose time is over. Refreshing objects that have no effect
// any more are deleted.
func (s *Store) unreferenced(ctx context.Context, user, repo string, refs *refs) ([]string, error) {
	var keys []string
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"o/", "") {
		if err != nil {
			return nil, err
		}
		if l, ok := parseKey(o.Key); ok && s.expired(o.ModTime) {
			if _, ok := refs.orphans[l.sum]; !ok {
				keys = append(keys, o.Key)
			}
		}
	}
	var last string // a node record whose refreshing objects may follow
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"n/", "") {
		if err != nil {
			return nil, err
		}
		l, ok := parseKey(o.Key)
		switch {
		case !ok:
		case l.kind == kindNode && !refs.has(l.node.meta) && s.expired(o.ModTime):
			last = o.Key
			keys = append(keys, o.Key)
		case l.kind != kindRefresh:
		case s.now().Sub(l.at) > s.opts.StagingLife+s.opts.GCWait:
			if err := s.remove(ctx, o.Key); err != nil {
				return nil, err
			}
		case last == nodeKey(user, repo, l.node) && len(keys) > 0 && keys[len(keys)-1] == last:
			keys = keys[:len(keys)-1] // it was acknowledged again
		}
	}
	return keys, nil
}

// dropUploads deletes the upload sessions of a repository whose time is long
// over, and the parts that belong to none.
func (s *Store) dropUploads(ctx context.Context, user, repo string, report *GCReport) error {
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"s/", "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		if !ok || s.now().Sub(o.ModTime) <= s.opts.StagingLife+s.opts.GCWait {
			continue
		}
		if l.kind == kindUpload {
			if err := s.Abort(ctx, user, repo, l.name); err != nil {
				return err
			}
			report.Uploads++
			continue
		}
		// A part is younger than its upload, which goes first: as long as there
		// is an upload, it has no gap.
		if size, _, err := s.stat(ctx, uploadPrefix(user, repo, l.name)+"info"); err != nil {
			return err
		} else if size >= 0 {
			continue
		}
		if err := s.remove(ctx, o.Key); err != nil {
			return err
		}
	}
	return nil
}

// collectBlobs collects contents that no node record names.
func (s *Store) collectBlobs(ctx context.Context, report *GCReport) error {
	r, look, err := s.phase(ctx, blobMarkers)
	if err != nil || !look {
		return err
	}
	named := map[uint64]struct{}{} // by the start of their SHA-256
	for o, err := range s.list(ctx, "u/", "") {
		if err != nil {
			return err
		}
		if l, ok := parseKey(o.Key); ok && l.kind == kindNode {
			named[binary.BigEndian.Uint64(l.node.blob[:8])] = struct{}{}
		}
	}
	var keys []string
	sizes := map[string]int64{}
	for o, err := range s.list(ctx, "blobs/", "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		if !ok || s.now().Sub(o.ModTime) <= s.opts.GCWait {
			continue
		}
		if _, ok := named[binary.BigEndian.Uint64(l.sum[:8])]; !ok && len(keys) < maxCondemned {
			keys = append(keys, o.Key)
			sizes[o.Key] = o.Size
		}
	}
	if r == nil {
		return s.condemn(ctx, blobMarkers, keys, report)
	}
	return s.execute(ctx, blobMarkers, r, keys, func(key string) {
		l, _ := parseKey(key)
		s.dirs.drop(l.sum)
		report.Blobs++
		report.Bytes += sizes[key]
	})
}

// recount has a user's objects counted again.
func (s *Store) recount(user string) {
	a, done := s.account(user)
	defer done()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counted = time.Time{}
}
