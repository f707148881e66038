// SPDX-License-Identifier: Apache-2.0

package drawbridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

const maxNesting = 32

// checkJSON requires one JSON value of at most max bytes of UTF-8, in which no
// object has a name twice: parsers differ in which of the two they believe, and
// what one of them checked would not be what another one uses.
func checkJSON(data []byte, max int) error {
	switch {
	case len(data) > max:
		return fmt.Errorf("JSON of %d bytes, more than %d", len(data), max)
	case !utf8.Valid(data):
		return errors.New("JSON is not UTF-8")
	case !json.Valid(data):
		return errors.New("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the JSON value")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxNesting {
		return fmt.Errorf("JSON nested more than %d deep", maxNesting)
	}
	names := map[string]bool{}
	for dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if names[name] {
				return fmt.Errorf("JSON has the name %.80q twice", name)
			}
			names[name] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

// members returns what an object of checked JSON has, by the exact names:
// encoding/json would take "Digest" for "digest".
func members(data []byte) (map[string]json.RawMessage, error) {
	var found map[string]json.RawMessage
	if err := json.Unmarshal(data, &found); err != nil || found == nil {
		return nil, errors.New("not a JSON object")
	}
	return found, nil
}

// text returns the string named name. A value that is null counts as absent:
// upstream writes absent members so.
func text(from map[string]json.RawMessage, name string) (s string, ok bool, err error) {
	raw, ok := from[name]
	if !ok || string(raw) == "null" {
		return "", false, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", false, fmt.Errorf("%s is not a string", name)
	}
	return s, true, nil
}

// appendString writes s as upstream does: of HTML nothing is escaped.
func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}
