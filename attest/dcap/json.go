// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// MaxDocument is the size limit of a TCB info or QE identity.
const MaxDocument = 256 << 10

// Intel signs the bytes of one member of a JSON object, so these bytes have to
// be found exactly, and the document has to mean the same to everybody.
// encoding/json takes the last of several members of the same name, whatever
// its case, so it only checks the grammar here; what is well-formed is then
// taken apart by a value.

// A value is a well-formed JSON value without space around it.
type value []byte

// parseJSON returns the only value in data.
func parseJSON(data []byte) (value, error) {
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("longer than %d bytes", MaxDocument)
	}
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	v, _ := cutValue(data)
	return v, nil
}

const space = " \t\r\n"

// cutValue splits well-formed data into its first value and what follows it.
func cutValue(data []byte) (v value, rest []byte) {
	data = bytes.TrimLeft(data, space)
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 {
				return value(data[:i]), data[i:]
			}
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return value(data[:i]), data[i:]
			}
			continue
		default:
			continue // in a number or a word
		}
		if depth == 0 {
			end := min(i+1, len(data))
			return value(data[:end]), data[end:]
		}
	}
	return value(data), nil
}

// stringEnd returns where the string that starts at i has its closing quote.
func stringEnd(data []byte, i int) int {
	for i++; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}

// maxMembers is more than any object in Intel's documents has.
const maxMembers = 32

// object visits the members of v. None may be there twice, and those that are
// required must be there.
func (v value) object(visit func(name []byte, v value) error, required ...string) error {
	if len(v) == 0 || v[0] != '{' {
		return errors.New("not an object")
	}
	var seen [maxMembers][]byte
	n := 0
	for rest := bytes.TrimLeft(v[1:], space); len(rest) > 0 && rest[0] != '}'; rest = bytes.TrimLeft(rest, space+",") {
		quoted, after := cutValue(rest)
		name, err := quoted.text()
		switch {
		case err != nil:
			return fmt.Errorf("name of a member: %w", err)
		case n == maxMembers:
			return errors.New("too many members")
		case slices.ContainsFunc(seen[:n], func(s []byte) bool { return bytes.Equal(s, name) }):
			return fmt.Errorf("%q is there twice", name)
		}
		seen[n], n = name, n+1
		var member value
		member, rest = cutValue(bytes.TrimLeft(after, space+":"))
		if err := visit(name, member); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, r := range required {
		if !slices.ContainsFunc(seen[:n], func(s []byte) bool { return string(s) == r }) {
			return fmt.Errorf("%q is missing", r)
		}
	}
	return nil
}

// array visits the elements of v.
func (v value) array(visit func(v value) error) error {
	if len(v) == 0 || v[0] != '[' {
		return errors.New("not an array")
	}
	i := 0
	for rest := bytes.TrimLeft(v[1:], space); len(rest) > 0 && rest[0] != ']'; rest = bytes.TrimLeft(rest, space+",") {
		var element value
		element, rest = cutValue(rest)
		if err := visit(element); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		i++
	}
	return nil
}

// text returns the characters of the string v. Intel's strings are plain ASCII
// without escapes, and what is written differently is not taken for the same.
func (v value) text() ([]byte, error) {
	if len(v) < 2 || v[0] != '"' {
		return nil, errors.New("not a string")
	}
	text := v[1 : len(v)-1]
	for _, c := range text {
		if c < 0x20 || c > 0x7e || c == '\\' {
			return nil, errors.New("not plain text")
		}
	}
	return text, nil
}

func (v value) str(out *string) error {
	text, err := v.text()
	*out = string(text)
	return err
}

// uint reads a number that fits into bits.
func uintValue[T uint8 | uint16 | uint32](v value, out *T) error {
	bits := 8
	switch any(*out).(type) {
	case uint16:
		bits = 16
	case uint32:
		bits = 32
	}
	n, err := strconv.ParseUint(string(v), 10, bits)
	if err != nil {
		return fmt.Errorf("not a number of %d bits", bits)
	}
	*out = T(n)
	return nil
}

// hex reads exactly len(out) bytes, in hexadecimal of either case.
func (v value) hex(out []byte) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	if len(text) != 2*len(out) {
		return fmt.Errorf("not %d bytes in hexadecimal", len(out))
	}
	if _, err := hex.Decode(out, text); err != nil {
		return errors.New("not hexadecimal")
	}
	return nil
}

func (v value) time(out *time.Time) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	if *out, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return errors.New("not a date as in RFC 3339")
	}
	return nil
}
