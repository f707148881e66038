// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

// bzImage wraps a payload as the kernel's build does.
func bzImage(payload []byte) []byte {
	const setupSectors, offset = 3, 64
	image := make([]byte, (setupSectors+1)*sector+offset, (setupSectors+1)*sector+offset+len(payload))
	image[offSetupSectors] = setupSectors
	binary.LittleEndian.PutUint32(image[offHeader:], headerMagic)
	binary.LittleEndian.PutUint16(image[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(image[offPayload:], offset)
	binary.LittleEndian.PutUint32(image[offPayloadLength:], uint32(len(payload)))
	return append(image, payload...)
}

// withSize appends the length of the kernel to its compressed form.
func withSize(compressed []byte, size int) []byte {
	return binary.LittleEndian.AppendUint32(compressed, uint32(size))
}

// lz4Literals is the simplest LZ4: one sequence of literals in one block.
func lz4Literals(data []byte) []byte {
	block := []byte{0xf0}
	n := len(data) - 15
	for ; n >= 255; n -= 255 {
		block = append(block, 255)
	}
	block = append(append(block, byte(n)), data...)
	out := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(block))), block...)
}

func TestExtract(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(name) // any ELF file
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(kernel); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string][]byte{
		"gzip":           withSize(zipped.Bytes(), len(kernel)),
		"LZ4":            withSize(lz4Literals(kernel), len(kernel)),
		"not compressed": kernel,
	} {
		got, err := Extract(bzImage(payload))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, kernel) {
			t.Errorf("%s: not what was compressed", name)
		}
	}
	image := bzImage(withSize(lz4Literals(kernel), len(kernel)))
	for name, image := range map[string][]byte{
		"nothing":     nil,
		"no image":    kernel,
		"cut short":   image[:len(image)-1],
		"other size":  bzImage(withSize(lz4Literals(kernel), len(kernel)-1)),
		"no ELF":      bzImage(withSize(lz4Literals(make([]byte, 100)), 100)),
		"other magic": bzImage([]byte("something else")),
	} {
		if _, err := Extract(image); !errors.Is(err, ErrImage) {
			t.Errorf("%s: %v, want ErrImage", name, err)
		}
	}
}

func TestLZ4(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"match":       {[]byte{0x34, 'a', 'b', 'c', 3, 0, 0x10, 'x'}, "abcabcabcabx"},
		"overlapping": {[]byte{0x1f, 'a', 1, 0, 1, 0x10, 'b'}, "a" + "aaaaaaaaaaaaaaaaaaaa" + "b"},
	} {
		got, err := lz4Block(nil, c.in, 100)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	for name, in := range map[string][]byte{
		"before the start": {0x10, 'a', 2, 0, 0x10, 'b'},
		"offset 0":         {0x10, 'a', 0, 0, 0x10, 'b'},
		"too few literals": {0x30, 'a'},
		"no offset":        {0x10, 'a', 1},
		"endless length":   {0xf0, 0xff, 0xff},
		"more than said":   {0x1f, 'a', 1, 0, 200, 0x10, 'b'},
	} {
		if got, err := lz4Block(nil, in, 100); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(bzImage(withSize(lz4Literals(make([]byte, 1000)), 1000)))
	f.Fuzz(func(_ *testing.T, image []byte) {
		if payload, err := payload(image); err == nil && len(payload) > 8 {
			_, _ = lz4(payload[4:len(payload)-4], 1<<20)
		}
	})
}
