// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

func TestBuildTree(t *testing.T) {
	dir := folder(t, map[string]string{"test-dir/test-file-bar": "bar", "test-file-foo": "foo"})
	var last Event
	tree, err := BuildTree(t.Context(), dir, func(e Event) { last = e })
	if err != nil {
		t.Fatal(err)
	}
	// spec/drawbridge.md section 6.4: the complete listing
	sum, _ := tree.Root().Digests.SHA256()
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != "2sEkTVVLPkT8pUNfBNVqiu5a2CogIEB1aJvHUA2IjcE=" || tree.Root().Length != 742 {
		t.Errorf("root %s, %d bytes", got, tree.Root().Length)
	}
	if last.Step != Hashing || last.Done != 6 || last.Total != 6 {
		t.Errorf("progress ended with %+v", last)
	}
	if tree.Size() != 742+363+3+3 {
		t.Errorf("size %d", tree.Size())
	}
	order := func(tree *Tree) (paths []string) {
		for _, n := range tree.Nodes {
			paths = append(paths, n.Path.String())
		}
		return paths
	}
	if got := order(tree); !slices.Equal(got, []string{"", "test-dir", "test-dir/test-file-bar", "test-file-foo"}) {
		t.Errorf("order %q", got)
	}
	// The order of upstream's integration test.
	tree = build(t, folder(t, map[string]string{
		"tEst-file..__.foo.42.": "", "test-dir-1/test-file": "", "test-dir-1/test-file.txt": "", "test-dir-1/test-subdir-2/test-file": "",
		"test-file": "", "test-file.json": "", "test-file.txt": "",
	}))
	if got := order(tree); !slices.Equal(got, []string{
		"", "tEst-file..__.foo.42.", "test-dir-1", "test-dir-1/test-file", "test-dir-1/test-file.txt", "test-dir-1/test-subdir-2",
		"test-dir-1/test-subdir-2/test-file", "test-file", "test-file.json", "test-file.txt",
	}) {
		t.Errorf("order %q", got)
	}
}

func TestBuildTreeKinds(t *testing.T) {
	empty := build(t, t.TempDir())
	if m := empty.Root(); m != drawbridge.MetaOf([]byte("{}"), drawbridge.TypeDirectory) || len(empty.Nodes) != 1 {
		t.Errorf("the empty folder: %+v", m)
	}
	dir := folder(t, map[string]string{"main.wasm": "\x00asm", "sub/x.toml": ""})
	lone := build(t, filepath.Join(dir, "main.wasm"))
	if m := lone.Root(); m != drawbridge.MetaOf([]byte("\x00asm"), drawbridge.TypeWasm) || len(lone.Nodes) != 1 {
		t.Errorf("a lone file: %+v", m)
	}
	t.Chdir(dir)
	for _, name := range []string{"main.wasm", "./main.wasm", "sub/../main.wasm"} {
		if got := build(t, name).Root(); got != lone.Root() {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := build(t, ".").Root(); got != build(t, dir).Root() {
		t.Errorf("the working folder: %+v", got)
	}
}

func TestBuildTreeLinks(t *testing.T) {
	plain := build(t, folder(t, map[string]string{"a": "x", "d/f": "y", "e/f": "y", "link": "x"}))
	dir := folder(t, map[string]string{"a": "x", "d/f": "y"})
	outside := folder(t, map[string]string{"secret": "s", "sub/secret": "s"})
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("d", "e")
	link("d/../a", "link")
	if got := build(t, dir).Root(); got != plain.Root() {
		t.Errorf("links inside: %+v", got)
	}
	through := filepath.Join(t.TempDir(), "through.wasm")
	if err := os.Symlink(filepath.Join(outside, "secret"), through); err != nil {
		t.Fatal(err)
	}
	if got := build(t, through).Root(); got != drawbridge.MetaOf([]byte("s"), drawbridge.TypeWasm) {
		t.Errorf("a link that was named: %+v", got)
	}
	for name, to := range map[string]string{
		"leaves": filepath.Join(outside, "secret"), "leaves2": "../" + filepath.Base(outside) + "/secret", "folder": outside, "loop": ".", "loop2": "../" + filepath.Base(dir), "dangling": "nothing", "self": "self",
	} {
		link(to, name)
		if tree, err := BuildTree(t.Context(), dir, nil); err == nil {
			t.Errorf("link %s to %s is followed: %d nodes", name, to, len(tree.Nodes))
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("link %s to %s: the error does not name it: %v", name, to, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBuildTreeRefuses(t *testing.T) {
	for _, name := range []string{"a b", "ä", "a~", "a,b", "sub/a+b"} {
		_, err := BuildTree(t.Context(), folder(t, map[string]string{"main.wasm": "", name: ""}), nil)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	dir := t.TempDir()
	t.Chdir(dir) // a socket's name must be short
	socket, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, err := BuildTree(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "socket") {
		t.Errorf("a socket: %v", err)
	}
	if _, err := BuildTree(t.Context(), filepath.Join(dir, "nothing"), nil); err == nil {
		t.Error("nothing is a tree")
	}
	deep := strings.Repeat("d/", drawbridge.MaxDepth+1) + "f"
	if _, err := BuildTree(t.Context(), folder(t, map[string]string{deep: ""}), nil); err == nil {
		t.Error("too many folders deep")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := BuildTree(ctx, folder(t, nested), nil); err == nil {
		t.Error("a cancelled context built a tree")
	}
}

// Memory does not grow with the size of files.
func TestBounded(t *testing.T) {
	size := int64(24 << 20)
	limit := uint64(12 << 20)
	if os.Getenv("ENARX_TEST_LONG") != "" {
		size = 1 << 30
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "main.wasm"))
	if err == nil {
		err = f.Truncate(size) // a hole, which reads as zeros
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	memory := newMemory()
	watch := memory.watch
	tree, err := BuildTree(t.Context(), dir, watch)
	if err != nil {
		t.Fatal(err)
	}
	server := &sink{size: size}
	c := serve(t, server)
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{Progress: watch}); err != nil {
		t.Fatal(err)
	}
	server.meta = tree.Nodes[1].Meta
	into := filepath.Join(t.TempDir(), "into")
	server.tag, server.root = tree.Root(), string(tree.Nodes[0].listing)
	if _, err := c.Fetch(t.Context(), slug, into, FetchOptions{Progress: watch}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB hashed, sent and fetched; the heap of client and server grew by %d KiB", size>>20, memory.grown()>>10)
	if memory.grown() > limit {
		t.Errorf("the heap grew by %d bytes", memory.grown())
	}
}

// memory is how much the heap has grown while something was in progress.
type memory struct {
	before, peak uint64
	events       int
}

func newMemory() *memory {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return &memory{before: stats.HeapAlloc, peak: stats.HeapAlloc}
}

func (m *memory) watch(Event) {
	if m.events++; m.events%200 == 0 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		m.peak = max(m.peak, stats.HeapAlloc)
	}
}

func (m *memory) grown() uint64 { return m.peak - m.before }
