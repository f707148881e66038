// SPDX-License-Identifier: Apache-2.0

package packdir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/memfs"
)

func write(t *testing.T, dir, name, contents string) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, dir string, opt Options) ([]byte, []string) {
	t.Helper()
	var buf bytes.Buffer
	skipped, err := WriteTar(t.Context(), &buf, dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), skipped
}

// listAll names everything below dir with its contents or target.
func listAll(t *testing.T, fs *memfs.FS, dir *memfs.Node, prefix string, out map[string]string) {
	t.Helper()
	entries, err := dir.ReadDir(2, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, err := fs.Lookup(dir, e.Name, false)
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case memfs.Directory:
			out[prefix+e.Name+"/"] = ""
			listAll(t, fs, n, prefix+e.Name+"/", out)
		case memfs.Symlink:
			target, err := fs.Readlink(dir, e.Name)
			if err != nil {
				t.Fatal(err)
			}
			out[prefix+e.Name] = "-> " + target
		default:
			p := make([]byte, n.Info().Size)
			if _, err := n.ReadAt(p, 0); err != nil {
				t.Fatal(err)
			}
			out[prefix+e.Name] = string(p)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "secret", "secret")
	dir := t.TempDir()
	big := strings.Repeat("0123456789abcdef", 50000)
	write(t, dir, "f", "hello")
	write(t, dir, "empty", "")
	write(t, dir, "a/b/c", "deep")
	write(t, dir, "a/big", big)
	write(t, dir, "ünïcode ☃/"+strings.Repeat("n", 250), "u")
	links := map[string]string{"in": "a/b/c", "out": filepath.Join(outside, "secret"), "up": "../../x", "dir": outside, "dangling": "none"}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "hollow"), 0o755); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1600000000, 987654321)
	for _, name := range []string{"f", "a/b", "."} {
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}

	data, skipped := pack(t, dir, Options{MaxBytes: 4 << 20})
	if len(skipped) != 0 {
		t.Errorf("skipped %q", skipped)
	}
	if again, _ := pack(t, dir, Options{}); !bytes.Equal(data, again) {
		t.Error("packing twice gives two archives")
	}
	fs := memfs.New(4 << 20)
	if err := fs.LoadTar(fs.Root(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	listAll(t, fs, fs.Root(), "", got)
	want := map[string]string{
		"f": "hello", "empty": "", "a/": "", "a/b/": "", "a/b/c": "deep", "a/big": big, "hollow/": "",
		"ünïcode ☃/": "", "ünïcode ☃/" + strings.Repeat("n", 250): "u",
	}
	for name, target := range links {
		want[name] = "-> " + target
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"f", "a/b", "."} {
		n, err := fs.Lookup(fs.Root(), name, false)
		if err != nil || n.Info().Mtime != at.UnixNano() {
			t.Errorf("%s: %v, mtime %d", name, err, n.Info().Mtime)
		}
	}

	// The packer and the Keep agree to the byte on what is too big.
	used := fs.Used()
	pack(t, dir, Options{MaxBytes: used})
	tight := memfs.New(used)
	if err := tight.LoadTar(tight.Root(), bytes.NewReader(data)); err != nil {
		t.Errorf("loading into exactly what it takes: %v", err)
	}
	_, err := WriteTar(t.Context(), io.Discard, dir, Options{MaxBytes: used - 1})
	if !errors.Is(err, ErrTooBig) || !strings.Contains(err.Error(), dir) {
		t.Errorf("one byte less: %v", err)
	}
}

func TestSkipped(t *testing.T) {
	dir, err := os.MkdirTemp("", "pack") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir, "f", "f")
	write(t, dir, "bad\xffname", "x")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "d/sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink("to\xff", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	data, skipped := pack(t, dir, Options{})
	want := []string{
		"bad\xffname: name is not UTF-8",
		"d/sock: socket",
		"l: symbolic link to a name that is not UTF-8 or too long",
		"pipe: named pipe",
	}
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Error(diff)
	}
	fs := memfs.New(0)
	if err := fs.LoadTar(fs.Root(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	listAll(t, fs, fs.Root(), "", got)
	if diff := cmp.Diff(map[string]string{"f": "f", "d/": ""}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "")
	for _, name := range []string{"none", "f"} {
		if _, err := WriteTar(t.Context(), io.Discard, filepath.Join(dir, name), Options{}); err == nil {
			t.Errorf("packing %s succeeds", name)
		}
	}
	deep := filepath.Join(dir, strings.Repeat("d/", memfs.MaxDepth))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteTar(t.Context(), io.Discard, dir, Options{}); !errors.Is(err, ErrTooBig) {
		t.Errorf("packing a deep tree: %v", err)
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "f")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteTar(ctx, io.Discard, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}

	write(t, dir, "g", strings.Repeat("x", 4<<20))
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	w := writerFunc(func(p []byte) (int, error) {
		if len(p) > 100000 {
			cancel()
		}
		return len(p), nil
	})
	if _, err := WriteTar(ctx, w, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in a file: %v", err)
	}
	boom := errors.New("boom")
	full := writerFunc(func([]byte) (int, error) { return 0, boom })
	if _, err := WriteTar(t.Context(), full, dir, Options{}); !errors.Is(err, boom) {
		t.Errorf("broken writer: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestChanged changes the tree while it is packed, at the moment its first
// large file goes out.
func TestChanged(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "secret", "SECRET")
	tests := []struct {
		name   string
		change func(dir string) error
		want   error
	}{
		{"file shrinks", func(dir string) error { return os.Truncate(filepath.Join(dir, "a"), 10) }, ErrChanged},
		{"file grows", func(dir string) error { return os.Truncate(filepath.Join(dir, "a"), 8<<20) }, nil},
		{"file removed", func(dir string) error { return os.Remove(filepath.Join(dir, "b")) }, os.ErrNotExist},
		{"file becomes a link out", func(dir string) error {
			if err := os.Remove(filepath.Join(dir, "b")); err != nil {
				return err
			}
			return os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "b"))
		}, nil},
		{"directory becomes a link out", func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
				return err
			}
			return os.Symlink(outside, filepath.Join(dir, "d"))
		}, nil},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		write(t, dir, "a", strings.Repeat("x", 4<<20))
		write(t, dir, "b", "b")
		write(t, dir, "d/f", "f")
		var buf bytes.Buffer
		changed := false
		w := writerFunc(func(p []byte) (int, error) {
			if len(p) > 100000 && !changed {
				changed = true
				if err := tt.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			return buf.Write(p)
		})
		if _, err := WriteTar(t.Context(), w, dir, Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if bytes.Contains(buf.Bytes(), []byte("SECRET")) {
			t.Errorf("%s: the archive holds what is outside", tt.name)
		}
	}
}

// TestSwapped replaces a file between looking at it and opening it.
func TestSwapped(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", "f")
	write(t, dir, "g", "g")
	write(t, dir, "d/x", "x")
	write(t, dir, "e/x", "x")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var p packer
	file, err := root.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.file(t.Context(), root, "g", "g", file); !errors.Is(err, ErrChanged) {
		t.Errorf("another file: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "g")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "g"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.file(t.Context(), root, "g", "g", file); !errors.Is(err, ErrChanged) {
		t.Errorf("a pipe: %v", err)
	}
	sub, err := root.Lstat("d")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.subdirectory(t.Context(), root, "e", "e", sub, 0); !errors.Is(err, ErrChanged) {
		t.Errorf("another directory: %v", err)
	}
}
