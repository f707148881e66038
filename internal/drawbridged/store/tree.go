// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A node is a Meta with its key, which takes a while to compute.
type node struct {
	drawbridge.Meta
	key [32]byte
}

func nodeOf(m drawbridge.Meta) node { return node{m, m.Key()} }

func (n node) isDir() bool { return n.Type == drawbridge.TypeDirectory }

// A dir is a parsed directory. It is shared and does not change.
type dir struct {
	list  drawbridge.Directory
	names []string // in order
	nodes []node   // of names
}

// parseDir reads the bytes of a directory node.
func parseDir(data []byte) (*dir, error) {
	list, err := drawbridge.ParseDirectory(data)
	if err != nil {
		return nil, fmt.Errorf("%w: directory: %w", ErrInvalid, err)
	}
	d := &dir{list: list, names: list.Names()}
	d.nodes = make([]node, len(d.names))
	for i, name := range d.names {
		d.nodes[i] = nodeOf(list[name].Meta)
	}
	return d, nil
}

// cost is what the directory takes in a cache, in about bytes.
func (d *dir) cost() int64 { return int64(len(d.names))*1024 + 512 }

// dir returns the directory in a blob. It fails with ErrNotFound.
func (s *Store) dir(ctx context.Context, blob [32]byte) (*dir, error) {
	if d, ok := s.dirs.get(blob); ok {
		return d, nil
	}
	r, err := s.bucket.NewReader(ctx, blobKey(blob), nil)
	if err != nil {
		return nil, notFound(err)
	}
	defer func() { _ = r.Close() }()
	if r.Size() > drawbridge.MaxJSON {
		return nil, fmt.Errorf("%w: blob %x has %d bytes", ErrCorrupt, blob, r.Size())
	}
	if err := s.parsing.Acquire(ctx, r.Size()+1); err != nil {
		return nil, err
	}
	defer s.parsing.Release(r.Size() + 1)
	if d, ok := s.dirs.get(blob); ok {
		return d, nil // somebody else wanted it too
	}
	data := make([]byte, r.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("reading blob %x: %w", blob, notFound(err))
	}
	if sha256.Sum256(data) != blob {
		return nil, fmt.Errorf("%w: blob %x has other bytes", ErrCorrupt, blob)
	}
	d, err := parseDir(data)
	if err != nil {
		return nil, fmt.Errorf("%w: blob %x: %w", ErrCorrupt, blob, err)
	}
	s.dirs.put(blob, d, d.cost())
	return d, nil
}

// Directory returns the listing in the blob of a directory node. It is shared:
// do not change it. It fails with ErrNotFound.
func (s *Store) Directory(ctx context.Context, blob [32]byte) (drawbridge.Directory, error) {
	d, err := s.dir(ctx, blob)
	if err != nil {
		return nil, err
	}
	return d.list, nil
}

// had is a node record that was seen.
type had struct {
	id    nodeID
	until time.Time // it is not collected before, whether or not it is reachable
}

// lookup returns the record of a node in a repository. fresh asks the bucket
// even if the record was seen before: it may have been collected since.
func (s *Store) lookup(ctx context.Context, user, repo string, n node, fresh bool) (had, bool, error) {
	prefix := nodePrefix(user, repo, n.key)
	h, seen := s.nodes.get(prefix)
	if seen && !fresh {
		return h, true, nil
	}
	id, at, err := h.id, time.Time{}, error(nil)
	sum, named := n.Digests.SHA256()
	if named {
		id = nodeID{n.key, n.Length, sum}
	}
	if named || seen {
		var size int64
		if size, at, err = s.stat(ctx, nodeKey(user, repo, id)); err == nil && size < 0 {
			err = ErrNotFound
		}
	} else {
		id, at, err = s.searchNode(ctx, user, repo, prefix)
	}
	if errors.Is(err, ErrNotFound) {
		s.nodes.drop(prefix)
		return had{}, false, nil
	}
	if err != nil {
		return had{}, false, err
	}
	until := at.Add(s.opts.StagingLife)
	if seen && h.until.After(until) {
		until = h.until // it was refreshed
	}
	h = had{id, until}
	s.nodes.put(prefix, h, 512)
	return h, true, nil
}

// searchNode finds a node's record without knowing the SHA-256 of its bytes.
func (s *Store) searchNode(ctx context.Context, user, repo, prefix string) (nodeID, time.Time, error) {
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return nodeID{}, time.Time{}, err
		}
		if l, ok := parseKey(o.Key); ok && l.kind == kindNode {
			return l.node, o.ModTime, nil
		}
	}
	return nodeID{}, time.Time{}, ErrNotFound
}

// A tagged is a tag's content, committed or pending: what a tree hangs from.
type tagged struct {
	id        [32]byte // tagID
	tag       drawbridge.Tag
	record    *objectRecord
	root      node
	committed bool      // it was read as a committed tag, so that all it lists is there
	made      time.Time // if it was read as a pending tag: when its latest incarnation was made
}

func newTagged(r *objectRecord) (*tagged, error) {
	tag, err := drawbridge.ParseTag(r.Meta.Type, r.Body)
	if err != nil {
		return nil, err
	}
	return &tagged{id: tagID(r.Name, r.object()), tag: tag, record: r, root: nodeOf(tag.Entry.Meta)}, nil
}

// step goes from a directory node to a name in it: to what is listed, or else
// to an orphan. orphan tells whether the directory is one, or below one.
func (s *Store) step(ctx context.Context, t *tagged, at node, orphan bool, path drawbridge.Path) (node, bool, error) {
	d, err := s.received(ctx, t, at, orphan)
	if err != nil {
		return node{}, false, err
	}
	if e, ok := d.list[path[len(path)-1]]; ok {
		return nodeOf(e.Meta), orphan, nil
	}
	r, err := s.orphan(ctx, t, path)
	if err != nil {
		return node{}, false, err
	}
	return nodeOf(r.Meta), true, nil
}

// received returns a directory if the repository has received it: that a
// pending tag or an orphan's listing names it does not say so.
func (s *Store) received(ctx context.Context, t *tagged, at node, orphan bool) (*dir, error) {
	if !at.isDir() {
		return nil, ErrNotFound
	}
	sum, ok := at.Digests.SHA256()
	if !ok || orphan || !t.committed {
		h, ok, err := s.lookup(ctx, t.record.User, t.record.Repo, at, false)
		if err != nil || !ok {
			return nil, errors.Join(err, ErrNotFound)
		}
		sum = h.id.blob
	}
	return s.dir(ctx, sum)
}

// orphan returns the record of a node that is not listed, or ErrNotFound.
func (s *Store) orphan(ctx context.Context, t *tagged, path drawbridge.Path) (orphanRecord, error) {
	key := orphanKey(t.record.User, t.record.Repo, t.id, path)
	if v, ok := s.records.get(key); ok {
		return v.(orphanRecord), nil
	}
	var r orphanRecord
	if err := s.readRecord(ctx, key, &r); err != nil {
		return r, err
	}
	if r.Path != path.String() || r.Tag != t.record.Name {
		return r, fmt.Errorf("%w: an orphan is in another's place", ErrCorrupt)
	}
	if t.committed { // that of a pending one may go
		s.records.put(key, r, 1024)
	}
	return r, nil
}

// walk goes from the root of a tag to a path. It fails with ErrNotFound. In a
// committed tag it begins at what it knows: the listings on the way may be so
// large that to parse all of them for each request would keep everybody waiting.
func (s *Store) walk(ctx context.Context, t *tagged, path drawbridge.Path) (n node, orphan bool, err error) {
	n, from := t.root, 0
	for i := len(path); i > 0 && from == 0 && t.committed; i-- {
		if known, ok := s.spots.get(spot(t, path[:i])); ok {
			n, from = known, i
		}
	}
	for i := from; i < len(path); i++ {
		if n, orphan, err = s.step(ctx, t, n, orphan, path[:i+1]); err != nil {
			return node{}, false, err
		}
		if t.committed && !orphan {
			s.spots.put(spot(t, path[:i+1]), n, 640)
		}
	}
	return n, orphan, nil
}

// spot names a path in a tag's content. Where it leads by listings alone is the
// same in every repository that has the content.
func spot(t *tagged, path drawbridge.Path) [32]byte {
	return sha256.Sum256(append(t.id[:], path.String()...))
}

// NodeInfo is a node of a committed tag.
type NodeInfo struct {
	Meta   drawbridge.Meta // as declared when it was uploaded
	Blob   [32]byte        // for Open and Directory
	Orphan bool            // no listing has it, or one above it: the tag's digest does not cover it
}

// Node returns a node of a committed tag, or ErrNotFound. It does not look
// whether the tag is yanked.
func (s *Store) Node(ctx context.Context, user, repo, tag string, path drawbridge.Path) (NodeInfo, error) {
	t, err := s.committed(ctx, user, repo, tag)
	if err != nil {
		return NodeInfo{}, err
	}
	return s.node(ctx, t, path)
}

func (s *Store) node(ctx context.Context, t *tagged, path drawbridge.Path) (NodeInfo, error) {
	n, orphan, err := s.walk(ctx, t, path)
	if err != nil {
		return NodeInfo{}, err
	}
	sum, ok := n.Digests.SHA256()
	if !ok || orphan {
		h, found, err := s.lookup(ctx, t.record.User, t.record.Repo, n, false)
		if err != nil || !found {
			return NodeInfo{}, errors.Join(err, ErrNotFound)
		}
		sum = h.id.blob
	}
	return NodeInfo{n.Meta, sum, orphan}, nil
}

// NodeByDigest returns the node at a path below a root whose content has this
// SHA-256, and a committed tag of the repository with that root: one that is
// not yanked, if there is one. It fails with ErrNotFound.
func (s *Store) NodeByDigest(ctx context.Context, user, repo string, root [32]byte, path drawbridge.Path) (NodeInfo, TagInfo, error) {
	names, err := s.TagNames(ctx, user, repo)
	if err != nil {
		return NodeInfo{}, TagInfo{}, err
	}
	var found string
	for _, name := range names {
		if found != "" && name.Yanked {
			continue
		}
		if b, err := s.brief(ctx, user, repo, encodeName(name.Name)); err != nil {
			return NodeInfo{}, TagInfo{}, err
		} else if b.root == root {
			found = name.Name
			if !name.Yanked {
				break
			}
		}
	}
	if found == "" {
		return NodeInfo{}, TagInfo{}, ErrNotFound
	}
	info, err := s.GetTag(ctx, user, repo, found)
	if err != nil {
		return NodeInfo{}, TagInfo{}, err
	}
	n, err := s.Node(ctx, user, repo, found, path)
	return n, info, err
}

// rootBlob returns where the bytes of a tag's root are, if it is there.
func (s *Store) rootBlob(ctx context.Context, t *tagged) ([32]byte, bool, error) {
	if sum, ok := t.root.Digests.SHA256(); ok {
		return sum, true, nil
	}
	h, ok, err := s.lookup(ctx, t.record.User, t.record.Repo, t.root, false)
	return h.id.blob, ok, err
}
