// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"enarx.dev/enarx/drawbridge"
)

const (
	partLimit = 8 << 20 // bytes of one part of an upload: S3 takes that in one request, the only kind that all servers let fail
	maxParts  = 10_000  // of one upload, so that nobody sends single bytes
)

// Upload sessions take a large node in pieces, each of which is kept. What was
// received before a connection broke is a part too. A session lives as long
// as Options.StagingLife says.

type part struct {
	key          string
	offset, size int64
}

// NewUpload begins an upload to a repository and returns its id. It fails with
// ErrNotFound and ErrQuota.
func (s *Store) NewUpload(ctx context.Context, user, repo string) (string, error) {
	if _, err := s.GetRepo(ctx, user, repo); err != nil {
		return "", err
	}
	id := randomID()
	record := uploadRecord{user, repo, s.now().UTC()}
	return id, s.createUpload(ctx, user, repo, id, sealed(record))
}

// upload returns when an upload began. It fails with ErrNotFound, also if its
// life is over: it is deleted only later, so that nothing is lost that was
// acknowledged.
func (s *Store) upload(ctx context.Context, user, repo, id string) (time.Time, error) {
	if !isUploadID(id) {
		return time.Time{}, fmt.Errorf("upload %w", ErrNotFound)
	}
	var r uploadRecord
	if err := s.readRecord(ctx, uploadPrefix(user, repo, id)+"info", &r); err != nil {
		return time.Time{}, err
	}
	if r.User != user || r.Repo != repo {
		return time.Time{}, fmt.Errorf("%w: an upload is in another's place", ErrCorrupt)
	}
	if s.expired(r.Created) {
		return time.Time{}, fmt.Errorf("upload %w: its time is over", ErrNotFound)
	}
	return r.Created, nil
}

// parts returns the parts of an upload, from the first byte on without a gap.
func (s *Store) parts(ctx context.Context, user, repo, id string) ([]part, error) {
	var parts []part
	end := int64(0)
	for o, err := range s.list(ctx, uploadPrefix(user, repo, id), "") {
		if err != nil {
			return nil, err
		}
		l, ok := parseKey(o.Key)
		if !ok || l.kind != kindPart {
			continue
		}
		if l.number != end {
			return nil, s.unlessOver(ctx, user, repo, id, fmt.Errorf("%w: upload %s has a gap at %d", ErrCorrupt, id, end))
		}
		parts = append(parts, part{o.Key, l.number, o.Size})
		end += o.Size
	}
	return parts, nil
}

// unlessOver returns what is wrong with an upload, or ErrNotFound if the upload
// is over: somebody may be deleting its parts, the first ones first.
func (s *Store) unlessOver(ctx context.Context, user, repo, id string, problem error) error {
	if _, err := s.upload(ctx, user, repo, id); err != nil {
		return err
	}
	return problem
}

func total(parts []part) int64 {
	if len(parts) == 0 {
		return 0
	}
	last := parts[len(parts)-1]
	return last.offset + last.size
}

// Upload returns how many bytes of an upload were received, or ErrNotFound.
func (s *Store) Upload(ctx context.Context, user, repo, id string) (int64, error) {
	if _, err := s.upload(ctx, user, repo, id); err != nil {
		return 0, err
	}
	parts, err := s.parts(ctx, user, repo, id)
	return total(parts), err
}

// Append adds bytes to an upload, which must have exactly offset bytes so far,
// and returns how many it has then. That is right also if reading failed, with
// ErrBody: what came before is kept. The other errors are ErrNotFound,
// ErrOffset, ErrTooLarge and ErrQuota.
func (s *Store) Append(ctx context.Context, user, repo, id string, offset int64, r io.Reader) (int64, error) {
	began, err := s.upload(ctx, user, repo, id)
	if err != nil {
		return 0, err
	}
	parts, err := s.parts(ctx, user, repo, id)
	if err != nil {
		return 0, err
	}
	at := total(parts)
	if offset != at {
		return at, fmt.Errorf("%w: %d", ErrOffset, at)
	}
	// The sender may be gone, and what he sent is to be kept all the same.
	ctx = context.WithoutCancel(ctx)
	for count := len(parts); ; count++ {
		if count >= maxParts {
			return at, fmt.Errorf("%w: an upload in more than %d parts", ErrTooLarge, maxParts)
		}
		if s.expired(began) {
			return at, fmt.Errorf("upload %w: its time is over", ErrNotFound)
		}
		if err := s.stage(ctx, user, 0); err != nil {
			return at, err
		}
		n, over, err := s.putPart(ctx, uploadPrefix(user, repo, id)+hexNumber(at), r)
		at += n
		if err := s.stage(ctx, user, n); err != nil && !errors.Is(err, ErrQuota) {
			return at, err
		}
		if over || err != nil {
			return at, err
		}
	}
}

// putPart writes at most partLimit bytes as a part, and returns how many it
// wrote and whether the body is over.
func (s *Store) putPart(ctx context.Context, key string, r io.Reader) (n int64, over bool, err error) {
	buf := make([]byte, 256<<10)
	filled, readErr := fill(r, buf)
	if filled == 0 {
		return 0, readErr == io.EOF, bodyError(readErr)
	}
	w, err := s.newWriter(ctx, key, true)
	if err != nil {
		return 0, false, err
	}
	for filled > 0 {
		if _, err := w.Write(buf[:filled]); err != nil {
			w.abort()
			return 0, false, err
		}
		n += int64(filled)
		filled = 0
		if room := min(partLimit-n, int64(len(buf))); readErr == nil && room > 0 {
			filled, readErr = fill(r, buf[:room])
		}
	}
	if err := w.Close(); err != nil {
		if isPrecondition(err) || s.appeared(ctx, key) {
			err = fmt.Errorf("%w: somebody else continued it", ErrOffset)
		}
		return 0, false, err
	}
	return n, readErr == io.EOF, bodyError(readErr)
}

func bodyError(err error) error {
	if err == nil || err == io.EOF {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBody, err)
}

// Finish makes a node of an upload, as PutNode without a tag does of a body,
// and ends the upload. If the bytes are not what the Meta says, they are
// deleted. Once it succeeded it does so again. It fails with ErrNotFound and
// as PutNode does.
func (s *Store) Finish(ctx context.Context, user, repo, id string, m drawbridge.Meta) (PutResult, error) {
	if err := checkNode(user, repo, "", nil, m); err != nil {
		return PutResult{}, err
	}
	n := nodeOf(m)
	if _, err := s.upload(ctx, user, repo, id); errors.Is(err, ErrNotFound) {
		return PutResult{}, s.finished(ctx, user, repo, n, err)
	} else if err != nil {
		return PutResult{}, err
	}
	parts, err := s.parts(ctx, user, repo, id)
	if err != nil {
		return PutResult{}, err
	}
	if got := total(parts); got != m.Length {
		return PutResult{}, s.unlessOver(ctx, user, repo, id, &MismatchError{Length: true, Want: m.Length, Got: got})
	}
	r := s.openParts(ctx, parts)
	created, err := s.keep(ctx, user, repo, n, r)
	r.Close()
	if errors.Is(err, ErrBody) { // reading the bucket, not the sender
		return PutResult{}, s.unlessOver(ctx, user, repo, id, r.failed)
	}
	if err == nil || errors.Is(err, ErrMismatch) || errors.Is(err, ErrInvalid) {
		err = errors.Join(err, s.Abort(context.WithoutCancel(ctx), user, repo, id))
	}
	return PutResult{Created: created}, err
}

// finished returns nil if an upload that is not there was finished.
func (s *Store) finished(ctx context.Context, user, repo string, n node, gone error) error {
	missing, err := s.Missing(ctx, user, repo, []drawbridge.Meta{n.Meta})
	if err == nil && missing[0] {
		err = gone
	}
	return err
}

// Abort deletes an upload. It is no error if there is none.
func (s *Store) Abort(ctx context.Context, user, repo, id string) error {
	if !isUploadID(id) {
		return nil
	}
	// Without the first object it is no upload any more; what else a crash
	// leaves is collected.
	prefix := uploadPrefix(user, repo, id)
	if err := s.remove(ctx, prefix+"info"); err != nil {
		return err
	}
	for o, err := range s.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if err := s.remove(ctx, o.Key); err != nil {
			return err
		}
	}
	s.recount(user)
	return nil
}

// A partReader reads the parts of an upload one after the other.
type partReader struct {
	ctx    context.Context
	s      *Store
	parts  []part
	open   io.ReadCloser
	failed error // of the bucket
}

func (s *Store) openParts(ctx context.Context, parts []part) *partReader {
	return &partReader{ctx: ctx, s: s, parts: parts}
}

func (r *partReader) Read(p []byte) (int, error) {
	for r.failed == nil {
		if r.open == nil {
			if len(r.parts) == 0 {
				return 0, io.EOF
			}
			open, err := r.s.bucket.NewReader(r.ctx, r.parts[0].key, nil)
			if err != nil {
				r.failed = err
				break
			}
			r.open, r.parts = open, r.parts[1:]
		}
		n, err := r.open.Read(p)
		if err == io.EOF {
			r.Close()
			err = nil
		}
		r.failed = err
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, r.failed
}

// Close ends reading.
func (r *partReader) Close() {
	if r.open != nil {
		_ = r.open.Close()
		r.open = nil
	}
}
