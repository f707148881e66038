// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
)

// maxNodes is how many different nodes a tag may reach. A tree of directories
// that list each other many times is walked once for each of them.
const maxNodes = 100_000

// PutTag puts a tag. It becomes visible at once if the repository has all
// nodes that it reaches, and else with the PutNode that completes it; until
// then it is pending, and nobody sees it. Several contents may wait to become
// the tag: the first that is complete does.
//
// Created is false if the same was put before. The errors are ErrNotFound for
// no such repository, ErrConflict if another content is the tag, *MismatchError,
// ErrInvalid, ErrQuota, ErrVetoed, ErrBusy.
func (s *Store) PutTag(ctx context.Context, user, repo, tag string, o Object) (PutResult, error) {
	if err := checkTag(user, repo, tag); err != nil {
		return PutResult{}, err
	}
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return PutResult{}, err
	}
	if len(o.Body) > drawbridge.MaxJSON {
		return PutResult{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(o.Body))
	}
	if err := o.check(); err != nil {
		return PutResult{}, err
	}
	r := &objectRecord{Kind: kindTag, User: user, Repo: repo, Name: tag, Meta: o.Meta, Body: o.Body}
	t, err := newTagged(r)
	if err != nil {
		return PutResult{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if there, err := s.committed(ctx, user, repo, tag); err == nil {
		return s.already(ctx, there, t)
	} else if !errors.Is(err, ErrNotFound) {
		return PutResult{}, err
	}
	release, err := s.reserveTag(ctx, t)
	if err != nil {
		return PutResult{}, err
	}
	var result PutResult
	defer func() { release(result.Created) }()
	result, err = s.putNew(ctx, t)
	return result, err
}

// putNew puts a tag that is not committed as far as is known.
func (s *Store) putNew(ctx context.Context, t *tagged) (PutResult, error) {
	if done, err := s.tryCommit(ctx, t); done || err != nil {
		return PutResult{Created: done, Committed: done}, err
	}
	created, err := s.putPending(ctx, t.record, t.id)
	if err != nil {
		return PutResult{}, err
	}
	// Whoever uploaded the last node meanwhile may not have seen the pending
	// tag, but then his node is seen here.
	done, err := s.tryCommit(ctx, t)
	return PutResult{created, done}, err
}

// already answers a PutTag of a tag that is committed. That it is there was
// read, which is enough: what a bucket shows is durable.
func (s *Store) already(ctx context.Context, there, put *tagged) (PutResult, error) {
	if there.id != put.id {
		return PutResult{}, fmt.Errorf("tag %w", ErrConflict)
	}
	if s.now().Sub(there.record.Created) > s.opts.GCWait {
		return PutResult{Committed: true}, nil
	}
	// It may be one that was written too late: see commit.
	complete, err := s.complete(ctx, there, permit{s: s, blobs: &guard{}, repo: &guard{}})
	return PutResult{Committed: complete}, err
}

// A walk goes through all nodes that a tag reaches, each once, and remembers
// where it met one that the repository does not have.
type walk struct {
	mu   sync.Mutex
	todo []node
	seen map[[32]byte]struct{}
}

func newWalk(roots ...node) *walk {
	w := &walk{seen: map[[32]byte]struct{}{}}
	for _, root := range roots {
		w.add(root)
	}
	return w
}

func (w *walk) add(n node) {
	if _, ok := w.seen[n.key]; !ok {
		w.seen[n.key] = struct{}{}
		w.todo = append(w.todo, n)
	}
}

func (w *walk) cost() int64 { return int64(len(w.seen))*64 + int64(len(w.todo))*256 + 256 }

// run goes on until has says no, and returns whether it came to the end. has
// is asked about some nodes at once. Directories are read from their blobs,
// whose SHA-256 it returns.
func (w *walk) run(ctx context.Context, s *Store, width int, has func(node) ([32]byte, bool, error)) (bool, error) {
	for complete := true; len(w.todo) > 0; {
		cut := max(0, len(w.todo)-width)
		some := slices.Clone(w.todo[cut:])
		blobs, there := make([][32]byte, len(some)), make([]bool, len(some))
		err := atOnce(len(some), func(i int) (err error) {
			blobs[i], there[i], err = has(some[i])
			return err
		})
		if err != nil {
			return false, err
		}
		w.todo = w.todo[:cut]
		for i, n := range some {
			if !there[i] {
				w.todo, complete = append(w.todo, n), false
			}
		}
		for i, n := range some {
			if !there[i] || !n.isDir() {
				continue
			}
			d, err := s.dir(ctx, blobs[i])
			if errors.Is(err, ErrNotFound) { // damaged: it can be uploaded again
				w.todo, complete = append(w.todo, n), false
				continue
			} else if err != nil {
				return false, err
			}
			for _, child := range slices.Backward(d.nodes) { // the first is then on top: the order of uploads
				w.add(child)
			}
		}
		if len(w.seen) > maxNodes {
			return false, fmt.Errorf("%w: a tag with more than %d nodes", ErrTooLarge, maxNodes)
		}
		if !complete {
			return false, nil
		}
	}
	return true, nil
}

// requests is how many requests to a bucket are made at once where there are
// many to make.
const requests = 16

// atOnce calls do with 0 to n-1, some at once, and returns an error of one.
func atOnce(n int, do func(i int) error) error {
	if n == 1 {
		return do(0)
	}
	var g errgroup.Group
	g.SetLimit(requests)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

// A Vet may refuse that a tag becomes visible. Its error is the reason.
type Vet func(ctx context.Context, user, repo, name string, tag drawbridge.Tag) error

// SetVet makes every tag that is about to become visible pass vet: what was
// right when the tag was put may be forbidden when the last node comes.
func (s *Store) SetVet(vet Vet) { s.vet.Store(&vet) }

// tryCommit makes a tag visible if it is complete, and returns whether it is
// visible now. It fails with ErrConflict if another content became the tag.
func (s *Store) tryCommit(ctx context.Context, t *tagged) (bool, error) {
	key := tagKey(t.record.User, t.record.Repo, t.record.Name) + hex.EncodeToString(t.id[:])
	w, ok := s.walks.get(key)
	if !ok {
		w = newWalk(t.root)
		s.walks.put(key, w, w.cost())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// Nodes that were seen before may be gone: this only tells whether it is
	// worth to look at all of them.
	complete, err := w.run(ctx, s, 1, func(n node) ([32]byte, bool, error) {
		h, ok, err := s.lookup(ctx, t.record.User, t.record.Repo, n, false)
		return h.id.blob, ok, err
	})
	s.walks.put(key, w, w.cost())
	if err != nil || !complete {
		return false, err
	}
	s.walks.drop(key)
	return s.commit(ctx, t, s.now())
}

// commit makes a tag visible if the repository has all that it reaches, and
// returns whether it did or somebody else has. The tag says that it was made
// then.
func (s *Store) commit(ctx context.Context, t *tagged, created time.Time) (bool, error) {
	user, repo, tag := t.record.User, t.record.Repo, t.record.Name
	p, err := s.permit(ctx, user, repo)
	if err != nil {
		return false, err
	}
	if complete, err := s.complete(ctx, t, p); err != nil || !complete {
		return false, err
	}
	if vet := s.vet.Load(); vet != nil {
		if err := (*vet)(ctx, user, repo, tag, t.tag); err != nil {
			return false, fmt.Errorf("%w: %w", ErrVetoed, err)
		}
	}
	r := *t.record
	r.Kind, r.Created = kindTag, created.UTC()
	limited, cancel := p.context(ctx)
	defer cancel()
	made, err := s.create(limited, tagKey(user, repo, tag), sealed(r))
	if p.late() {
		return s.late(ctx, t, made)
	}
	if err != nil {
		return false, err
	}
	if !made {
		there, err := s.committed(ctx, user, repo, tag)
		if err != nil {
			return false, err
		}
		if there.id != t.id {
			return false, fmt.Errorf("tag %w", ErrConflict)
		}
	}
	return true, s.dropPending(ctx, user, repo, tag, func(location) bool { return true })
}

// late decides about a tag that was written when nodes of it might already
// have been collected: a server that stood still for long, say. It fails with
// ErrBusy if some were.
func (s *Store) late(ctx context.Context, t *tagged, made bool) (bool, error) {
	user, repo, tag := t.record.User, t.record.Repo, t.record.Name
	s.guards.clear()
	p, err := s.permit(ctx, user, repo)
	if err != nil {
		return false, err
	}
	complete, err := s.complete(ctx, t, p)
	switch {
	case err == nil && complete && made:
		return true, s.dropPending(ctx, user, repo, tag, func(location) bool { return true })
	case made:
		err = errors.Join(err, s.remove(ctx, tagKey(user, repo, tag)))
	}
	return false, errors.Join(ErrBusy, err)
}

// complete reports whether the repository has all nodes that a tag reaches.
// What was known before does not count.
func (s *Store) complete(ctx context.Context, t *tagged, p permit) (bool, error) {
	user, repo := t.record.User, t.record.Repo
	return newWalk(t.root).run(ctx, s, 2*requests, func(n node) ([32]byte, bool, error) {
		h, ok, err := s.lookup(ctx, user, repo, n, true)
		if err == nil && ok {
			err = p.check(nodeKey(user, repo, h.id))
		}
		return h.id.blob, ok, err
	})
}

// listNodes returns all node records of a repository.
func (s *Store) listNodes(ctx context.Context, user, repo string) (map[[32]byte]nodeID, error) {
	nodes := map[[32]byte]nodeID{}
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"n/", "") {
		if err != nil {
			return nil, err
		}
		if l, ok := parseKey(o.Key); ok && l.kind == kindNode {
			nodes[l.node.meta] = l.node
		}
	}
	return nodes, nil
}
