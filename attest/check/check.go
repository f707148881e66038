// SPDX-License-Identifier: Apache-2.0

// Package check holds the result of an appraisal as a tree of named checks.
// Every rule that evidence is held to is one [Check], with a code that stays
// the same from release to release, what was expected, what was found, who
// says so, and the least change that would make it pass. Nothing in a tree is
// secret: it is made of evidence, public collateral and policy, and may be
// returned to whoever sent the evidence.
package check

import (
	"encoding/hex"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Status is the outcome of one check.
type Status uint8

// The outcomes. The zero value is a failure: a check that nobody decided
// refuses.
const (
	Failed  Status = iota
	Passed         // what was found is what was expected
	Noted          // worth knowing; decides nothing
	Skipped        // not looked at, for the reason in Found
)

var statusNames = [...]string{Failed: "failed", Passed: "passed", Noted: "noted", Skipped: "skipped"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "status(" + strconv.Itoa(int(s)) + ")"
}

// MarshalText gives the outcome its name in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Status) UnmarshalText(text []byte) error {
	for i, name := range statusNames {
		if name == string(text) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("check: unknown status %q", text)
}

// Value is a value in a check, made readable only when somebody reads it.
type Value interface{ String() string }

// The usual values.
type (
	Text  string    // words
	Hex   []byte    // bytes, printed as lower-case hexadecimal
	Uint  uint64    // a number
	Flags uint64    // a bit field, printed in hexadecimal
	Time  time.Time // an instant, printed in UTC
	List  []string  // alternatives or members
)

func (v Text) String() string  { return string(v) }
func (v Hex) String() string   { return hex.EncodeToString(v) }
func (v Uint) String() string  { return strconv.FormatUint(uint64(v), 10) }
func (v Flags) String() string { return "0x" + strconv.FormatUint(uint64(v), 16) }
func (v Time) String() string  { return time.Time(v).UTC().Format(time.RFC3339) }
func (v List) String() string {
	if len(v) == 0 {
		return "none"
	}
	return strings.Join(v, ", ")
}

// Func is a value that is worked out when it is read.
type Func func() string

func (v Func) String() string { return v() }

// A Check is one rule, applied once.
type Check struct {
	Code     string // stable name, like "snp.policy.debug": lower-case, dots between parts
	What     string // the rule as a statement that holds when the check passes
	Status   Status
	Expected Value  // nil when What says it all
	Found    Value  // nil when there was nothing to find
	Source   string // who expects it: a vendor's document and table, a policy file's line, a specification's section
	Fix      string // the least change that would make it pass; empty when there is none
}

// A Group is checks about one thing, and groups about its parts.
type Group struct {
	Title  string
	Checks []Check
	Groups []*Group
}

// New returns an empty group.
func New(title string) *Group { return &Group{Title: title} }

// Sub adds an empty group to g and returns it.
func (g *Group) Sub(title string) *Group {
	sub := &Group{Title: title, Checks: make([]Check, 0, 8)}
	g.Groups = append(g.Groups, sub)
	return sub
}

// Require records c as passed or failed, and returns ok.
func (g *Group) Require(ok bool, c Check) bool {
	c.Status = Failed
	if ok {
		c.Status = Passed
	}
	g.Checks = append(g.Checks, c)
	return ok
}

// Fail records c as failed, and returns false.
func (g *Group) Fail(c Check) bool { return g.Require(false, c) }

// Note records c as something worth knowing.
func (g *Group) Note(c Check) { c.Status = Noted; g.Checks = append(g.Checks, c) }

// Skip records that c was not looked at, because of why.
func (g *Group) Skip(c Check, why string) {
	c.Status, c.Found = Skipped, Text(why)
	g.Checks = append(g.Checks, c)
}

// OK reports whether the tree holds at least one check that passed and none
// that failed. An empty tree has shown nothing and is not OK.
func (g *Group) OK() bool {
	passed := false
	for c := range g.All() {
		switch c.Status {
		case Passed:
			passed = true
		case Noted, Skipped:
		default:
			return false
		}
	}
	return passed
}

// All goes through the checks of the tree in the order they are printed.
func (g *Group) All() iter.Seq[*Check] {
	return func(yield func(*Check) bool) { g.walk(yield) }
}

func (g *Group) walk(yield func(*Check) bool) bool {
	if g == nil {
		return true
	}
	for i := range g.Checks {
		if !yield(&g.Checks[i]) {
			return false
		}
	}
	for _, sub := range g.Groups {
		if !sub.walk(yield) {
			return false
		}
	}
	return true
}

// Failures returns the checks that failed, in order.
func (g *Group) Failures() []*Check {
	var failed []*Check
	for c := range g.All() {
		if c.Status == Failed {
			failed = append(failed, c)
		}
	}
	return failed
}

// Find returns the first check with that code, or nil.
func (g *Group) Find(code string) *Check {
	for c := range g.All() {
		if c.Code == code {
			return c
		}
	}
	return nil
}

// String is one line: the code, the statement, and what was found instead.
func (c *Check) String() string {
	s := c.Code + ": " + c.What
	if c.Expected != nil {
		s += ": expected " + c.Expected.String()
	}
	if c.Found != nil {
		if c.Expected != nil {
			s += ", found " + c.Found.String()
		} else {
			s += ": found " + c.Found.String()
		}
	}
	return s
}
