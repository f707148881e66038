// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
)

const benchSize = 256 << 20

// benchBody is so much that no two blobs are the same.
func benchBody(seed int) (drawbridge.Meta, func() io.Reader) {
	block := make([]byte, 1<<20)
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], uint64(i)*0x9e3779b97f4a7c15+uint64(seed))
	}
	open := func() io.Reader {
		readers := make([]io.Reader, benchSize/len(block))
		for i := range readers {
			readers[i] = bytes.NewReader(block)
		}
		return io.MultiReader(readers...)
	}
	h := drawbridge.NewHasher(drawbridge.SHA256)
	_, _ = io.Copy(struct{ io.Writer }{h}, open())
	return drawbridge.Meta{Digests: h.Sum(), Length: benchSize, Type: "a/b"}, open
}

// BenchmarkLarge is the pace of a large node to disk beside what bounds it.
func BenchmarkLarge(b *testing.B) {
	b.Run("upload", func(b *testing.B) {
		dir := b.TempDir()
		bucket, err := disk.Open(dir, disk.Options{})
		if err != nil {
			b.Fatal(err)
		}
		s, err := Open(b.Context(), bucket, Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		rig{b, s}.repo("alice", "repo")
		b.SetBytes(benchSize)
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			m, open := benchBody(i)
			b.StartTimer()
			if _, err := s.PutNode(b.Context(), "alice", "repo", "", nil, m, open()); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = s.remove(b.Context(), blobKey(mustSum(m)))
			b.StartTimer()
		}
	})
	b.Run("sha256", func(b *testing.B) {
		_, open := benchBody(0)
		buf := make([]byte, 1<<20)
		b.SetBytes(benchSize)
		for b.Loop() {
			h := sha256.New()
			_, _ = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{open()}, buf)
		}
	})
	b.Run("disk", func(b *testing.B) {
		_, open := benchBody(0)
		buf := make([]byte, 1<<20)
		dir := b.TempDir()
		b.SetBytes(benchSize)
		for i := 0; b.Loop(); i++ {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{open()}, buf); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			_ = f.Close()
			b.StopTimer()
			_ = os.Remove(f.Name())
			b.StartTimer()
		}
	})
}

// BenchmarkSmall is the pace of nodes of 4 KiB below a pending tag.
func BenchmarkSmall(b *testing.B) {
	for name, open := range emptyBuckets {
		b.Run(name, func(b *testing.B) {
			s, err := Open(b.Context(), open(b), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			r := rig{b, s}
			r.repo("alice", "repo")
			for i := 0; b.Loop(); i++ {
				n := file(fmt.Sprintf("%04096d", i), "a/b")
				if _, err := r.node("alice", "repo", "", "", n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
