// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Usage is what a user has.
type Usage struct {
	Bytes int64 // of all nodes in his repositories, each counted once per repository, and of tags; with objectCost for each object
	Repos int
}

// objectCost is how many bytes each node record, tag, pending tag, orphan,
// upload session and part of one counts for in addition to its own: a block of
// a disk, so that what has no bytes is not free.
const objectCost = 4 << 10

// Limits that are the same for everybody. Each such object is read or listed
// with all others of its kind.
const (
	maxOrphans = 1000 // of one content of a tag
	maxUploads = 256  // sessions of a repository, without those whose time is over
)

// usageAge is after what time a user's objects are counted again, as other
// servers may have added some.
const usageAge = time.Minute

// usages knows what users have, and what they are about to have.
type usages struct {
	mu   sync.Mutex
	user map[string]*account
}

type account struct {
	mu       sync.Mutex // held while counting: nobody else can tell how much there is
	counted  time.Time
	have     Usage
	reserved int64               // bytes of nodes being written
	staged   int64               // bytes of uploads and their parts
	writing  map[string]*pending // what is being written, by key
	users    int                 // goroutines that use the account; guarded by usages.mu
}

// pending is an object that is being written by some requests at once. It
// counts once.
type pending struct {
	writers int
	made    bool
}

// account returns a user's account. done gives it back.
func (s *Store) account(user string) (a *account, done func()) {
	u := &s.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.user == nil {
		u.user = map[string]*account{}
	}
	a = u.user[user]
	if a == nil {
		a = &account{writing: map[string]*pending{}}
		u.user[user] = a
	}
	a.users++
	return a, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if a.users--; a.users == 0 && len(u.user) > 10_000 { // what is counted can be counted again
			delete(u.user, user)
		}
	}
}

// count makes sure that the account knows what the user has. What is being
// written may be among what is listed, so that nothing is counted meanwhile.
func (s *Store) count(ctx context.Context, a *account, user string) error {
	age := s.now().Sub(a.counted)
	if !a.counted.IsZero() && (len(a.writing) > 0 || age >= 0 && age < usageAge) {
		return nil
	}
	now := s.now()
	have, staged := Usage{}, int64(0)
	for o, err := range s.list(ctx, userPrefix(user)+"r/", "") {
		if err != nil {
			return err
		}
		switch l, _ := parseKey(o.Key); l.kind {
		case kindNode:
			have.Bytes += l.node.length + objectCost
		case kindTag, kindPending:
			have.Bytes += o.Size + objectCost
		case kindOrphan:
			have.Bytes += objectCost
		case kindUpload:
			staged += objectCost
		case kindPart:
			staged += o.Size + objectCost
		case kindRepo:
			have.Repos++
		}
	}
	a.have, a.staged, a.counted = have, staged, now
	return nil
}

// Usage returns what a user has, as of a minute ago or later.
func (s *Store) Usage(ctx context.Context, user string) (Usage, error) {
	a, done := s.account(user)
	defer done()
	a.mu.Lock()
	defer a.mu.Unlock()
	err := s.count(ctx, a, user)
	return a.have, err
}

func (s *Store) limits(user string) Limits {
	if s.opts.Limits == nil {
		return Limits{}
	}
	return s.opts.Limits(user)
}

// reserve lets a user begin to write an object under a quota. release, called
// once, says whether it was made.
func (s *Store) reserve(ctx context.Context, user, key string, bytes int64, fits func(a *account) error, made func(a *account)) (release func(bool), err error) {
	a, done := s.account(user)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.count(ctx, a, user); err != nil {
		done()
		return nil, err
	}
	w := a.writing[key]
	if w == nil {
		if err := fits(a); err != nil {
			done()
			return nil, err
		}
		w = &pending{}
		a.writing[key] = w
		a.reserved += bytes
	}
	w.writers++
	return func(created bool) {
		defer done()
		a.mu.Lock()
		defer a.mu.Unlock()
		w.made = w.made || created
		if w.writers--; w.writers > 0 {
			return
		}
		delete(a.writing, key)
		a.reserved -= bytes
		if w.made {
			made(a)
		}
	}, nil
}

// reserveBytes lets a user begin to upload a node.
func (s *Store) reserveBytes(ctx context.Context, user, repo string, n node, known bool) (func(bool), error) {
	limit := s.limits(user).Bytes
	if known || limit == 0 {
		return func(bool) {}, nil
	}
	cost := n.Length + objectCost
	return s.reserve(ctx, user, nodePrefix(user, repo, n.key), cost,
		func(a *account) error { return a.fits(cost, 0, limit) },
		func(a *account) { a.have.Bytes += cost })
}

// fits returns ErrQuota unless so many bytes more are within a limit. staged is
// what counts besides what the user has and is about to have.
func (a *account) fits(more, staged, limit int64) error {
	if have := a.have.Bytes + a.reserved + staged; limit > 0 && (more > limit || have > limit-more) {
		return fmt.Errorf("%w: %d bytes and %d more, of %d; each object counts for %d in addition to its bytes", ErrQuota, have, more, limit, objectCost)
	}
	return nil
}

// hold returns a user's account, counted if his bytes are limited, for what is
// looked for and then made by one request after the other. release gives it
// back.
func (s *Store) hold(ctx context.Context, user string) (a *account, limit int64, release func(), err error) {
	a, done := s.account(user)
	a.mu.Lock()
	release = func() {
		a.mu.Unlock()
		done()
	}
	if limit = s.limits(user).Bytes; limit > 0 {
		err = s.count(ctx, a, user)
	}
	if err != nil {
		release()
	}
	return a, limit, release, err
}

// createUpload writes the record of a new upload session. It fails with
// ErrQuota if the repository has too many.
func (s *Store) createUpload(ctx context.Context, user, repo, id string, record []byte) error {
	a, limit, release, err := s.hold(ctx, user)
	if err != nil {
		return err
	}
	defer release()
	open := 0
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"s/", "") {
		if err != nil {
			return err
		}
		if l, _ := parseKey(o.Key); l.kind == kindUpload && !s.expired(o.ModTime) {
			open++
		}
	}
	if open >= maxUploads {
		return fmt.Errorf("%w: %d uploads to this repository have begun and are neither finished nor given up, of %d", ErrQuota, open, maxUploads)
	}
	if err := a.fits(objectCost, a.staged, limit); err != nil {
		return err
	}
	created, err := s.create(ctx, uploadPrefix(user, repo, id)+"info", record)
	if created {
		a.staged += objectCost
	}
	return err
}

// createOrphan writes the record of an orphan. It fails with ErrQuota if the
// content of its tag has too many.
func (s *Store) createOrphan(ctx context.Context, t *tagged, key string, record []byte) (bool, error) {
	user, repo := t.record.User, t.record.Repo
	a, limit, release, err := s.hold(ctx, user)
	if err != nil {
		return false, err
	}
	defer release()
	there := 0
	for o, err := range s.list(ctx, orphanPrefix(user, repo, t.id), "") {
		if err != nil || o.Key == key {
			return false, err
		}
		there++
	}
	if there >= maxOrphans {
		return false, fmt.Errorf("%w: tag %s has %d nodes that no directory lists, of %d", ErrQuota, t.record.Name, there, maxOrphans)
	}
	if err := a.fits(objectCost, 0, limit); err != nil {
		return false, err
	}
	created, err := s.create(ctx, key, record)
	if created {
		a.have.Bytes += objectCost
	}
	return created, err
}

// stage counts a part of so many bytes that a user has just uploaded, and
// returns ErrQuota if he must not go on. The parts of all his uploads count.
func (s *Store) stage(ctx context.Context, user string, more int64) error {
	limit := s.limits(user).Bytes
	if limit == 0 {
		return nil
	}
	a, done := s.account(user)
	defer done()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.count(ctx, a, user); err != nil {
		return err
	}
	if more > 0 {
		a.staged += more + objectCost
	}
	if have := a.have.Bytes + a.reserved + a.staged; have > limit {
		return fmt.Errorf("%w: %d bytes, with those of uploads, of %d", ErrQuota, have, limit)
	}
	return nil
}

// reserveRepo lets a user begin to make a repository.
func (s *Store) reserveRepo(ctx context.Context, user, repo string) (func(bool), error) {
	limit := s.limits(user).Repos
	if limit == 0 {
		return func(bool) {}, nil
	}
	if _, err := s.GetRepo(ctx, user, repo); err == nil {
		return func(bool) {}, nil // it is answered that it is there, or that it is another
	}
	return s.reserve(ctx, user, repoKey(user, repo), 0, func(a *account) error {
		making := 0
		for key := range a.writing {
			if l, _ := parseKey(key); l.kind == kindRepo {
				making++
			}
		}
		if a.have.Repos+making >= limit {
			return fmt.Errorf("%w: %d repositories of %d", ErrQuota, a.have.Repos+making, limit)
		}
		return nil
	}, func(a *account) { a.have.Repos++ })
}

// reserveTag lets a user begin to make a content of a tag, under his quotas. The
// repository's tags are counted each time, one request after the other, until
// it is there or given up: release says whether it was made.
func (s *Store) reserveTag(ctx context.Context, t *tagged) (release func(made bool), err error) {
	user, repo, tag := t.record.User, t.record.Repo, t.record.Name
	if l := s.limits(user); l.Tags == 0 && l.Bytes == 0 {
		return func(bool) {}, nil
	}
	a, limit, done, err := s.hold(ctx, user)
	if err != nil {
		return nil, err
	}
	names, pending, err := s.takenTags(ctx, user, repo, t.id)
	cost := int64(0)
	if err == nil && !pending { // else it counts already, also if it becomes the tag
		cost = int64(len(sealed(t.record))) + objectCost
		err = a.fits(cost, 0, limit)
	}
	if tags := s.limits(user).Tags; err == nil && tags > 0 && len(names) >= tags && !slices.Contains(names, encodeName(tag)) {
		err = fmt.Errorf("%w: %d tags of %d", ErrQuota, len(names), tags)
	}
	if err != nil {
		done()
		return nil, err
	}
	return func(made bool) {
		if made {
			a.have.Bytes += cost
		}
		done()
	}, nil
}

// takenTags returns the encoded names of a repository's tags, pending ones too,
// and whether the content id is one that is pending.
func (s *Store) takenTags(ctx context.Context, user, repo string, id [32]byte) (names []string, pending bool, err error) {
	for _, folder := range []string{"t/", "p/"} {
		for o, err := range s.list(ctx, repoPrefix(user, repo)+folder, "") {
			if err != nil {
				return nil, false, err
			}
			l, _ := parseKey(o.Key)
			if l.kind == kindTag || l.kind == kindPending && !s.expired(l.at) {
				names = append(names, l.name)
				pending = pending || l.kind == kindPending && l.sum == id
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), pending, nil
}
