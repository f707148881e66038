// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// table is printed aligned on a terminal and as Markdown in a document.
type table struct {
	title string
	intro string
	head  []string
	words int // how many columns are text, from the left; 0 is one
	rows  [][]string
	notes []string // numbered from 1; a cell refers to one by [n]
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// absent is the cell of a result that is missing; the note says why.
func (t *table) absent(who, why string) string {
	note := who + ": " + why
	at := slices.Index(t.notes, note)
	if at < 0 {
		at = len(t.notes)
		t.notes = append(t.notes, note)
	}
	return fmt.Sprintf("- [%d]", at+1)
}

func (t *table) widths() []int {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// isText tells a column of text, aligned to the left, from one of numbers.
func (t *table) isText(column int) bool { return column < max(t.words, 1) }

func (t *table) pad(column, width int, cell string) string {
	space := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
	if t.isText(column) {
		return cell + space
	}
	return space + cell
}

func (t *table) text(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n%s\n", t.title, strings.Repeat("=", utf8.RuneCountInString(t.title)))
	if t.intro != "" {
		fmt.Fprintln(w, t.intro)
	}
	fmt.Fprintln(w)
	widths := t.widths()
	for _, row := range append([][]string{t.head}, t.rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = t.pad(i, widths[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "  "), " "))
	}
	for i, note := range t.notes {
		fmt.Fprintf(w, "[%d] %s\n", i+1, note)
	}
}

func (t *table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n", t.title)
	if t.intro != "" {
		fmt.Fprintf(w, "%s\n\n", t.intro)
	}
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---:"
		if t.isText(i) {
			rule[i] = "---"
		}
	}
	for _, row := range append([][]string{t.head, rule}, t.rows...) {
		fmt.Fprintf(w, "| %s |\n", strings.ReplaceAll(strings.Join(row, " | "), "[", "\\["))
	}
	for i, note := range t.notes {
		fmt.Fprintf(w, "\n\\[%d] %s\n", i+1, note)
	}
}
