// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gocloud.dev/blob"

	"enarx.dev/enarx/drawbridge"
)

// What the listing of the whole bucket says. Names are as encoded in keys.
type (
	fsckUser struct {
		record bool
		tokens []string
		repos  map[string]*fsckRepo
	}

	fsckRepo struct {
		user, repo string // true names, "" until the record was read
		record     bool
		policy     bool
		nodes      map[[32]byte]fsckNode // by drawbridge.Meta.Key
		refreshes  []string              // keys
		tags       map[string]*fsckTag
		pending    []string // keys
		orphans    []string // keys
		uploads    map[string]*fsckUpload
		complete   map[[32]byte]bool // nodes whose whole subtree was found sound
		ids        map[[32]byte]bool // of the tags, committed and pending
	}

	fsckNode struct {
		key string
		id  nodeID
	}

	fsckTag struct{ tag, yank string } // keys

	fsckUpload struct {
		info  string // key
		parts []fsckPart
	}

	fsckPart struct {
		key          string
		offset, size int64
	}

	fsckToken struct {
		token string // key
		uses  []string
	}

	fsckBlob struct {
		size    int64
		digests []drawbridge.Digests // that repositories declared of it
		bad     error
	}
)

var (
	errNotOurs   = errors.New("not a key of a Drawbridge")
	errNoBlob    = fmt.Errorf("%w: its content is not there", ErrCorrupt)
	errTwoBlobs  = fmt.Errorf("%w: another record of the same node names another content", ErrCorrupt)
	errBlobSize  = fmt.Errorf("%w: its content has another length", ErrCorrupt)
	errNoRecord  = fmt.Errorf("%w: there is no record of it", ErrCorrupt)
	errNoUser    = fmt.Errorf("%w: there is no record of its user", ErrCorrupt)
	errExpired   = errors.New("it has expired")
	errRemainder = errors.New("what it belongs to is gone")
)

// list takes down every key. The blobs come last: what a record names was
// there before the record.
func (f *fsck) list(ctx context.Context) error {
	for o, err := range f.Store.list(ctx, "", "/") {
		if err != nil {
			return err
		}
		switch {
		case o.Key == "blobs/":
		case o.Key == "quarantine/":
			err = f.count(ctx, o.Key, &f.report.Quarantined)
		case o.IsDir:
			err = f.listBelow(ctx, o.Key)
		default:
			err = f.take(ctx, o)
		}
		if err != nil {
			return err
		}
	}
	return f.listBelow(ctx, "blobs/")
}

func (f *fsck) listBelow(ctx context.Context, prefix string) error {
	for o, err := range f.Store.list(ctx, prefix, "") {
		if err == nil {
			err = f.take(ctx, o)
		}
		if err != nil {
			return err
		}
	}
	f.tell()
	return nil
}

func (f *fsck) count(ctx context.Context, prefix string, n *int) error {
	for _, err := range f.Store.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		*n++
	}
	return nil
}

// take notes one key.
func (f *fsck) take(ctx context.Context, o *blob.ListObject) error {
	l, ok := parseKey(o.Key)
	if !ok {
		f.find(Unknown, o.Key, errNotOurs)
		return nil
	}
	switch l.kind {
	case kindBlob:
		f.report.Blobs++
		f.report.Bytes += o.Size
		b := f.blob(l.sum)
		b.size = o.Size
	case kindUser:
		f.user(l).record = true
	case kindUserToken:
		f.user(l).tokens = append(f.user(l).tokens, o.Key)
	case kindToken:
		f.token(l).token = o.Key
	case kindUse:
		f.token(l).uses = append(f.token(l).uses, o.Key)
	case kindSubject:
		f.subjects = append(f.subjects, o.Key)
	case kindMarker:
		f.markers = append(f.markers, o.Key)
	case kindSettings:
		f.settings = o.Key
	default:
		return f.takeOfRepo(ctx, o, l)
	}
	return nil
}

func (f *fsck) takeOfRepo(ctx context.Context, o *blob.ListObject, l location) error {
	r := f.repo(l)
	switch l.kind {
	case kindRepo:
		r.record = true
	case kindPolicy:
		r.policy = true
	case kindNode:
		return f.takeNode(ctx, r, o.Key, l.node)
	case kindRefresh:
		r.refreshes = append(r.refreshes, o.Key)
	case kindPending:
		r.pending = append(r.pending, o.Key)
	case kindOrphan:
		r.orphans = append(r.orphans, o.Key)
	case kindTag:
		r.tag(l.name).tag = o.Key
	case kindYank:
		r.tag(l.name).yank = o.Key
	case kindUpload:
		r.upload(l.name).info = o.Key
	case kindPart:
		u := r.upload(l.name)
		u.parts = append(u.parts, fsckPart{o.Key, l.number, o.Size})
	default:
		f.find(Unknown, o.Key, errNotOurs)
	}
	return nil
}

// takeNode reads a node record and notes what is declared of the blob.
func (f *fsck) takeNode(ctx context.Context, r *fsckRepo, key string, id nodeID) error {
	f.report.Nodes++
	data, err := f.read(ctx, key, maxRecord)
	if err != nil {
		return f.broken(key, err)
	}
	meta, err := decodeNode(data, id)
	if err != nil {
		return f.broken(key, err)
	}
	if other, ok := r.nodes[id.meta]; ok && other.id.blob != id.blob {
		f.find(Damaged, key, errTwoBlobs)
	}
	r.nodes[id.meta] = fsckNode{key, id}
	b := f.blob(id.blob)
	for _, d := range b.digests {
		if d == meta.Digests {
			return nil
		}
	}
	b.digests = append(b.digests, meta.Digests)
	return nil
}

// blob returns what is known of a blob; size is -1 until it is listed.
func (f *fsck) blob(sum [32]byte) *fsckBlob {
	b, ok := f.blobs[sum]
	if !ok {
		b = &fsckBlob{size: -1}
		f.blobs[sum] = b
	}
	return b
}

func (f *fsck) user(l location) *fsckUser {
	u, ok := f.users[l.user]
	if !ok {
		u = &fsckUser{repos: map[string]*fsckRepo{}}
		f.users[l.user] = u
	}
	return u
}

func (f *fsck) repo(l location) *fsckRepo {
	u := f.user(l)
	r, ok := u.repos[l.repo]
	if !ok {
		r = &fsckRepo{
			nodes: map[[32]byte]fsckNode{}, tags: map[string]*fsckTag{}, uploads: map[string]*fsckUpload{},
			complete: map[[32]byte]bool{}, ids: map[[32]byte]bool{},
		}
		u.repos[l.repo] = r
	}
	return r
}

func (f *fsck) token(l location) *fsckToken {
	t, ok := f.tokens[l.name]
	if !ok {
		t = &fsckToken{}
		f.tokens[l.name] = t
	}
	return t
}

func (r *fsckRepo) tag(name string) *fsckTag {
	t, ok := r.tags[name]
	if !ok {
		t = &fsckTag{}
		r.tags[name] = t
	}
	return t
}

func (r *fsckRepo) upload(id string) *fsckUpload {
	u, ok := r.uploads[id]
	if !ok {
		u = &fsckUpload{}
		r.uploads[id] = u
	}
	return u
}

// trueName returns the name that an encoded one stands for, given what the
// record claims, or an error if it is of another.
func trueName(encoded, claimed string, check func(string) error) (string, error) {
	if err := check(claimed); err != nil {
		return "", fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if encodeName(claimed) != encoded {
		return "", fmt.Errorf("%w: the record of %s is in another's place", ErrCorrupt, claimed)
	}
	return strings.Clone(claimed), nil
}
