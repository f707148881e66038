// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"enarx.dev/enarx/drawbridge"
)

// A repoExport is one repository on its way out.
type repoExport struct {
	*exporter
	user, repo string
	have       map[[32]byte]nodeID          // node records, by drawbridge.Meta.Key
	nodes      map[[32]byte]drawbridge.Meta // those that its tags reach
	tags       []TagInfo                    // sound ones
	orphans    map[string]map[string]Orphan // by tag and path
}

func (e *exporter) repo(ctx context.Context, user, repo string) error {
	name := user + "/" + repo
	info, err := e.store.GetRepo(ctx, user, repo)
	if err != nil {
		return e.skip(name, err)
	}
	policy, err := e.store.Policy(ctx, user, repo)
	if err != nil && !errors.Is(err, ErrNotFound) {
		if err := e.skip(name+": policy", err); err != nil {
			return err
		}
	}
	err = e.write(exportRecord{Kind: exportRepo, User: user, Repo: repo, Meta: &info.Meta, Body: info.Body, Policy: policy, Created: info.Created})
	if err != nil {
		return err
	}
	e.report.Repositories.New++
	r := &repoExport{exporter: e, user: user, repo: repo, nodes: map[[32]byte]drawbridge.Meta{}}
	if err := r.collect(ctx); err != nil {
		return err
	}
	return r.writeAll()
}

// collect finds the sound tags and the nodes that they reach.
func (r *repoExport) collect(ctx context.Context) error {
	tags, err := r.store.Tags(ctx, r.user, r.repo)
	if err != nil {
		return err
	}
	r.have, err = r.store.listNodes(ctx, r.user, r.repo) // after the tags: what they reach is there
	if err != nil {
		return err
	}
	r.orphans = map[string]map[string]Orphan{}
	for _, tag := range tags {
		reached := map[[32]byte]drawbridge.Meta{}
		err := r.reach(ctx, reached, tag.Tag.Entry.Meta, 0)
		if err == nil {
			err = r.orphansOf(ctx, reached, tag.Name)
		}
		if err != nil {
			if err := r.skip(fmt.Sprintf("%s/%s:%s", r.user, r.repo, tag.Name), err); err != nil {
				return err
			}
			continue
		}
		maps.Copy(r.nodes, reached)
		r.tags = append(r.tags, tag)
	}
	return nil
}

// reach adds a node and all that is listed below it.
func (r *repoExport) reach(ctx context.Context, reached map[[32]byte]drawbridge.Meta, meta drawbridge.Meta, depth int) error {
	key := meta.Key()
	if _, ok := reached[key]; ok {
		return nil
	}
	if _, ok := r.nodes[key]; ok {
		return nil // by a tag before, with all below it
	}
	id, ok := r.have[key]
	if !ok || depth > drawbridge.MaxDepth {
		return fmt.Errorf("%w: a node is missing or too deep", ErrCorrupt)
	}
	if meta.Type == drawbridge.TypeDirectory {
		listing, err := r.store.Directory(ctx, id.blob)
		if err != nil {
			return err
		}
		for _, name := range listing.Names() {
			if err := r.reach(ctx, reached, listing[name].Meta, depth+1); err != nil {
				return err
			}
		}
	}
	reached[key] = meta
	return nil
}

// orphansOf adds the nodes that upstream's clients forgot to list.
func (r *repoExport) orphansOf(ctx context.Context, reached map[[32]byte]drawbridge.Meta, tag string) error {
	orphans, err := r.store.Orphans(ctx, r.user, r.repo, tag)
	if err != nil {
		return err
	}
	byPath := map[string]Orphan{}
	for _, o := range orphans {
		key := o.Meta.Key()
		if _, ok := r.have[key]; !ok {
			return fmt.Errorf("%w: /%s is missing", ErrCorrupt, o.Path)
		}
		reached[key] = o.Meta
		byPath[o.Path.String()] = o
	}
	r.orphans[tag] = byPath
	return nil
}

// writeAll writes the nodes, in the order of their keys, then the tags.
func (r *repoExport) writeAll() error {
	keys := slices.SortedFunc(maps.Keys(r.nodes), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, key := range keys {
		meta, id := r.nodes[key], r.have[key]
		err := r.write(exportRecord{Kind: exportNode, User: r.user, Repo: r.repo, Meta: &meta, Blob: sumText(id.blob)})
		if err != nil {
			return err
		}
		r.report.Nodes.New++
		if !r.seen[id.blob] {
			r.seen[id.blob] = true
			r.blobs = append(r.blobs, exportBlob{id.blob, id.length})
		}
	}
	for _, tag := range r.tags {
		err := r.write(exportRecord{
			Kind: exportTag, User: r.user, Repo: r.repo, Tag: tag.Name,
			Meta: &tag.Meta, Body: tag.Body, Yank: tag.Yank, Created: tag.Created,
		})
		if err != nil {
			return err
		}
		r.report.Tags.New++
		for _, path := range slices.Sorted(maps.Keys(r.orphans[tag.Name])) {
			o := r.orphans[tag.Name][path]
			err := r.write(exportRecord{Kind: exportOrphan, User: r.user, Repo: r.repo, Tag: tag.Name, Path: path, Meta: &o.Meta})
			if err != nil {
				return err
			}
			r.report.Orphans++
		}
	}
	return nil
}
