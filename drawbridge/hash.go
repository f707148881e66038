// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// parallelWrite is the size from which a write is worth a goroutine for every
// algorithm: hashing it takes a hundred times as long as starting them.
const parallelWrite = 64 << 10

// Hasher computes several digests of what is written to it. Writes of 64 KiB
// and more use a processor for each algorithm. It is for one goroutine.
type Hasher struct {
	algs   []Algorithm
	hashes []hash.Hash
	n      int64
}

// NewHasher returns a Hasher for the known ones among algs, each once.
func NewHasher(algs ...Algorithm) *Hasher {
	h := &Hasher{}
	var seen Digests
	for _, a := range algs {
		if has, _ := seen.slot(a); has == nil || *has {
			continue
		} else {
			*has = true
		}
		h.algs = append(h.algs, a)
		h.hashes = append(h.hashes, newHash(a))
	}
	return h
}

func newHash(a Algorithm) hash.Hash {
	switch a {
	case SHA224:
		return sha256.New224()
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	}
	return sha512.New()
}

// Write adds p. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.n += int64(len(p))
	if len(p) < parallelWrite || len(h.hashes) < 2 {
		for _, one := range h.hashes {
			one.Write(p)
		}
		return len(p), nil
	}
	var wg sync.WaitGroup
	for _, one := range h.hashes[1:] {
		wg.Go(func() { one.Write(p) })
	}
	h.hashes[0].Write(p)
	wg.Wait()
	return len(p), nil
}

// Len returns how many bytes were written.
func (h *Hasher) Len() int64 { return h.n }

// Sum returns the digests of what was written so far.
func (h *Hasher) Sum() Digests {
	var d Digests
	for i, one := range h.hashes {
		_ = d.Set(h.algs[i], one.Sum(nil)) // of the right size by construction
	}
	return d
}

// Sum returns the digests of data by all four algorithms.
func Sum(data []byte) Digests {
	h := NewHasher(All()...)
	_, _ = h.Write(data)
	return h.Sum()
}

// MetaOf returns the Meta of data with all four digests.
func MetaOf(data []byte, mediaType string) Meta {
	return Meta{Digests: Sum(data), Length: int64(len(data)), Type: mediaType}
}

// Errors of content that is not what its Meta says.
var (
	ErrDigestMismatch = errors.New("content digest mismatch")
	ErrLengthMismatch = errors.New("content length mismatch")
)

// Verifier reads a content and compares it with its Meta. What it returned
// before the end is not verified: only io.EOF, which comes once everything
// matched, says so.
type Verifier struct {
	r    io.Reader
	want Meta
	hash *Hasher
	err  error
}

// NewVerifier returns a Verifier of what r gives.
func NewVerifier(r io.Reader, want Meta) *Verifier {
	return &Verifier{r: r, want: want, hash: NewHasher(want.Digests.Algorithms()...)}
}

// Read reads on. At the end it returns io.EOF only if length and all digests
// match, else an ErrLengthMismatch or ErrDigestMismatch.
func (v *Verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	_, _ = v.hash.Write(p[:n])
	switch {
	case v.hash.Len() > v.want.Length:
		n, v.err = 0, fmt.Errorf("%w, expected: %d, got more", ErrLengthMismatch, v.want.Length)
	case err == io.EOF:
		v.err = v.check()
	default:
		v.err = err
	}
	return n, v.err
}

func (v *Verifier) check() error {
	switch {
	case v.hash.Len() != v.want.Length:
		return fmt.Errorf("%w, expected: %d, got %d", ErrLengthMismatch, v.want.Length, v.hash.Len())
	case v.want.Digests.Len() == 0 || v.hash.Sum() != v.want.Digests:
		return ErrDigestMismatch
	}
	return io.EOF
}

// Verify compares data with its Meta: ErrLengthMismatch or ErrDigestMismatch.
func (m Meta) Verify(data []byte) error {
	v := Verifier{want: m, hash: NewHasher(m.Digests.Algorithms()...)}
	_, _ = v.hash.Write(data)
	if err := v.check(); err != io.EOF {
		return err
	}
	return nil
}
