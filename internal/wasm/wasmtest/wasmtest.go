// SPDX-License-Identifier: Apache-2.0

// Package wasmtest assembles small modules for tests, which so need no
// toolchain and can be wrong on purpose.
package wasmtest

import "encoding/binary"

// Module is a module in the making. Indexes follow the core specification:
// imported functions first.
type Module struct {
	Imports, Data [][]byte          // entries of the sections, for what has no method
	Memory        []byte            // limits, or nil
	Names         map[uint32]string // of functions below 64, for the name section

	types, funcs, exports, codes [][]byte
}

// Value types and opcodes, WebAssembly core 5.3 and 5.4.
const (
	I32 = 0x7f
	I64 = 0x7e

	OpUnreachable = 0x00
	OpLoop        = 0x03
	OpEnd         = 0x0b
	OpBr          = 0x0c
	OpBrIf        = 0x0d
	OpCall        = 0x10
	OpDrop        = 0x1a
	OpLocalGet    = 0x20
	OpLocalTee    = 0x22
	OpMemoryGrow  = 0x40
	OpI32Const    = 0x41
	OpI64Const    = 0x42
	OpI32DivS     = 0x6d
	OpI64Eqz      = 0x50
	OpI64Sub      = 0x7d
)

// Uleb encodes an unsigned LEB128 number.
func Uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// Sleb encodes a signed LEB128 constant.
func Sleb(n int64) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if (n == 0 && b&0x40 == 0) || (n == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Str encodes a name.
func Str(s string) []byte { return append(Uleb(len(s)), s...) }

// Cat joins encoded parts.
func Cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func (m *Module) typ(params, results []byte) int {
	m.types = append(m.types, Cat([]byte{0x60}, Uleb(len(params)), params, Uleb(len(results)), results))
	return len(m.types) - 1
}

// Import adds an imported function and returns its index. Imports come before
// functions.
func (m *Module) Import(mod, name string, params, results []byte) int {
	m.Imports = append(m.Imports, Cat(Str(mod), Str(name), []byte{0}, Uleb(m.typ(params, results))))
	return len(m.Imports) - 1
}

// Function adds a function whose locals after the parameters are all i64.
func (m *Module) Function(params, results []byte, locals int, body ...byte) int {
	m.funcs = append(m.funcs, Uleb(m.typ(params, results)))
	decl := []byte{0}
	if locals > 0 {
		decl = Cat([]byte{1}, Uleb(locals), []byte{I64})
	}
	code := Cat(decl, body, []byte{OpEnd})
	m.codes = append(m.codes, Cat(Uleb(len(code)), code))
	return len(m.Imports) + len(m.funcs) - 1
}

// Export adds an export; kind is 0 for a function and 2 for a memory.
func (m *Module) Export(name string, kind byte, index int) {
	m.exports = append(m.exports, Cat(Str(name), []byte{kind}, Uleb(index)))
}

// Bytes returns the binary module.
func (m *Module) Bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, body []byte) { out = append(out, Cat([]byte{id}, Uleb(len(body)), body)...) }
	vector := func(id byte, items [][]byte) {
		if len(items) > 0 {
			section(id, Cat(Uleb(len(items)), Cat(items...)))
		}
	}
	vector(1, m.types)
	vector(2, m.Imports)
	vector(3, m.funcs)
	if m.Memory != nil {
		section(5, Cat([]byte{1}, m.Memory))
	}
	vector(7, m.exports)
	vector(10, m.codes)
	vector(11, m.Data)
	if m.Names != nil {
		var items []byte
		for i := range uint32(64) {
			if name, ok := m.Names[i]; ok {
				items = append(items, Cat(Uleb(int(i)), Str(name))...)
			}
		}
		sub := Cat(Uleb(len(m.Names)), items)
		section(0, Cat(Str("name"), []byte{1}, Uleb(len(sub)), sub))
	}
	return out
}

// Command returns a module whose _start has the given body, over one page of
// exported memory.
func Command(locals int, body ...byte) *Module {
	m := &Module{Memory: []byte{0, 1}}
	m.Export("_start", 0, m.Function(nil, nil, locals, body...))
	m.Export("memory", 2, 0)
	return m
}

// Exits returns a command that calls proc_exit(code).
func Exits(code int64) *Module {
	m := &Module{Memory: []byte{0, 1}}
	exit := m.Import("wasi_snapshot_preview1", "proc_exit", []byte{I32}, nil)
	m.Export("_start", 0, m.Function(nil, nil, 0, Cat([]byte{OpI32Const}, Sleb(code), []byte{OpCall}, Uleb(exit))...))
	m.Export("memory", 2, 0)
	return m
}

// Spin returns a command that counts down from n without calling the host.
func Spin(n int64) *Module {
	return Command(1, Cat(
		[]byte{OpI64Const}, Sleb(n), []byte{0x21, 0}, // local.set 0
		[]byte{OpLoop, 0x40},
		[]byte{OpLocalGet, 0, OpI64Const, 1, OpI64Sub, OpLocalTee, 0, OpI64Eqz, 0x45 /* i32.eqz */, OpBrIf, 0},
		[]byte{OpEnd},
	)...)
}
