// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Meta says what a content is: what the three entity headers say.
type Meta struct {
	Digests Digests // at least one
	Length  int64   // bytes
	Type    string  // media type
}

// Equal reports whether everything matches, the set of algorithms too.
func (m Meta) Equal(n Meta) bool { return m == n }

// Canonical returns the JSON that is hashed and sent: names in the order
// digest, length, type, and no white space.
func (m Meta) Canonical() []byte { return append(m.appendFields([]byte{'{'}), '}') }

func (m Meta) appendFields(b []byte) []byte {
	b = append(b, `"digest":`...)
	b = m.Digests.appendJSON(b)
	b = append(b, `,"length":`...)
	b = strconv.AppendInt(b, m.Length, 10)
	b = append(b, `,"type":`...)
	return appendString(b, m.Type)
}

// Key returns the SHA-256 of the canonical JSON. It names exactly this Meta.
func (m Meta) Key() [32]byte { return sha256.Sum256(m.Canonical()) }

// MarshalJSON returns the canonical JSON.
func (m Meta) MarshalJSON() ([]byte, error) { return m.Canonical(), nil }

// UnmarshalJSON is ParseMeta.
func (m *Meta) UnmarshalJSON(data []byte) (err error) {
	*m, err = ParseMeta(data)
	return err
}

// ParseMeta reads an object with exactly digest, length and type.
func ParseMeta(data []byte) (Meta, error) {
	e, err := ParseEntry(data)
	if err == nil && len(e.Extra) > 0 {
		err = errors.New("unknown names besides digest, length and type")
	}
	if err != nil {
		return Meta{}, err
	}
	return e.Meta, nil
}

// ParseMetas reads an array of at most MaxMetas Metas.
func ParseMetas(data []byte) ([]Meta, error) {
	if err := checkJSON(data, MaxJSON); err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil || raw == nil {
		return nil, errors.New("not a JSON array")
	}
	if len(raw) > MaxMetas {
		return nil, fmt.Errorf("%d entries, more than %d", len(raw), MaxMetas)
	}
	metas := make([]Meta, len(raw))
	for i, r := range raw {
		m, err := ParseMeta(r)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		metas[i] = m
	}
	return metas, nil
}

// Entry is a node as its parent, or an unsigned tag, lists it.
type Entry struct {
	Meta
	Extra map[string]json.RawMessage // further names, which mean nothing to us but are part of the digest
}

// ParseEntry reads an entry of at most 64 KiB. No name may be there twice.
func ParseEntry(data []byte) (Entry, error) {
	if err := checkJSON(data, maxEntry); err != nil {
		return Entry{}, err
	}
	return parseEntry(data)
}

// parseEntry is ParseEntry for JSON that was checked.
func parseEntry(data []byte) (Entry, error) {
	found, err := members(data)
	if err != nil {
		return Entry{}, err
	}
	var e Entry
	if raw, ok := found["digest"]; !ok {
		return Entry{}, errors.New("digest is missing")
	} else if err := e.Digests.parseJSON(raw); err != nil {
		return Entry{}, err
	}
	length, ok := found["length"]
	if e.Length, err = strconv.ParseInt(string(length), 10, 64); !ok || err != nil || !each(string(length), digit) || e.Length > MaxNode {
		return Entry{}, errors.New("length is not a number of bytes")
	}
	typ, ok, err := text(found, "type")
	if err == nil && !ok {
		err = errors.New("type is missing")
	}
	if err == nil {
		e.Type, err = ParseType(typ)
	}
	if err != nil {
		return Entry{}, err
	}
	delete(found, "digest")
	delete(found, "length")
	delete(found, "type")
	if len(found) > 0 {
		e.Extra = found
	}
	return e, nil
}

// Canonical returns the JSON that is hashed and sent. Upstream writes more than
// one extra name in a random order; ours are sorted.
func (e Entry) Canonical() []byte { return e.appendJSON(nil) }

func (e Entry) appendJSON(b []byte) []byte {
	b = e.appendFields(append(b, '{'))
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		b = append(appendString(append(b, ','), name), ':')
		var value bytes.Buffer
		if err := json.Compact(&value, e.Extra[name]); err != nil {
			value.Reset()
			value.WriteString("null") // only a caller's own Extra can be bad JSON
		}
		b = append(b, value.Bytes()...)
	}
	return append(b, '}')
}

// MarshalJSON returns the canonical JSON.
func (e Entry) MarshalJSON() ([]byte, error) { return e.Canonical(), nil }

// UnmarshalJSON is ParseEntry.
func (e *Entry) UnmarshalJSON(data []byte) (err error) {
	*e, err = ParseEntry(data)
	return err
}

// Directory is the listing of a directory node: entries by name.
type Directory map[string]Entry

// ParseDirectory reads a listing of at most MaxJSON bytes. Names are checked
// and none may be there twice.
func ParseDirectory(data []byte) (Directory, error) {
	if err := checkJSON(data, MaxJSON); err != nil {
		return nil, err
	}
	found, err := members(data)
	if err != nil {
		return nil, err
	}
	d := make(Directory, len(found))
	for name, raw := range found {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		if len(raw) > maxEntry {
			return nil, fmt.Errorf("entry %q has %d bytes, more than %d", name, len(raw), maxEntry)
		}
		e, err := parseEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", name, err)
		}
		d[name] = e
	}
	return d, nil
}

// Names returns the names in the order in which they are written and uploaded,
// that of their bytes.
func (d Directory) Names() []string { return slices.Sorted(maps.Keys(d)) }

// Canonical returns the JSON that is hashed and sent.
func (d Directory) Canonical() []byte {
	b := []byte{'{'}
	for i, name := range d.Names() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = d[name].appendJSON(b)
	}
	return append(b, '}')
}

// MarshalJSON returns the canonical JSON.
func (d Directory) MarshalJSON() ([]byte, error) { return d.Canonical(), nil }

// UnmarshalJSON is ParseDirectory.
func (d *Directory) UnmarshalJSON(data []byte) (err error) {
	*d, err = ParseDirectory(data)
	return err
}
