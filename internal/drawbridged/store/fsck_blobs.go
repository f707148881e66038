// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"enarx.dev/enarx/drawbridge"
)

// fsckReaders is how many blobs are read at once.
const fsckReaders = 2

// verifyBlobs reads every blob, in the order of their digests, and compares it
// with its name and with everything that repositories declared of it.
func (f *fsck) verifyBlobs(ctx context.Context) error {
	sums := slices.SortedFunc(maps.Keys(f.blobs), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(fsckReaders)
	done := make([]bool, len(sums))
	next := 0 // the first that is not done
	for i, sum := range sums {
		b := f.blobs[sum]
		switch {
		case b.size < 0: // reported where it is missed
		case len(b.digests) == 0:
			f.mu.Lock()
			f.report.Unreferenced++
			f.report.Garbage += b.size
			f.mu.Unlock()
		}
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			if b.size >= 0 && sumText(sum) > f.After {
				if err := f.verifyBlob(inner, sum, b); err != nil {
					return err
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			done[i] = true
			for ; next < len(done) && done[next]; next++ {
				f.report.Last = sumText(sums[next])
			}
			f.tell()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// verifyBlob reads one blob. The error is one of the bucket or the context.
func (f *fsck) verifyBlob(ctx context.Context, sum [32]byte, b *fsckBlob) error {
	got, length, err := f.hash(ctx, sum, b.size)
	if errors.Is(err, ErrNotFound) {
		f.setBad(b, errNoBlob) // collected since it was listed, or missed by whoever names it
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = matches(got, length, sum, b)
	} else {
		err = fmt.Errorf("%w: it cannot be read: %w", ErrCorrupt, err)
	}
	f.mu.Lock()
	f.report.Verified++
	f.report.Read += length
	f.mu.Unlock()
	if err == nil {
		return nil
	}
	f.setBad(b, err)
	severity := Damaged
	if len(b.digests) == 0 {
		severity = Leftover
	}
	f.find(severity, blobKey(sum), err)
	return nil
}

func (f *fsck) setBad(b *fsckBlob, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.bad = err
}

// hash reads a blob of about size bytes and returns all its digests.
func (f *fsck) hash(ctx context.Context, sum [32]byte, size int64) (drawbridge.Digests, int64, error) {
	r, err := f.Open(ctx, sum, 0, -1)
	if err != nil {
		return drawbridge.Digests{}, 0, err
	}
	defer func() { _ = r.Close() }()
	h := drawbridge.NewHasher(drawbridge.All()...)
	_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, min(size+1, 1<<20)))
	return h.Sum(), h.Len(), err
}

// matches compares what a blob is with its name and what is declared of it.
func matches(got drawbridge.Digests, length int64, sum [32]byte, b *fsckBlob) error {
	if is, _ := got.SHA256(); is != sum {
		return fmt.Errorf("%w: its SHA-256 is %x", ErrCorrupt, is)
	}
	if length != b.size {
		return fmt.Errorf("%w: it is listed with %d bytes and has %d", ErrCorrupt, b.size, length)
	}
	for _, declared := range b.digests {
		for _, alg := range declared.Algorithms() {
			want, _ := declared.Get(alg)
			if is, _ := got.Get(alg); !bytes.Equal(is, want) {
				return fmt.Errorf("%w: its %s is not the one that a repository declared", ErrCorrupt, alg)
			}
		}
	}
	return nil
}

// usable returns why the content that a node record names cannot be served.
func (f *fsck) usable(ctx context.Context, id nodeID) error {
	b := f.blob(id.blob)
	switch {
	case b.bad != nil && !errors.Is(b.bad, errNoBlob):
		return b.bad
	case b.size < 0 || b.bad != nil:
		size, _, err := f.stat(ctx, blobKey(id.blob))
		if err != nil {
			return err
		}
		if size < 0 {
			return errNoBlob
		}
		b.size, b.bad = size, nil
	}
	if b.size != id.length {
		return errBlobSize
	}
	return nil
}
