// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// checkToken returns an error unless id is letters and digits, like a user's
// name.
func checkToken(id string) error {
	if err := drawbridge.CheckUser(id); err != nil || len(id) > 64 {
		return fmt.Errorf("%w: token %.80q", ErrInvalid, id)
	}
	return nil
}

// PutToken keeps what is to be known of a user's token. It returns ErrConflict
// if the id is taken.
func (s *Store) PutToken(ctx context.Context, user, id string, body []byte) error {
	if err := errors.Join(drawbridge.CheckUser(user), checkToken(id)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// The index first: what it names and is not there is no token, but a token
	// that it does not name could not be found to be revoked.
	if _, err := s.create(ctx, userTokenKey(user, id), sealed(tokenRecord{User: user, ID: id})); err != nil {
		return err
	}
	record := tokenRecord{user, id, body}
	created, err := s.create(ctx, tokenKey(id), sealed(record))
	if created || err != nil {
		return err
	}
	var there tokenRecord
	if err := s.readRecord(ctx, tokenKey(id), &there); err != nil {
		return err
	}
	if there.User != user || string(there.Body) != string(body) {
		return fmt.Errorf("token %w", ErrConflict)
	}
	return nil
}

// TokenRecord returns what is kept of a token, nil if there is none.
func (s *Store) TokenRecord(ctx context.Context, id string) ([]byte, error) {
	if checkToken(id) != nil {
		return nil, nil
	}
	var r tokenRecord
	switch err := s.readRecord(ctx, tokenKey(id), &r); {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case r.ID != id:
		return nil, fmt.Errorf("%w: a token is in another's place", ErrCorrupt)
	}
	return r.Body, nil
}

// Tokens returns the ids of a user's tokens in order. One that was just being
// made or deleted may not be there when it is asked for.
func (s *Store) Tokens(ctx context.Context, user string) ([]string, error) {
	prefix := userPrefix(user) + "k/"
	ids := []string{}
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if l, ok := parseKey(o.Key); ok && l.kind == kindUserToken {
			id, _ := decodeName(l.name)
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// DeleteToken revokes a user's token. It returns ErrNotFound if he has no such
// token. From then on it is not there; its uses go too.
func (s *Store) DeleteToken(ctx context.Context, user, id string) error {
	if err := checkToken(id); err != nil {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	var r tokenRecord
	if err := s.readRecord(ctx, userTokenKey(user, id), &r); err != nil {
		return err
	}
	var token tokenRecord
	switch err := s.readRecord(ctx, tokenKey(id), &token); {
	case err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt):
		return err
	case err == nil && token.User != user: // the index has an id that was taken
		return errors.Join(ErrNotFound, s.remove(ctx, userTokenKey(user, id)))
	}
	if err := s.remove(ctx, tokenKey(id)); err != nil {
		return err
	}
	for o, err := range s.list(ctx, "k/"+encodeName(id)+".use.", "") {
		if err != nil {
			return err
		}
		if err := s.remove(ctx, o.Key); err != nil {
			return err
		}
	}
	return s.remove(ctx, userTokenKey(user, id))
}

// ClaimTokenUse takes the n-th use of a token. It returns false if it is taken:
// of two who try, one gets it.
func (s *Store) ClaimTokenUse(ctx context.Context, id string, n int, record []byte) (bool, error) {
	if err := checkToken(id); err != nil || n < 0 {
		return false, fmt.Errorf("%w: use %d of token %.80q", ErrInvalid, n, id)
	}
	use := useRecord{record, randomID()}
	created, err := s.create(ctx, useKey(id, n), sealed(use))
	if created || err != nil {
		return created, err
	}
	var there useRecord
	if err := s.readRecord(ctx, useKey(id, n), &there); err != nil {
		return false, err
	}
	return there.Nonce == use.Nonce, nil // our own, whose answer was lost
}

// TokenUse returns what ClaimTokenUse kept, nil if there is nothing.
func (s *Store) TokenUse(ctx context.Context, id string, n int) ([]byte, error) {
	if checkToken(id) != nil {
		return nil, nil
	}
	var r useRecord
	if err := s.readRecord(ctx, useKey(id, n), &r); errors.Is(err, ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return r.Body, nil
}
