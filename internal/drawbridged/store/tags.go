// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// maxPending is how many contents may wait to become one tag.
const maxPending = 8

// TagInfo is a committed tag.
type TagInfo struct {
	Name string
	Object
	Tag     drawbridge.Tag
	Yank    *drawbridge.Yank // nil unless it is yanked
	Created time.Time        // when it became visible
}

// TagName is the name of a committed tag.
type TagName struct {
	Name   string
	Yanked bool
}

func checkTag(user, repo, tag string) error {
	if err := checkRepo(user, repo); err != nil {
		return err
	}
	if err := drawbridge.CheckTag(tag); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// committed returns a committed tag, or ErrNotFound.
func (s *Store) committed(ctx context.Context, user, repo, tag string) (*tagged, error) {
	key := tagKey(user, repo, tag)
	if v, ok := s.records.get(key); ok {
		return v.(*tagged), nil
	}
	t, err := s.readTag(ctx, key, user, repo, tag)
	if err == nil {
		s.records.put(key, t, t.record.cost()+800)
	}
	return t, err
}

// readTag reads a committed tag. Without a name it is what the record says.
func (s *Store) readTag(ctx context.Context, key, user, repo, tag string) (*tagged, error) {
	data, err := s.read(ctx, key, maxRecord)
	if err != nil {
		return nil, err
	}
	if tag == "" {
		var r objectRecord
		if err := unseal(data, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if tag = r.Name; tagKey(user, repo, tag) != key {
			return nil, fmt.Errorf("%s: %w: tag %s is in another's place", key, ErrCorrupt, tag)
		}
	}
	r, err := decodeObject(data, kindTag, user, repo, tag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	t, err := newTagged(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	}
	t.committed = true
	return t, nil
}

// A brief is what a committed tag is looked for by. It is kept longer than the
// tag's record, which may be a thousand times as large: whoever asks for what is
// not there makes us go through all tags of a repository.
type brief struct {
	name string
	root [32]byte // SHA-256 of the root's bytes
}

// brief returns what the committed tag of an encoded name is looked for by.
func (s *Store) brief(ctx context.Context, user, repo, encoded string) (brief, error) {
	key := repoPrefix(user, repo) + "t/" + encoded + ".tag"
	if b, ok := s.briefs.get(key); ok {
		return b, nil
	}
	var t *tagged
	if v, ok := s.records.get(key); ok {
		t = v.(*tagged)
	} else {
		name, _ := decodeName(encoded)
		var err error
		if t, err = s.readTag(ctx, key, user, repo, name); err != nil {
			return brief{}, err
		}
	}
	root, ok, err := s.rootBlob(ctx, t)
	if err != nil {
		return brief{}, err
	}
	b := brief{t.record.Name, root}
	if ok {
		s.briefs.put(key, b, int64(len(key)+len(b.name))+256)
	}
	return b, nil
}

// GetTag returns a committed tag, or ErrNotFound.
func (s *Store) GetTag(ctx context.Context, user, repo, tag string) (TagInfo, error) {
	t, err := s.committed(ctx, user, repo, tag)
	if err != nil {
		return TagInfo{}, err
	}
	info := t.info()
	info.Yank, err = s.yank(ctx, user, repo, tag)
	return info, err
}

func (t *tagged) info() TagInfo {
	return TagInfo{Name: t.record.Name, Object: t.record.object(), Tag: t.tag, Created: t.record.Created}
}

// yank returns that a tag is yanked, or nil.
func (s *Store) yank(ctx context.Context, user, repo, tag string) (*drawbridge.Yank, error) {
	var y drawbridge.Yank
	err := s.readRecord(ctx, yankKey(user, repo, tag), &y)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &y, nil
}

// Yank marks a committed tag as not to be used. It stays, and so does its name.
// The first of several yanks counts. It returns ErrNotFound for a tag that is
// not committed.
func (s *Store) Yank(ctx context.Context, user, repo, tag string, y drawbridge.Yank) error {
	if err := checkTag(user, repo, tag); err != nil {
		return err
	}
	if _, err := s.committed(ctx, user, repo, tag); err != nil {
		return err
	}
	_, err := s.create(ctx, yankKey(user, repo, tag), sealed(y))
	return err
}

// Unyank takes a yank back. It is no error if there is none.
func (s *Store) Unyank(ctx context.Context, user, repo, tag string) error {
	if err := checkTag(user, repo, tag); err != nil {
		return err
	}
	if _, err := s.committed(ctx, user, repo, tag); err != nil {
		return err
	}
	return s.remove(ctx, yankKey(user, repo, tag))
}

// TagNames returns the committed tags of a repository in the order of their
// versions, or ErrNotFound if there is no such repository.
func (s *Store) TagNames(ctx context.Context, user, repo string) ([]TagName, error) {
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return nil, err
	}
	tags, yanked := map[string]bool{}, map[string]bool{}
	for o, err := range s.list(ctx, repoPrefix(user, repo)+"t/", "") {
		if err != nil {
			return nil, err
		}
		switch l, _ := parseKey(o.Key); l.kind {
		case kindTag:
			tags[l.name] = true
		case kindYank:
			yanked[l.name] = true
		}
	}
	names := make([]versioned, 0, len(tags))
	for encoded := range tags {
		name, _ := decodeName(encoded)
		if name == "" {
			b, err := s.brief(ctx, user, repo, encoded)
			if err != nil {
				return nil, err
			}
			name = b.name
		}
		version, err := drawbridge.ParseVersion(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		names = append(names, versioned{TagName{name, yanked[encoded]}, version})
	}
	slices.SortFunc(names, func(a, b versioned) int {
		return cmp.Or(a.version.Compare(b.version), strings.Compare(a.Name, b.Name))
	})
	sorted := make([]TagName, len(names))
	for i, n := range names {
		sorted[i] = n.TagName
	}
	return sorted, nil
}

// versioned is a tag to be sorted: reading its version takes a while.
type versioned struct {
	TagName
	version drawbridge.Version
}

// Tags returns the committed tags of a repository, yanked ones too, in the
// order of their versions, or ErrNotFound if there is no such repository.
func (s *Store) Tags(ctx context.Context, user, repo string) ([]TagInfo, error) {
	tags := []TagInfo{}
	for tag, err := range s.EachTag(ctx, user, repo) {
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

// EachTag is Tags one by one: all of them at once may not fit into memory. It
// ends with the first error.
func (s *Store) EachTag(ctx context.Context, user, repo string) iter.Seq2[TagInfo, error] {
	return func(yield func(TagInfo, error) bool) {
		names, err := s.TagNames(ctx, user, repo)
		if err != nil {
			yield(TagInfo{}, err)
			return
		}
		for _, name := range names {
			t, err := s.committed(ctx, user, repo, name.Name)
			var tag TagInfo
			if err == nil {
				tag = t.info()
			}
			if err == nil && name.Yanked {
				tag.Yank, err = s.yank(ctx, user, repo, name.Name)
			}
			if !yield(tag, err) || err != nil {
				return
			}
		}
	}
}

// Orphan is a node of a tag that its directory does not list.
type Orphan struct {
	Path drawbridge.Path
	Meta drawbridge.Meta
}

// Orphans returns the orphans of a committed tag in the order of their paths,
// without what is below those that are directories. It fails with ErrNotFound.
func (s *Store) Orphans(ctx context.Context, user, repo, tag string) ([]Orphan, error) {
	t, err := s.committed(ctx, user, repo, tag)
	if err != nil {
		return nil, err
	}
	return s.orphans(ctx, user, repo, t.id)
}

func (s *Store) orphans(ctx context.Context, user, repo string, id [32]byte) ([]Orphan, error) {
	all := []Orphan{}
	for o, err := range s.list(ctx, orphanPrefix(user, repo, id), "") {
		if err != nil {
			return nil, err
		}
		l, ok := parseKey(o.Key)
		if !ok {
			continue
		}
		var r orphanRecord
		if err := s.readRecord(ctx, o.Key, &r); err != nil {
			return nil, err
		}
		path, err := drawbridge.ParsePath(r.Path)
		if err != nil || hexSum([]byte(r.Path)) != hex.EncodeToString(l.path[:]) {
			return nil, fmt.Errorf("%s: %w: an orphan is in another's place", o.Key, ErrCorrupt)
		}
		all = append(all, Orphan{path, r.Meta})
	}
	slices.SortFunc(all, func(a, b Orphan) int { return slices.Compare(a.Path, b.Path) })
	return all, nil
}

// staging is the contents that wait to become one tag.
type staging struct {
	at      time.Time
	pending []*tagged // the newest first
}

// stagingAge is how long a staging may be used. Other servers may add to it.
const stagingAge = 10 * time.Second

// pending returns the contents that wait to become a tag. Those of which the
// life is over are not among them.
func (s *Store) pending(ctx context.Context, user, repo, tag string, fresh bool) (*staging, error) {
	prefix := pendingPrefix(user, repo, tag)
	if st, ok := s.staged.get(prefix); ok && !fresh {
		if age := s.now().Sub(st.at); age >= 0 && age < min(stagingAge, s.opts.StagingLife/8) {
			return st, nil
		}
	}
	st := &staging{at: s.now()}
	newest := map[[32]byte]string{}
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		l, ok := parseKey(o.Key)
		if ok && l.kind == kindPending && l.name == encodeName(tag) && !s.expired(l.at) {
			newest[l.sum] = o.Key // the order of keys is that of times
		}
	}
	cost := int64(512)
	for id, key := range newest {
		t, err := s.readPending(ctx, key, user, repo, tag)
		if errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		if t.id != id {
			return nil, fmt.Errorf("%s: %w: a pending tag is in another's place", key, ErrCorrupt)
		}
		st.pending = append(st.pending, t)
		cost += t.record.cost()
	}
	slices.SortFunc(st.pending, func(a, b *tagged) int {
		if c := b.made.Compare(a.made); c != 0 {
			return c
		}
		return strings.Compare(string(a.id[:]), string(b.id[:]))
	})
	s.staged.put(prefix, st, cost)
	return st, nil
}

func (s *Store) readPending(ctx context.Context, key, user, repo, tag string) (*tagged, error) {
	data, err := s.read(ctx, key, maxRecord)
	if err != nil {
		return nil, err
	}
	r, err := decodeObject(data, kindPending, user, repo, tag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	t, err := newTagged(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	}
	l, _ := parseKey(key)
	t.made = l.at
	return t, nil
}

// expired reports whether what was made then and serves nothing is gone. It is
// deleted only when GCWait has passed on top, so that nobody builds on it.
func (s *Store) expired(made time.Time) bool {
	return s.now().Sub(made) >= s.opts.StagingLife
}

// old reports whether what was made then must be made anew before somebody is
// told that it is there.
func (s *Store) old(made time.Time) bool {
	return s.now().Sub(made) >= s.opts.StagingLife/2
}

// putPending writes a pending tag, unless it is already the one that was put
// last, and makes room if there are too many.
func (s *Store) putPending(ctx context.Context, r *objectRecord, id [32]byte) (created bool, err error) {
	st, err := s.pending(ctx, r.User, r.Repo, r.Name, true)
	if err != nil {
		return false, err
	}
	created = !slices.ContainsFunc(st.pending, func(t *tagged) bool { return t.id == id })
	if len(st.pending) > 0 && st.pending[0].id == id && !s.old(st.pending[0].made) {
		return false, nil
	}
	if created && len(st.pending) >= maxPending {
		oldest := st.pending[len(st.pending)-1]
		if err := s.dropPending(ctx, r.User, r.Repo, r.Name, func(l location) bool { return l.sum == oldest.id }); err != nil {
			return false, err
		}
	}
	defer s.staged.drop(pendingPrefix(r.User, r.Repo, r.Name))
	pending := *r
	pending.Kind, pending.Created = kindPending, s.now().UTC()
	key := pendingPrefix(r.User, r.Repo, r.Name) + hex.EncodeToString(id[:]) + "." + hexNumber(pending.Created.UnixNano())
	if _, err = s.create(ctx, key, sealed(pending)); err != nil || created {
		return created, err
	}
	return false, s.dropPending(ctx, r.User, r.Repo, r.Name, func(l location) bool { return l.sum == id && l.at.Before(pending.Created) })
}

// dropPending deletes some of the pending contents of a tag.
func (s *Store) dropPending(ctx context.Context, user, repo, tag string, which func(location) bool) error {
	defer s.staged.drop(pendingPrefix(user, repo, tag))
	for o, err := range s.list(ctx, pendingPrefix(user, repo, tag), "") {
		if err != nil {
			return err
		}
		l, ok := parseKey(o.Key)
		if !ok || l.name != encodeName(tag) || !which(l) {
			continue
		}
		if err := s.remove(ctx, o.Key); err != nil {
			return err
		}
	}
	return nil
}
