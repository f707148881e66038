// SPDX-License-Identifier: Apache-2.0

// Package ledger is the issuance log of a Steward: one line of JSON for each
// certificate, each line holding the SHA-256 of the line before it. Whoever
// remembers one line's hash can tell later whether anything up to that line
// was changed, dropped or put in between. It protects from a log edited after
// the fact, not from a Steward that never wrote the line; what is not in the
// log has not been handed out, because a certificate leaves only after its
// line is on the disk.
package ledger

import (
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

// An Entry is one certificate. Sequence and Previous are the log's to fill in.
type Entry struct {
	Sequence    uint64    `json:"seq"`
	Previous    Hash      `json:"prev"`
	Time        time.Time `json:"time"`
	Request     string    `json:"request,omitempty"` // the id that the client was told
	Serial      string    `json:"serial"`            // of the certificate, hexadecimal
	Certificate Hash      `json:"sha256"`            // of the certificate's DER
	Technology  string    `json:"technology"`
	Measurement string    `json:"measurement,omitempty"` // hexadecimal
	Policy      Hash      `json:"policy"`                // digest of the policy that it met
	URIs        []string  `json:"uris,omitempty"`
	NotAfter    time.Time `json:"not_after"`
	Insecure    bool      `json:"insecure,omitempty"` // no hardware vouches for the key
}

// line encodes e with its newline.
func (e *Entry) line() ([]byte, error) {
	text, err := json.Marshal(e)
	if err == nil && len(text) >= MaxLine {
		err = fmt.Errorf("an entry of %d bytes: the limit is %d", len(text), MaxLine-1)
	}
	return append(text, '\n'), err
}

var errNotEntry = errors.New("not an entry of an issuance log")

// parse decodes one line without its newline.
func parse(line []byte) (Entry, error) {
	var e Entry
	if len(line) >= MaxLine {
		return e, fmt.Errorf("a line of more than %d bytes", MaxLine-1)
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("%w: %w", errNotEntry, err)
	}
	if e.Sequence == 0 || e.Serial == "" || e.Technology == "" || e.Time.IsZero() {
		return e, fmt.Errorf("%w: a number, time, serial or technology is missing", errNotEntry)
	}
	return e, nil
}

// position is where a chain stands: the last line's number and hash.
type position struct {
	sequence uint64
	hash     Hash
}

func (p *position) advance(e Entry, line []byte) {
	p.sequence, p.hash = e.Sequence, sha256.Sum256(line)
}
