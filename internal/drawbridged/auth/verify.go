// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"encoding/json"
	"errors"
	"sort"
	"time"
)

// useLife is how long an attempt may ask again without another use of its
// deployment token.
const useLife = 10 * time.Minute

// verify returns who holds a token. A JWT that is meant for us is judged as
// one alone, or the userinfo endpoint would give back the scopes that it lacks;
// whatever else may be a token of the userinfo mode.
func (a *Authenticator) verify(ctx context.Context, text string) (Principal, *Denied) {
	if ours(text) {
		return a.verifyOurs(ctx, text)
	}
	refused := invalid("no mode takes such tokens")
	if a.cfg.JWT {
		c, err := a.verifyJWT(ctx, text)
		switch {
		case errors.Is(err, errNoProvider):
			return Principal{}, unavailable(err)
		case ctx.Err() != nil:
			return Principal{}, unavailable(ctx.Err())
		case err != nil:
			refused = invalid("%v", err)
			if claimed(text).forUs(&a.cfg) {
				return Principal{}, refused
			}
		default:
			if err = c.check(&a.cfg, a.cfg.Now()); err == nil {
				return c.principal(), nil
			}
			refused = invalid("%v", err)
			if c.forUs(&a.cfg) {
				return Principal{}, refused
			}
		}
	}
	if a.userinfo == nil {
		return Principal{}, refused
	}
	return a.userinfo.verify(ctx, text)
}

// Verify returns who holds a token, by the rules for bearer tokens. The error is
// a *Denied.
func (a *Authenticator) Verify(ctx context.Context, token string) (Principal, error) {
	p, d := a.verify(ctx, token)
	if d != nil {
		return Principal{Kind: Anonymous}, d
	}
	return p, nil
}

func (a *Authenticator) verifyOurs(ctx context.Context, text string) (Principal, *Denied) {
	kind, id, secret, err := parseText(text)
	if err != nil || a.cfg.Tokens == nil {
		return Principal{}, invalid("%v", errToken)
	}
	record, err := a.cfg.Tokens.TokenRecord(ctx, id)
	switch {
	case err != nil:
		return Principal{}, broken(err)
	case record == nil:
		return Principal{}, invalid("no token %s: revoked, or never made", id)
	}
	t, err := ParseToken(record)
	if err != nil {
		return Principal{}, broken(err)
	}
	if t.ID != id || Kind(t.Kind) != kind || !t.proves(secret) {
		return Principal{}, invalid("wrong secret for token %s", id)
	}
	if !a.cfg.Now().Before(t.Expires) {
		return Principal{}, denied("expired_token", "Token has expired").because("token %s", id)
	}
	return Principal{Kind: kind, Token: t}, nil
}

// A tokenUse is the record of a use: since when, and in which attempt.
type tokenUse struct {
	Time    time.Time `json:"time"`
	Attempt string    `json:"attempt,omitempty"`
}

// maxLookback is how many of the latest uses are looked through for an attempt.
const maxLookback = 64

// use counts a use of a deployment token, unless it is an attempt that was
// counted a moment ago. Uses are taken in order, so that the next one is found
// without reading all: who has a token that is used up may ask for ever.
func (a *Authenticator) use(ctx context.Context, t *Token, attempt string) *Denied {
	if t.Uses == 0 {
		return nil
	}
	now := a.cfg.Now()
	record, err := json.Marshal(tokenUse{now.UTC(), attempt})
	if err != nil {
		return broken(err)
	}
	var failed error
	next := 1 + sort.Search(t.Uses, func(n int) bool {
		had, err := a.cfg.Tokens.TokenUse(ctx, t.ID, n+1)
		failed = errors.Join(failed, err)
		return had == nil
	})
	if failed != nil {
		return broken(failed)
	}
	for n := next - 1; attempt != "" && n > max(0, next-1-maxLookback); n-- {
		counted, d := a.counted(ctx, t, n, attempt, now)
		if counted || d != nil {
			return d
		}
	}
	for n := next; n <= t.Uses; n++ {
		made, err := a.cfg.Tokens.ClaimTokenUse(ctx, t.ID, n, record)
		if err != nil {
			return broken(err)
		}
		if made {
			return nil
		}
		// Somebody was faster: look whose it is.
		counted, d := a.counted(ctx, t, n, attempt, now)
		if counted || d != nil {
			return d
		}
	}
	return forbidden("used_up", "The deployment token has been used %d times", t.Uses)
}

// counted reports whether a use that was taken is of the same attempt, a moment
// ago.
func (a *Authenticator) counted(ctx context.Context, t *Token, n int, attempt string, now time.Time) (bool, *Denied) {
	had, err := a.cfg.Tokens.TokenUse(ctx, t.ID, n)
	if err != nil {
		return false, broken(err)
	}
	var u tokenUse
	return attempt != "" && json.Unmarshal(had, &u) == nil && u.Attempt == attempt && now.Sub(u.Time).Abs() < useLife, nil
}
