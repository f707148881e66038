// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zalando/go-keyring"
)

// withKeyring gives the test a keyring in memory, which the library has for
// this, or one that fails with err, or none.
func withKeyring(t *testing.T, present bool, err error) {
	t.Helper()
	testOnlyKeyring = &present
	if keyring.MockInit(); err != nil {
		keyring.MockInitWithError(err)
	}
	t.Cleanup(func() { testOnlyKeyring = nil })
}

func newFile(t *testing.T, passphrase string) *File {
	t.Helper()
	dir := t.TempDir()
	f, err := NewFile(filepath.Join(dir, "config"), filepath.Join(dir, "state"), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// script writes a helper for /bin/sh.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// contract is what every store does.
func contract(t *testing.T, s Store) {
	t.Helper()
	ctx := t.Context()
	want := func(account, secret string) {
		t.Helper()
		got, err := s.Get(ctx, account)
		if secret == "" && !errors.Is(err, ErrNotFound) || secret != "" && (err != nil || got != secret) {
			t.Errorf("%s: %q, %v, want %q", account, got, err, secret)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	want("a-b", "")
	do(s.Delete(ctx, "a-b"))
	do(s.Set(ctx, "a-b", "one"))
	do(s.Set(ctx, "a-b:8443", "two"))
	want("a-b", "one")
	want("a-b:8443", "two")
	do(s.Set(ctx, "a-b", "three"))
	want("a-b", "three")
	do(s.Delete(ctx, "a-b"))
	want("a-b", "")
	want("a-b:8443", "two")
	for _, bad := range []string{"", " x", "x\n", strings.Repeat("x", maxSecret+1)} {
		if err := s.Set(ctx, "a-b:8443", bad); err == nil {
			t.Errorf("%.10q was taken", bad)
		}
	}
	want("a-b:8443", "two")
}

func TestStores(t *testing.T) {
	t.Run("file", func(t *testing.T) { contract(t, newFile(t, "")) })
	t.Run("passphrase", func(t *testing.T) { // each step of which takes its time
		f := newFile(t, "correct horse")
		if err := f.Set(t.Context(), "a", "one"); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Get(t.Context(), "a"); err != nil || got != "one" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := os.Stat(f.key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a key as well: %v", err)
		}
		f.passphrase = "correct house"
		if _, err := f.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "with another passphrase") {
			t.Errorf("%v", err)
		}
	})
	t.Run("helper", func(t *testing.T) {
		dir := t.TempDir()
		contract(t, &Helper{Program: script(t, `case $1 in
show) [ ! -e '`+dir+`'/"$2" ] || cat '`+dir+`'/"$2"; echo ;;
insert) cat > '`+dir+`'/"$2" ;;
*) exit 9 ;;
esac`), Stderr: os.Stderr})
	})
	t.Run("keyring", func(t *testing.T) {
		withKeyring(t, true, nil)
		l := &local{file: newFile(t, ""), notice: func(s string) { t.Errorf("noticed %q", s) }}
		contract(t, l)
		if _, err := os.Stat(l.file.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a file as well: %v", err)
		}
		if got, err := keyring.Get("enarx", "a-b:8443"); err != nil || got != "two" {
			t.Errorf("upstream would find %q, %v", got, err)
		}
	})
	t.Run("broken keyring", func(t *testing.T) {
		withKeyring(t, true, errors.New("locked"))
		var said []string
		l := &local{file: newFile(t, ""), notice: func(s string) { said = append(said, s) }}
		ctx := t.Context()
		if _, err := l.Get(ctx, "a"); !errors.Is(err, ErrNotFound) || !strings.HasSuffix(err.Error(), ": failed to read credentials from keyring: locked") {
			t.Errorf("%v", err)
		}
		for _, secret := range []string{"one", "two"} {
			if err := l.Set(ctx, "a", secret); err != nil {
				t.Error(err)
			}
			if got, err := l.Get(ctx, "a"); err != nil || got != secret {
				t.Errorf("%q, %v", got, err)
			}
		}
		if len(said) != 1 || !strings.Contains(said[0], "did not take it: locked; it is kept in "+l.file.path+", encrypted, with the key in "+l.file.key) {
			t.Errorf("%q", said)
		}
		if err := l.Delete(ctx, "other"); err == nil || !strings.HasPrefix(err.Error(), "removing credentials from the keyring: locked") {
			t.Errorf("%v", err)
		}
		// The keyring works again: it takes the secret, and the file forgets it.
		keyring.MockInit()
		if err := l.Set(ctx, "a", "three"); err != nil {
			t.Error(err)
		}
		if _, err := l.file.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the file still has it: %v", err)
		}
		if got, err := l.Get(ctx, "a"); err != nil || got != "three" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestOpen(t *testing.T) {
	withKeyring(t, false, nil)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("XDG_STATE_HOME", "relative")
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), Account("auth", "store:1"), "x"); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		".config/enarx": fs.ModeDir | 0o700, ".config/enarx/credentials.age": 0o600,
		".local/state/enarx": fs.ModeDir | 0o700, ".local/state/enarx/credentials.key": 0o600,
	} {
		info, err := os.Stat(filepath.Join(home, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	sealed, err := os.ReadFile(filepath.Join(home, ".config/enarx/credentials.age"))
	if err != nil || !bytes.HasPrefix(sealed, []byte("age-encryption.org/v1\n")) || bytes.Contains(sealed, []byte("store:1")) {
		t.Errorf("%q, %v", sealed, err)
	}
	if h, err := Open(Config{Helper: "x"}); err != nil || h.(*Helper).Program != "x" {
		t.Errorf("%v, %v", h, err)
	}
}

func TestHelperFailures(t *testing.T) {
	for text, want := range map[string]string{
		"exit 3":                        "credential helper failed with exit code 3",
		"kill -9 $$":                    "credential helper was killed",
		`printf '\377'`:                 "credential helper stdout is not valid UTF-8",
		"head -c 70000 /dev/zero":       "credential helper printed over 65536 bytes",
		"[ \"$*\" = 'show a' ] && exit": ErrNotFound.Error(),
		"echo aside >&2; exit 1":        "credential helper failed with exit code 1",
	} {
		var stderr bytes.Buffer
		h := &Helper{Program: script(t, text), Stderr: &stderr}
		if got, err := h.Get(t.Context(), "a"); err == nil || err.Error() != want {
			t.Errorf("%s: %.20q, %v", text, got, err)
		}
		if strings.Contains(text, "aside") && stderr.String() != "aside\n" {
			t.Errorf("stderr: %q", &stderr)
		}
	}
	if _, err := (&Helper{Program: "./no such", Stderr: os.Stderr}).Get(t.Context(), "a"); err == nil ||
		!strings.HasPrefix(err.Error(), "failed to execute credential helper: ") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Helper{Program: script(t, "exit 1"), Stderr: os.Stderr}).Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestHelperProtocol: the arguments, and the secret as it is, without a newline.
func TestHelperProtocol(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	h := &Helper{Program: script(t, `printf '%s|' "$@" >> '`+out+`'; cat >> '`+out+"'"), Stderr: os.Stderr}
	if err := h.Set(t.Context(), "auth.example-store:1", "se cret"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "insert|auth.example-store:1|se cret" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFileFaults(t *testing.T) {
	ctx := t.Context()
	for name, test := range map[string]struct {
		damage func(f *File) error
		want   string
	}{
		"open to others": {func(f *File) error { return os.Chmod(f.path, 0o644) }, "others may read"},
		"key open":       {func(f *File) error { return os.Chmod(f.key, 0o640) }, "others may read"},
		"key gone":       {func(f *File) error { return os.Remove(f.key) }, "no such file"},
		"two keys": {func(f *File) error {
			k, err := os.ReadFile(f.key)
			return errors.Join(err, os.WriteFile(f.key, append(k, k...), 0o600))
		}, "2 keys, want one"},
		"no key": {func(f *File) error { return os.WriteFile(f.key, []byte("#\n"), 0o600) }, keyPath},
		"another key": {func(f *File) error {
			const other = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n"
			return os.WriteFile(f.key, []byte(other), 0o600)
		}, "was encrypted with another key"},
		"a passphrase": {func(f *File) error { f.passphrase = "x"; return nil }, "was encrypted with another passphrase"},
		"cut":          {func(f *File) error { return os.Truncate(f.path, 250) }, "tampered with"},
		"empty":        {func(f *File) error { return os.Truncate(f.path, 0) }, filePath},
		"too large":    {func(f *File) error { return os.Truncate(f.path, maxFile+1) }, "is over"},
		"a folder":     {func(f *File) error { return errors.Join(os.Remove(f.path), os.Mkdir(f.path, 0o700)) }, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, "")
			if err := f.Set(ctx, "a", "secret"); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(f); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer(keyPath, f.key, filePath, f.path).Replace(test.want)
			_, err := f.Get(ctx, "a")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			// What cannot be read is not overwritten: it may be of use to somebody.
			before, _ := os.ReadFile(f.path)
			if err := f.Set(ctx, "b", "secret"); err == nil {
				t.Error("something was stored over it")
			}
			if after, _ := os.ReadFile(f.path); !bytes.Equal(before, after) {
				t.Error("the file has changed")
			}
		})
	}
}

// Stand for the paths of the test's files.
const keyPath, filePath = "$KEY", "$PATH"

// TestFileFull: when the new file cannot be written, the old one stays, and
// nothing lies about.
func TestFileFull(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("skipped: root may write everywhere")
	}
	f := newFile(t, "")
	if err := f.Set(t.Context(), "a", "old"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(f.path)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if err := f.Set(t.Context(), "a", "new"); err == nil {
		t.Error("it was written")
	}
	if got, err := f.Get(t.Context(), "a"); err != nil || got != "old" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFileTogether: many at a time, as processes are, lose nothing.
func TestFileTogether(t *testing.T) {
	first := newFile(t, "")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			f := *first
			if err := f.Set(t.Context(), fmt.Sprint(i), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := first.read()
	if err != nil || len(got) != 20 {
		t.Errorf("%d of 20, %v", len(got), err)
	}
	entries, err := os.ReadDir(filepath.Dir(first.path))
	if err != nil || len(entries) != 2 { // the file and its lock
		t.Errorf("%v, %v", entries, err)
	}
}

func TestExclusive(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Exclusive(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := Exclusive(ctx, dir)
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("two at a time: %v", err)
	default:
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	again, err := Exclusive(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if unlock, err = Exclusive(t.Context(), "/proc/none"); err != nil {
		t.Errorf("without a folder: %v", err)
	}
	unlock()
}

func TestKeyringPresent(t *testing.T) {
	for address, want := range map[string]bool{
		"unix:path=/run/user/1000/bus": true, "autolaunch:": false, "/dev/null": false,
	} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		if got := keyringPresent(); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}

// FuzzFile: whatever the file decrypts to, it is an error or secrets.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"secrets":{"a-b":"x"}}`, `{"version":1}`, `{"version":2,"secrets":{}}`, `{"secrets":null,"version":1}`, `[]`, ``, `{"version":1,"more":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := decode(text)
		if (all == nil) == (err == nil) {
			t.Errorf("%v, %v", all, err)
		}
	})
}
