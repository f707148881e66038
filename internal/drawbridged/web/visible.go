// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// visible returns a page with every character replaced that readers would not
// see, or that changes the order of those they see: "⟨U+202E⟩" stands for it.
// It works on the finished page, so that no template can forget it; our own
// text has no such characters.
func visible(page []byte) []byte {
	plain := true
	for _, b := range page {
		if b < ' ' && b != '\n' && b != '\t' || b >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return page
	}
	out := make([]byte, 0, len(page)+64)
	for len(page) > 0 {
		r, n := utf8.DecodeRune(page)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, "⟨0x%02X⟩", page[0])
		case hidden(r):
			out = fmt.Appendf(out, "⟨U+%04X⟩", r)
		default:
			out = append(out, page[:n]...)
		}
		page = page[n:]
	}
	return out
}

// hidden reports whether r is a control or format character, a separator of
// lines that is not newline, or one of those letters and marks that are blank
// by design. White space that merely looks like a space is not hidden.
func hidden(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs):
		return true
	case unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return true
	}
	return r == 0x2800 // the empty braille pattern
}
