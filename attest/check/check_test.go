// SPDX-License-Identifier: Apache-2.0

package check

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree has one check of each outcome.
func tree() *Group {
	g := New("report")
	g.Require(true, Check{Code: "t.version", What: "the version is known", Expected: List{"2", "3"}, Found: Uint(3), Source: "AMD 56860"})
	sub := g.Sub("policy")
	sub.Require(false, Check{Code: "t.debug", What: "debugging is off", Expected: Flags(0), Found: Flags(0x80000), Source: "built in", Fix: "start it without debugging"})
	sub.Note(Check{Code: "t.note", What: "the guest may be swapped", Found: Hex{0xab, 0}})
	sub.Skip(Check{Code: "t.skip", What: "the rest"}, "of no use now")
	return g
}

func TestOK(t *testing.T) {
	none := New("nothing")
	noted := New("noted")
	noted.Note(Check{Code: "n"})
	good := New("good")
	good.Sub("part").Require(true, Check{Code: "g"})
	undecided := New("undecided")
	undecided.Require(true, Check{Code: "g"})
	undecided.Checks = append(undecided.Checks, Check{Code: "forgotten"})
	for _, c := range []struct {
		g    *Group
		want bool
	}{{nil, false}, {none, false}, {noted, false}, {good, true}, {tree(), false}, {undecided, false}} {
		if got := c.g.OK(); got != c.want {
			t.Errorf("%+v: OK = %t, want %t", c.g, got, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	g := tree()
	if c := g.Find("t.debug"); c == nil || c.Status != Failed {
		t.Errorf("found %v", c)
	}
	if c := g.Find("t.none"); c != nil {
		t.Errorf("found %v", c)
	}
	failures := g.Failures()
	if len(failures) != 1 || failures[0].Code != "t.debug" {
		t.Fatalf("failures %v", failures)
	}
	if got, want := failures[0].String(), "t.debug: debugging is off: expected 0x0, found 0x80000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&Check{Code: "c", What: "so", Found: Text("not")}).String(), "c: so: found not"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrite(t *testing.T) {
	const whole = `report
  ✔ the version is known  [t.version]
      found     3
  policy
    ✗ debugging is off  [t.debug]
        expected  0x0
        found     0x80000
        source    built in
        change    start it without debugging
    • the guest may be swapped  [t.note]
        found     ab00
    – the rest  [t.skip]
        found     of no use now
`
	const brief = `report
  policy
    ✗ debugging is off  [t.debug]
        expected  0x0
        found     0x80000
        source    built in
        change    start it without debugging
`
	for _, c := range []struct {
		style Style
		want  string
	}{{Style{}, whole}, {Style{Brief: true}, brief}} {
		var out strings.Builder
		if err := tree().Write(&out, c.style); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Error(diff)
		}
	}
	var out strings.Builder
	if err := tree().Write(&out, Style{Color: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[31m✗\x1b[0m debugging") {
		t.Error("no colour")
	}
}

// What evidence says is printed; it must not drive the terminal.
func TestWriteEscapes(t *testing.T) {
	g := New("a\x1b[2J")
	g.Require(false, Check{Code: "c", What: "x", Found: Text("\x1b]0;owned\a\u202egnp\nnew line\u009b")})
	var out strings.Builder
	if err := g.Write(&out, Style{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\u202e\u009b") || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("got %q", out.String())
	}
}

func TestJSON(t *testing.T) {
	data, err := json.Marshal(tree())
	if err != nil {
		t.Fatal(err)
	}
	var back *Group
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(data), string(again)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(data), `{"code":"t.debug","what":"debugging is off","status":"failed","expected":"0x0","found":"0x80000","source":"built in","change":"start it without debugging"}`) {
		t.Errorf("got %s", data)
	}
	if back.OK() || len(back.Failures()) != 1 {
		t.Error("the outcome was lost")
	}
	var s Status
	if err := s.UnmarshalText([]byte("perhaps")); err == nil {
		t.Error("an unknown status was read")
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string
	}{
		{Time(time.Unix(0, 0)), "1970-01-01T00:00:00Z"},
		{List{}, "none"},
		{List{"a", "b"}, "a, b"},
		{Func(func() string { return "late" }), "late"},
		{Hex(nil), ""},
		{Uint(7), "7"},
		{Text("t"), "t"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%#v: got %q, want %q", c.v, got, c.want)
		}
	}
}
