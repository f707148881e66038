// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// What a file that is no module is instead.
var (
	ErrEmptyModule     = errors.New("the module is empty (0 bytes)")
	ErrTextModule      = errors.New("the module is in the WebAssembly text format")
	ErrTruncatedModule = errors.New("the module is cut short")
	ErrComponent       = errors.New("the file is a WebAssembly component, not a core module")
	ErrNotModule       = errors.New("the file is not a WebAssembly module")
)

// ModuleHeaderSize is how many bytes [CheckModule] looks at, at most.
const ModuleHeaderSize = 512

// CheckModule looks at the first bytes of a file and says whether it can be a
// binary module: the magic "\0asm" and version 1 of the core specification,
// 5.5.16. It validates nothing else. The errors are the sentinels above.
func CheckModule(head []byte) error {
	const magic = "\x00asm"
	switch {
	case len(head) == 0:
		return ErrEmptyModule
	case len(head) < 8 && bytes.HasPrefix([]byte(magic+"\x01\x00\x00\x00"), head):
		return ErrTruncatedModule
	case !bytes.HasPrefix(head, []byte(magic)):
		text := bytes.TrimLeft(head[:min(len(head), ModuleHeaderSize)], " \t\r\n")
		if bytes.HasPrefix(text, []byte("(module")) || bytes.HasPrefix(text, []byte(";;")) || bytes.HasPrefix(text, []byte("(;")) {
			return ErrTextModule
		}
		return ErrNotModule
	}
	switch binary.LittleEndian.Uint32(head[4:8]) {
	case 1:
		return nil
	case 0x0001000d: // component-model/design/mvp/Binary.md: version 0xd, layer 1
		return ErrComponent
	}
	return ErrNotModule
}

// ModuleHint returns what to do about an error of [CheckModule], or "" for any
// other error.
func ModuleHint(err error) string {
	for _, h := range moduleHints {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	return ""
}

var moduleHints = []struct {
	err  error
	hint string
}{
	{ErrTextModule, "translate it to the binary format with wat2wasm"},
	{ErrComponent, "Enarx runs core modules with WASI preview 1: build for the target wasm32-wasip1, or extract the core module"},
	{ErrEmptyModule, "did the build that wrote it fail?"},
	{ErrTruncatedModule, "was it copied or downloaded completely?"},
	{ErrNotModule, `a module begins with the bytes \0asm and version 1`},
}
