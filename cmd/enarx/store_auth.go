// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"enarx.dev/enarx/drawbridge/client"
	"enarx.dev/enarx/internal/credentials"
	"enarx.dev/enarx/internal/login"
)

// tokens finds the user's token for the store. It is not looked for harder
// than needed: a store that the user never signed in at may have what is
// wanted for everybody.
type tokens struct {
	store *store
	fixed string // by flag or environment

	mu      sync.Mutex
	account *login.Account // nil: not looked for yet, or there is none
	looked  bool           // for an account
	asked   bool           // the store, for its provider
	none    bool           // the account has no token, or there is trouble with it
	last    string         // given out, "" for none
	why     string         // there is no token, if it is not that nobody signed in
}

// token returns the token to send, "" if there is none. Trouble with it is no
// error here: the request may need no token, and else better says what it is.
func (t *tokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = t.fixed
	if t.fixed != "" {
		return t.fixed, nil
	}
	if err := t.find(ctx, false); err != nil {
		return "", err
	}
	if t.account == nil || t.none {
		return "", nil
	}
	token, err := t.account.Token(ctx)
	if err != nil {
		t.none = true
		return "", ctx.Err()
	}
	t.last = token
	return token, nil
}

// find looks for the account: by what is known here, and if ask is set by what
// the store says. The caller holds t.mu.
func (t *tokens) find(ctx context.Context, ask bool) error {
	if t.account != nil || t.looked && (!ask || t.asked) {
		return nil
	}
	t.looked, t.asked = true, ask
	info, err := t.store.info()
	if err != nil {
		return err
	}
	if info.OIDCDomain == "" && ask {
		config, err := t.store.anonymous.Config(ctx)
		if err != nil {
			return ctx.Err() // another kind of store
		}
		info.OIDCDomain = config.Issuer
	}
	if info.OIDCDomain == "" {
		return nil
	}
	t.account, err = t.store.accountAt(info.OIDCDomain)
	return err
}

// better makes token return another token than the one that the store has
// refused. It reports whether there is one.
func (t *tokens) better(ctx context.Context) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fixed != "" {
		return false, nil
	}
	if err := t.find(ctx, true); err != nil || t.account == nil {
		return false, err
	}
	var err error
	if t.last == "" {
		_, err = t.account.Token(ctx)
	} else {
		_, err = t.account.Renew(ctx, t.last)
	}
	if errors.Is(err, credentials.ErrNotFound) {
		if err != credentials.ErrNotFound { // a keyring that cannot be read
			t.why = strings.TrimPrefix(err.Error(), credentials.ErrNotFound.Error()+": ")
		}
		return false, nil
	}
	t.none = err != nil
	return err == nil, err
}

// use has the store asked with this account from now on.
func (t *tokens) use(account *login.Account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account, t.none = account, false
}

// look makes sure that there is a token if there can be one, for requests that
// are answered to anybody, but not in the same way.
func (t *tokens) look(ctx context.Context) error {
	if token, err := t.token(ctx); err != nil || token != "" {
		return err
	}
	_, err := t.better(ctx)
	return err
}

// try runs what asks the store. If the store refuses it for lack of a good
// token, and there is a better one, it is run again.
func (s *store) try(ctx context.Context, op func() error) error {
	err := op()
	if !s.auth.refused(err) {
		return err
	}
	better, berr := s.auth.better(ctx)
	if berr != nil {
		return berr
	}
	if !better {
		return err
	}
	return op()
}

// refused reports whether err is the store's about the token, or about there
// being none. That somebody may not do something is no reason for another one.
func (t *tokens) refused(err error) bool {
	status, ok := errors.AsType[*client.StatusError](err)
	if !ok || status.Status != http.StatusUnauthorized {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last == "" || strings.Contains(status.Text, "Invalid token") || strings.Contains(status.Text, "credential validation failed")
}
