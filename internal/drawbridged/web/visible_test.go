// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain <b>\n\ttext", "plain <b>\n\ttext"},
		{"Grüße, 世界 👋 “–”", "Grüße, 世界 👋 “–”"},
		{"a\x00b\x1b[31mc\x7f\r", "a⟨U+0000⟩b⟨U+001B⟩[31mc⟨U+007F⟩⟨U+000D⟩"},
		{"inn\u202egpj.exe", "inn⟨U+202E⟩gpj.exe"},
		{"a\u2066b\u2069\u061c\u200f", "a⟨U+2066⟩b⟨U+2069⟩⟨U+061C⟩⟨U+200F⟩"},
		{"zero\u200bwidth\u200d\ufeff\u00ad", "zero⟨U+200B⟩width⟨U+200D⟩⟨U+FEFF⟩⟨U+00AD⟩"},
		{"line\u2028par\u2029", "line⟨U+2028⟩par⟨U+2029⟩"},
		{"tag\U000e0041\U000e007f vs\ufe0f", "tag⟨U+E0041⟩⟨U+E007F⟩ vs⟨U+FE0F⟩"},
		{"filler\u3164\u115f\u2800", "filler⟨U+3164⟩⟨U+115F⟩⟨U+2800⟩"},
		{"c1\u0085\u009b private\ue000", "c1⟨U+0085⟩⟨U+009B⟩ private⟨U+E000⟩"},
		{"bad\xff\xc3", "bad⟨0xFF⟩⟨0xC3⟩"},
	}
	for _, tt := range tests {
		if got := string(visible([]byte(tt.in))); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"", "a", "\u202e", "\xff", "⟨U+202E⟩", "\U000e0041x\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := visible(bytes.Clone(in))
		if !utf8.Valid(out) {
			t.Fatalf("%q is no UTF-8", out)
		}
		if i := strings.IndexFunc(string(out), hidden); i >= 0 {
			t.Fatalf("%q at %d", out, i)
		}
		if again := visible(bytes.Clone(out)); !bytes.Equal(again, out) {
			t.Fatalf("%q became %q", out, again)
		}
	})
}
