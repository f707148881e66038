// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"enarx.dev/enarx/internal/wasi"
	"enarx.dev/enarx/internal/wasm/wasmtest"
)

// entryOf compiles bin and returns its cache entry.
func entryOf(t testing.TB, bin []byte) []byte {
	t.Helper()
	engine := NewWazero(Config{Cache: true})
	defer engine.Close()
	m, err := engine.Compile(context.Background(), bin)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := m.(*wazeroModule).Blob()
	if err != nil {
		t.Fatal(err)
	}
	var entry bytes.Buffer
	if n, err := blob.WriteTo(&entry); err != nil || n != int64(entry.Len()) {
		t.Fatalf("%d of %d bytes, %v", n, entry.Len(), err)
	}
	return entry.Bytes()
}

// restore loads an entry and runs it.
func restore(entry []byte) (uint32, error) {
	engine := NewWazero(Config{Cache: true})
	defer engine.Close()
	m, err := engine.Restore(context.Background(), bytes.NewReader(entry))
	if err != nil {
		return 0, err
	}
	return m.Run(context.Background(), wasi.New(wasi.Config{}))
}

// TestCacheSeam fails when an update of wazero moves the place where our cache
// plugs in or changes the record we take apart: then there would be no cache.
func TestCacheSeam(t *testing.T) {
	if NewWazero(Config{Cache: true}).cache == nil {
		t.Fatal("wazero's compilation cache has no fileCache field of the known kind")
	}
	entryOf(t, wasmtest.Exits(3).Bytes())
}

func TestCacheRoundTrip(t *testing.T) {
	if code, err := restore(entryOf(t, wasmtest.Exits(42).Bytes())); err != nil || code != 42 {
		t.Errorf("got %d, %v", code, err)
	}
	m := &wasmtest.Module{Memory: []byte{0, 1}, Names: map[uint32]string{0: "boom"}}
	m.Export("_start", 0, m.Function(nil, nil, 0, wasmtest.OpUnreachable))
	_, err := restore(entryOf(t, m.Bytes()))
	if trap, ok := errors.AsType[*Trap](err); !ok || len(trap.Frames) != 1 || trap.Frames[0] != "boom()" {
		t.Errorf("got %v, want a trap in boom", err)
	}
}

// TestCacheCorruption flips each byte of an entry: every flip must be noticed
// before anything runs.
func TestCacheCorruption(t *testing.T) {
	entry := entryOf(t, wasmtest.Exits(42).Bytes())
	for i := range entry {
		bad := bytes.Clone(entry)
		bad[i] ^= 0x41
		if code, err := restore(bad); !errors.Is(err, ErrCache) {
			t.Fatalf("byte %d of %d: got %d, %v", i, len(entry), code, err)
		}
	}
	for n := range entry {
		if code, err := restore(entry[:n]); !errors.Is(err, ErrCache) {
			t.Fatalf("cut to %d bytes: got %d, %v", n, code, err)
		}
	}
}

// TestCacheFailureLeavesEngineUsable is the path of exec: restore, and compile
// with the same engine when that does not work.
func TestCacheFailureLeavesEngineUsable(t *testing.T) {
	bin := wasmtest.Exits(7).Bytes()
	bad := entryOf(t, bin)
	bad[len(bad)-1] ^= 1
	engine := NewWazero(Config{Cache: true})
	defer engine.Close()
	ctx := context.Background()
	if _, err := engine.Restore(ctx, bytes.NewReader(bad)); !errors.Is(err, ErrCache) {
		t.Fatalf("got %v", err)
	}
	m, err := engine.Compile(ctx, bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.(*wazeroModule).Blob(); err != nil {
		t.Errorf("nothing to store after a failed restore: %v", err)
	}
	if code, err := m.Run(ctx, wasi.New(wasi.Config{})); err != nil || code != 7 {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestStubKeepsAllButBodies(t *testing.T) {
	m := wasmtest.Command(1, wasmtest.OpUnreachable)
	m.Names = map[uint32]string{0: "f"}
	m.Data = [][]byte{wasmtest.Cat([]byte{0, wasmtest.OpI32Const, 8, wasmtest.OpEnd}, wasmtest.Str("hello"))}
	bin := append(m.Bytes(), wasmtest.Cat([]byte{0}, wasmtest.Uleb(6), wasmtest.Str("debug"))...)
	got, err := stub(bin)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte("hello")) || !bytes.Contains(got, []byte("_start")) || !bytes.Contains(got, []byte("\x04name")) {
		t.Errorf("stub lost a section: %x", got)
	}
	if bytes.Contains(got, []byte("debug")) {
		t.Errorf("stub kept a custom section: %x", got)
	}
	engine := NewWazero(Config{})
	defer engine.Close()
	if _, err := engine.Compile(context.Background(), got); err != nil {
		t.Errorf("the stub does not validate: %v", err)
	}
}

func FuzzStub(f *testing.F) {
	f.Add(wasmtest.Exits(1).Bytes())
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x0a\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, bin []byte) {
		if out, err := stub(bin); err == nil && len(out) > 4*len(bin)+16 {
			t.Errorf("a stub of %d bytes from %d", len(out), len(bin))
		}
	})
}

// FuzzReadEntry holds the promise that a damaged entry is an error and never a
// panic or a huge allocation.
func FuzzReadEntry(f *testing.F) {
	f.Add(entryOf(f, wasmtest.Exits(1).Bytes()))
	f.Fuzz(func(t *testing.T, entry []byte) {
		_, record, err := readEntry(bytes.NewReader(entry))
		if err == nil {
			_, err = io.Copy(io.Discard, record)
		}
		if err != nil && !errors.Is(err, ErrCache) {
			t.Errorf("got %v", err)
		}
	})
}
