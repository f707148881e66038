// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/tetratelabs/wazero"
)

// A cache entry, all integers little-endian:
//
//	 0  8  "ENXCACHE"
//	 8  8  length of the whole entry
//	16  4  format version
//	20  4  length of the stub
//	24  4  length of head: the engine's record up to its machine code
//	28  4  length of tail: the engine's record after its machine code
//	32  8  length of the machine code
//	40  4  CRC-32C of stub, head and tail
//	44  4  CRC-32C of the 44 bytes before
//	48     stub, head, tail, machine code
//
// The machine code is last and has no checksum of ours because the engine
// keeps one (the first four bytes of tail) and because it is read from the
// file straight to where it will run. Checksums detect accidents. They do not
// make a cache trustworthy: it is native code, and only the unprotected nil
// backend ever uses one.
const (
	entryMagic   = "ENXCACHE"
	entryVersion = 1
	entryHeader  = 48
	maxEntry     = 1 << 30
	maxStub      = 256 << 20
)

// ErrCache marks a cache entry that does not serve.
var ErrCache = errors.New("wasm: unusable cache entry")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Blob is a compiled module as it goes into a cache.
type Blob struct {
	stub, record []byte
	code         [2]int // the machine code is record[code[0]:code[1]]
}

// newBlob takes the engine's record apart. wazero 1.12 writes: "WAZEVO", a
// length byte and its version, u32 number of functions, u64 offset of each,
// u64 length of the machine code, the code, u32 CRC-32C of it, then tables.
func newBlob(bin, record []byte) (*Blob, error) {
	s, err := stub(bin)
	if err != nil {
		return nil, err
	}
	const magic = "WAZEVO"
	if len(record) < len(magic)+1 || string(record[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: the engine's record has changed its form", ErrCache)
	}
	at := len(magic) + 1 + int(record[len(magic)])
	if len(record) < at+4 {
		return nil, fmt.Errorf("%w: the engine's record is short", ErrCache)
	}
	at += 4 + 8*int(binary.LittleEndian.Uint32(record[at:]))
	if len(record) < at+8 {
		return nil, fmt.Errorf("%w: the engine's record is short", ErrCache)
	}
	size := binary.LittleEndian.Uint64(record[at:])
	at += 8
	if size > uint64(len(record)-at) {
		return nil, fmt.Errorf("%w: the engine's record is short", ErrCache)
	}
	return &Blob{stub: s, record: record, code: [2]int{at, at + int(size)}}, nil
}

// WriteTo writes the cache entry.
func (b *Blob) WriteTo(w io.Writer) (int64, error) {
	head, code, tail := b.record[:b.code[0]], b.record[b.code[0]:b.code[1]], b.record[b.code[1]:]
	h := make([]byte, entryHeader)
	copy(h, entryMagic)
	le := binary.LittleEndian
	le.PutUint64(h[8:], uint64(entryHeader+len(b.stub)+len(b.record)))
	le.PutUint32(h[16:], entryVersion)
	le.PutUint32(h[20:], uint32(len(b.stub)))
	le.PutUint32(h[24:], uint32(len(head)))
	le.PutUint32(h[28:], uint32(len(tail)))
	le.PutUint64(h[32:], uint64(len(code)))
	sum := crc32.Checksum(b.stub, castagnoli)
	sum = crc32.Update(sum, castagnoli, head)
	le.PutUint32(h[40:], crc32.Update(sum, castagnoli, tail))
	le.PutUint32(h[44:], crc32.Checksum(h[:44], castagnoli))
	var total int64
	for _, part := range [][]byte{h, b.stub, head, tail, code} {
		n, err := w.Write(part)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// readEntry reads all of an entry but its machine code, and returns the stub
// and the engine's record, whose middle is read from r only as it is asked for.
func readEntry(r io.Reader) (stub []byte, record io.Reader, err error) {
	h := make([]byte, entryHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	le := binary.LittleEndian
	stubLen, headLen, tailLen, codeLen := le.Uint32(h[20:]), le.Uint32(h[24:]), le.Uint32(h[28:]), le.Uint64(h[32:])
	switch {
	case string(h[:8]) != entryMagic, le.Uint32(h[16:]) != entryVersion:
		return nil, nil, fmt.Errorf("%w: not an entry of this version", ErrCache)
	case le.Uint32(h[44:]) != crc32.Checksum(h[:44], castagnoli):
		return nil, nil, fmt.Errorf("%w: header checksum", ErrCache)
	case stubLen > maxStub || headLen > maxStub || tailLen > maxStub || codeLen > maxEntry,
		le.Uint64(h[8:]) != entryHeader+uint64(stubLen)+uint64(headLen)+uint64(tailLen)+codeLen:
		return nil, nil, fmt.Errorf("%w: lengths", ErrCache)
	}
	buf := make([]byte, int(stubLen)+int(headLen)+int(tailLen))
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	if le.Uint32(h[40:]) != crc32.Checksum(buf, castagnoli) {
		return nil, nil, fmt.Errorf("%w: checksum", ErrCache)
	}
	stub, buf = buf[:stubLen], buf[stubLen:]
	return stub, io.MultiReader(bytes.NewReader(buf[:headLen]),
		io.LimitReader(codeReader{r}, int64(codeLen)), bytes.NewReader(buf[headLen:])), nil
}

// codeCache is what the engine sees as its cache: one entry, for the one
// module of this process, whatever the key. It implements the methods of
// wazero's internal filecache.Cache.
type codeCache struct {
	entry  io.Reader // next Get
	record io.Reader // last Add
}

func (c *codeCache) Get([32]byte) (io.ReadCloser, bool, error) {
	if c.entry == nil {
		return nil, false, nil
	}
	r := c.entry
	c.entry = nil
	return io.NopCloser(r), true, nil
}

func (c *codeCache) Add(_ [32]byte, record io.Reader) error {
	c.record = record
	return nil
}

func (c *codeCache) Delete([32]byte) error { return nil }

// Restore is Compile from a cache entry that a former Compile gave to
// Config.Store for the same module. Any error wraps ErrCache and means only
// that the module must be compiled.
func (e *Wazero) Restore(ctx context.Context, entry io.Reader) (Module, error) {
	if e.cache == nil {
		return nil, fmt.Errorf("%w: no cache in this build of the engine", ErrCache)
	}
	stub, record, err := readEntry(entry)
	if err != nil {
		return nil, err
	}
	e.cache.entry = record
	compiled, err := e.runtime.CompileModule(ctx, stub)
	if err != nil {
		e.cache.entry = nil
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	// An entry that the engine called stale was not used: what it compiled
	// instead is the stub, which must not run.
	if n, _ := record.Read(make([]byte, 1)); n != 0 || e.cache.entry != nil || e.cache.record != nil {
		e.cache.entry, e.cache.record = nil, nil
		_ = compiled.Close(ctx)
		return nil, fmt.Errorf("%w: refused by the engine", ErrCache)
	}
	return &wazeroModule{engine: e, compiled: compiled}, nil
}

// blob returns the module just compiled from bin, for the cache.
func (c *codeCache) blob(bin []byte) (*Blob, error) {
	if c == nil || c.record == nil {
		return nil, fmt.Errorf("%w: nothing was compiled", ErrCache)
	}
	record, err := io.ReadAll(c.record)
	c.record = nil
	if err != nil {
		return nil, err
	}
	return newBlob(bin, record)
}

// newCodeCache returns a code cache and the configuration that uses it, or
// nil when this version of the engine has no place for one.
func newCodeCache(rc wazero.RuntimeConfig) (*codeCache, wazero.RuntimeConfig) {
	cache := wazero.NewCompilationCache()
	c := &codeCache{}
	if !inject(cache, c) {
		return nil, rc
	}
	return c, rc.WithCompilationCache(cache)
}
