// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/cpu"
)

// MaxModules is how many bytes of compiled modules are kept by default, and
// the most that one may have.
const MaxModules = 1 << 30

// minModule is from what size a module takes longer to compile than to look up.
const minModule = 4 << 10

// A compiled module begins with a magic and its own length (internal/wasm).
// The rest is the Keep's business: it compiles afresh what it does not like.
const (
	entryMagic  = "ENXCACHE"
	entryHeader = len(entryMagic) + 8
)

// key names what compiled code depends on: the module, the compiler, which is
// part of the image, and the features of the CPU.
func key(module io.Reader, image string) (string, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, module, make([]byte, 256<<10)); err != nil {
		return "", fmt.Errorf("hashing the module: %w", err)
	}
	sum := h.Sum(nil)
	h.Reset()
	fmt.Fprintf(h, "enarx module cache 1\n%x\n%s\n%v\n", sum, image, cpu.X86)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// store keeps the compiled module that r holds under key, if valid still says
// so. A Keep that has nothing to store, or is killed while it does, closes
// early: nothing is kept then.
func (c *Cache) store(key string, r io.Reader, valid func() bool) error {
	var header [entryHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("reading a compiled module: %w", err)
	}
	length := binary.LittleEndian.Uint64(header[len(entryMagic):])
	if string(header[:len(entryMagic)]) != entryMagic || length < uint64(entryHeader) || length > uint64(c.max) {
		return errors.New("reading a compiled module: not one, or too large")
	}
	return c.add(key, 0o600, func(f *os.File) error {
		if _, err := f.Write(header[:]); err != nil {
			return err
		}
		rest := int64(length) - int64(entryHeader)
		n, err := io.Copy(f, io.LimitReader(r, rest+1))
		switch {
		case err != nil:
			return err
		case n != rest:
			return fmt.Errorf("%d bytes where %d were announced", n, rest)
		case !valid():
			return errors.New("the module has changed meanwhile")
		}
		return nil
	})
}

// prepareCache passes the Keep the entry for its module, if there is one, and
// always a pipe to store one in: the Keep may find the entry damaged.
func (s *starter) prepareCache() error {
	if s.Modules == nil {
		return nil
	}
	before, err := s.Module.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if !before.Mode().IsRegular() || before.Size() < minModule {
		return nil // a pipe can be read once only
	}
	key, err := s.cacheKey(before.Size())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if entry := s.Modules.lookup(key); entry != nil {
		s.close = append(s.close, entry)
		s.doc.Cache.Entry = s.pass(entry)
	}
	// Most Keeps store nothing: a reader that does not block needs no thread.
	r, w, err := pipe(true)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	s.close, s.ours = append(s.close, w), append(s.ours, r)
	s.doc.Cache.Store = s.pass(w)
	s.pumps = append(s.pumps, func(context.Context, *Keep) {
		defer r.Close()
		// What the Keep compiles is what it read, perhaps after the file was
		// written anew; that code must not be kept under the old content's key.
		unchanged := func() bool {
			after, err := s.Module.Stat()
			return err == nil && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime())
		}
		if err := s.Modules.store(key, r, unchanged); err != nil {
			s.Log.Info("compiled module not kept", "err", err)
		}
	})
	return nil
}

func (s *starter) cacheKey(size int64) (string, error) {
	_, digest, err := s.program()
	if err != nil {
		return "", err
	}
	// Read by offset: the Keep shares this descriptor's position.
	return key(io.NewSectionReader(s.Module, 0, size), digest)
}
