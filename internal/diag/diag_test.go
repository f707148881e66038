// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestPrint(t *testing.T) {
	cause := errors.New("no such file")
	hinted := Hint(cause, "look in %s", "/tmp")
	for want, err := range map[string]error{
		"enarx: error: no such file\n":                                     cause,
		"enarx: error: no such file\nenarx: hint: look in /tmp\n":          hinted,
		"enarx: error: opening: no such file\nenarx: hint: look in /tmp\n": Hint(fmt.Errorf("opening: %w", hinted), "or not"),
		"enarx: error: x: no such file\nenarx: hint: outer\n":              Hint(fmt.Errorf("x: %w", Hint(cause, "")), "outer"),
		"enarx: error: a \\x1b[31mred\\x07 b\\x9b\n":                       errors.New("a \x1b[31mred\a b\u009b"),
		"enarx: error: two\nlines\tand é\n":                                errors.New("two\nlines\tand é"),
	} {
		var out strings.Builder
		Print(&out, err)
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	}
	if !errors.Is(hinted, cause) {
		t.Error("a hint hides its error")
	}
}

func TestWarnf(t *testing.T) {
	var out strings.Builder
	Warnf(&out, "%d\x1b left", 2)
	if want := "enarx: warning: 2\\x1b left\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
