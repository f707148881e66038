// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// encodeUnchecked is Encode without its checks: a hostile host's.
func encodeUnchecked(t *testing.T, d *Document) []byte {
	t.Helper()
	w := wire{d.Version, d.LogLevel, d.Progress, d.Sandbox, &d.Args, d.Env, d.Package, d.Cache, d.Dirs}
	data, err := toml.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzRead holds Read to this: it does not panic, refuses with one of the
// package's errors, and what it accepts is within bounds by Encode's judgement
// and survives it unchanged.
func FuzzRead(f *testing.F) {
	for _, d := range []*Document{full(), {Package: Package{Wasm: 4}}, {Package: Package{Wasm: 4}, Args: []string{}}} {
		data, err := Encode(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("version = 1\npackage.wasm = 0x4\ncache.entry = +5\n[[dirs]]\nfd = 1_0\nguest = \"/\\u0061\"\n"))
	f.Add([]byte("version = 1\nVersion = 2\n[package]\nwasm = 4\n[package.x]\n[[package.y]]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Read(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("error %v", err)
			}
			return
		}
		out, err := Encode(d)
		if errors.Is(err, ErrTooLarge) {
			return // go-toml's spelling may be longer
		}
		if err != nil {
			t.Fatalf("encoding what was read: %v", err)
		}
		back, err := Read(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("reading what was encoded: %v\n%s", err, out)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Fatalf("-read +encoded and read:\n%s", diff)
		}
	})
}
