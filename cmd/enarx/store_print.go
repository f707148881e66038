// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// writeJSON prints a value, indented as upstream does.
func writeJSON(w io.Writer, value any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text.Bytes(), "", "  "); err != nil {
		return err
	}
	_, err := io.WriteString(w, tameJSON(out.String()))
	return err
}

// tameJSON escapes what could drive a terminal or change the order of what is
// read. It can only be inside strings, where an escape says the same.
func tameJSON(s string) string {
	wild := func(r rune) bool {
		return r >= 0x7f && r <= 0xffff && !unicode.IsPrint(r)
	}
	if strings.IndexFunc(s, wild) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if wild(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// table prints rows in columns, the first row as it is in capitals. What is in
// the cells came from a store.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		for j, cell := range row {
			if i > 0 {
				cell = oneLine(cell)
			}
			if j > 0 {
				cell = "\t" + cell
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// onTerminal reports whether somebody reads along.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}

// day is a date for people.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func yesNo(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// plural is like "1 file" or "2 files".
func plural(n int, what string) string {
	return fmt.Sprintf("%d %s%s", n, what, yesNo(n == 1, "", "s"))
}
