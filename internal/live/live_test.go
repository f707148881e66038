// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errBad = errors.New("bad")

// follow returns a value of the file's text, which must not be "bad".
func follow(t *testing.T, path string) *Value[string] {
	t.Helper()
	v, err := New("file", func() (string, error) {
		text, err := os.ReadFile(path)
		if err == nil && string(text) == "bad" {
			err = errBad
		}
		return string(text), err
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestRefresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "one")
	v := follow(t, path)
	step := func(what string, wantChanged bool, wantErr error, want string) {
		t.Helper()
		if changed, err := v.Refresh(); changed || err != nil {
			t.Errorf("%s: taken at first sight: %v, %v", what, changed, err)
		}
		changed, err := v.Refresh()
		if changed != wantChanged || !errors.Is(err, wantErr) || v.Get() != want {
			t.Errorf("%s: %v, %v, %q", what, changed, err, v.Get())
		}
	}
	step("nothing happened", false, nil, "one")
	put(t, path, "two")
	step("another file", true, nil, "two")
	put(t, path, "bad")
	step("a bad file", true, errBad, "two")
	step("still the bad file", false, nil, "two")
	if err := v.Reload(); !errors.Is(err, errBad) || v.Get() != "two" {
		t.Errorf("Reload: %v, %q", err, v.Get())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	step("no file", true, os.ErrNotExist, "two")
	put(t, path, "three")
	step("a file again", true, nil, "three")
}

// TestHalfWritten: a file that is being written is not read. Its first half, or
// nothing at all, might be good.
func TestHalfWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "one")
	v := follow(t, path)
	for _, text := range []string{"", "t", "tw", "two"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil { // empties it first
			t.Fatal(err)
		}
		if changed, err := v.Refresh(); changed || err != nil || v.Get() != "one" {
			t.Errorf("%q was taken: %v, %v, %q", text, changed, err, v.Get())
		}
	}
	if changed, err := v.Refresh(); !changed || err != nil || v.Get() != "two" {
		t.Errorf("%v, %v, %q", changed, err, v.Get())
	}
}

func TestFolderAndLinks(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), "x")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "a"), link); err != nil {
		t.Fatal(err)
	}
	before := fingerprint([]string{dir, link})
	if fingerprint([]string{dir, link}) != before {
		t.Error("a fingerprint is not stable")
	}
	put(t, filepath.Join(dir, "b"), "y")
	second := fingerprint([]string{dir})
	if second == before {
		t.Error("a new file in a folder was not seen")
	}
	viaLink := fingerprint([]string{link})
	put(t, filepath.Join(dir, "a"), "z")
	if fingerprint([]string{link}) == viaLink {
		t.Error("a change behind a link was not seen")
	}
}

func TestNew(t *testing.T) {
	if _, err := New("x", func() (int, error) { return 0, errBad }); !errors.Is(err, errBad) {
		t.Errorf("%v", err)
	}
	v := Fixed(7)
	if err := v.Reload(); err != nil || v.Get() != 7 {
		t.Errorf("%v, %d", err, v.Get())
	}
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "one")
	v := follow(t, path)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hup := make(chan os.Signal)
		type report struct {
			name string
			err  error
		}
		reports := make(chan report, 4)
		var wg sync.WaitGroup
		wg.Go(func() {
			Watch(ctx, time.Second, hup, func(name string, err error) { reports <- report{name, err} }, v)
		})
		put(t, path, "two")
		if r := <-reports; r.name != "file" || r.err != nil || v.Get() != "two" {
			t.Errorf("%+v, %q", r, v.Get())
		}
		hup <- os.Interrupt // even though nothing has changed
		if r := <-reports; r.err != nil {
			t.Errorf("%+v", r)
		}
		put(t, path, "bad")
		if r := <-reports; !errors.Is(r.err, errBad) || v.Get() != "two" {
			t.Errorf("%+v, %q", r, v.Get())
		}
		time.Sleep(time.Minute) // of the bubble's clock
		cancel()
		wg.Wait()
		if len(reports) != 0 {
			t.Errorf("reported again: %+v", <-reports)
		}
	})
}
