// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"io"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// inject makes c the file cache of a wazero compilation cache.
//
// wazero can keep compiled modules in a directory only. A confined exec has no
// directories: it gets its one entry as a descriptor. The field is private, so
// it is set by reflection, and only if it is what this code was written for;
// otherwise there is no cache, which TestCacheSeam reports.
func inject(cache wazero.CompilationCache, c *codeCache) bool {
	v := reflect.ValueOf(cache)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	field := v.Elem().FieldByName("fileCache")
	if !field.IsValid() || field.Kind() != reflect.Interface || !reflect.TypeOf(c).Implements(field.Type()) {
		return false
	}
	// Sound: field is addressable (it is reached through a pointer), and the
	// value stored implements its interface type, checked above.
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(reflect.ValueOf(c))
	return true
}

// codeReader reads machine code into the memory where it will run. That memory
// is fresh; asking for it in one go saves a page fault per page.
type codeReader struct{ r io.Reader }

func (c codeReader) Read(p []byte) (int, error) {
	if len(p) >= hugeFrom {
		// Hints for the whole pages inside p. A kernel or shim may refuse them.
		start := (uintptr(unsafe.Pointer(&p[0])) + 4095) &^ 4095
		if skip := start - uintptr(unsafe.Pointer(&p[0])); len(p) > int(skip)+4096 {
			pages := p[skip : len(p)-(len(p)-int(skip))%4096]
			_ = unix.Madvise(pages, unix.MADV_HUGEPAGE)
			_ = unix.Madvise(pages, unix.MADV_POPULATE_WRITE)
		}
	}
	return c.r.Read(p)
}
