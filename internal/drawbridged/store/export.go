// SPDX-License-Identifier: Apache-2.0

package store

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// An export is a tar stream, or a directory with the same files:
//
//	manifest.jsonl            one exportRecord in JSON on each line
//	blobs/<aa>/<sha256>       contents, in the order in which the manifest first names them
//
// The manifest's first line is a "store" record with the version of this
// format and its last one an "end" record with the number and the SHA-256 of
// all lines before it. Between them come, user by user: the "user", then for
// each repository the "repository", the "node"s that its tags reach, the "tag"s
// and their "orphan"s. Names are sorted, nothing depends on when or where the
// export was made, so two exports of the same content are the same bytes. What
// is not committed is not exported, and neither are tokens and upload sessions.
const (
	exportFormat   = 1
	exportManifest = "manifest.jsonl"
)

// maxExportLine is the longest line of a manifest: a tag in base64 and more.
const maxExportLine = maxRecord

// The kinds of records in a manifest.
const (
	exportStore  = "store"
	exportUser   = "user"
	exportRepo   = "repository"
	exportNode   = "node"
	exportTag    = "tag"
	exportOrphan = "orphan"
	exportEnd    = "end"
)

// exportRecord is a line of a manifest. What a kind does not need is absent.
type exportRecord struct {
	Kind     string            `json:"kind"`
	Version  int               `json:"version,omitempty"` // store
	User     string            `json:"user,omitempty"`
	Repo     string            `json:"repository,omitempty"`
	Tag      string            `json:"tag,omitempty"`
	Path     string            `json:"path,omitempty"` // orphan
	Meta     *drawbridge.Meta  `json:"meta,omitempty"`
	Blob     string            `json:"blob,omitempty"` // node: SHA-256, hexadecimal
	Body     []byte            `json:"body,omitempty"` // user, repository, tag: as it was PUT
	Policy   []byte            `json:"policy,omitempty"`
	Yank     *drawbridge.Yank  `json:"yank,omitempty"`
	Subjects []exportedSubject `json:"subjects,omitempty"` // user: claimed with issuers
	Created  time.Time         `json:"created,omitzero"`
	Lines    int64             `json:"lines,omitempty"` // end
	SHA256   string            `json:"sha256,omitempty"`
}

type exportedSubject struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// Export writes users and repositories to w as a tar stream. The report's
// problems are tags that could not be exported because the store is damaged;
// the error is of the bucket, the context or w.
func (s *Store) Export(ctx context.Context, w io.Writer, o TransferOptions) (TransferReport, error) {
	spool, err := os.CreateTemp("", "drawbridge-export-")
	if err != nil {
		return TransferReport{}, err
	}
	defer func() { _ = spool.Close() }()
	if err := os.Remove(spool.Name()); err != nil {
		return TransferReport{}, err
	}
	e, err := s.manifest(ctx, spool, o)
	if err != nil {
		return e.report, err
	}
	size, err := spool.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return e.report, err
	}
	out := tar.NewWriter(w)
	if err := tarFile(out, exportManifest, size, spool); err != nil {
		return e.report, err
	}
	for _, b := range e.blobs {
		if err := e.tarBlob(ctx, out, b); err != nil {
			return e.report, err
		}
	}
	return e.report, out.Close()
}

// tarBlob writes a content. One that turns out to be damaged is filled up to
// its length and reported: whoever imports it will refuse it.
func (e *exporter) tarBlob(ctx context.Context, out *tar.Writer, b exportBlob) error {
	return e.each(ctx, b, func(r io.Reader) (damage, fatal error) {
		kept := &keepError{r: r}
		filled := io.LimitReader(io.MultiReader(kept, zeros{}), b.size)
		fatal = tarFile(out, blobKey(b.sum), b.size, filled)
		_, _ = kept.Read(make([]byte, 1)) // what it says at the end
		return kept.err, fatal
	})
}

// keepError ends where r fails, and keeps the error.
type keepError struct {
	r   io.Reader
	err error
}

func (k *keepError) Read(p []byte) (int, error) {
	if k.err != nil {
		return 0, io.EOF
	}
	n, err := k.r.Read(p)
	if err != nil && err != io.EOF {
		k.err, err = err, io.EOF
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func tarFile(w *tar.Writer, name string, size int64, r io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

// ExportDir writes the same files to a directory. Contents that are there
// with the right length from a run before are left alone; the manifest comes
// last, so that a directory without one is not complete.
func (s *Store) ExportDir(ctx context.Context, dir *os.Root, o TransferOptions) (TransferReport, error) {
	if err := dir.Remove(exportManifest); err != nil && !errors.Is(err, os.ErrNotExist) {
		return TransferReport{}, err
	}
	const partial = exportManifest + ".partial"
	f, err := dir.Create(partial)
	if err != nil {
		return TransferReport{}, err
	}
	defer func() { _ = f.Close() }()
	e, err := s.manifest(ctx, f, o)
	if err != nil {
		return e.report, err
	}
	if err := f.Sync(); err != nil {
		return e.report, err
	}
	for _, b := range e.blobs {
		if there, err := dir.Lstat(blobKey(b.sum)); err == nil && there.Mode().IsRegular() && there.Size() == b.size {
			continue
		}
		err := e.each(ctx, b, func(r io.Reader) (damage, fatal error) { return writeFile(dir, blobKey(b.sum), r) })
		if err != nil {
			return e.report, err
		}
	}
	return e.report, dir.Rename(partial, exportManifest)
}

// writeFile writes a file that has its name only when it has all its bytes.
func writeFile(dir *os.Root, name string, r io.Reader) (damage, fatal error) {
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := dir.Create(name + ".partial")
	if err != nil {
		return nil, err
	}
	kept := &keepError{r: r}
	_, err = io.Copy(f, kept)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
		return nil, err
	case kept.err != nil:
		return kept.err, dir.Remove(name + ".partial")
	}
	return nil, dir.Rename(name+".partial", name)
}

// An exporter writes a manifest and notes the contents that go with it.
type exporter struct {
	TransferOptions
	store    *Store
	out      *bufio.Writer
	sum      hash.Hash
	lines    int64
	seen     map[[32]byte]bool
	blobs    []exportBlob
	subjects map[string][]exportedSubject // by user
	report   TransferReport
}

type exportBlob struct {
	sum  [32]byte
	size int64
}

// each gives a content to f, to be read to its end, and counts it. The reader
// fails at the end if the content is damaged.
func (e *exporter) each(ctx context.Context, b exportBlob, f func(io.Reader) (damage, fatal error)) error {
	r, err := e.store.Open(ctx, b.sum, 0, -1)
	if err != nil {
		return e.skip(blobKey(b.sum), err)
	}
	defer func() { _ = r.Close() }()
	meta := drawbridge.Meta{Length: b.size}
	if err := meta.Digests.Set(drawbridge.SHA256, b.sum[:]); err != nil {
		return err
	}
	damage, fatal := f(drawbridge.NewVerifier(r, meta))
	if fatal != nil {
		return fatal
	}
	if damage != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		return e.skip(blobKey(b.sum), fmt.Errorf("%w: %w", ErrCorrupt, damage))
	}
	e.report.Blobs++
	e.report.Bytes += b.size
	if e.Progress != nil {
		e.Progress(e.report)
	}
	return nil
}

// manifest writes the manifest. The report is of use also with an error.
func (s *Store) manifest(ctx context.Context, w io.Writer, o TransferOptions) (*exporter, error) {
	e := &exporter{TransferOptions: o.watching(), store: s, out: bufio.NewWriter(w), sum: sha256.New(), seen: map[[32]byte]bool{}}
	if err := e.write(exportRecord{Kind: exportStore, Version: exportFormat}); err != nil {
		return e, err
	}
	if err := e.readSubjects(ctx); err != nil {
		return e, err
	}
	users, err := s.Users(ctx, "", 0)
	if err != nil {
		return e, err
	}
	for _, user := range users {
		if !e.selectedUser(user) {
			continue
		}
		if err := e.user(ctx, user); err != nil {
			return e, err
		}
	}
	e.report.Problems = append(e.report.Problems, e.unmet()...)
	end := exportRecord{Kind: exportEnd, Lines: e.lines, SHA256: hex.EncodeToString(e.sum.Sum(nil))}
	if err := e.write(end); err != nil {
		return e, err
	}
	return e, e.out.Flush()
}

func (e *exporter) write(r exportRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	e.lines++
	e.sum.Write(line)
	_, err = e.out.Write(line)
	return err
}

func (e *exporter) readSubjects(ctx context.Context) error {
	e.subjects = map[string][]exportedSubject{}
	for o, err := range e.store.list(ctx, "sub/", "") {
		if err != nil {
			return err
		}
		var r subjectRecord
		if err := e.store.readRecord(ctx, o.Key, &r); errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
			continue // fsck tells
		} else if err != nil {
			return err
		}
		e.subjects[r.User] = append(e.subjects[r.User], exportedSubject{r.Issuer, r.Subject})
	}
	return nil
}

func (e *exporter) user(ctx context.Context, user string) error {
	u, err := e.store.GetUser(ctx, user)
	if err != nil {
		return e.skip(user, err)
	}
	err = e.write(exportRecord{Kind: exportUser, User: user, Meta: &u.Meta, Body: u.Body, Subjects: e.subjects[user], Created: u.Created})
	if err != nil {
		return err
	}
	e.report.Users.New++
	repos, err := e.store.Repos(ctx, user)
	if err != nil {
		return err
	}
	for _, repo := range repos {
		if !e.selected(user, repo) {
			continue
		}
		if err := e.repo(ctx, user, repo); err != nil {
			return err
		}
	}
	return nil
}

// skip reports what cannot be exported because the store is damaged.
func (e *exporter) skip(what string, err error) error {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	e.report.Problems = append(e.report.Problems, Problem{Incomplete, what, err.Error()})
	return nil
}
