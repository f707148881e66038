// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into the README")

const (
	readme     = "../../../README.md"
	tableStart = "<!-- drawbridge-authorisation -->\n"
	tableEnd   = "<!-- /drawbridge-authorisation -->\n"
)

// headings are what the README calls the columns of the matrix.
var headings = map[string]string{
	"open":        "`_config`",
	"search":      "`_search`, `_repos`, `_whoami`",
	"read-user":   "read user",
	"create-user": "create user",
	"config":      "read repository, `_policy`",
	"create-repo": "create repository",
	"list":        "`_tag`, `_info`, read `yank`",
	"content":     "read tag, tree",
	"deployment":  "read `deployment`",
	"digest":      "read `_digest`",
	"publish":     "put tag, tree, `_node`, `_nodes`, `_upload`",
	"yank":        "yank, un-yank",
	"manage":      "put `_policy`, `_token`",
}

var words = map[byte]string{'+': "yes", '-': "401", 'x': "403", '0': "404", '4': "400", '!': "–"}

// markdown is the matrix for people: rows, and columns, that are the same are
// one.
func markdown(names, order []string, rows map[string][]string) string {
	type group struct {
		names []string
		cells []string
	}
	merge := func(all []group) []group {
		var merged []group
		for _, g := range all {
			i := slices.IndexFunc(merged, func(m group) bool { return slices.Equal(m.cells, g.cells) })
			if i < 0 {
				merged = append(merged, g)
			} else {
				merged[i].names = append(merged[i].names, g.names...)
			}
		}
		return merged
	}
	var byColumn []group
	for i, name := range names {
		g := group{names: []string{headings[name]}}
		for _, row := range order {
			g.cells = append(g.cells, rows[row][i])
		}
		byColumn = append(byColumn, g)
	}
	byColumn = merge(byColumn)
	var byRow []group
	for i, row := range order {
		g := group{names: []string{row}}
		for _, column := range byColumn {
			g.cells = append(g.cells, column.cells[i])
		}
		byRow = append(byRow, g)
	}
	var b strings.Builder
	b.WriteString("| public / private / missing |")
	for _, column := range byColumn {
		b.WriteString(" " + strings.Join(column.names, "; ") + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(byColumn)) + "\n")
	for _, row := range merge(byRow) {
		b.WriteString("| " + strings.Join(row.names, "; ") + " |")
		for _, cell := range row.cells {
			text := words[cell[0]]
			if cell != strings.Repeat(cell[:1], 3) {
				text += " / " + words[cell[1]] + " / " + words[cell[2]]
			}
			b.WriteString(" " + text + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestAuthorisationTable holds the README to the matrix. -update writes it.
func TestAuthorisationTable(t *testing.T) {
	names, order, rows := readMatrix(t, "testdata/matrix.txt")
	for _, name := range names {
		if headings[name] == "" {
			t.Errorf("column %s has no heading", name)
		}
	}
	table := markdown(names, order, rows)
	if path := os.Getenv("ENARX_AUTH_TABLE"); path != "" {
		if err := os.WriteFile(path, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(tableStart))
	found, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	switch {
	case !ok || !ok2:
		t.Fatal("the README has no table")
	case string(found) == table:
	case *update:
		text = slices.Concat(before, []byte(tableStart), []byte(table), []byte(tableEnd), after)
		if err := os.WriteFile(readme, text, 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the README's table is not testdata/matrix.txt: go test ./internal/drawbridged/auth -run AuthorisationTable -update")
	}
}
