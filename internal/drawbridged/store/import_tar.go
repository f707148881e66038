// SPDX-License-Identifier: Apache-2.0

package store

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"enarx.dev/enarx/drawbridge"
)

// Import brings in what Export wrote. It verifies everything, compares what is
// there already and leaves it alone, so that an import that was cut off can be
// repeated. The report's problems are what was not taken; the error is
// ErrExport for a stream that is none, or of r, the bucket or the context.
func (s *Store) Import(ctx context.Context, r io.Reader, o TransferOptions) (TransferReport, error) {
	in := &importer{TransferOptions: o.watching(), store: s}
	archive := tar.NewReader(r)
	header, err := archive.Next()
	if err != nil {
		return in.report, fmt.Errorf("%w: %w", ErrExport, err)
	}
	if header.Name != exportManifest || header.Typeflag != tar.TypeReg {
		return in.report, fmt.Errorf("%w: its first file is %.80q, not %s", ErrExport, header.Name, exportManifest)
	}
	t, err := in.begin(ctx, archive)
	if err != nil {
		return in.finish(), err
	}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in.finish(), fmt.Errorf("%w: %w", ErrExport, err)
		}
		l, ok := parseKey(header.Name)
		if !ok || l.kind != kindBlob || header.Typeflag != tar.TypeReg {
			in.problem(Refused, printable(header.Name), errors.New("no content of an export has this name"))
			continue
		}
		if err := t.content(ctx, l.sum, archive); err != nil {
			return in.finish(), err
		}
	}
	err = t.end(ctx)
	return in.finish(), err
}

// ImportDir brings in what ExportDir wrote, or a tar stream of it that was
// unpacked. It opens only the contents that the store lacks.
func (s *Store) ImportDir(ctx context.Context, dir *os.Root, o TransferOptions) (TransferReport, error) {
	f, err := openOrdinary(dir, exportManifest)
	if err != nil {
		return TransferReport{}, fmt.Errorf("%w: %w", ErrExport, err)
	}
	defer func() { _ = f.Close() }()
	return s.transfer(ctx, f, o, func(blob [32]byte) (io.ReadCloser, error) { return openOrdinary(dir, blobKey(blob)) })
}

// Copy brings in what another store has. Both may be in use.
func (s *Store) Copy(ctx context.Context, from *Store, o TransferOptions) (TransferReport, error) {
	r, w := io.Pipe()
	selection := TransferOptions{Select: o.Select}
	var exported TransferReport
	done := make(chan struct{})
	go func() {
		defer close(done)
		e, err := from.manifest(ctx, w, selection)
		exported = e.report
		_ = w.CloseWithError(err)
	}()
	o.Select = nil // the other store gives no more than that
	report, err := s.transfer(ctx, r, o, func(blob [32]byte) (io.ReadCloser, error) { return from.Open(ctx, blob, 0, -1) })
	_ = r.Close()
	<-done
	report.Problems = append(exported.Problems, report.Problems...)
	return report, err
}

// transfer imports a manifest with contents that can be asked for.
func (s *Store) transfer(ctx context.Context, manifest io.Reader, o TransferOptions, open func([32]byte) (io.ReadCloser, error)) (TransferReport, error) {
	in := &importer{TransferOptions: o.watching(), store: s}
	t, err := in.begin(ctx, manifest)
	if err != nil {
		return in.finish(), err
	}
	for _, blob := range t.order {
		if len(t.needs[blob]) == 0 {
			continue
		}
		content, err := open(blob)
		if err != nil {
			in.problem(Incomplete, blobKey(blob), err)
			continue
		}
		err = t.content(ctx, blob, content)
		_ = content.Close()
		if err != nil {
			return in.finish(), err
		}
	}
	err = t.end(ctx)
	return in.finish(), err
}

// openOrdinary opens a file, if it is one. A named pipe must not make it wait.
func openOrdinary(dir *os.Root, name string) (*os.File, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	return f, nil
}

// A restore is the import of a manifest that was read.
type restore struct {
	*importer
	*manifest
}

// begin reads a manifest, makes users and repositories, and finds out which
// contents are needed.
func (in *importer) begin(ctx context.Context, r io.Reader) (*restore, error) {
	m, err := parseManifest(r)
	if err != nil {
		return nil, err
	}
	t := &restore{in, m}
	for _, u := range m.users {
		if err := t.user(ctx, u); err != nil {
			return nil, err
		}
	}
	in.report.Problems = append(in.report.Problems, in.unmet()...)
	for blob, needs := range m.needs {
		kept := needs[:0]
		for _, need := range needs {
			if _, wanted := need.repo.nodes[need.meta]; wanted && !need.repo.refused {
				kept = append(kept, need)
			}
		}
		m.needs[blob] = kept
	}
	for _, u := range m.users {
		for _, repo := range u.repos {
			if repo.missing == 0 {
				if err := t.tags(ctx, repo); err != nil {
					return nil, err
				}
			}
		}
	}
	return t, nil
}

func (t *restore) user(ctx context.Context, u *manifestUser) error {
	ok := false
	if t.selectedUser(u.User) {
		created, err := t.store.putObject(ctx, userKey(u.User), u.object(kindUser))
		if ok, err = t.put(u.User, &t.report.Users, created, err); err != nil {
			return err
		}
	}
	for _, s := range u.Subjects {
		if !ok {
			break
		}
		owner, err := t.store.ClaimSubject(ctx, s.Issuer, s.Subject, u.User)
		if err == nil && owner != u.User {
			err = fmt.Errorf("subject %q is that of %s", s.Subject, owner)
			t.problem(Different, u.User, err)
		} else if err != nil {
			return err
		}
	}
	for _, repo := range u.repos {
		if !t.selected(u.User, repo.Repo) || !ok {
			repo.refused = true
			continue
		}
		if err := t.repository(ctx, repo); err != nil {
			return err
		}
	}
	return nil
}

// object returns what a record of a user, repository or tag says, for the store.
func (r *exportRecord) object(k kind) *objectRecord {
	return &objectRecord{Kind: k, User: r.User, Repo: r.Repo, Name: r.Tag, Meta: *r.Meta, Body: r.Body, Created: r.Created.UTC()}
}

// repository makes a repository and drops the nodes that it has already.
func (t *restore) repository(ctx context.Context, repo *manifestRepo) error {
	path := repo.User + "/" + repo.Repo
	created, err := t.store.putObject(ctx, repoKey(repo.User, repo.Repo), repo.object(kindRepo))
	ok, err := t.put(path, &t.report.Repositories, created, err)
	if err != nil {
		return err
	}
	repo.refused = !ok
	if !ok {
		return nil
	}
	if repo.Policy != nil {
		if err := t.policy(ctx, repo, path); err != nil {
			return err
		}
	}
	metas := make([]drawbridge.Meta, 0, len(repo.nodes))
	for meta := range repo.nodes {
		metas = append(metas, meta)
	}
	missing, err := t.store.Missing(ctx, repo.User, repo.Repo, metas)
	if err != nil {
		return err
	}
	for i, meta := range metas {
		if !missing[i] {
			delete(repo.nodes, meta)
			repo.missing--
			t.report.Nodes.Present++
		}
	}
	return nil
}

// policy sets the policy of a repository that has none.
func (t *restore) policy(ctx context.Context, repo *manifestRepo, path string) error {
	there, err := t.store.Policy(ctx, repo.User, repo.Repo)
	switch {
	case errors.Is(err, ErrNotFound):
		return t.store.PutPolicy(ctx, repo.User, repo.Repo, repo.Policy)
	case err != nil:
		return err
	case string(there) != string(repo.Policy):
		t.problem(Different, path, errors.New("the repository has another policy, which stays"))
	}
	return nil
}

// content takes one content to everybody who needs it.
func (t *restore) content(ctx context.Context, blob [32]byte, r io.Reader) error {
	needs := t.needs[blob]
	delete(t.needs, blob) // once is enough
	for i, need := range needs {
		if i > 0 {
			again, err := t.store.Open(ctx, blob, 0, -1)
			if err != nil {
				return err
			}
			r = again
		}
		err := t.node(ctx, need, blob, r)
		if c, ok := r.(io.Closer); ok && i > 0 {
			_ = c.Close()
		}
		if errors.Is(err, errContent) {
			return nil // said once
		}
		if err != nil {
			return err
		}
		if i == 0 {
			t.report.Blobs++
			t.report.Bytes += need.meta.Length
		}
		if need.repo.missing--; need.repo.missing == 0 {
			if err := t.tags(ctx, need.repo); err != nil {
				return err
			}
		}
	}
	return nil
}

var errContent = errors.New("the content is not what the manifest says")

func (t *restore) node(ctx context.Context, need nodeNeed, blob [32]byte, r io.Reader) error {
	// The manifest may name a content that has not the node's digests: then
	// nothing is taken, and the reader may be used up.
	result, err := t.store.PutNode(ctx, need.repo.User, need.repo.Repo, "", nil, need.meta, r)
	if errors.Is(err, ErrBody) {
		return fmt.Errorf("%s: %w: %w", blobKey(blob), ErrExport, err)
	}
	ok, err := t.put(blobKey(blob), &t.report.Nodes, result.Created, err)
	if err == nil && !ok {
		err = errContent
	}
	return err
}

// tags puts the tags of a repository that has all its nodes.
func (t *restore) tags(ctx context.Context, repo *manifestRepo) error {
	if repo.refused {
		return nil
	}
	for _, tag := range repo.tags {
		path := fmt.Sprintf("%s/%s:%s", repo.User, repo.Repo, tag.Tag)
		result, err := t.store.restoreTag(ctx, tag.object(kindTag))
		ok, err := t.put(path, &t.report.Tags, result.Created, err)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if !result.Committed {
			t.problem(Incomplete, path, errIncomplete)
			continue
		}
		if err := t.belowTag(ctx, tag, path); err != nil {
			return err
		}
	}
	repo.tags = nil
	return nil
}

// restoreTag is PutTag for a tag that was made elsewhere, at its time. Quotas
// do not count: the operator imports.
func (s *Store) restoreTag(ctx context.Context, r *objectRecord) (PutResult, error) {
	if err := r.object().check(); err != nil {
		return PutResult{}, err
	}
	t, err := newTagged(r)
	if err != nil {
		return PutResult{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if there, err := s.committed(ctx, r.User, r.Repo, r.Name); err == nil {
		return s.already(ctx, there, t)
	} else if !errors.Is(err, ErrNotFound) {
		return PutResult{}, err
	}
	created := r.Created
	if created.IsZero() {
		created = s.now()
	}
	done, err := s.commit(ctx, t, created)
	if done || err != nil {
		return PutResult{Created: done, Committed: done}, err
	}
	isNew, err := s.putPending(ctx, r, t.id)
	return PutResult{Created: isNew}, err
}

// belowTag restores a tag's yank and its orphans.
func (t *restore) belowTag(ctx context.Context, tag *manifestTag, path string) error {
	if tag.Yank != nil {
		if err := t.store.Yank(ctx, tag.User, tag.Repo, tag.Tag, *tag.Yank); err != nil {
			return err
		}
	}
	for _, o := range tag.orphans {
		at, err := drawbridge.ParsePath(o.Path)
		if err != nil {
			return err
		}
		if err := t.orphan(ctx, tag, at, *o.Meta, path+"/"+o.Path); err != nil {
			return err
		}
	}
	return nil
}

func (t *restore) orphan(ctx context.Context, tag *manifestTag, at drawbridge.Path, meta drawbridge.Meta, path string) error {
	if there, err := t.store.Node(ctx, tag.User, tag.Repo, tag.Tag, at); err == nil && there.Meta == meta {
		t.report.Orphans++
		return nil
	}
	ids, err := t.store.listNodes(ctx, tag.User, tag.Repo)
	if err != nil {
		return err
	}
	id, ok := ids[meta.Key()]
	if !ok {
		t.problem(Incomplete, path, errors.New("its content is missing"))
		return nil
	}
	r, err := t.store.Open(ctx, id.blob, 0, -1)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	var count Count
	result, err := t.store.PutNode(ctx, tag.User, tag.Repo, tag.Tag, at, meta, r)
	ok, err = t.put(path, &count, result.Created, err)
	if ok {
		t.report.Orphans++
	}
	return err
}

// end puts the tags of repositories that lack nodes: they will be pending.
func (t *restore) end(ctx context.Context) error {
	for _, u := range t.users {
		for _, repo := range u.repos {
			if err := t.tags(ctx, repo); err != nil {
				return err
			}
		}
	}
	return nil
}
