// SPDX-License-Identifier: Apache-2.0

package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Style says how a tree is printed.
type Style struct {
	Color bool // for a terminal
	Brief bool // only what did not pass
}

var marks = [...]struct{ text, color string }{
	Failed:  {"✗", "31"},
	Passed:  {"✔", "32"},
	Noted:   {"•", "33"},
	Skipped: {"–", "2"},
}

// Write prints the tree for people. Values may come from whoever made the
// evidence, so control characters in them are escaped.
func (g *Group) Write(w io.Writer, style Style) error {
	var out strings.Builder
	g.print(&out, 0, style)
	_, err := io.WriteString(w, out.String())
	return err
}

func (g *Group) print(out *strings.Builder, depth int, style Style) {
	if style.Brief && len(g.Failures()) == 0 {
		return
	}
	indent := strings.Repeat("  ", depth)
	if g.Title != "" {
		fmt.Fprintf(out, "%s%s\n", indent, clean(g.Title))
		indent += "  "
		depth++
	}
	for i := range g.Checks {
		if c := &g.Checks[i]; !style.Brief || c.Status == Failed {
			c.print(out, indent, style)
		}
	}
	for _, sub := range g.Groups {
		sub.print(out, depth, style)
	}
}

func (c *Check) print(out *strings.Builder, indent string, style Style) {
	mark := marks[min(int(c.Status), len(marks)-1)]
	text := mark.text
	if style.Color {
		text = "\x1b[" + mark.color + "m" + text + "\x1b[0m"
	}
	fmt.Fprintf(out, "%s%s %s  [%s]\n", indent, text, clean(c.What), c.Code)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%s    %-9s %s\n", indent, name, clean(value))
		}
	}
	if c.Status == Passed {
		if c.Found != nil {
			line("found", c.Found.String())
		}
		return
	}
	if c.Expected != nil {
		line("expected", c.Expected.String())
	}
	if c.Found != nil {
		line("found", c.Found.String())
	}
	line("source", c.Source)
	line("change", c.Fix)
}

// clean escapes what could drive a terminal.
func clean(s string) string {
	bad := func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// jsonCheck and jsonGroup are the JSON form of a tree. Fields are only ever
// added.
type jsonCheck struct {
	Code     string `json:"code"`
	What     string `json:"what"`
	Status   Status `json:"status"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Source   string `json:"source,omitempty"`
	Fix      string `json:"change,omitempty"`
}

type jsonGroup struct {
	Title  string      `json:"title"`
	Checks []jsonCheck `json:"checks,omitempty"`
	Groups []*Group    `json:"groups,omitempty"`
}

// MarshalJSON gives a check with its values as strings.
func (c Check) MarshalJSON() ([]byte, error) { return json.Marshal(c.json()) }

func (c *Check) json() jsonCheck {
	j := jsonCheck{Code: c.Code, What: c.What, Status: c.Status, Source: c.Source, Fix: c.Fix}
	if c.Expected != nil {
		j.Expected = c.Expected.String()
	}
	if c.Found != nil {
		j.Found = c.Found.String()
	}
	return j
}

// MarshalJSON gives the tree as {title, checks, groups}.
func (g *Group) MarshalJSON() ([]byte, error) {
	j := jsonGroup{Title: g.Title, Groups: g.Groups, Checks: make([]jsonCheck, 0, len(g.Checks))}
	for i := range g.Checks {
		j.Checks = append(j.Checks, g.Checks[i].json())
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes; values come back as [Text].
func (g *Group) UnmarshalJSON(data []byte) error {
	var j jsonGroup
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*g = Group{Title: j.Title, Groups: j.Groups}
	for _, c := range j.Checks {
		check := Check{Code: c.Code, What: c.What, Status: c.Status, Source: c.Source, Fix: c.Fix}
		if c.Expected != "" {
			check.Expected = Text(c.Expected)
		}
		if c.Found != "" {
			check.Found = Text(c.Found)
		}
		g.Checks = append(g.Checks, check)
	}
	return nil
}
