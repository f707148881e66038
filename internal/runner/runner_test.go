// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/identity"
	"enarx.dev/enarx/internal/wasm"
	"enarx.dev/enarx/internal/wasm/wasmtest"
	"enarx.dev/enarx/workload"
)

// bundle is what a test hands to a Keep.
type bundle struct {
	wasm, conf, tree, entry []byte
	store                   bool
	doc                     handover.Document
}

// result is what came of it.
type result struct {
	code                   int
	err                    error
	stdout, stderr, stored string
}

// run runs b in this process, with files for descriptors.
func (b bundle) run(t *testing.T) result {
	t.Helper()
	dir := t.TempDir()
	files := map[int]*os.File{}
	pass := func(data []byte) int {
		if data == nil {
			return 0
		}
		fd := handover.FD + 1 + len(files)
		path := filepath.Join(dir, string(rune('a'+fd)))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[fd] = f
		return fd
	}
	doc := b.doc
	doc.Package = handover.Package{Wasm: pass(b.wasm), Conf: pass(b.conf), Tree: pass(b.tree)}
	doc.Cache.Entry = pass(b.entry)
	if b.store {
		doc.Cache.Store = pass([]byte{})
	}
	out := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	stdout, stderr := out("stdout"), out("stderr")
	stored := ""
	if fd := doc.Cache.Store; fd != 0 {
		stored = files[fd].Name()
	}
	k := &Keep{
		Doc: &doc, Stdin: out("stdin"), Stdout: stdout, Stderr: stderr,
		Open: func(fd int) *os.File { return files[fd] },
		Exit: func(int) { t.Error("the Keep ended the process") },
	}
	var r result
	r.code, r.err = k.Run(context.Background())
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	r.stdout, r.stderr = read(stdout.Name()), read(stderr.Name())
	if stored != "" {
		r.stored = read(stored)
	}
	return r
}

func TestExitCodeIsTheWorkloads(t *testing.T) {
	for code, want := range map[int64]int{0: 0, 1: 1, 42: 42, 125: 125, 255: 255} {
		if r := (bundle{wasm: wasmtest.Exits(code).Bytes()}).run(t); r.err != nil || r.code != want {
			t.Errorf("proc_exit(%d): %d, %v", code, r.code, r.err)
		}
	}
	r := bundle{wasm: wasmtest.Exits(256).Bytes()}.run(t)
	if r.code != 1 || r.err == nil || r.err.Error() != "keep exited with a non-portable exit code `256`, which exceeds 255" {
		t.Errorf("proc_exit(256): %d, %v", r.code, r.err)
	}
	r = bundle{wasm: wasmtest.Command(0, wasmtest.OpUnreachable).Bytes()}.run(t)
	if _, ok := errors.AsType[*wasm.Trap](r.err); !ok || r.code != wasm.ExitTrap {
		t.Errorf("trap: %d, %v", r.code, r.err)
	}
}

// TestFailsClosed lists what must be an error, with a next step, rather than a
// run with less protection or with something missing.
func TestFailsClosed(t *testing.T) {
	good := wasmtest.Command(0).Bytes()
	tests := map[string]struct {
		conf       string
		err, hint  string
		underlying error
	}{
		"steward":        {conf: "steward = \"https://steward.example.org\"", err: "not attested", hint: "remove `steward`"},
		"encrypted log":  {conf: "[log]\nmode = \"encrypted\"\nrecipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]", err: "not attested", hint: "mode"},
		"steward CA":     {conf: "[[files]]\nkind = \"listen\"\nca = \"steward\"\nclient_auth = \"require\"", err: "certified by a Steward", hint: "ca"},
		"no folder":      {conf: "[[files]]\nkind = \"dir\"\npath = \"/data\"\nfrom = \"data\"", err: "no folder \"data\"", hint: "enarx run FOLDER"},
		"broken config":  {conf: "argz = []", err: "Enarx.toml:1:1", hint: "args"},
		"nobody listens": {conf: "[[files]]\nkind = \"connect\"\nprot = \"tcp\"\nhost = \"127.0.0.1\"\nport = 1", err: "failed to setup connection stream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := bundle{wasm: good, conf: []byte(tt.conf)}.run(t)
			if r.code != 1 || r.err == nil || !strings.Contains(r.err.Error(), tt.err) {
				t.Fatalf("got %d, %v, want %q", r.code, r.err, tt.err)
			}
			if !strings.Contains(diag.HintOf(r.err), tt.hint) {
				t.Errorf("hint %q, want %q", diag.HintOf(r.err), tt.hint)
			}
		})
	}
}

func TestModuleErrorsHaveHints(t *testing.T) {
	for bin, hint := range map[string]string{
		"(module)":                         "wat2wasm",
		"\x00asm\x0d\x00\x01\x00 and more": "wasip1",
	} {
		r := bundle{wasm: []byte(bin)}.run(t)
		if r.code != 1 || !errors.Is(r.err, wasm.ErrModule) || !strings.Contains(diag.HintOf(r.err), hint) {
			t.Errorf("%q: %d, %v, hint %q", bin, r.code, r.err, diag.HintOf(r.err))
		}
	}
}

func TestArgsAndEnv(t *testing.T) {
	config := &workload.Config{
		Args:  []string{"from", "config"},
		Env:   map[string]string{"B": "2", "A": "1"},
		Files: []workload.File{{Name: "in"}, {Name: "web"}},
	}
	tests := map[string]struct {
		keep      Keep
		args, env []string
	}{
		"nothing": {Keep{Doc: &handover.Document{}}, []string{"main.wasm"}, nil},
		"config": {Keep{Doc: &handover.Document{}, config: config},
			[]string{"main.wasm", "from", "config"}, []string{"FD_COUNT=2", "FD_NAMES=in:web", "A=1", "B=2"}},
		"command line": {Keep{Doc: &handover.Document{Args: []string{"x"}, Env: []string{"A=9", "FD_COUNT=7"}}, config: config},
			[]string{"main.wasm", "x"}, []string{"FD_NAMES=in:web", "B=2", "A=9", "FD_COUNT=7"}},
		"no arguments": {Keep{Doc: &handover.Document{Args: []string{}}, config: config},
			[]string{"main.wasm"}, []string{"FD_COUNT=2", "FD_NAMES=in:web", "A=1", "B=2"}},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.args, tt.keep.args()); diff != "" {
			t.Errorf("%s: args (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tt.env, tt.keep.env()); diff != "" {
			t.Errorf("%s: env (-want +got):\n%s", name, diff)
		}
	}
}

// says returns a module that writes text to descriptor fd and exits with what
// fd_write returned.
func says(fd byte, text string) []byte {
	m := &wasmtest.Module{Memory: []byte{0, 1}}
	exit := m.Import("wasi_snapshot_preview1", "proc_exit", []byte{wasmtest.I32}, nil)
	write := m.Import("wasi_snapshot_preview1", "fd_write", []byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32})
	iovec := []byte{16, 0, 0, 0, byte(len(text)), 0, 0, 0}
	m.Data = [][]byte{wasmtest.Cat([]byte{0, wasmtest.OpI32Const, 8, wasmtest.OpEnd}, wasmtest.Str(string(iovec)+text))}
	c := byte(wasmtest.OpI32Const)
	m.Export("_start", 0, m.Function(nil, nil, 0,
		c, fd, c, 8, c, 1, c, 0, wasmtest.OpCall, byte(write), wasmtest.OpCall, byte(exit)))
	m.Export("memory", 2, 0)
	return m.Bytes()
}

func TestStdioPolicy(t *testing.T) {
	const stdio = "[[files]]\nkind = \"null\"\n[[files]]\nkind = \"stdout\"\n[[files]]\nkind = \"stderr\"\n"
	tests := map[string]struct {
		conf           []byte
		fd             byte
		stdout, stderr string
	}{
		"no config":      {nil, 1, "hello", ""},
		"declared":       {[]byte(stdio), 2, "", "hello"},
		"no files":       {[]byte("args = []"), 1, "", ""},
		"kept in":        {[]byte(stdio + "[log]\nmode = \"none\""), 1, "", ""},
		"kept in stderr": {[]byte(stdio + "[log]\nmode = \"none\""), 2, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := bundle{wasm: says(tt.fd, "hello"), conf: tt.conf}.run(t)
			if r.code != 0 || r.err != nil || r.stdout != tt.stdout || r.stderr != tt.stderr {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// tarOf is a package folder with one file.
func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o600, ModTime: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestPackageFolders(t *testing.T) {
	conf := func(from string) []byte {
		return []byte("[[files]]\nkind = \"dir\"\npath = \"/data\"\nfrom = \"" + from + "\"\n[[files]]\nkind = \"dir\"\npath = \"/tmp\"")
	}
	bin := wasmtest.Command(0).Bytes()
	if r := (bundle{wasm: bin, conf: conf("data"), tree: tarOf(t, "data/x", "y")}).run(t); r.err != nil {
		t.Errorf("good: %v", r.err)
	}
	for from, want := range map[string]string{"other": "folder \"other\"", "data/x": "not a folder"} {
		r := bundle{wasm: bin, conf: conf(from), tree: tarOf(t, "data/x", "y")}.run(t)
		if r.err == nil || !strings.Contains(r.err.Error(), want) {
			t.Errorf("%s: got %v, want %q", from, r.err, want)
		}
	}
	if r := (bundle{wasm: bin, conf: conf("data"), tree: []byte("no archive")}).run(t); r.err == nil || r.code != 1 {
		t.Errorf("broken stream: %d, %v", r.code, r.err)
	}
}

// TestCompiledModuleCache stores, restores, and survives an entry that is bad.
func TestCompiledModuleCache(t *testing.T) {
	bin := wasmtest.Exits(5).Bytes()
	first := bundle{wasm: bin, store: true}.run(t)
	if first.code != 5 || first.err != nil || first.stored == "" {
		t.Fatalf("storing: %d, %v, %d bytes", first.code, first.err, len(first.stored))
	}
	// What is not a module shows that the entry is used, and not the module.
	if r := (bundle{wasm: []byte("unused"), entry: []byte(first.stored)}).run(t); r.code != 5 || r.err != nil {
		t.Errorf("restoring: %d, %v", r.code, r.err)
	}
	bad := []byte(first.stored)
	bad[len(bad)-1] ^= 1
	r := bundle{wasm: bin, entry: bad, store: true, doc: handover.Document{LogLevel: "warn"}}.run(t)
	if r.code != 5 || r.err != nil || r.stored != first.stored || !strings.Contains(r.stderr, "not restored") {
		t.Errorf("replacing a bad entry: %d, %v, log %q", r.code, r.err, r.stderr)
	}
}

func TestWallLimitEndsTheProcess(t *testing.T) {
	ended := make(chan int, 1)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	k := &Keep{
		Doc: &handover.Document{}, Stderr: stderr, Exit: func(code int) { ended <- code },
		config: &workload.Config{Limits: workload.Limits{Wall: time.Millisecond}},
	}
	k.limitTime()
	select {
	case code := <-ended:
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the limit did not end the workload")
	}
	if text, _ := os.ReadFile(stderr.Name()); !strings.Contains(string(text), "longer than its limit of 1ms") {
		t.Errorf("said %q", text)
	}
}

// TestCacheIsRefusedInATEE: compiled code from the host would be the host's
// program in place of the workload.
func TestCacheIsRefusedInATEE(t *testing.T) {
	for technology, refused := range map[identity.Technology]bool{identity.NoHardware: false, identity.SNP: true, identity.SGX: true} {
		k := &Keep{
			Doc:              &handover.Document{Cache: handover.Cache{Entry: 4}},
			testOnlyHardware: func() (identity.Technology, error) { return technology, nil },
		}
		if err := k.checkCache(); (err != nil) != refused {
			t.Errorf("technology %d: %v", technology, err)
		}
	}
	k := &Keep{
		Doc:              &handover.Document{Cache: handover.Cache{Store: 4}},
		testOnlyHardware: func() (identity.Technology, error) { return 0, errors.New("broken") },
	}
	if k.checkCache() == nil {
		t.Error("a cache is used although the hardware is unknown")
	}
}

func TestReadCapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for size, most := range map[int]int64{0: 0, 1: 1, 511: 511, 512: 600, 100_000: 100_000} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int64{0, 1} {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readCapped(f, most-cut)
			f.Close()
			if tooLarge := int64(size) > most-cut; tooLarge != (err != nil) || (err == nil && len(got) != size) {
				t.Errorf("%d bytes, at most %d: %d bytes, %v", size, most-cut, len(got), err)
			}
		}
	}
}
