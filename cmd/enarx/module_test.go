// SPDX-License-Identifier: Apache-2.0

package main

// modules are WebAssembly modules by what they do, assembled by hand so that
// the sessions need no compiler.
var modules = map[string]func(n int) []byte{
	// exits with code n
	"exit": func(n int) []byte { return program(append(i32Const(n), call(procExit)...)) },
	// exits with the number of its arguments, argv[0] included
	"argc": func(int) []byte { return program(count(argsSizes)) },
	// exits with the number of its environment variables
	"envc": func(int) []byte { return program(count(environSizes)) },
	// exits with the error of asking for descriptor n as a directory
	"prestat": func(n int) []byte {
		return program(join(i32Const(n), i32Const(0), call(prestatGet), call(procExit)))
	},
	// writes a line
	"hello": func(int) []byte { return program(hello) },
	// writes a line, and is large enough for the cache
	"large": func(int) []byte {
		return append(program(hello), section(0, append(name("padding"), make([]byte, 8<<10)...))...)
	},
	// traps
	"trap": func(int) []byte { return program([]byte{opUnreachable}) },
	// writes a line and computes for ever
	"spin": func(int) []byte { return program(join(hello, []byte{opLoop, noResult, opBr, 0, opEnd})) },
	// imports what nobody has
	"unknown": func(int) []byte {
		return module(section(1, vector([]byte{0x60, 0, 0})),
			section(2, vector(join(name("env"), name("launch_missiles"), []byte{0, 0}))))
	},
	// has neither _start nor anything else
	"nothing": func(int) []byte { return module() },
	// a code section with an instruction that does not exist
	"invalid": func(int) []byte { return program([]byte{0xff}) },
}

// Instructions and types of the core specification, 5.3 and 5.4.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opEnd         = 0x0b
	opBr          = 0x0c
	opCall        = 0x10
	opDrop        = 0x1a
	opI32Load     = 0x28
	opI32Const    = 0x41
	noResult      = 0x40
	i32           = 0x7f
)

// The functions that program imports, in this order.
const (
	procExit = iota
	argsSizes
	environSizes
	prestatGet
	fdWrite
)

var imports = []struct {
	name string
	typ  byte // index into types
}{{"proc_exit", 1}, {"args_sizes_get", 2}, {"environ_sizes_get", 2}, {"fd_prestat_get", 2}, {"fd_write", 3}}

var types = [][]byte{
	{0x60, 0, 0},
	{0x60, 1, i32, 0},
	{0x60, 2, i32, i32, 1, i32},
	{0x60, 4, i32, i32, i32, i32, 1, i32},
}

// hello writes the text that program's data has at 16, through the vector at 8.
var hello = join(i32Const(1), i32Const(8), i32Const(1), i32Const(32), call(fdWrite), []byte{opDrop})

// count is a call that stores a number at 0, which becomes the exit code.
func count(function byte) []byte {
	return join(i32Const(0), i32Const(4), call(function), []byte{opDrop},
		i32Const(0), []byte{opI32Load, 2, 0}, call(procExit))
}

// program is a command whose _start has the given body.
func program(body []byte) []byte {
	var imported [][]byte
	for _, f := range imports {
		imported = append(imported, join(name("wasi_snapshot_preview1"), name(f.name), []byte{0, f.typ}))
	}
	start := byte(len(imports))
	data := join([]byte{16, 0, 0, 0, 6, 0, 0, 0}, []byte("hello\n")) // an iovec, and what it names
	return module(
		section(1, vector(types...)),
		section(2, vector(imported...)),
		section(3, vector([]byte{0})),
		section(5, vector([]byte{0, 1})),
		section(7, vector(join(name("memory"), []byte{2, 0}), join(name("_start"), []byte{0, start}))),
		section(10, vector(sized(join([]byte{0}, body, []byte{opEnd})))),
		section(11, vector(join([]byte{0}, i32Const(8), []byte{opEnd}, sized(data)))),
	)
}

func module(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), join(sections...)...)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// sized puts its length before b.
func sized(b []byte) []byte { return append(leb(len(b)), b...) }

func section(id byte, content []byte) []byte { return append([]byte{id}, sized(content)...) }

func vector(items ...[]byte) []byte { return append(leb(len(items)), join(items...)...) }

func name(s string) []byte { return sized([]byte(s)) }

func call(function byte) []byte { return []byte{opCall, function} }

// i32Const pushes n, which is not negative.
func i32Const(n int) []byte {
	b := []byte{opI32Const}
	for ; n > 0x3f; n >>= 7 { // bit 6 of the last byte is the sign
		b = append(b, byte(n&0x7f|0x80))
	}
	return append(b, byte(n))
}

func leb(n int) (b []byte) {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n&0x7f|0x80))
	}
	return append(b, byte(n))
}
