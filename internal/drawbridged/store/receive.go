// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"enarx.dev/enarx/drawbridge"
)

const (
	smallBody = 256 << 10 // bytes up to which a body is held in memory
	chunkSize = 1 << 20   // of a large one, at a time
	chunks    = 4         // of these for one upload
	maxLarge  = 8         // uploads at the same time that have them; more go slower
)

// receive reads bytes, and makes sure that they are in their blob if they are
// what the Meta says. Else nothing is there that was not before. It returns
// the blob's SHA-256.
func (s *Store) receive(ctx context.Context, user, repo string, m drawbridge.Meta, body io.Reader, p permit) ([32]byte, error) {
	sum, known := m.Digests.SHA256()
	if known {
		if err := p.check(blobKey(sum)); err != nil {
			return sum, err
		}
	}
	switch {
	case m.Type == drawbridge.TypeDirectory || m.Length <= smallBody:
		return s.receiveSmall(ctx, m, body, p)
	case !known:
		return s.receiveUnnamed(ctx, user, repo, m, body, p)
	}
	return sum, s.receiveLarge(ctx, m, sum, body)
}

// receiveSmall holds the bytes in memory until they are verified.
func (s *Store) receiveSmall(ctx context.Context, m drawbridge.Meta, body io.Reader, p permit) ([32]byte, error) {
	var b bytes.Buffer
	if m.Length <= smallBody {
		b.Grow(int(m.Length) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(body, m.Length+1)); err != nil {
		return [32]byte{}, fmt.Errorf("%w: %w", ErrBody, err)
	}
	h := drawbridge.NewHasher(withSHA256(m)...)
	_, _ = h.Write(b.Bytes())
	got := h.Sum()
	if err := compare(m, got, h.Len()); err != nil {
		return [32]byte{}, err
	}
	sum, _ := got.SHA256()
	if m.Type == drawbridge.TypeDirectory {
		if err := s.parsing.Acquire(ctx, m.Length+1); err != nil {
			return sum, err
		}
		d, err := parseDir(b.Bytes())
		s.parsing.Release(m.Length + 1)
		if err != nil {
			return sum, err
		}
		s.dirs.put(sum, d, d.cost())
	}
	key := blobKey(sum)
	if err := p.check(key); err != nil {
		return sum, err
	}
	size, _, err := s.stat(ctx, key)
	switch {
	case err != nil:
		return sum, err
	case size < 0:
		_, err = s.create(ctx, key, b.Bytes())
	case size != m.Length: // damaged, and here are the right bytes
		err = s.replace(ctx, key, b.Bytes())
	}
	return sum, err
}

// receiveLarge writes the bytes while they are being verified, or only
// verifies them if the blob is there.
func (s *Store) receiveLarge(ctx context.Context, m drawbridge.Meta, sum [32]byte, body io.Reader) error {
	size, _, err := s.stat(ctx, blobKey(sum))
	if err != nil {
		return err
	}
	if size == m.Length {
		got, n, err := s.stream(body, m, nil)
		if err != nil {
			return err
		}
		return compare(m, got, n)
	}
	w, err := s.newLargeWriter(ctx, blobKey(sum), m.Length, size < 0)
	if err != nil {
		return err
	}
	got, n, err := s.stream(body, m, w)
	if err == nil {
		err = compare(m, got, n)
	}
	if err != nil {
		w.abort()
		return err
	}
	if err := w.Close(); err != nil && !isPrecondition(err) && !s.appeared(ctx, blobKey(sum)) {
		return fmt.Errorf("writing %s: %w", blobKey(sum), err)
	}
	return nil
}

// receiveUnnamed is for bytes whose SHA-256 was not declared, so that where
// they go is known only after the last: they wait in an upload session.
func (s *Store) receiveUnnamed(ctx context.Context, user, repo string, m drawbridge.Meta, body io.Reader, p permit) (sum [32]byte, err error) {
	id, err := s.NewUpload(ctx, user, repo)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, s.Abort(context.WithoutCancel(ctx), user, repo, id)) }()
	h := drawbridge.NewHasher(withSHA256(m)...)
	n, err := s.Append(ctx, user, repo, id, 0, io.TeeReader(io.LimitReader(body, m.Length+1), h))
	if err != nil {
		return sum, err
	}
	got := h.Sum()
	if err := compare(m, got, n); err != nil {
		return sum, err
	}
	sum, _ = got.SHA256()
	if err := p.check(blobKey(sum)); err != nil {
		return sum, err
	}
	parts, err := s.parts(ctx, user, repo, id)
	if err != nil {
		return sum, err
	}
	r := s.openParts(ctx, parts)
	defer r.Close()
	named := drawbridge.Meta{Digests: got, Length: m.Length, Type: m.Type}
	return sum, s.receiveLarge(ctx, named, sum, r)
}

// withSHA256 returns the algorithms that a Meta declares, and SHA-256.
func withSHA256(m drawbridge.Meta) []drawbridge.Algorithm {
	return append(m.Digests.Algorithms(), drawbridge.SHA256)
}

// compare returns a *MismatchError unless the digests that were declared are
// those of what was read. More may have been computed.
func compare(m drawbridge.Meta, got drawbridge.Digests, n int64) error {
	for _, a := range m.Digests.Algorithms() {
		want, _ := m.Digests.Get(a)
		if have, ok := got.Get(a); !ok || !bytes.Equal(want, have) {
			return &MismatchError{Want: m.Length, Got: n}
		}
	}
	if n != m.Length || m.Digests.Len() == 0 {
		return &MismatchError{Length: true, Want: m.Length, Got: n}
	}
	return nil
}
