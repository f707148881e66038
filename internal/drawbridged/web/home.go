// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

const (
	homeRepositories = 12
	pageRepositories = 50
	maxQuery         = 100 // characters
)

// A repository is one in a list.
type repository struct {
	User, Name string
	Public     bool
}

// pager leads to the pages before and after one.
type pager struct {
	Label                   string
	Newer, NewerText, Where string // a URL, or ""
	Older, OlderText        string
}

type step struct{ Text, Command string }

// home is the first page.
func (v *visit) home() error {
	found, next, err := v.find("", "", homeRepositories)
	if err != nil {
		return err
	}
	host := v.cfg.Host
	return v.show(http.StatusOK, "home", v.cfg.Host, struct {
		Repositories []repository
		More         bool
		Steps        []step
	}{found, next != "", []step{
		{"Sign in from the command line", "enarx user login --store-host " + host},
		{"Choose your user name, once", "enarx user register " + host + "/NAME"},
		{"Make a repository", "enarx repo register " + host + "/NAME/hello"},
		{"Publish the folder as version 0.1.0", "enarx package publish " + host + "/NAME/hello:0.1.0 FOLDER"},
		{"Run it in a Keep", "enarx deploy " + host + "/NAME/hello:0.1.0"},
	}})
}

// query is what is searched for.
func (v *visit) query() string {
	q := strings.TrimSpace(v.r.URL.Query().Get("q"))
	for utf8.RuneCountInString(q) > maxQuery {
		q = q[:len(q)-1]
	}
	return strings.ToValidUTF8(q, "")
}

// search lists repositories, those whose names have the query in them or all.
func (v *visit) search() error {
	q, after := v.query(), v.r.URL.Query().Get("after")
	if len(after) > 2*drawbridge.MaxName+1 {
		after = ""
	}
	found, next, err := v.find(q, after, pageRepositories)
	if err != nil {
		return err
	}
	at := func(after string) string {
		values := url.Values{"q": {q}}
		if after != "" {
			values.Set("after", after)
		}
		return "/-/search?" + values.Encode()
	}
	pages := pager{Label: "Pages of results"}
	if after != "" {
		pages.Newer, pages.NewerText = at(""), "From the start"
	}
	if next != "" {
		pages.Older, pages.OlderText = at(next), "More"
	}
	title := "All repositories"
	if q != "" {
		title = q + " · Search"
	}
	return v.show(http.StatusOK, "search", title, struct {
		Found     []repository
		Continued bool
		Pages     pager
	}{found, after != "", pages})
}

// find is what there is of a query that the visitor may see.
func (v *visit) find(query, after string, limit int) ([]repository, string, error) {
	found, next, err := v.cfg.Catalog.Search(v.ctx, query, limit, after, v.sees)
	if err != nil {
		return nil, "", err
	}
	return listed(found), next, nil
}

func listed(found []drawbridged.Found) []repository {
	all := make([]repository, len(found))
	for i, f := range found {
		all[i] = repository{User: f.User, Name: f.Repository, Public: f.Public}
	}
	return all
}

// sees reports whether the visitor may know of a repository.
func (v *visit) sees(f drawbridged.Found) bool {
	about := auth.Resource{User: f.User, Repo: f.Repository, Owner: f.Owner, Exists: true, Public: f.Public}
	return auth.Decide(v.as, auth.ListTags, about) == nil
}

// about is what is known of a user and a repository, whoever asks.
func (v *visit) about(at place) (auth.Resource, error) {
	about := auth.Resource{User: at.User, Repo: at.Repo, Tag: at.Tag}
	user, err := v.cfg.Store.GetUser(v.ctx, at.User)
	if err := unless(err, store.ErrNotFound); err != nil {
		return about, err
	}
	about.Owner = user.Subject
	if at.Repo == "" {
		return about, nil
	}
	repo, err := v.cfg.Store.GetRepo(v.ctx, at.User, at.Repo)
	if err := unless(err, store.ErrNotFound); err != nil {
		return about, err
	}
	about.Exists, about.Public = err == nil, repo.Public
	return about, nil
}

// owns reports whether a user is the visitor's.
func (v *visit) owns(about auth.Resource) bool {
	return v.who != nil && about.Owner != "" && auth.Decide(v.as, auth.ReadUser, about) == nil
}

// user is the page of a user. f is a form that was not taken.
func (v *visit) user(name string, f form) error {
	about, err := v.about(place{User: name})
	if err != nil {
		return err
	}
	names, err := v.cfg.Store.Repos(v.ctx, name)
	if err != nil {
		return err
	}
	own := v.owns(about)
	found := make([]repository, len(names))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, repo := range names {
		group.Go(func() error {
			r, err := v.cfg.Store.GetRepo(v.ctx, name, repo)
			if err == nil {
				found[i] = repository{User: name, Name: repo, Public: r.Public}
			}
			return unless(err, store.ErrNotFound, store.ErrCorrupt) // one bad record must not hide the others; fsck names it
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all := slices.DeleteFunc(found, func(r repository) bool { return r.Name == "" || !r.Public && !own })
	// A user who shows nothing is not told from one who does not exist: names
	// of users are as private as their repositories.
	if len(all) == 0 && !own {
		return errMissing
	}
	total := len(all)
	page, pages := v.paged(total, pageRepositories, userURL(name), "Pages of repositories")
	all = all[page*pageRepositories : min(total, (page+1)*pageRepositories)]
	status := http.StatusOK
	if f.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return v.show(status, "user", titled(name, f.Problem), struct {
		Name         string
		Own          bool
		Repositories []repository
		Pages        pager
		Form         form
	}{name, own, all, pages, f})
}
