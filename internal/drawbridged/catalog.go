// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/internal/drawbridged/store"
)

// Found is a repository in the catalogue.
type Found struct {
	User       string
	Repository string
	Public     bool
	Owner      string // the user's subject
}

// Name is "user/repository".
func (f Found) Name() string { return f.User + "/" + f.Repository }

func byName(a, b Found) int { return cmp.Compare(a.Name(), b.Name()) }

// A Catalog is an index of all users and repositories, for which the store has
// no query. Users and repositories never change and never go, so that it can
// only be behind: by what other servers of the store took in the last half
// minute, or longer where listing the store takes long.
type Catalog struct {
	store *store.Store
	now   func() time.Time

	loading sync.Mutex // held by whoever lists the store
	mu      sync.RWMutex
	due     time.Time // when to list it again; zero: never listed
	repos   []Found   // sorted
	users   map[string]string
}

const (
	catalogAge   = 30 * time.Second
	catalogLists = 8 // at once
)

// NewCatalog returns the catalogue of a store. now may be nil.
func NewCatalog(s *store.Store, now func() time.Time) *Catalog {
	if now == nil {
		now = time.Now
	}
	return &Catalog{store: s, now: now, users: map[string]string{}}
}

// Search returns at most limit repositories after the one that is named so
// ("user/repository", "": from the first) which have every word of the query in
// their names, in any case of letters, and that may says may be seen. next is
// where the page after this one begins, "" if there is none.
func (c *Catalog) Search(ctx context.Context, query string, limit int, after string, may func(Found) bool) (found []Found, next string, err error) {
	if err := c.refresh(ctx); err != nil {
		return nil, "", err
	}
	words := strings.Fields(strings.ToLower(query))
	c.mu.RLock()
	repos := c.repos // is replaced, never changed
	c.mu.RUnlock()
	from, exact := slices.BinarySearchFunc(repos, after, func(f Found, name string) int { return cmp.Compare(f.Name(), name) })
	if exact {
		from++
	}
	for _, f := range repos[from:] {
		if !matches(f, words) || !may(f) {
			continue
		}
		if len(found) == limit {
			return found, found[limit-1].Name(), nil
		}
		found = append(found, f)
	}
	return found, "", nil
}

func matches(f Found, words []string) bool {
	name := strings.ToLower(f.Name())
	for _, word := range words {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}

// UsersOf returns the users that a subject is, sorted.
func (c *Catalog) UsersOf(ctx context.Context, subject string) ([]string, error) {
	if err := c.refresh(ctx); err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	var names []string
	for name, of := range c.users {
		if of == subject {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// refresh lists the store again when that is due. One request does it, the
// others go on with what there is; only before the first time do they wait.
func (c *Catalog) refresh(ctx context.Context) error {
	c.mu.RLock()
	due := c.due
	c.mu.RUnlock()
	if !due.IsZero() && (c.now().Before(due) || !c.loading.TryLock()) {
		return nil
	}
	if due.IsZero() {
		c.loading.Lock()
	}
	defer c.loading.Unlock()
	c.mu.RLock()
	done := !c.due.IsZero() && c.now().Before(c.due)
	c.mu.RUnlock()
	if done {
		return nil
	}
	begin := c.now()
	repos, users, err := c.list(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, subject := range c.users { // added meanwhile
		users[name] = subject
	}
	repos = append(repos, c.repos...)
	slices.SortFunc(repos, byName)
	c.repos, c.users = slices.Compact(repos), users
	end := c.now()
	c.due = end.Add(max(catalogAge, 10*end.Sub(begin)))
	return nil
}

// list reads all users and repositories.
func (c *Catalog) list(ctx context.Context) ([]Found, map[string]string, error) {
	names, err := c.store.Users(ctx, "", 0)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var repos []Found
	users := make(map[string]string, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(catalogLists)
	for _, name := range names {
		group.Go(func() error {
			subject, of, err := c.listUser(ctx, name)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
				return nil // one bad record must not hide everything else; fsck names it
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			users[name] = subject
			repos = append(repos, of...)
			return nil
		})
	}
	return repos, users, group.Wait()
}

func (c *Catalog) listUser(ctx context.Context, name string) (subject string, repos []Found, err error) {
	user, err := c.store.GetUser(ctx, name)
	if err != nil {
		return "", nil, err
	}
	names, err := c.store.Repos(ctx, name)
	if err != nil {
		return "", nil, err
	}
	for _, repo := range names {
		r, err := c.store.GetRepo(ctx, name, repo)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		repos = append(repos, Found{User: name, Repository: repo, Public: r.Public, Owner: user.Subject})
	}
	return user.Subject, repos, nil
}

// addUser notes a user that was registered here.
func (c *Catalog) addUser(name, subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users[name] = subject
}

// addRepo notes a repository that was made here.
func (c *Catalog) addRepo(user, repo string, public bool, owner string) {
	f := Found{User: user, Repository: repo, Public: public, Owner: owner}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, exact := slices.BinarySearchFunc(c.repos, f, byName)
	if !exact {
		c.repos = slices.Insert(slices.Clone(c.repos), at, f)
	}
}
