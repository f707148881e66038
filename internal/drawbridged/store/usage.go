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
	Bytes int64 // of all nodes in his repositories, each counted once per repository
	Repos int
}

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
	staged   int64               // bytes of parts of uploads
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
			have.Bytes += l.node.length
		case kindPart:
			staged += o.Size
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
	return s.reserve(ctx, user, nodePrefix(user, repo, n.key), n.Length, func(a *account) error {
		if have := a.have.Bytes + a.reserved; n.Length > limit || have > limit-n.Length {
			return fmt.Errorf("%w: %d bytes and %d more, of %d", ErrQuota, have, n.Length, limit)
		}
		return nil
	}, func(a *account) { a.have.Bytes += n.Length })
}

// stage counts bytes that a user has just uploaded a part with, and returns
// ErrQuota if he must not go on. The parts of all his uploads count.
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
	a.staged += more
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

// reserveTag lets a user begin to make a tag. The repository's tags are
// counted each time, one request after the other, until it is there or given up.
func (s *Store) reserveTag(ctx context.Context, user, repo, tag string) (func(), error) {
	limit := s.limits(user).Tags
	if limit == 0 {
		return func() {}, nil
	}
	a, done := s.account(user)
	a.mu.Lock()
	release := func() {
		a.mu.Unlock()
		done()
	}
	names, err := s.takenTags(ctx, user, repo)
	if err == nil && len(names) >= limit && !slices.Contains(names, encodeName(tag)) {
		err = fmt.Errorf("%w: %d tags of %d", ErrQuota, len(names), limit)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// takenTags returns the encoded names of a repository's tags, pending ones too.
func (s *Store) takenTags(ctx context.Context, user, repo string) ([]string, error) {
	var names []string
	for _, folder := range []string{"t/", "p/"} {
		for o, err := range s.list(ctx, repoPrefix(user, repo)+folder, "") {
			if err != nil {
				return nil, err
			}
			l, _ := parseKey(o.Key)
			if l.kind == kindTag || l.kind == kindPending && !s.expired(l.at) {
				names = append(names, l.name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
