// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full is a document with something everywhere.
func full() *Document {
	return &Document{
		Version:  Version,
		LogLevel: "debug",
		Package:  Package{Wasm: 4, Conf: 5, Tree: 6, Name: "main.wasm"},
		Args:     []string{"", "a b", "é\n\"'", "\x01"},
		Env:      []string{"A=", "B=x=y", "A=twice"},
		Dirs:     []Dir{{FD: 7, Guest: "/"}, {FD: 1023, Guest: "/a b/c"}},
		Cache:    Cache{Entry: 8, Store: 9},
		Progress: true,
		Sandbox:  []string{"seccomp", "landlock"},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, d := range map[string]*Document{
		"least":   {Version: Version, Package: Package{Wasm: 4}},
		"full":    full(),
		"no args": {Version: Version, Package: Package{Wasm: 4}, Args: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(iotest.OneByteReader(bytes.NewReader(data)))
			if err != nil {
				t.Fatalf("%v in\n%s", err, data)
			}
			if diff := cmp.Diff(d, got); diff != "" {
				t.Errorf("-want +got:\n%s\nin\n%s", diff, data)
			}
		})
	}
}

func TestEncodeFillsVersion(t *testing.T) {
	d := &Document{Package: Package{Wasm: 4}}
	data, err := Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(data))
	if err != nil || got.Version != Version || d.Version != 0 {
		t.Errorf("got %+v and %v from %+v", got, err, d)
	}
}

// What Encode refuses, Read would refuse; each case here is shown to both by
// breaking the full document.
func TestValidate(t *testing.T) {
	manyDirs := func(d *Document) {
		d.Dirs = nil
		for i := range maxDirs + 1 {
			d.Dirs = append(d.Dirs, Dir{FD: 100 + i, Guest: fmt.Sprintf("/%d", i)})
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(*Document)
		want  error
		text  string
	}{
		{"version", func(d *Document) { d.Version = 2 }, ErrVersion, "unknown version 2, want 1"},
		{"level", func(d *Document) { d.LogLevel = "Info" }, ErrInvalid, `unknown log level "Info"`},
		{"no module", func(d *Document) { d.Package.Wasm = 0 }, ErrInvalid, "package.wasm is 0, not a descriptor from 4 to 1023"},
		{"standard descriptor", func(d *Document) { d.Package.Conf = 2 }, ErrInvalid, "package.conf is 2"},
		{"own descriptor", func(d *Document) { d.Package.Tree = FD }, ErrInvalid, "package.tree is 3"},
		{"negative descriptor", func(d *Document) { d.Cache.Entry = -1 }, ErrInvalid, "cache.entry is -1"},
		{"high descriptor", func(d *Document) { d.Cache.Store = 1024 }, ErrInvalid, "cache.store is 1024"},
		{"dir without descriptor", func(d *Document) { d.Dirs[1].FD = 0 }, ErrInvalid, "dirs[1].fd is 0"},
		{"same descriptor", func(d *Document) { d.Dirs[0].FD = 5 }, ErrInvalid, "package.conf and dirs[0].fd are both descriptor 5"},
		{"same cache descriptor", func(d *Document) { d.Cache.Store = 8 }, ErrInvalid, "cache.entry and cache.store are both descriptor 8"},
		{"relative path", func(d *Document) { d.Dirs[0].Guest = "a" }, ErrInvalid, `must be absolute: "a"`},
		{"empty path", func(d *Document) { d.Dirs[0].Guest = "" }, ErrInvalid, `must be absolute: ""`},
		{"unclean path", func(d *Document) { d.Dirs[0].Guest = "/a/../b" }, ErrInvalid, `must be written as "/b"`},
		{"same path", func(d *Document) { d.Dirs[0].Guest = d.Dirs[1].Guest }, ErrInvalid, `two dirs with the guest path "/a b/c"`},
		{"NUL in path", func(d *Document) { d.Dirs[0].Guest = "/\x00" }, ErrInvalid, "a guest path contains NUL"},
		{"long path", func(d *Document) { d.Dirs[0].Guest = "/" + strings.Repeat("a", 4095) }, ErrInvalid, "has 4096 bytes"},
		{"many dirs", manyDirs, ErrInvalid, "more than 256 dirs"},
		{"NUL in argument", func(d *Document) { d.Args[1] = "a\x00" }, ErrInvalid, `an argument contains NUL: "a\x00"`},
		{"many arguments", func(d *Document) { d.Args = make([]string, maxStrings+1) }, ErrInvalid, "more than 65536 arguments"},
		{"no equals sign", func(d *Document) { d.Env[0] = "A" }, ErrInvalid, `without '=': "A"`},
		{"no name", func(d *Document) { d.Env[0] = "=A" }, ErrInvalid, "must not be empty"},
		{"NUL in value", func(d *Document) { d.Env[0] = "A=\x00" }, ErrInvalid, "contains NUL"},
		{"many variables", func(d *Document) { d.Env = make([]string, maxStrings+1) }, ErrInvalid, "more than 65536 environment variables"},
		{"control character in name", func(d *Document) { d.Package.Name = "\x1b[2J" }, ErrInvalid, "the package name is"},
		{"long name", func(d *Document) { d.Package.Name = strings.Repeat("x", 256) }, ErrInvalid, "the package name is longer than 255"},
		{"many layers", func(d *Document) { d.Sandbox = make([]string, 17) }, ErrInvalid, "more than 16 layers"},
		{"newline in layer", func(d *Document) { d.Sandbox[0] = "a\n" }, ErrInvalid, "a layer of sandbox is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := full()
			test.spoil(d)
			data, err := Encode(d)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || data != nil {
				t.Errorf("Encode: got %v, want %v: …%s…", err, test.want, test.text)
			}
			_, err = Read(bytes.NewReader(encodeUnchecked(t, d)))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Read: got %v, want %v: …%s…", err, test.want, test.text)
			}
		})
	}
}

func TestReadEmptyLists(t *testing.T) {
	got, err := Read(strings.NewReader("version = 1\nargs = []\nenv = []\ndirs = []\nsandbox = []\n[package]\nwasm = 4\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Document{Version: 1, Package: Package{Wasm: 4}, Args: []string{}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEncodeRefusesInvalidUTF8(t *testing.T) {
	for _, spoil := range []func(*Document){
		func(d *Document) { d.Args[0] = "\xff" },
		func(d *Document) { d.Env[0] = "A=\xff" },
		func(d *Document) { d.Dirs[0].Guest = "/\xff" },
		func(d *Document) { d.Package.Name = "\xff" },
		func(d *Document) { d.Sandbox[0] = "\xff" },
	} {
		d := full()
		spoil(d)
		if data, err := Encode(d); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %q and %v", data, err)
		}
	}
}

func TestReadForm(t *testing.T) {
	const least = "version = 1\n[package]\nwasm = 4\n"
	for _, test := range []struct {
		in   string
		want error
		text string
	}{
		{"", ErrVersion, "unknown version 0"},
		{"version = 2\nnovelty = 1\n", ErrVersion, "unknown version 2"},
		{"version = '1'", ErrInvalid, ""},
		{"version = 1", ErrInvalid, "package.wasm is 0"},
		{"extra = 1\n" + least, ErrInvalid, `unknown key "extra"`},
		{least + "extra = 1\n", ErrInvalid, `unknown key "package.extra"`},
		{least + "[extra]\n", ErrInvalid, `unknown key "extra"`},
		{"VERSION = 2\n" + least, ErrInvalid, `unknown key "VERSION"`},
		{least + "Wasm = 5\n", ErrInvalid, `unknown key "Wasm"`},
		{least + "[a.b.c]\n", ErrInvalid, `unknown key "c"`},
		{least + "wasm = 5\n", ErrInvalid, "already defined"},
		{"version = 1\npackage = {wasm = 4}", ErrInvalid, "inline table"},
		{"version = 1\ndirs = [{fd = 5, guest = '/'}]\n[package]\nwasm = 4", ErrInvalid, "other than strings"},
		{"args = [['a']]\n" + least, ErrInvalid, "other than strings"},
		{"args = [1]\n" + least, ErrInvalid, "other than strings"},
		{"args = 'a'\n" + least, ErrInvalid, ""},
		{"version = 1\n[package]\nwasm = '4'\n", ErrInvalid, ""},
		{"version = 1\n[package]\nwasm = 18446744073709551620\n", ErrInvalid, ""},
		{"version = 1\n[package\n", ErrInvalid, ""},
		{"# \xff\n" + least, ErrInvalid, "UTF-8"},
		{strings.Repeat("[[dirs]]\n", maxExpressions+1), ErrInvalid, "more than 1024 lines"},
		{least + strings.Repeat("#", MaxSize), ErrTooLarge, ""},
	} {
		d, err := Read(strings.NewReader(test.in))
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || d != nil {
			t.Errorf("%.100q: got %v, want %v: …%s…", test.in, err, test.want, test.text)
		}
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Read(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	// A host that never stops writing must not be listened to for ever.
	if _, err := Read(endless{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("endless: got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("#"), len(p))), nil }

func TestSizeLimit(t *testing.T) {
	d := full()
	d.Args = []string{strings.Repeat("x", MaxSize)}
	if _, err := Encode(d); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Encode: got %v", err)
	}
	data, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	exact := io.MultiReader(bytes.NewReader(data), strings.NewReader(strings.Repeat("#", MaxSize-len(data))))
	if _, err := Read(exact); err != nil {
		t.Errorf("exactly MaxSize bytes: %v", err)
	}
}

func TestReadLargeIsQuick(t *testing.T) {
	var b strings.Builder
	b.WriteString("version = 1\nx = {")
	for i := 0; b.Len() < MaxSize-50; i++ {
		fmt.Fprintf(&b, "k%d=1,", i)
	}
	b.WriteString("}\n")
	start := time.Now()
	if _, err := Read(strings.NewReader(b.String())); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
