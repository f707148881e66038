// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"testing"
)

func TestCheckModule(t *testing.T) {
	const header = "\x00asm\x01\x00\x00\x00"
	for head, want := range map[string]error{
		header:                             nil,
		header + "anything":                nil,
		"":                                 ErrEmptyModule,
		header[:1]:                         ErrTruncatedModule,
		header[:7]:                         ErrTruncatedModule,
		"\x00asm\x02\x00\x00\x00":          ErrNotModule,
		"\x00asm\x0d\x00\x01\x00":          ErrComponent,
		" \n(module)":                      ErrTextModule,
		";; a comment\n(module)":           ErrTextModule,
		"(; another ;) (module)":           ErrTextModule,
		"\x7fELF\x02\x01\x01\x00":          ErrNotModule,
		"\x1f\x8b\x08\x00\x00\x00\x00\x00": ErrNotModule,
		"x":                                ErrNotModule,
	} {
		got := CheckModule([]byte(head))
		if !errors.Is(got, want) || (want == nil) != (got == nil) {
			t.Errorf("%q: got %v, want %v", head, got, want)
		}
		if (ModuleHint(got) == "") != (want == nil) {
			t.Errorf("%q: hint %q for %v", head, ModuleHint(got), got)
		}
	}
}
