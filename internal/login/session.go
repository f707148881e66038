// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"enarx.dev/enarx/internal/credentials"
)

// The ways to sign in.
const (
	FlowDevice = "device"
	FlowCode   = "code"
	FlowClient = "client"
)

// A Session is a user who is signed in at a store. Its JSON, which is kept
// beside the access token, is a secret as well.
type Session struct {
	Access string `json:"-"`

	Refresh  string    `json:"refresh_token,omitempty"`
	Expiry   time.Time `json:"expiry,omitzero"` // of the access token; zero: not known
	Issuer   string    `json:"issuer"`
	ClientID string    `json:"client_id"`
	Audience string    `json:"audience,omitempty"`
	Flow     string    `json:"flow"`

	// Of is the SHA-256 of the access token that Expiry is about: another
	// program may have stored a token since.
	Of string `json:"access_sha256"`
}

const maxSession = 64 << 10

func parseSession(text string) (*Session, error) {
	if len(text) > maxSession {
		return nil, errors.New("it is too long")
	}
	var s Session
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, errors.New("it is not a session") // an error with its text in it would have the token in it
	}
	if s.Refresh != "" && checkToken(s.Refresh) != nil {
		return nil, errors.New("its refresh token is none")
	}
	return &s, nil
}

func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// An Account is the user's session at one store, kept in a [credentials.Store].
// The access token is kept under Name, bare, where upstream's clients look for
// it; the rest of the session is kept under Name with "-refresh" after it. It is
// safe for concurrent use, also by several processes.
type Account struct {
	Store credentials.Store
	Name  string // see [credentials.Account]
	Old   string // where some keep a token by hand, as upstream's manual has it; "": nowhere
	Dir   string // as in [credentials.Config]
	// Secret of the client, for signing in anew without a user.
	Secret string
	// Discover finds the provider of a session that has to be renewed.
	Discover func(ctx context.Context, issuer string) (*Provider, error)
	// Warn is told what is not an error yet; nil: nobody is.
	Warn func(text string)

	mu     sync.Mutex
	token  string    // as it was loaded, or ""
	expiry time.Time // of token; zero: not known
}

// ErrEnded is returned when a user has to sign in again.
var ErrEnded = errors.New("you are not signed in any more")

// early is how long before its end a token is renewed: requests that are
// under way then should still be good.
const early = time.Minute

func (a *Account) sessionName() string { return a.Name + "-refresh" }

// Save keeps a session.
func (a *Account) Save(ctx context.Context, s *Session) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.keep(ctx, s); err != nil {
		return err
	}
	a.token, a.expiry = s.Access, s.Expiry
	return nil
}

// Forget removes the session.
func (a *Account) Forget(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
	return errors.Join(a.Store.Delete(ctx, a.sessionName()), a.Store.Delete(ctx, a.Name))
}

// Session returns what is kept, or an error wrapping [credentials.ErrNotFound].
func (a *Account) Session(ctx context.Context) (*Session, error) {
	access, err := a.load(ctx)
	if err != nil && !errors.Is(err, credentials.ErrNotFound) {
		return nil, err
	}
	s, serr := a.details(ctx)
	if s == nil {
		if err == nil {
			err = serr
		}
		s = &Session{}
	}
	if access == "" && s.Refresh == "" {
		return nil, err
	}
	s.Access = access
	if s.Of != fingerprint(access) {
		s.Expiry = expiry(access)
	}
	return s, nil
}

// load returns the access token.
func (a *Account) load(ctx context.Context) (string, error) {
	token, err := a.Store.Get(ctx, a.Name)
	if errors.Is(err, credentials.ErrNotFound) && a.Old != "" {
		token, err = a.Store.Get(ctx, a.Old)
	}
	if err != nil {
		return "", err
	}
	if token, err = CheckToken(token); err != nil {
		return "", fmt.Errorf("what is stored as %s is %w", a.Name, err)
	}
	return token, nil
}

// details returns what is kept beside the access token, or nil. A helper that
// knows nothing of it may fail, or answer with the token.
func (a *Account) details(ctx context.Context) (*Session, error) {
	text, err := a.Store.Get(ctx, a.sessionName())
	if err != nil {
		return nil, err
	}
	s, err := parseSession(text)
	if err != nil {
		return nil, fmt.Errorf("what is stored as %s is of no use: %w", a.sessionName(), err)
	}
	return s, nil
}

// Token returns an access token that is good for a while, as far as can be
// known here. The error wraps [credentials.ErrNotFound] if there is no session
// and [ErrEnded] if the user has to sign in again.
func (a *Account) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == "" {
		token, err := a.load(ctx)
		if err != nil && !errors.Is(err, credentials.ErrNotFound) {
			return "", err
		}
		if err != nil { // a write that was cut short may have left the refresh token alone
			if s, _ := a.details(ctx); s == nil {
				return "", err
			}
			return a.renew(ctx, "", time.Time{})
		}
		a.token, a.expiry = token, expiry(token)
		if a.expiry.IsZero() {
			if s, _ := a.details(ctx); s != nil && s.Of == fingerprint(token) {
				a.expiry = s.Expiry
			}
		}
	}
	if a.expiry.IsZero() || time.Until(a.expiry) > early {
		return a.token, nil
	}
	return a.renew(ctx, a.token, a.expiry)
}

// Renew returns another access token than the one that a store refused.
func (a *Account) Renew(ctx context.Context, refused string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && a.token != refused {
		return a.token, nil // somebody else was told the same
	}
	return a.renew(ctx, refused, time.Time{})
}

// renew exchanges the refresh token, unless another process just did. A token
// that is good until expiry is better than an error. The caller holds a.mu.
func (a *Account) renew(ctx context.Context, old string, good time.Time) (string, error) {
	token, err := a.renewAlone(ctx, old)
	if err != nil && time.Until(good) > 0 && ctx.Err() == nil {
		return old, nil
	}
	return token, err
}

func (a *Account) renewAlone(ctx context.Context, old string) (string, error) {
	unlock, err := credentials.Exclusive(ctx, a.Dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if now, err := a.load(ctx); err == nil && now != old {
		if end := expiry(now); end.IsZero() || time.Until(end) > early {
			a.token, a.expiry = now, end
			return now, nil
		}
	}
	s, err := a.details(ctx)
	if err != nil {
		return "", ErrEnded // without a refresh token
	}
	anew := s.Flow == FlowClient && a.Secret != ""
	if s.Refresh == "" && !anew {
		return "", ErrEnded
	}
	// A provider that rotates refresh tokens ends the old one with this request.
	// Where the new one cannot be kept it is better not to ask for it.
	text, err := json.Marshal(s)
	if err == nil {
		err = a.Store.Set(ctx, a.sessionName(), string(text))
	}
	if err != nil {
		return "", fmt.Errorf("your session is not renewed, as it could not be kept: %w", err)
	}
	fresh, err := a.ask(ctx, s, anew)
	if err != nil {
		return "", err
	}
	a.token, a.expiry = fresh.Access, fresh.Expiry
	if err := a.keep(ctx, fresh); err != nil && a.Warn != nil {
		a.Warn(err.Error() + ": you will have to sign in again")
	}
	return fresh.Access, nil
}

func (a *Account) ask(ctx context.Context, s *Session, anew bool) (*Session, error) {
	p, err := a.Discover(ctx, s.Issuer)
	if err != nil {
		return nil, err
	}
	var fresh *Session
	if s.Refresh != "" {
		fresh, err = p.refresh(ctx, s, a.Secret)
	} else {
		fresh, err = p.ClientCredentials(ctx, Request{ClientID: s.ClientID, Secret: a.Secret, Audience: s.Audience})
	}
	if said, ok := errors.AsType[*Error](err); ok && (said.Code == "invalid_grant" || anew) {
		return nil, fmt.Errorf("%w: %w", ErrEnded, err)
	}
	if err != nil {
		return nil, fmt.Errorf("renewing your session: %w", err)
	}
	return fresh, nil
}

// keep stores a session, the refresh token first: with that alone the user is
// still signed in. It is the only copy, so it is stored even when the user has
// just asked to stop.
func (a *Account) keep(ctx context.Context, s *Session) error {
	s.Of = fingerprint(s.Access)
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err = a.Store.Set(ctx, a.sessionName(), string(text)); err == nil {
		err = a.Store.Set(ctx, a.Name, s.Access)
	}
	if err != nil {
		return fmt.Errorf("failed to save user credentials: %w", err)
	}
	return nil
}
