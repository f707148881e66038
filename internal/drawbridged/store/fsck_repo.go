// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// checkUsers checks every user with all that is below.
func (f *fsck) checkUsers(ctx context.Context) error {
	for _, encoded := range slices.Sorted(maps.Keys(f.users)) {
		u, prefix := f.users[encoded], "u/"+encoded+"/"
		if u.record {
			f.report.Users++
			if err := f.checkUser(ctx, prefix+"user", encoded); err != nil {
				return err
			}
		}
		for _, key := range u.tokens {
			if err := f.checkUserToken(ctx, key, encoded); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(u.repos)) {
			if !u.record {
				f.find(Damaged, prefix+"r/"+name+"/", errNoUser)
			}
			if err := f.checkRepo(ctx, u.repos[name], prefix+"r/"+name+"/", encoded, name); err != nil {
				return err
			}
		}
		f.tell()
	}
	return nil
}

// object reads the record of a user, repository or tag afresh. Its names must
// be those of its key.
func (f *fsck) object(ctx context.Context, key string, k kind) (*objectRecord, error) {
	data, err := f.read(ctx, key, maxRecord)
	if err != nil {
		return nil, err
	}
	var claimed objectRecord
	if err := unseal(data, &claimed); err != nil {
		return nil, err
	}
	return decodeObject(data, k, claimed.User, claimed.Repo, claimed.Name)
}

func (f *fsck) checkUser(ctx context.Context, key, encoded string) error {
	r, err := f.object(ctx, key, kindUser)
	if err == nil {
		_, err = trueName(encoded, r.User, drawbridge.CheckUser)
	}
	if err != nil {
		return f.broken(key, err)
	}
	return nil
}

// checkRepo checks one repository with all that is below.
func (f *fsck) checkRepo(ctx context.Context, r *fsckRepo, prefix, user, repo string) error {
	if !r.record {
		f.find(Damaged, prefix, errNoRecord)
	} else if err := f.checkRepoRecord(ctx, r, prefix+"repo", user, repo); err != nil {
		return err
	}
	if r.policy {
		var p policyRecord
		if err := f.readRecord(ctx, prefix+"policy", &p); err != nil {
			if err := f.broken(prefix+"policy", err); err != nil {
				return err
			}
		}
	}
	for _, step := range []func(context.Context, *fsckRepo) error{f.checkNodes, f.checkTags, f.checkPending, f.checkOrphans, f.checkUploads} {
		if err := step(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *fsck) checkRepoRecord(ctx context.Context, r *fsckRepo, key, user, repo string) error {
	f.report.Repositories++
	o, err := f.object(ctx, key, kindRepo)
	if err == nil {
		if r.user, err = trueName(user, o.User, drawbridge.CheckUser); err == nil {
			r.repo, err = trueName(repo, o.Repo, drawbridge.CheckRepository)
		}
	}
	if err != nil {
		return f.broken(key, err)
	}
	return nil
}

// checkNodes checks that what every node record names is there.
func (f *fsck) checkNodes(ctx context.Context, r *fsckRepo) error {
	nodes := slices.SortedFunc(maps.Values(r.nodes), func(a, b fsckNode) int { return cmp.Compare(a.key, b.key) })
	for _, n := range nodes {
		why := f.usable(ctx, n.id)
		if why == nil {
			continue
		}
		// A record and its content may both have been collected since.
		size, _, err := f.stat(ctx, n.key)
		if err == nil && size >= 0 {
			err = f.broken(n.key, why)
		}
		if err != nil {
			return err
		}
	}
	for _, key := range r.refreshes {
		l, _ := parseKey(key)
		if n, ok := r.nodes[l.node.meta]; !ok || n.id != l.node {
			f.find(Leftover, key, errRemainder)
		}
	}
	return nil
}

// checkTags checks the committed tags, and everything that they reach.
func (f *fsck) checkTags(ctx context.Context, r *fsckRepo) error {
	for _, name := range slices.Sorted(maps.Keys(r.tags)) {
		t := r.tags[name]
		if t.tag == "" {
			f.find(Leftover, t.yank, errRemainder)
			continue
		}
		f.report.Tags++
		if err := f.checkTag(ctx, r, t.tag, name); err != nil {
			if err := f.broken(t.tag, err); err != nil {
				return err
			}
		}
		if t.yank == "" {
			continue
		}
		var y drawbridge.Yank
		if err := f.readRecord(ctx, t.yank, &y); err != nil {
			if err := f.broken(t.yank, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fsck) checkTag(ctx context.Context, r *fsckRepo, key, encoded string) error {
	o, tag, err := f.tagOf(ctx, r, key, kindTag, encoded)
	if err != nil {
		return err
	}
	r.ids[tagID(o.Name, o.object())] = true
	return f.closure(ctx, r, nil, tag.Entry.Meta)
}

// tagOf reads and checks a record of a tag.
func (f *fsck) tagOf(ctx context.Context, r *fsckRepo, key string, k kind, encoded string) (*objectRecord, drawbridge.Tag, error) {
	o, err := f.object(ctx, key, k)
	if err != nil {
		return nil, drawbridge.Tag{}, err
	}
	if r.repo != "" && (o.User != r.user || o.Repo != r.repo) {
		return nil, drawbridge.Tag{}, fmt.Errorf("%w: the tag is of %s/%s", ErrCorrupt, o.User, o.Repo)
	}
	if _, err := trueName(encoded, o.Name, drawbridge.CheckTag); err != nil {
		return nil, drawbridge.Tag{}, err
	}
	tag, err := drawbridge.ParseTag(o.Meta.Type, o.Body)
	if err != nil {
		return nil, drawbridge.Tag{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return o, tag, nil
}

// closure checks a node and all that is listed below it.
func (f *fsck) closure(ctx context.Context, r *fsckRepo, path drawbridge.Path, meta drawbridge.Meta) error {
	key := meta.Key()
	if r.complete[key] {
		return nil
	}
	if len(path) > drawbridge.MaxDepth {
		return fmt.Errorf("%w: it is deeper than %d directories", ErrCorrupt, drawbridge.MaxDepth)
	}
	at := func(err error) error { return fmt.Errorf("/%s: %w", path, err) }
	n, err := f.node(ctx, r, key)
	if err == nil {
		err = f.usable(ctx, n.id)
	}
	if err != nil {
		return at(err)
	}
	if meta.Type == drawbridge.TypeDirectory {
		data, err := f.read(ctx, blobKey(n.id.blob), drawbridge.MaxJSON)
		if errors.Is(err, ErrNotFound) {
			err = errNoBlob
		}
		if err != nil {
			return at(err)
		}
		listing, err := drawbridge.ParseDirectory(data)
		if err != nil {
			return at(fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
		for _, name := range listing.Names() {
			if err := f.closure(ctx, r, path.Child(name), listing[name].Meta); err != nil {
				return err
			}
		}
	}
	r.complete[key] = true
	return nil
}

// node returns the record of a node, also one that came after the listing.
func (f *fsck) node(ctx context.Context, r *fsckRepo, key [32]byte) (fsckNode, error) {
	if n, ok := r.nodes[key]; ok {
		return n, nil
	}
	if r.repo == "" {
		return fsckNode{}, errNoRecord
	}
	prefix := repoPrefix(r.user, r.repo) + "n/" + sumText(key) + "."
	for o, err := range f.Store.list(ctx, prefix, "") {
		if err != nil {
			return fsckNode{}, err
		}
		l, ok := parseKey(o.Key)
		if !ok || l.kind != kindNode {
			continue
		}
		if err := f.takeNode(ctx, r, o.Key, l.node); err != nil {
			return fsckNode{}, err
		}
		if n, ok := r.nodes[key]; ok {
			return n, nil
		}
	}
	return fsckNode{}, errNoRecord
}

func (f *fsck) checkPending(ctx context.Context, r *fsckRepo) error {
	for _, key := range r.pending {
		l, _ := parseKey(key)
		o, _, err := f.tagOf(ctx, r, key, kindPending, l.name)
		if err == nil && tagID(o.Name, o.object()) != l.sum {
			err = fmt.Errorf("%w: the tag is in another's place", ErrCorrupt)
		}
		switch {
		case err != nil:
			if err := f.broken(key, err); err != nil {
				return err
			}
		case f.now.Sub(l.at) > f.opts.StagingLife:
			f.find(Leftover, key, errExpired)
		case r.tags[l.name] != nil && r.tags[l.name].tag != "":
			f.find(Leftover, key, errors.New("the tag is there"))
		default:
			f.report.Pending++
			r.ids[l.sum] = true
		}
	}
	return nil
}

func (f *fsck) checkOrphans(ctx context.Context, r *fsckRepo) error {
	for _, key := range r.orphans {
		l, _ := parseKey(key)
		var o orphanRecord
		if err := f.readRecord(ctx, key, &o); err != nil {
			if err := f.broken(key, err); err != nil {
				return err
			}
			continue
		}
		if !r.ids[l.sum] {
			f.find(Leftover, key, errRemainder)
			continue
		}
		path, err := drawbridge.ParsePath(o.Path)
		if err != nil || path.String() != o.Path || sha256.Sum256([]byte(o.Path)) != l.path {
			err = fmt.Errorf("%w: it is in another's place", ErrCorrupt)
		} else {
			err = f.checkOrphan(ctx, r, o.Meta)
		}
		if err != nil {
			if err := f.broken(key, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOrphan checks the node alone: an orphan that is a directory may still
// lack what it lists, as nothing makes it complete.
func (f *fsck) checkOrphan(ctx context.Context, r *fsckRepo, meta drawbridge.Meta) error {
	n, err := f.node(ctx, r, meta.Key())
	if err != nil {
		return err
	}
	return f.usable(ctx, n.id)
}

// checkUploads checks the sessions: the parts of one follow each other.
func (f *fsck) checkUploads(ctx context.Context, r *fsckRepo) error {
	for _, id := range slices.Sorted(maps.Keys(r.uploads)) {
		u := r.uploads[id]
		if u.info == "" {
			f.find(Leftover, u.parts[0].key, errRemainder)
			continue
		}
		var info uploadRecord
		if err := f.readRecord(ctx, u.info, &info); err != nil {
			if err := f.broken(u.info, err); err != nil {
				return err
			}
			continue
		}
		f.report.Uploads++
		if r.repo != "" && (info.User != r.user || info.Repo != r.repo) {
			f.find(Damaged, u.info, fmt.Errorf("%w: it is of %s/%s", ErrCorrupt, info.User, info.Repo))
		}
		slices.SortFunc(u.parts, func(a, b fsckPart) int { return cmp.Compare(a.offset, b.offset) })
		at := int64(0)
		for _, p := range u.parts {
			if p.offset != at {
				f.find(Leftover, p.key, fmt.Errorf("the upload continues at %d", at))
				break
			}
			at += p.size
		}
	}
	return nil
}
