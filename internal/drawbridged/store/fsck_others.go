// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gocloud.dev/gcerrors"
)

// checkUserToken checks the index by which a user's tokens are found.
func (f *fsck) checkUserToken(ctx context.Context, key, user string) error {
	var r tokenRecord
	if err := f.readRecord(ctx, key, &r); err != nil {
		return f.broken(key, err)
	}
	if encodeName(r.User) != user || userTokenKey(r.User, r.ID) != key {
		f.find(Damaged, key, fmt.Errorf("%w: the token is in another's place", ErrCorrupt))
	} else if t, ok := f.tokens[encodeName(r.ID)]; !ok || t.token == "" {
		f.find(Leftover, key, errRemainder)
	}
	return nil
}

func (f *fsck) checkTokens(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(f.tokens)) {
		t := f.tokens[id]
		if t.token == "" {
			f.find(Leftover, t.uses[0], errRemainder)
			continue
		}
		f.report.Tokens++
		var r tokenRecord
		err := f.readRecord(ctx, t.token, &r)
		if err == nil && tokenKey(r.ID) != t.token {
			err = fmt.Errorf("%w: the token is in another's place", ErrCorrupt)
		}
		if err == nil {
			err = f.checkIndex(ctx, t.token, r)
		}
		if err != nil {
			if err := f.broken(t.token, err); err != nil {
				return err
			}
		}
		for _, key := range t.uses {
			var use useRecord
			if err := f.readRecord(ctx, key, &use); err != nil {
				if err := f.broken(key, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkIndex reports a token that its user cannot find, and so not revoke.
func (f *fsck) checkIndex(ctx context.Context, key string, r tokenRecord) error {
	size, _, err := f.stat(ctx, userTokenKey(r.User, r.ID))
	if err == nil && size < 0 {
		if size, _, err = f.stat(ctx, key); err == nil && size >= 0 {
			f.find(Damaged, key, errors.New("its user's list lacks it"))
		}
	}
	return err
}

func (f *fsck) checkSubjects(ctx context.Context) error {
	for _, key := range f.subjects {
		var r subjectRecord
		err := f.readRecord(ctx, key, &r)
		if err == nil && subjectKey(r.Issuer, r.Subject) != key {
			err = fmt.Errorf("%w: the subject is in another's place", ErrCorrupt)
		}
		if err != nil {
			if err := f.broken(key, err); err != nil {
				return err
			}
			continue
		}
		if u, ok := f.users[encodeName(r.User)]; !ok || !u.record {
			f.find(Leftover, key, errNoUser)
		}
	}
	return nil
}

// checkMarkers checks the markers of rounds of collecting, and what all servers
// have agreed on.
func (f *fsck) checkMarkers(ctx context.Context) error {
	if f.settings != "" {
		var r settingsRecord
		if err := f.readRecord(ctx, f.settings, &r); err != nil {
			if err := f.broken(f.settings, err); err != nil {
				return err
			}
		}
	}
	for _, key := range f.markers {
		l, _ := parseKey(key)
		if strings.HasPrefix(key, probeMarkers) {
			f.find(Leftover, key, errRemainder)
			continue
		}
		var m markerRecord
		if err := f.readRecord(ctx, key, &m); err != nil {
			if err := f.broken(key, err); err != nil {
				return err
			}
			continue
		}
		if f.now.Sub(l.at) > 4*f.opts.GCWait {
			f.find(Leftover, key, errExpired)
		}
	}
	return nil
}

// repair moves to quarantine what is provably not what its key says.
func (f *fsck) repair(ctx context.Context) error {
	for i := range f.report.Findings {
		finding := &f.report.Findings[i]
		l, ok := parseKey(finding.Key)
		if !ok || finding.Severity == Unknown {
			continue
		}
		if wrong, err := f.wrong(ctx, finding.Key, l); err != nil {
			return err
		} else if !wrong {
			continue
		}
		if err := f.move(ctx, finding); err != nil {
			return err
		}
		finding.Repaired = true
	}
	return nil
}

// wrong looks once more whether an object is provably not what its key says
// and may go.
func (f *fsck) wrong(ctx context.Context, key string, l location) (bool, error) {
	switch l.kind {
	case kindUser, kindRepo, kindTag:
		return false, nil // the name must stay taken
	case kindPart:
		return false, nil // parts are not sealed
	case kindBlob:
		got, _, err := f.hash(ctx, l.sum, 64<<10)
		is, _ := got.SHA256()
		return err == nil && is != l.sum, ctx.Err() // what cannot be read is not known to be wrong
	}
	data, err := f.read(ctx, key, maxRecord)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrCorrupt):
		return true, nil // longer than any record
	case err != nil:
		return false, err
	}
	var anything json.RawMessage
	return unseal(data, &anything) != nil, nil
}

// move puts an object into quarantine: first there, then no longer here.
func (f *fsck) move(ctx context.Context, finding *Finding) error {
	r, err := f.bucket.NewReader(ctx, finding.Key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	note, err := json.Marshal(quarantineNote{Path: finding.Key, Reason: finding.Reason})
	if err != nil {
		return err
	}
	place := fmt.Sprintf("quarantine/fsck/%x", sha256.Sum256([]byte(finding.Key)))
	if err := f.quarantine(ctx, place, note, io.Reader(r)); err != nil {
		return err
	}
	return f.remove(ctx, finding.Key)
}
