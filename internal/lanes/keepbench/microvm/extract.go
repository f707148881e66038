// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Fields of the setup header that say where the compressed kernel is.
const (
	offSetupSectors  = 0x1f1
	offVersion       = 0x206
	offPayload       = 0x248
	offPayloadLength = 0x24c
	versionPayload   = 0x208 // of the boot protocol that has these two
	sector           = 512
)

// lz4Magic is of the "legacy" frame, which is the one that the kernel uses.
const lz4Magic = 0x184c_2102

// ErrImage means that a kernel image is not understood.
var ErrImage = errors.New("microvm: kernel image")

// Extract returns the vmlinux that a bzImage holds. xz and zstd are left to the
// programs of that name.
func Extract(image []byte) ([]byte, error) {
	payload, err := payload(image)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	var out []byte
	switch {
	case bytes.HasPrefix(payload, []byte("\x7fELF")):
		out = payload
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		out, err = gunzip(payload)
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		out, err = filter(payload, "xz", "-dc", "--single-stream")
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		out, err = filter(payload[:len(payload)-4], "zstd", "-dc")
	case len(payload) > 8 && binary.LittleEndian.Uint32(payload) == lz4Magic:
		out, err = lz4(payload[4:len(payload)-4], int(binary.LittleEndian.Uint32(payload[len(payload)-4:])))
	default:
		err = fmt.Errorf("compressed in a way that is not known: % x", payload[:min(8, len(payload))])
	}
	if err == nil {
		_, err = elf.NewFile(bytes.NewReader(out))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	return out, nil
}

// payload returns the compressed kernel. The build appends the size of what is in
// it, four bytes.
func payload(image []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(image) < offPayloadLength+4 || le.Uint32(image[offHeader:]) != headerMagic || le.Uint16(image[offVersion:]) < versionPayload {
		return nil, errors.New("not a bzImage")
	}
	setup := uint64(image[offSetupSectors])
	if setup == 0 {
		setup = 4 // the protocol's word for images of long ago
	}
	at := (setup+1)*sector + uint64(le.Uint32(image[offPayload:]))
	length := uint64(le.Uint32(image[offPayloadLength:]))
	if length < 4 || at > uint64(len(image)) || length > uint64(len(image))-at {
		return nil, errors.New("cut short")
	}
	return image[at : at+length], nil
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	return io.ReadAll(r)
}

func filter(data []byte, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	return cmd.Output()
}

var errLZ4 = errors.New("damaged LZ4 data")

// lz4 decodes the blocks of a legacy frame: each has its length before it. size
// is how many bytes all hold.
func lz4(data []byte, size int) ([]byte, error) {
	const most = 512 << 20
	if size < 0 || size > most {
		return nil, errLZ4
	}
	out := make([]byte, 0, size)
	for len(data) > 0 {
		if len(data) < 4 {
			return nil, errLZ4
		}
		n := binary.LittleEndian.Uint32(data)
		data = data[4:]
		if uint64(n) > uint64(len(data)) {
			return nil, errLZ4
		}
		var err error
		if out, err = lz4Block(out, data[:n], size); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	if len(out) != size {
		return nil, errLZ4
	}
	return out, nil
}

// lz4Block appends a decoded block to out, which never exceeds size bytes.
func lz4Block(out, in []byte, size int) ([]byte, error) {
	start := len(out)
	for len(in) > 0 {
		token := in[0]
		literals, rest, ok := lz4Length(in[1:], int(token>>4))
		if !ok || literals > len(rest) || literals > size-len(out) {
			return nil, errLZ4
		}
		out, in = append(out, rest[:literals]...), rest[literals:]
		if len(in) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(in))
		match, rest, ok := lz4Length(in[2:], int(token&15))
		in = rest
		match += 4
		if !ok || offset == 0 || offset > len(out)-start || match > size-len(out) {
			return nil, errLZ4
		}
		for range match { // byte by byte: the match may reach into what it makes
			out = append(out, out[len(out)-offset])
		}
	}
	return out, nil
}

// lz4Length reads the rest of a length whose first four bits are given.
func lz4Length(in []byte, n int) (length int, rest []byte, ok bool) {
	if n < 15 {
		return n, in, true
	}
	for i, b := range in {
		n += int(b)
		if b != 0xff {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}
