// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"errors"
	"net/http"
	"sort"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
)

// getPolicy is GET of who may read a repository besides its owner.
func (x *exchange) getPolicy() error {
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	if err := x.decide(auth.ReadPolicy, about); err != nil {
		return err
	}
	raw, err := x.s.store.Policy(x.ctx, about.User, about.Repo)
	if errors.Is(err, store.ErrNotFound) {
		raw, err = []byte("{}"), nil
	}
	if err != nil {
		return stored(err)
	}
	return x.bytes(drawbridge.MetaOf(raw, drawbridge.TypeJSON), raw)
}

// putPolicy replaces it.
func (x *exchange) putPolicy() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.WritePolicy); err != nil {
		return err
	}
	raw, err := x.sentJSON()
	if err != nil {
		return err
	}
	if _, err := auth.ParsePolicy(raw); err != nil {
		return unprocessable(err)
	}
	if err := x.s.store.PutPolicy(x.ctx, x.route.user, x.route.repo, raw); err != nil {
		return stored(err)
	}
	return x.empty(http.StatusOK)
}

// getTokens lists the tokens of a user, or those for one repository, without
// their secrets.
func (x *exchange) getTokens() error {
	about, err := x.owned(true)
	if err != nil {
		return err
	}
	if err := x.decide(auth.ListTokens, about); err != nil {
		return err
	}
	tokens, err := x.tokens()
	if err != nil {
		return err
	}
	list := make([]drawbridge.Token, 0, len(tokens))
	for _, t := range tokens {
		used, err := x.used(t)
		if err != nil {
			return stored(err)
		}
		list = append(list, t.Public(used))
	}
	return x.json(http.StatusOK, list)
}

// tokens are those that the route is about.
func (x *exchange) tokens() ([]*auth.Token, error) {
	ids, err := x.s.store.Tokens(x.ctx, x.route.user)
	if err != nil {
		return nil, stored(err)
	}
	var tokens []*auth.Token
	for _, id := range ids {
		t, err := x.token(id)
		if errors.Is(err, store.ErrNotFound) {
			continue // revoked meanwhile, or for another repository
		}
		if err != nil {
			return nil, stored(err)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// token reads one token. It returns store.ErrNotFound if it is not what the
// route is about.
func (x *exchange) token(id string) (*auth.Token, error) {
	raw, err := x.s.store.TokenRecord(x.ctx, id)
	if err == nil && raw == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	t, err := auth.ParseToken(raw)
	if err != nil {
		return nil, err
	}
	if t.User != x.route.user || x.route.repo != "" && t.Repository != x.route.repo {
		return nil, store.ErrNotFound
	}
	return t, nil
}

// used is how often a deployment token was used. Uses are taken in order.
func (x *exchange) used(t *auth.Token) (int, error) {
	var failed error
	n := sort.Search(t.Uses, func(n int) bool {
		record, err := x.s.store.TokenUse(x.ctx, t.ID, n+1)
		failed = errors.Join(failed, err)
		return record == nil
	})
	return n, failed
}

// postToken makes a token. This is the only answer that ever has its secret.
func (x *exchange) postToken() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.MintToken); err != nil {
		return err
	}
	ask, err := document[drawbridge.Token](x)
	if err != nil {
		return err
	}
	if ask.User != "" && ask.User != x.route.user || ask.Repository != "" && ask.Repository != x.route.repo {
		return refuse(http.StatusUnprocessableEntity, "json-shape", "The token is for another user or repository than the path")
	}
	ask.User, ask.Repository = x.route.user, x.route.repo
	t, text, err := auth.NewToken(ask, x.caller.Seen(), x.s.now())
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "json-shape", "No such token can be made: %v", err)
	}
	leave, ok := x.s.making.enter("token "+x.route.user, 1)
	if !ok {
		return tooMany("A token is being made already") // many at once would all be below the limit
	}
	defer leave()
	if limit := x.s.cfg.Limits.Tokens; limit >= 0 {
		ids, err := x.s.store.Tokens(x.ctx, x.route.user)
		if err != nil {
			return stored(err)
		}
		if len(ids) >= limit {
			return refuse(http.StatusForbidden, "quota", "Quota exceeded: there are %d tokens already", len(ids))
		}
	}
	record, err := t.Record()
	if err != nil {
		return err
	}
	if err := x.s.store.PutToken(x.ctx, t.User, t.ID, record); err != nil {
		return stored(err)
	}
	x.route.id = t.ID
	answer := t.Public(0)
	answer.Secret = text
	x.w.Header().Set("Cache-Control", "no-store")
	return x.json(http.StatusCreated, answer)
}

// deleteToken revokes a token.
func (x *exchange) deleteToken() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.mayWrite(auth.RevokeToken); err != nil {
		return err
	}
	if _, err := x.token(x.route.id); err != nil {
		return stored(err)
	}
	if err := x.s.store.DeleteToken(x.ctx, x.route.user, x.route.id); err != nil {
		return stored(err)
	}
	return x.empty(http.StatusOK)
}
