// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// User is a user's record.
type User struct {
	Name string
	Object
	Subject string // "" if the record is not of the form that upstream gives it
	Created time.Time
}

// Repo is a repository's record.
type Repo struct {
	User, Name string
	Object
	Public  bool // false too if the record is not of the form that upstream gives it
	Created time.Time
}

func checkRepo(user, repo string) error {
	err := drawbridge.CheckUser(user)
	if err == nil {
		err = drawbridge.CheckRepository(repo)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// PutUser makes a user. It returns false if there is the same one already,
// ErrConflict if there is another, *MismatchError and ErrInvalid.
func (s *Store) PutUser(ctx context.Context, user string, o Object) (bool, error) {
	if err := drawbridge.CheckUser(user); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s.putObject(ctx, userKey(user), &objectRecord{Kind: kindUser, User: user, Meta: o.Meta, Body: o.Body})
}

// GetUser returns a user, or ErrNotFound.
func (s *Store) GetUser(ctx context.Context, user string) (User, error) {
	r, err := s.readObject(ctx, userKey(user), kindUser, user, "", "")
	if err != nil {
		return User{}, err
	}
	parsed, _ := drawbridge.ParseUser(r.Body)
	return User{user, r.object(), parsed.Subject, r.Created}, nil
}

// Users returns the names of users in order, from the first one behind after
// on. limit 0 is all.
func (s *Store) Users(ctx context.Context, after string, limit int) ([]string, error) {
	names, err := s.names(ctx, "u/", "user")
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearch(names, after)
	if found {
		i++
	}
	names = names[i:]
	if limit > 0 && len(names) > limit {
		names = names[:limit]
	}
	return names, nil
}

// PutRepo makes a repository, as PutUser makes a user. It returns ErrNotFound
// if there is no such user and ErrQuota.
func (s *Store) PutRepo(ctx context.Context, user, repo string, o Object) (bool, error) {
	if err := checkRepo(user, repo); err != nil {
		return false, err
	}
	if _, err := s.GetUser(ctx, user); err != nil {
		return false, err
	}
	release, err := s.reserveRepo(ctx, user, repo)
	if err != nil {
		return false, err
	}
	created, err := s.putObject(ctx, repoKey(user, repo), &objectRecord{Kind: kindRepo, User: user, Repo: repo, Meta: o.Meta, Body: o.Body})
	release(created)
	return created, err
}

// GetRepo returns a repository, or ErrNotFound.
func (s *Store) GetRepo(ctx context.Context, user, repo string) (Repo, error) {
	r, err := s.readObject(ctx, repoKey(user, repo), kindRepo, user, repo, "")
	if err != nil {
		return Repo{}, err
	}
	parsed, err := drawbridge.ParseRepository(r.Body)
	return Repo{user, repo, r.object(), parsed.Public && err == nil, r.Created}, nil
}

// Repos returns the names of a user's repositories in order.
func (s *Store) Repos(ctx context.Context, user string) ([]string, error) {
	return s.names(ctx, userPrefix(user)+"r/", "repo")
}

// putObject writes a record that never changes.
func (s *Store) putObject(ctx context.Context, key string, r *objectRecord) (bool, error) {
	if len(r.Body) > drawbridge.MaxJSON {
		return false, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(r.Body))
	}
	if err := r.object().check(); err != nil {
		return false, err
	}
	if r.Created.IsZero() { // an import keeps it
		r.Created = s.now().UTC()
	}
	created, err := s.create(ctx, key, sealed(r))
	if created || err != nil {
		return created, err
	}
	there, err := s.readObject(ctx, key, r.Kind, r.User, r.Repo, r.Name)
	if err == nil && !there.object().same(r.object()) {
		err = fmt.Errorf("%s %w", r.Kind, ErrConflict)
	}
	return false, err
}

// names returns the names of the folders below a prefix, in order. The object
// in such a folder is only read where the key does not tell the name.
func (s *Store) names(ctx context.Context, prefix, object string) ([]string, error) {
	names := []string{}
	for o, err := range s.list(ctx, prefix, "/") {
		if err != nil {
			return nil, err
		}
		encoded, isDir := strings.CutSuffix(o.Key[len(prefix):], "/")
		name, ok := decodeName(encoded)
		if !isDir || !ok {
			continue
		}
		if name == "" {
			var r objectRecord
			if err := s.readRecord(ctx, o.Key+object, &r); errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return nil, err
			}
			if name = r.User; object == "repo" {
				name = r.Repo
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// PutPolicy replaces the policy of a repository. Of two at the same time, one
// wins.
func (s *Store) PutPolicy(ctx context.Context, user, repo string, body []byte) error {
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return err
	}
	if len(body) > drawbridge.MaxJSON {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(body))
	}
	return s.replace(ctx, policyKey(user, repo), sealed(policyRecord{body, s.now().UTC()}))
}

// Policy returns the policy of a repository, or ErrNotFound if none was put.
func (s *Store) Policy(ctx context.Context, user, repo string) ([]byte, error) {
	var r policyRecord
	if err := s.readRecord(ctx, policyKey(user, repo), &r); err != nil {
		return nil, err
	}
	return r.Body, nil
}

// SubjectUser returns the user who has claimed a subject of an issuer, "" if
// there is none.
func (s *Store) SubjectUser(ctx context.Context, issuer, subject string) (string, error) {
	var r subjectRecord
	switch err := s.readRecord(ctx, subjectKey(issuer, subject), &r); {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	case r.Issuer != issuer || r.Subject != subject:
		return "", fmt.Errorf("%w: a subject is in another's place", ErrCorrupt)
	}
	return r.User, nil
}

// ClaimSubject makes a subject of an issuer that of a user, unless another user
// has it, and returns who has it. A claim for a user who was never made is
// void.
func (s *Store) ClaimSubject(ctx context.Context, issuer, subject, user string) (string, error) {
	key := subjectKey(issuer, subject)
	body := sealed(subjectRecord{issuer, subject, user, s.now().UTC()})
	created, err := s.create(ctx, key, body)
	if created || err != nil {
		return user, err
	}
	holder, err := s.SubjectUser(ctx, issuer, subject)
	if err != nil || holder == user {
		return holder, err
	}
	_, err = s.GetUser(ctx, holder)
	if errors.Is(err, ErrNotFound) {
		// Only the subject's own requests race here, for names of his own.
		return user, s.replace(ctx, key, body)
	}
	return holder, err
}
