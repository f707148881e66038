// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// ImportUpstream brings in what the store directory of an upstream Drawbridge
// holds: users, repositories, tags and trees. The directory is only read; no
// symbolic link in it is followed. Everything is verified on the way, and what
// contradicts its own sidecar is put under quarantine/ with a reason and
// reported, as is what a crash left half-written. A tag that lacks nodes stays
// pending, seen by nobody, and can be completed by publishing it again. What
// the store has already is compared and left alone, so that a run that was cut
// off can be repeated. The error is of the context, of the directory's top or
// of the bucket: what is wrong inside is in the report.
func (s *Store) ImportUpstream(ctx context.Context, dir *os.Root, o TransferOptions) (TransferReport, error) {
	in := &oldImport{importer: &importer{TransferOptions: o.watching(), store: s}, seen: map[[32]byte]bool{}}
	top := oldEntity{root: dir}
	users, err := top.child("users")
	if err != nil {
		return in.report, fmt.Errorf("not a store of upstream's: users: %w", err)
	}
	defer users.Close()
	if err = in.users(ctx, users); err == nil {
		in.report.Problems = append(in.report.Problems, in.unmet()...)
	}
	return in.finish(), err
}

type oldImport struct {
	*importer
	seen map[[32]byte]bool // contents that are counted, by drawbridge.Meta.Key
}

// each calls f for every directory below e whose name passes check. It
// reports what else is there; ignore names what is meant to be.
func (in *oldImport) each(ctx context.Context, e oldEntity, check func(string) error, f func(name string, sub oldEntity) error, ignore ...string) error {
	names, err := e.names()
	if err != nil {
		in.problem(Refused, e.path, err)
		return nil
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if slices.Contains(ignore, name) {
			continue
		}
		sub, err := e.child(name)
		if err == nil {
			if err = check(name); err == nil {
				err = f(name, sub)
			} else {
				in.problem(Refused, sub.path, err)
				err = nil
			}
			sub.Close()
			if err != nil {
				return err
			}
			continue
		}
		in.problem(Refused, join(e.path, name), err)
	}
	return nil
}

// below opens the directory that an entity keeps its children in, and tells
// whether there is one.
func (in *oldImport) below(e oldEntity, name string) (oldEntity, bool) {
	sub, err := e.child(name)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			in.problem(Refused, join(e.path, name), err)
		}
		return oldEntity{}, false
	}
	return sub, true
}

func (in *oldImport) users(ctx context.Context, users oldEntity) error {
	return in.each(ctx, users, drawbridge.CheckUser, func(user string, e oldEntity) error {
		if !in.selectedUser(user) {
			return nil
		}
		object, err := e.object()
		if err == nil {
			_, err = drawbridge.ParseUser(object.Body)
		}
		if err != nil {
			return in.broken(ctx, e, err)
		}
		created, err := in.store.PutUser(ctx, user, object)
		if ok, err := in.put(e.path, &in.report.Users, created, err); !ok {
			return err
		}
		repos, ok := in.below(e, "repos")
		if !ok {
			return nil
		}
		defer repos.Close()
		return in.repos(ctx, user, repos)
	})
}

func (in *oldImport) repos(ctx context.Context, user string, repos oldEntity) error {
	return in.each(ctx, repos, drawbridge.CheckRepository, func(repo string, e oldEntity) error {
		if !in.selected(user, repo) {
			return nil
		}
		object, err := e.object()
		if err == nil {
			_, err = drawbridge.ParseRepository(object.Body)
		}
		if err != nil {
			return in.broken(ctx, e, err)
		}
		created, err := in.store.PutRepo(ctx, user, repo, object)
		if ok, err := in.put(e.path, &in.report.Repositories, created, err); !ok {
			return err
		}
		tags, ok := in.below(e, "tags")
		if !ok {
			return nil
		}
		defer tags.Close()
		return in.each(ctx, tags, drawbridge.CheckTag, func(tag string, e oldEntity) error {
			return in.tag(ctx, user, repo, tag, e)
		})
	})
}

func (in *oldImport) tag(ctx context.Context, user, repo, name string, e oldEntity) error {
	object, err := e.object()
	var tag drawbridge.Tag
	if err == nil {
		tag, err = drawbridge.ParseTag(object.Meta.Type, object.Body)
	}
	if err != nil {
		return in.broken(ctx, e, err)
	}
	result, err := in.store.PutTag(ctx, user, repo, name, object)
	if ok, err := in.put(e.path, &in.report.Tags, result.Created, err); !ok {
		return err
	}
	t := &oldTree{oldImport: in, user: user, repo: repo, tag: name}
	root, err := e.child("tree")
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		in.problem(Refused, join(e.path, "tree"), err)
	default:
		defer root.Close()
		if err := t.node(ctx, nil, root, &tag.Entry.Meta); err != nil {
			return err
		}
	}
	if _, err := in.store.GetTag(ctx, user, repo, name); errors.Is(err, ErrNotFound) {
		in.problem(Incomplete, e.path, errIncomplete)
	} else if err != nil {
		return err
	}
	return nil
}

var (
	errIncomplete  = errors.New("the tag lacks nodes: it stays pending until it is published again")
	errListedOther = errors.New("its directory lists something else under this name")
)

// An oldTree is one tag's tree on its way in.
type oldTree struct {
	*oldImport
	user, repo, tag string
}

// node brings in one node and what is below it. listed is what its directory,
// or the tag, says that it is; nil: nothing.
func (t *oldTree) node(ctx context.Context, path drawbridge.Path, e oldEntity, listed *drawbridge.Meta) error {
	if len(path) > drawbridge.MaxDepth {
		t.problem(Refused, e.path, fmt.Errorf("deeper than %d directories", drawbridge.MaxDepth))
		return nil
	}
	meta, err := e.meta()
	if err == nil && listed != nil && !meta.Equal(*listed) {
		err = errListedOther
	}
	var content *os.File
	if err == nil {
		content, err = e.content(meta)
	}
	if err != nil {
		return t.broken(ctx, e, err)
	}
	defer content.Close()
	result, err := t.store.PutNode(ctx, t.user, t.repo, t.tag, path, meta, content)
	if errors.Is(err, ErrMismatch) || errors.Is(err, ErrInvalid) {
		return t.broken(ctx, e, err)
	}
	if ok, err := t.put(e.path, &t.report.Nodes, result.Created, err); !ok {
		return err
	}
	if key := meta.Key(); !t.seen[key] {
		t.seen[key] = true
		t.report.Blobs++
		t.report.Bytes += meta.Length
	}
	if listed == nil {
		t.report.Orphans++
	}
	if meta.Type != drawbridge.TypeDirectory {
		return nil
	}
	return t.children(ctx, path, e, content)
}

// children brings in what is below a directory that was taken.
func (t *oldTree) children(ctx context.Context, path drawbridge.Path, e oldEntity, content *os.File) error {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(content, drawbridge.MaxJSON+1))
	if err != nil {
		return err
	}
	listing, err := drawbridge.ParseDirectory(data)
	if err != nil {
		t.problem(Refused, e.path, err)
		return nil
	}
	entries, ok := t.below(e, "entries")
	if !ok {
		return nil
	}
	defer entries.Close()
	return t.each(ctx, entries, drawbridge.CheckName, func(name string, sub oldEntity) error {
		var listed *drawbridge.Meta
		if entry, ok := listing[name]; ok {
			listed = &entry.Meta
		}
		return t.node(ctx, path.Child(name), sub, listed)
	})
}
