// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// maxPage is how many repositories a page of search results has.
const maxPage = 100

// features is what this server can do beyond upstream's.
var features = []string{"nodes", "upload", "digest", "search", "yank", "tokens", "policy", "range", "deployment"}

// getConfig is what a client should know of the server before it signs in.
func (x *exchange) getConfig() error {
	if err := x.decide(auth.Describe, auth.Resource{}); err != nil {
		return err
	}
	a := x.s.auth
	return x.json(http.StatusOK, drawbridge.Config{
		Version: drawbridge.APIVersion, Issuer: a.Issuer(), ClientID: a.ClientID(), Audience: a.Audience(), Auth: a.Modes(),
		Features: features, StrictTree: x.s.cfg.StrictTree, MaxNode: x.s.cfg.Limits.Body, ChunkSize: chunkSize,
	})
}

// getWhoami is who the server takes the caller for. A token that is no good is
// an error: whoever sends one wants to know.
func (x *exchange) getWhoami() error {
	if err := x.authenticate(); err != nil {
		f, ok := errors.AsType[*failure](err)
		if !ok || f.kind != kindNoToken {
			return err
		}
	}
	who := x.caller.Seen()
	answer := who.Whoami()
	if who.Kind == auth.OIDC {
		users, err := x.s.catalog.UsersOf(x.ctx, who.Subject)
		if err != nil {
			return stored(err)
		}
		answer.Users = users
	}
	return x.json(http.StatusOK, answer)
}

// maySee reports whether the caller may know that a repository exists.
func (x *exchange) maySee(f Found) bool {
	return f.Public || x.caller.Decide(x.ctx, auth.ListTags, auth.Resource{User: f.User, Repo: f.Repository, Owner: f.Owner, Exists: true}) == nil
}

// identify looks at a token if there is one, where none is needed.
func (x *exchange) identify() error {
	if x.r.Header.Get("Authorization") == "" {
		return nil
	}
	return x.authenticate()
}

// getSearch finds repositories by parts of their names.
func (x *exchange) getSearch() error {
	if err := x.identify(); err != nil {
		return err
	}
	if err := x.decide(auth.Search, auth.Resource{}); err != nil {
		return err
	}
	limit, err := x.page()
	if err != nil {
		return err
	}
	query := x.r.URL.Query()
	found, next, err := x.s.catalog.Search(x.ctx, query.Get("q"), limit, query.Get("after"), x.maySee)
	if err != nil {
		return stored(err)
	}
	return x.summaries(found, next)
}

// page is how many repositories are asked for at once.
func (x *exchange) page() (limit int, err error) {
	text := x.r.URL.Query().Get("limit")
	if text == "" {
		return maxPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, badRequest("query", "limit is not a number from 1 on")
	}
	return min(n, maxPage), nil
}

// getRepos lists the repositories of a user that the caller may see, in the
// order of their names.
func (x *exchange) getRepos() error {
	if err := x.identify(); err != nil {
		return err
	}
	if err := x.decide(auth.ListRepos, auth.Resource{User: x.route.user}); err != nil {
		return err
	}
	limit, err := x.page()
	if err != nil {
		return err
	}
	user, err := x.s.store.GetUser(x.ctx, x.route.user)
	if errors.Is(err, store.ErrNotFound) {
		return x.summaries(nil, "") // as for a user without any: nothing to see
	}
	if err != nil {
		return stored(err)
	}
	names, err := x.s.store.Repos(x.ctx, x.route.user)
	if err != nil {
		return stored(err)
	}
	start, after := slices.BinarySearch(names, x.r.URL.Query().Get("after"))
	if after {
		start++
	}
	var found []Found
	for _, name := range names[start:] {
		repo, err := x.s.store.GetRepo(x.ctx, x.route.user, name)
		if errors.Is(err, store.ErrCorrupt) {
			x.s.log.Error("a repository is damaged: run fsck", "user", x.route.user, "repository", name, "err", err)
			continue // the others are not
		}
		if err != nil {
			return stored(err)
		}
		f := Found{User: x.route.user, Repository: name, Public: repo.Public, Owner: user.Subject}
		if !x.maySee(f) {
			continue
		}
		if len(found) == limit {
			return x.summaries(found, found[limit-1].Repository)
		}
		found = append(found, f)
	}
	return x.summaries(found, "")
}

// summaries answers with repositories and what is newest in them. Each is a
// listing of the store, and costs the client as much as a request.
func (x *exchange) summaries(found []Found, next string) error {
	if !x.inner && !x.s.clients.Allow(x.client, len(found)) {
		return tooMany("Too many requests from this address")
	}
	list := drawbridge.RepositoryList{Repositories: make([]drawbridge.RepositorySummary, 0, len(found)), Next: next}
	for _, f := range found {
		summary := drawbridge.RepositorySummary{User: f.User, Repository: f.Repository, Public: f.Public}
		tags, err := x.s.store.TagNames(x.ctx, f.User, f.Repository)
		if err != nil {
			return stored(err)
		}
		for _, tag := range tags {
			if !tag.Yanked {
				summary.Latest = tag.Name // they are in order
				summary.Tags++
			}
		}
		list.Repositories = append(list.Repositories, summary)
	}
	return x.json(http.StatusOK, list)
}

// getInfo is GET of a repository with all its tags, yanked ones too.
func (x *exchange) getInfo() error {
	about, err := x.owned(false)
	if err != nil {
		return err
	}
	if err := x.decide(auth.ListTags, about); err != nil {
		return err
	}
	info := drawbridge.RepositoryInfo{User: about.User, Repository: about.Repo, Public: about.Public, Tags: []drawbridge.TagInfo{}}
	for tag, err := range x.s.store.EachTag(x.ctx, about.User, about.Repo) {
		if err != nil {
			return stored(err)
		}
		root, err := x.root(tag)
		if err != nil {
			return err
		}
		entry := tag.Tag.Entry
		t := drawbridge.TagInfo{
			Tag: tag.Name, Digest: drawbridge.Pin(root), Length: entry.Length, Type: entry.Type, Signed: tag.Tag.Signed(), Created: tag.Created,
		}
		if tag.Yank != nil {
			t.Yanked, t.Reason = true, tag.Yank.Reason
		}
		info.Tags = append(info.Tags, t)
	}
	return x.json(http.StatusOK, info)
}
