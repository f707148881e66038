// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"enarx.dev/enarx/internal/diag"
)

// program is a command line like our daemons'.
func program() *cobra.Command {
	root := &cobra.Command{Use: "daemon", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
	f := root.Flags()
	f.String("store", "", "")
	f.String("addr", "", "")
	f.Int("rate", 0, "")
	f.Bool("strict", false, "")
	f.StringArray("ca", nil, "")
	Once(f)
	check := &cobra.Command{Use: "check", Annotations: map[string]string{TakesArgFile: "yes"}, RunE: func(*cobra.Command, []string) error { return nil }}
	check.Flags().String("store", "", "")
	show := &cobra.Command{Use: "show FILE", RunE: func(*cobra.Command, []string) error { return nil }}
	root.AddCommand(check, show)
	return root
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", "store = \"/s\"\nrate = 3\nstrict = true\nca = [\"a\", \"b\"]\n")
	long := write("long.toml", strings.Repeat("#", maxArgFile+1))
	for _, test := range []struct {
		args string
		want string // or what the error says
		bad  bool
	}{
		{"@" + good + " --addr x", "--ca=a --ca=b --rate=3 --store=/s --strict --addr x", false},
		{"check @" + good, "check --store=/s", false},
		{"show @" + good, "show @" + good, false},
		{"@" + write("off.toml", "strict = false\n"), "", false},
		{"@" + filepath.Join(dir, "none"), "no such file", true},
		{"@" + long, "more than", true},
		{"@" + write("unknown.toml", "storre = 1\n"), "unknown.toml: unknown key \"storre\"", true},
		{"@" + write("syntax.toml", "store = [\n"), "line ", true},
		{"@" + write("date.toml", "store = 1979-05-27\n"), "key \"store\": a string, number", true},
		{"@" + write("true.toml", "store = true\n"), "key \"store\": a value is wanted", true},
	} {
		args := strings.Fields(test.args)
		err := Expand(program(), &args)
		switch {
		case test.bad && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		case !test.bad && (err != nil || strings.Join(args, " ") != test.want):
			t.Errorf("%s: %q, %v, want %s", test.args, args, err, test.want)
		}
	}
}

// FuzzArgFile: whatever is in a file of flags, it is an error or flags that are
// known, each one argument.
func FuzzArgFile(f *testing.F) {
	f.Add([]byte("store = \"a\"\nrate = 3000\nstrict = true\nca = [\"a\", \"b\"]\naddr = 1.5\n"))
	f.Add([]byte("[store]\na = 1\n"))
	f.Add([]byte("store = ["))
	f.Add([]byte("ca = [[1]]"))
	f.Add([]byte("addr = 1979-05-27T07:32:00Z"))
	f.Fuzz(func(t *testing.T, text []byte) {
		root := program()
		got, err := parseArgFile(text, root)
		if err != nil {
			return
		}
		for _, arg := range got {
			name, _, value := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			flag := root.Flags().Lookup(name)
			if !strings.HasPrefix(arg, "--") || flag == nil || !value && flag.NoOptDefVal == "" {
				t.Errorf("%q", arg)
			}
		}
	})
}

func TestFlags(t *testing.T) {
	f := program().Flags()
	if err := f.Parse([]string{"--ca", "a", "--ca", "b", "--strict", "--rate", "1"}); err != nil {
		t.Error(err)
	}
	if err := f.Parse([]string{"--rate", "2"}); err == nil || !strings.Contains(err.Error(), "more than once") {
		t.Errorf("a second value: %v", err)
	}
	t.Setenv("DAEMON_ADDR", "x")
	t.Setenv("DAEMON_RATE", "7")
	if err := FromEnvironment(f, map[string]string{"addr": "DAEMON_ADDR", "rate": "DAEMON_RATE"}); err != nil {
		t.Error(err)
	}
	if addr, rate := f.Lookup("addr").Value.String(), f.Lookup("rate").Value.String(); addr != "x" || rate != "1" {
		t.Errorf("addr %q, rate %q", addr, rate)
	}
	if err := FromEnvironment(program().Flags(), map[string]string{"rate": "DAEMON_ADDR"}); err == nil || !strings.Contains(err.Error(), `DAEMON_ADDR="x"`) {
		t.Errorf("a bad variable: %v", err)
	}
	root := program()
	root.SetArgs([]string{"chekc"})
	root.SilenceErrors, root.SilenceUsage, root.SuggestionsMinimumDistance = true, true, 2
	if err := root.Execute(); err == nil || !strings.Contains(diag.HintOf(err), "daemon check") {
		t.Errorf("%v, hint %q", err, diag.HintOf(err))
	}
}

func TestProxies(t *testing.T) {
	networks, unix, err := Proxies([]string{"10.1.2.3/8", "::1", "unix"})
	var got []string
	for _, n := range networks {
		got = append(got, n.String())
	}
	if err != nil || !unix || !slices.Equal(got, []string{"10.0.0.0/8", "::1/128"}) {
		t.Errorf("%v, %v, %v", got, unix, err)
	}
	if _, unix, err := Proxies(nil); unix || err != nil {
		t.Errorf("none: %v, %v", unix, err)
	}
	for _, bad := range []string{"", "localhost", "10.0.0.0/33"} {
		if _, _, err := Proxies([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRustLevel(t *testing.T) {
	for filter, want := range map[string]string{
		"": "", "info": "info", "DEBUG": "debug", "warn,steward=trace": "trace", "steward=error,debug": "error",
		"hyper=trace": "", "nonsense": "", "info,hyper=off": "info",
	} {
		if got := rustLevel(filter, "steward"); got != want {
			t.Errorf("%q: %q, want %q", filter, got, want)
		}
	}
}

func TestLogger(t *testing.T) {
	t.Setenv("RUST_LOG", "")
	for _, test := range []struct {
		l    Logging
		want string // in what an error of "x" is, "" if nothing is written
		bad  bool
	}{
		{Logging{}, "level=ERROR msg=x", false},
		{Logging{Format: "json"}, `"msg":"x"`, false},
		{Logging{Level: "off"}, "", false},
		{Logging{Level: "loud"}, "", true},
		{Logging{Format: "xml"}, "", true},
	} {
		var b strings.Builder
		log, err := test.l.Logger(&b, "daemon")
		if (err != nil) != test.bad {
			t.Errorf("%+v: %v", test.l, err)
		}
		if err != nil {
			continue
		}
		log.Error("x")
		log.Debug("y")
		if text := b.String(); !strings.Contains(text, test.want) || test.want == "" && text != "" || strings.Contains(text, "y") {
			t.Errorf("%+v: %q", test.l, text)
		}
	}
}
