// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"net/http"
	"slices"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// getUser is GET and HEAD of a user's record.
func (x *exchange) getUser() error {
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	if err := x.decide(auth.ReadUser, about); err != nil {
		return err
	}
	object, err := x.s.store.GetUser(x.ctx, x.route.user)
	if err != nil {
		return stored(err)
	}
	return x.bytes(object.Meta, object.Body)
}

// putUser registers a user, in the order of spec/drawbridge.md 1.6.
func (x *exchange) putUser() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	m, err := x.declared(false)
	if err != nil {
		return err
	}
	raw, err := x.jsonBody(m)
	if err != nil {
		return err
	}
	user, err := drawbridge.ParseUser(raw)
	if err != nil {
		return unprocessable(err)
	}
	x.event.change = true
	if err := x.decide(auth.CreateUser, auth.Resource{User: x.route.user, Owner: user.Subject}); err != nil {
		return err
	}
	leave, ok := x.s.making.enter("subject "+user.Subject, 1)
	if !ok {
		return tooMany("You are registering already") // many at once would all be below the limit
	}
	defer leave()
	if err := x.mayHaveMore(user.Subject); err != nil {
		return err
	}
	if err := x.caller.Register(x.ctx, x.route.user); err != nil {
		return denied(err)
	}
	created, err := x.s.store.PutUser(x.ctx, x.route.user, object(raw, m))
	if err != nil {
		return stored(err)
	}
	x.s.catalog.addUser(x.route.user, user.Subject)
	return x.put(created)
}

// getRepo is GET and HEAD of a repository's configuration.
func (x *exchange) getRepo() error {
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	if err := x.decide(auth.ReadRepo, about); err != nil {
		return err
	}
	object, err := x.s.store.GetRepo(x.ctx, x.route.user, x.route.repo)
	if errors.Is(err, store.ErrNotFound) {
		return errNoRepository
	}
	if err != nil {
		return stored(err)
	}
	return x.bytes(object.Meta, object.Body)
}

// putRepo makes a repository.
func (x *exchange) putRepo() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	m, err := x.declared(false)
	if err != nil {
		return err
	}
	raw, err := x.jsonBody(m)
	if err != nil {
		return err
	}
	config, err := drawbridge.ParseRepository(raw)
	if err != nil {
		return unprocessable(err)
	}
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	x.event.change = true
	if err := x.decide(auth.CreateRepo, about); err != nil {
		return err
	}
	created, err := x.s.store.PutRepo(x.ctx, x.route.user, x.route.repo, object(raw, m))
	if err != nil {
		return stored(err)
	}
	x.s.catalog.addRepo(x.route.user, x.route.repo, config.Public, about.Owner)
	return x.put(created)
}

// put answers a PUT: 201 for what is new, 200 for what was there already. Never
// anything else, spec/drawbridge.md 1.5.
func (x *exchange) put(created bool) error {
	if created {
		return x.empty(http.StatusCreated)
	}
	return x.empty(http.StatusOK)
}

// object is what is to be stored. Where nothing was declared all four digests
// are, so that a GET can answer with them.
func object(raw []byte, m drawbridge.Meta) store.Object {
	if m.Digests.Len() == 0 {
		return store.NewObject(raw, m.Type)
	}
	return store.Object{Body: raw, Meta: m}
}

// mayHaveMore bounds how many names one subject takes. A name that it has
// already is none more.
func (x *exchange) mayHaveMore(subject string) error {
	limit := x.s.cfg.Limits.Users
	if limit < 0 {
		return nil
	}
	users, err := x.s.catalog.UsersOf(x.ctx, subject)
	if err != nil {
		return err
	}
	if len(users) < limit || slices.Contains(users, x.route.user) {
		return nil
	}
	return refuse(http.StatusForbidden, "quota", "You have %d users already", len(users))
}
