// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps a log of what a server did: one line of JSON for each
// record, each line holding the SHA-256 of the line before it. Whoever
// remembers one line's hash can tell later whether anything up to that line
// was changed, dropped or put in between. It protects from a log edited after
// the fact, not from a server that never wrote the line: a server hands out
// what a record is about only after Append has returned, when the line is on
// the disk.
package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxLine bounds one line, its newline included.
const MaxLine = 1 << 16

// Hash is the SHA-256 of a line without its newline; the zero value stands
// before the first line.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("a hash has %d hexadecimal digits, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// A Record is what one line is about: a struct that encoding/json writes as an
// object. Its members come after the line's own, which are called seq and prev.
type Record interface {
	When() time.Time // what Audit sums up
	Check() error    // what is missing in a record that was read, or nil
}

// link is the beginning of a line: its number, from 1, and the line before it.
type link struct {
	Sequence uint64 `json:"seq"`
	Previous Hash   `json:"prev"`
}

// encode returns the line of a record, with its newline.
func encode[T Record](at link, record T) ([]byte, error) {
	line, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(record)
	switch {
	case err != nil:
		return nil, err
	case len(text) < 2 || text[0] != '{':
		return nil, errors.New("ledger: bug: a record that is not a JSON object")
	case !bytes.Equal(text, []byte("{}")):
		line = append(append(line[:len(line)-1], ','), text[1:]...)
	}
	if len(line) >= MaxLine {
		return nil, fmt.Errorf("an entry of %d bytes: the limit is %d", len(line), MaxLine-1)
	}
	return append(line, '\n'), nil
}

var errNotEntry = errors.New("not an entry of this log")

// parse decodes one line without its newline.
func parse[T Record](line []byte) (at link, record T, err error) {
	if len(line) >= MaxLine {
		return at, record, fmt.Errorf("a line of more than %d bytes", MaxLine-1)
	}
	for _, into := range []any{&at, &record} {
		if err := json.Unmarshal(line, into); err != nil {
			return at, record, fmt.Errorf("%w: %w", errNotEntry, err)
		}
	}
	if at.Sequence == 0 {
		return at, record, fmt.Errorf("%w: its number is missing", errNotEntry)
	}
	if err := record.Check(); err != nil {
		return at, record, fmt.Errorf("%w: %w", errNotEntry, err)
	}
	return at, record, nil
}

// position is where a chain stands: the last line's number and hash.
type position struct {
	sequence uint64
	hash     Hash
}

// next is how the line after p begins.
func (p position) next() link { return link{p.sequence + 1, p.hash} }

func (p *position) advance(at link, line []byte) {
	p.sequence, p.hash = at.Sequence, sha256.Sum256(line)
}
