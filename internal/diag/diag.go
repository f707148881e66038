// SPDX-License-Identifier: Apache-2.0

// Package diag is how every enarx program says what went wrong: one line
// "enarx: error: …", then, when the next step is known, "enarx: hint: …".
// No capitalised initials and no full stop at the end.
package diag

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// hinted is an error that knows what its reader can do about it.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint attaches the next step to err, formatted like fmt.Sprintf. The
// innermost hint is the one printed: it is the closest to the cause. An empty
// hint is none.
func Hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// HintOf returns the innermost hint in err's chain, or "".
func HintOf(err error) string {
	hint := ""
	for err != nil {
		h, ok := errors.AsType[*hinted](err)
		if !ok {
			break
		}
		if h.hint != "" {
			hint = h.hint
		}
		err = h.error
	}
	return hint
}

// Print writes err and its hint to w in the house format. Text that came from
// a file, a peer or a guest may hold control bytes; they are escaped so that
// an error message cannot drive the reader's terminal.
func Print(w io.Writer, err error) {
	fmt.Fprintf(w, "enarx: error: %s\n", Clean(err.Error()))
	if hint := HintOf(err); hint != "" {
		fmt.Fprintf(w, "enarx: hint: %s\n", Clean(hint))
	}
}

// Warnf writes one warning line to w.
func Warnf(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "enarx: warning: %s\n", Clean(fmt.Sprintf(format, args...)))
}

// Clean returns s with every control character but newline and tab escaped.
func Clean(s string) string {
	bad := func(r rune) bool { return (r < 0x20 && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
