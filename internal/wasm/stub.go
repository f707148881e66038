// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/binary"
	"errors"
)

// Section numbers of the binary format, WebAssembly core 5.5.2.
const (
	sectionCustom = 0
	sectionCode   = 10
)

var errStub = errors.New("wasm: bug: a compiled module does not parse")

// stub returns bin with every function body replaced by `unreachable` and
// without custom sections other than the names that a backtrace shows.
//
// It is what goes into the cache beside the machine code. Types, imports,
// memories, exports and data, which the engine needs each time, are the
// original's; the bodies, whose decoding and validation is most of the work of
// loading a large module, were compiled already. A stub must never run without
// the machine code it was stored with; what is left in it traps.
func stub(bin []byte) ([]byte, error) {
	if len(bin) < 8 {
		return nil, errStub
	}
	out := append(make([]byte, 0, len(bin)/2), bin[:8]...)
	for rest := bin[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errStub
		}
		whole := rest[:1+n+int(size)]
		body := whole[1+n:]
		rest = rest[len(whole):]
		switch {
		case id == sectionCode:
			count, n := binary.Uvarint(body)
			if n <= 0 || count > uint64(len(body)) {
				return nil, errStub
			}
			out = append(out, sectionCode)
			out = binary.AppendUvarint(out, uint64(n)+4*count)
			out = append(out, body[:n]...)
			for range count {
				out = append(out, 3, 0 /* locals */, 0x00 /* unreachable */, 0x0b /* end */)
			}
		case id == sectionCustom && !isNameSection(body):
		default:
			out = append(out, whole...)
		}
	}
	return out, nil
}

func isNameSection(body []byte) bool {
	const name = "\x04name"
	return len(body) >= len(name) && string(body[:len(name)]) == name
}
