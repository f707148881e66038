// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// PutNode reads the bytes of a node and keeps them if they are what the Meta
// says. With a tag, which may be pending, the node must be one that the tag's
// listings have at this path, with the directory above it received already; a
// node that is not listed may be taken too, see Options.StrictTree. That is
// checked before anything is read. If the tag is complete then, it becomes
// visible. Without a tag there is no path.
//
// Created is false if the same node was put there before, as far as is known.
// The errors are ErrNotFound for no such repository, ErrNoParent, ErrNotListed,
// ErrConflict if the tag meanwhile became another, *MismatchError, ErrBody,
// ErrInvalid, ErrTooLarge, ErrQuota, ErrVetoed, ErrBusy.
func (s *Store) PutNode(ctx context.Context, user, repo, tag string, path drawbridge.Path, m drawbridge.Meta, body io.Reader) (PutResult, error) {
	if err := checkNode(user, repo, tag, path, m); err != nil {
		return PutResult{}, err
	}
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return PutResult{}, err
	}
	n := nodeOf(m)
	if tag == "" {
		created, err := s.keep(ctx, user, repo, n, body)
		return PutResult{Created: created}, err
	}
	places, err := s.places(ctx, user, repo, tag, path, n)
	if err != nil {
		return PutResult{}, err
	}
	created, err := s.keep(ctx, user, repo, n, body)
	if err != nil {
		return PutResult{}, err
	}
	result := PutResult{Created: s.first(places, path, n) || created}
	if !places[0].tag.committed {
		// What became pending meanwhile, at another server perhaps, may lack just
		// this node. Who made it has looked for the node before, and gone.
		if places, err = s.placesFresh(ctx, user, repo, tag, path, n); err != nil {
			return PutResult{}, err
		}
	}
	var lost error
	for _, p := range places {
		done, err := s.putPlace(ctx, p, path, n)
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrVetoed) {
			lost = err // another content became the tag, that of the sender maybe, or still may
		} else if err != nil {
			return PutResult{}, err
		}
		result.Committed = result.Committed || done
	}
	if lost != nil && !result.Committed {
		return PutResult{}, lost
	}
	return result, nil
}

func checkNode(user, repo, tag string, path drawbridge.Path, m drawbridge.Meta) error {
	err := checkRepo(user, repo)
	if tag != "" {
		err = checkTag(user, repo, tag)
	}
	if err != nil {
		return err
	}
	if len(path) > drawbridge.MaxDepth || len(path) > 0 && tag == "" {
		return fmt.Errorf("%w: path of %d names", ErrInvalid, len(path))
	}
	for _, name := range path {
		if err := drawbridge.CheckName(name); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	switch {
	case m.Digests.Len() == 0:
		return fmt.Errorf("%w: no digest", ErrInvalid)
	case m.Length < 0 || m.Length > drawbridge.MaxNode:
		return fmt.Errorf("%w: length %d", ErrInvalid, m.Length)
	case m.Type == drawbridge.TypeDirectory && m.Length > drawbridge.MaxJSON:
		return fmt.Errorf("%w: a directory of %d bytes", ErrTooLarge, m.Length)
	}
	return nil
}

// first reports whether a node was not put at this path before, and remembers
// that it was. A tag has no object for each path, and this process may not be
// the only one: for a tag that is long there, the answer is no.
func (s *Store) first(places []place, path drawbridge.Path, n node) bool {
	first := false
	for _, p := range places {
		h := sha256.New()
		h.Write(p.tag.id[:])
		h.Write(n.key[:])
		h.Write([]byte(path.String()))
		key := [32]byte(h.Sum(nil))
		if _, ok := s.puts.get(key); !ok {
			first = first || !p.tag.committed || s.now().Sub(p.tag.record.Created) < time.Hour
			s.puts.put(key, true, 128)
		}
	}
	return first
}

// A place is where in a tag's content a node belongs.
type place struct {
	tag    *tagged
	orphan bool // it is not listed
}

// places returns where a node belongs in what a tag is or may become, at least
// one. The errors are ErrNoParent and ErrNotListed.
func (s *Store) places(ctx context.Context, user, repo, tag string, path drawbridge.Path, n node) ([]place, error) {
	if t, ok := s.records.get(tagKey(user, repo, tag)); ok {
		return s.placesIn(ctx, []*tagged{t.(*tagged)}, path, n)
	}
	st, err := s.pending(ctx, user, repo, tag, false)
	if err != nil {
		return nil, err
	}
	if found, _ := s.placesIn(ctx, st.pending, path, n); len(found) > 0 {
		return found, nil
	}
	return s.placesFresh(ctx, user, repo, tag, path, n)
}

// placesFresh does the same, and believes nothing that was read before.
func (s *Store) placesFresh(ctx context.Context, user, repo, tag string, path drawbridge.Path, n node) ([]place, error) {
	// First the pending ones: when one becomes the tag, it is there before they go.
	st, err := s.pending(ctx, user, repo, tag, true)
	if err != nil {
		return nil, err
	}
	t, err := s.committed(ctx, user, repo, tag)
	switch {
	case err == nil:
		return s.placesIn(ctx, []*tagged{t}, path, n)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	case len(st.pending) == 0:
		return nil, fmt.Errorf("tag %s: %w", tag, ErrNoParent)
	}
	return s.placesIn(ctx, st.pending, path, n)
}

// placesIn returns where a node belongs in some contents, or what is wrong with
// it in the first: the newest is the one that is probably meant.
func (s *Store) placesIn(ctx context.Context, contents []*tagged, path drawbridge.Path, n node) (found []place, problem error) {
	for _, t := range contents {
		p, err := s.place(ctx, t, path, n)
		switch {
		case err == nil:
			found = append(found, p)
		case problem == nil:
			problem = err
		}
	}
	if len(found) > 0 {
		problem = nil
	}
	return found, problem
}

// place finds out whether a node belongs at a path.
func (s *Store) place(ctx context.Context, t *tagged, path drawbridge.Path, n node) (place, error) {
	if len(path) == 0 {
		if n.Meta != t.root.Meta {
			return place{}, fmt.Errorf("the root is %w: the tag has another", ErrNotListed)
		}
		return place{t, false}, nil
	}
	parent, orphan, err := s.walk(ctx, t, path[:len(path)-1])
	var d *dir
	if err == nil {
		if !parent.isDir() {
			return place{}, fmt.Errorf("%s: %w: what is above is no directory", path, ErrNotListed)
		}
		d, err = s.received(ctx, t, parent, orphan)
	}
	if errors.Is(err, ErrNotFound) {
		return place{}, fmt.Errorf("%s: %w", path, ErrNoParent)
	} else if err != nil {
		return place{}, err
	}
	name := path[len(path)-1]
	if e, ok := d.list[name]; ok {
		if e.Meta != n.Meta {
			return place{}, fmt.Errorf("%s is %w: it is listed with another digest, length or type", path, ErrNotListed)
		}
		return place{t, false}, nil
	}
	if s.opts.StrictTree || !d.cutOff(name) {
		return place{}, fmt.Errorf("%s is %w", path, ErrNotListed)
	}
	there, err := s.orphan(ctx, t, path)
	switch {
	case errors.Is(err, ErrNotFound):
		return place{t, true}, nil
	case err == nil && there.Meta != n.Meta:
		return place{}, fmt.Errorf("%s: node %w", path, ErrConflict)
	}
	return place{t, true}, err
}

// cutOff reports whether a name is missing in a listing where upstream's
// clients forget it: they stop at the first directory that is not empty.
func (d *dir) cutOff(name string) bool {
	last := len(d.names) - 1
	return last >= 0 && d.nodes[last].isDir() && name > d.names[last]
}

// putPlace records a node at its place once its bytes are kept, and returns
// whether the tag is visible then.
func (s *Store) putPlace(ctx context.Context, p place, path drawbridge.Path, n node) (bool, error) {
	t := p.tag
	if !t.committed && s.old(t.made) {
		if _, err := s.putPending(ctx, t.record, t.id); err != nil {
			return false, err
		}
	}
	if p.orphan {
		if err := s.putOrphan(ctx, t, path, n); err != nil {
			return false, err
		}
	}
	if t.committed {
		return true, nil
	}
	return s.tryCommit(ctx, t)
}

func (s *Store) putOrphan(ctx context.Context, t *tagged, path drawbridge.Path, n node) error {
	user, repo := t.record.User, t.record.Repo
	p, err := s.permit(ctx, user, repo)
	if err != nil {
		return err
	}
	key := orphanKey(user, repo, t.id, path)
	if err := p.check(key); err != nil {
		return err
	}
	limited, cancel := p.context(ctx)
	defer cancel()
	created, err := s.createOrphan(limited, t, key, sealed(orphanRecord{t.record.Name, path.String(), n.Meta}))
	if err := p.done(err); err != nil || created {
		return err
	}
	there, err := s.orphan(ctx, t, path)
	if err == nil && there.Meta != n.Meta {
		err = fmt.Errorf("%s: node %w", path, ErrConflict)
	}
	return err
}

// keep reads the bytes of a node, verifies and keeps them, and writes the
// node's record. It returns whether the record is new.
func (s *Store) keep(ctx context.Context, user, repo string, n node, body io.Reader) (bool, error) {
	p, err := s.permit(ctx, user, repo)
	if err != nil {
		return false, err
	}
	h, known, err := s.lookup(ctx, user, repo, n, true)
	if err != nil {
		return false, err
	}
	release, err := s.reserveBytes(ctx, user, repo, n, known)
	if errors.Is(err, ErrQuota) { // somebody else may just have filled it, with this node
		var failed error
		if h, known, failed = s.lookup(ctx, user, repo, n, true); failed == nil && known {
			release, err = func(bool) {}, nil
		}
	}
	if err != nil {
		return false, err
	}
	created, err := s.keepReserved(ctx, user, repo, n, body, p, h, known)
	release(created)
	return created, err
}

func (s *Store) keepReserved(ctx context.Context, user, repo string, n node, body io.Reader, p permit, h had, known bool) (bool, error) {
	blob, err := s.receive(ctx, user, repo, n.Meta, body, p)
	if err != nil {
		return false, err
	}
	if p.stale() { // it took long: what was seen before may have been collected since
		if p, err = s.permit(ctx, user, repo); err != nil {
			return false, err
		}
		if size, _, err := s.stat(ctx, blobKey(blob)); err != nil {
			return false, err
		} else if size != n.Length {
			return false, ErrBusy
		}
		if h, known, err = s.lookup(ctx, user, repo, n, true); err != nil {
			return false, err
		}
	}
	if !known {
		return s.record(ctx, user, repo, n, blob, p)
	}
	if err := p.check(blobKey(blob), nodeKey(user, repo, h.id)); err != nil {
		return false, err
	}
	limited, cancel := p.context(ctx)
	defer cancel()
	return false, p.done(s.refresh(limited, user, repo, n, h))
}

// record writes the record of a node whose bytes are in a blob. It returns
// whether it is new.
func (s *Store) record(ctx context.Context, user, repo string, n node, blob [32]byte, p permit) (bool, error) {
	body, id := nodeRecordOf(n.Meta, blob)
	key := nodeKey(user, repo, id)
	if err := p.check(blobKey(blob), key); err != nil {
		return false, err
	}
	limited, cancel := p.context(ctx)
	defer cancel()
	h := had{id, s.now().Add(s.opts.StagingLife)}
	created, err := s.create(limited, key, body)
	if err == nil && !created {
		var ok bool
		if h, ok, err = s.lookup(limited, user, repo, n, true); err == nil && ok {
			err = s.refresh(limited, user, repo, n, h)
		}
	}
	if p.late() {
		return false, s.lateRecord(ctx, key, blob, n)
	}
	if err == nil {
		s.nodes.put(nodePrefix(user, repo, n.key), h, 512)
	}
	return created, err
}

// lateRecord takes back a record that was written when its blob might already
// have been collected. It returns ErrBusy.
func (s *Store) lateRecord(ctx context.Context, key string, blob [32]byte, n node) error {
	s.guards.clear()
	size, _, err := s.stat(ctx, blobKey(blob))
	if err == nil && size != n.Length {
		err = s.remove(ctx, key)
	}
	return errors.Join(ErrBusy, err)
}

// refresh makes sure that a node's record, which is there, is not collected
// before half of StagingLife is over.
func (s *Store) refresh(ctx context.Context, user, repo string, n node, h had) error {
	now := s.now()
	if h.until.Sub(now) >= s.opts.StagingLife/2 {
		return nil
	}
	// The same object for some time, so that nobody can make many.
	at := now.Truncate(s.opts.StagingLife / 4)
	if _, err := s.create(ctx, nodeKey(user, repo, h.id)+"."+hexNumber(at.UnixNano()), sealed(struct{}{})); err != nil {
		return err
	}
	h.until = at.Add(s.opts.StagingLife)
	s.nodes.put(nodePrefix(user, repo, n.key), h, 512)
	return nil
}

// Missing returns which of the nodes a repository does not have, so that they
// are to be uploaded. Those that it has stay for a while.
func (s *Store) Missing(ctx context.Context, user, repo string, metas []drawbridge.Meta) ([]bool, error) {
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return nil, err
	}
	missing := make([]bool, len(metas))
	err := atOnce(len(metas), func(i int) error {
		p, err := s.permit(ctx, user, repo)
		if err == nil {
			missing[i], err = s.missing(ctx, user, repo, nodeOf(metas[i]), p)
		}
		return err
	})
	return missing, err
}

func (s *Store) missing(ctx context.Context, user, repo string, n node, p permit) (bool, error) {
	h, ok, err := s.lookup(ctx, user, repo, n, true)
	if err != nil || !ok {
		return true, err
	}
	if p.check(nodeKey(user, repo, h.id), blobKey(h.id.blob)) != nil {
		return true, nil
	}
	// Lost, or put aside by fsck: this is how whoever has it sends it again.
	if there, err := s.bucket.Exists(ctx, blobKey(h.id.blob)); err != nil || !there {
		return true, err
	}
	limited, cancel := p.context(ctx)
	defer cancel()
	err = p.done(s.refresh(limited, user, repo, n, h))
	if errors.Is(err, ErrBusy) {
		return true, nil
	}
	return false, err
}
