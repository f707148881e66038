// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// FileName is the name of the file this package reads, as packages store it
// and as errors begin.
const FileName = "Enarx.toml"

// Error is one thing wrong in an Enarx.toml. Hint, when not empty, is what to
// do about it and is not part of Error(): a program prints it its own way.
type Error struct {
	Line, Column int    // from 1; columns count characters
	Key          string // the key concerned, or ""
	Msg          string
	Hint         string
}

// Error returns the position and the message: "Enarx.toml:2:9: …".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", FileName, e.Line, e.Column, e.Msg)
}

// Warning is something accepted that its author should look at.
type Warning struct {
	Line, Column int // from 1; columns count characters
	Msg          string
}

// String returns the position and the message, like Error.Error.
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", FileName, w.Line, w.Column, w.Msg)
}

// decoder turns one document into a Config.
type decoder struct {
	data     []byte
	warnings []Warning
}

// position returns the line and column of a byte offset, both from 1. Columns
// count characters, which is what editors show.
func (d *decoder) position(offset int) (line, column int) {
	before := d.data[:min(offset, len(d.data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

func (d *decoder) errorAt(offset int, key, hint, format string, args ...any) *Error {
	e := &Error{Key: key, Msg: fmt.Sprintf(format, args...), Hint: hint}
	e.Line, e.Column = d.position(offset)
	return e
}

func (d *decoder) warnAt(offset int, format string, args ...any) {
	w := Warning{Msg: fmt.Sprintf(format, args...)}
	w.Line, w.Column = d.position(offset)
	d.warnings = append(d.warnings, w)
}
