// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

func open(t testing.TB, dir string, o Options) *blob.Bucket {
	t.Helper()
	b, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func put(t testing.TB, b *blob.Bucket, key, body string, ifNone bool) error {
	t.Helper()
	w, err := b.NewWriter(t.Context(), key, &blob.WriterOptions{ContentType: contentType, IfNotExist: ifNone})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, body); err != nil {
		_ = w.Close()
		return err
	}
	return w.Close()
}

// temps returns what is in tmp.
func temps(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, tmp))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	if err := put(t, b, "u/a/user", "one", true); err != nil {
		t.Fatal(err)
	}
	if err := put(t, b, "u/a/user", "two", true); gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Errorf("a second create: %v", err)
	}
	if got, err := b.ReadAll(t.Context(), "u/a/user"); err != nil || string(got) != "one" {
		t.Errorf("it has %q, %v", got, err)
	}
	if err := put(t, b, "u/a/user", "three", false); err != nil {
		t.Error(err)
	}
	if got, err := b.ReadAll(t.Context(), "u/a/user"); err != nil || string(got) != "three" {
		t.Errorf("after a replacement it has %q, %v", got, err)
	}
	if err := b.Delete(t.Context(), "u/a/user"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"delete":           b.Delete(t.Context(), "u/a/user"),
		"delete of folder": b.Delete(t.Context(), "u/a"),
		"read":             func() error { _, err := b.ReadAll(t.Context(), "u/a/user"); return err }(),
		"read of folder":   func() error { _, err := b.ReadAll(t.Context(), "u/a"); return err }(),
		"stat":             func() error { _, err := b.Attributes(t.Context(), "u/a/user"); return err }(),
		"stat below file":  func() error { _, err := b.Attributes(t.Context(), "u/a/user/x"); return err }(),
	} {
		if gcerrors.Code(err) != gcerrors.NotFound {
			t.Errorf("%s of what is not there: %v", name, err)
		}
	}
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	b := open(t, dir, Options{})
	if err := put(t, b, "u/a/user", "", true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, "tmp": 0o700, "u/a": 0o700, "u/a/user": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.NewWriter(ctx, "a/b", &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "half"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("close of a cancelled writer: %v", err)
	}
	if there, err := b.Exists(t.Context(), "a/b"); there || err != nil {
		t.Errorf("it is there: %t, %v", there, err)
	}
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

// hostile are keys that must not become paths.
var hostile = []string{
	"", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "a/.b", ".a",
	"A", "a/B", "a\x00b", "a\\b", "a b", "a\nb", "ä", "a:b", "con*", "tmp", "tmp/a", "lost+found/x",
	strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a",
}

func TestHostileKeys(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	b := open(t, dir, Options{})
	before := tree(t, parent)
	for _, key := range hostile {
		if err := put(t, b, key, "x", false); err == nil {
			t.Errorf("%q was written", key)
		}
		if err := b.Delete(t.Context(), key); err == nil {
			t.Errorf("%q was deleted", key)
		}
		if _, err := b.ReadAll(t.Context(), key); err == nil {
			t.Errorf("%q was read", key)
		}
		if _, _, err := b.ListPage(t.Context(), blob.FirstPageToken, 10, &blob.ListOptions{Prefix: key}); err != nil {
			t.Errorf("list of %q: %v", key, err)
		}
	}
	if after := tree(t, parent); !slices.Equal(before, after) {
		t.Errorf("files changed: %q, then %q", before, after)
	}
}

func tree(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestSymlinks(t *testing.T) {
	parent := t.TempDir()
	if err := os.WriteFile(filepath.Join(parent, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "store")
	b := open(t, dir, Options{})
	for name, to := range map[string]string{"link": "../secret", "out": "..", "abs": parent} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"link", "out/secret", "abs/secret"} {
		if got, err := b.ReadAll(t.Context(), key); err == nil {
			t.Errorf("%s gave %q", key, got)
		}
		if err := put(t, b, key, "x", true); err == nil && key != "link" {
			t.Errorf("%s was written", key)
		}
	}
	if got, err := os.ReadFile(filepath.Join(parent, "secret")); err != nil || string(got) != "secret" {
		t.Errorf("the file outside has %q, %v", got, err)
	}
}

func TestRange(t *testing.T) {
	b := open(t, t.TempDir(), Options{})
	if err := put(t, b, "a", "0123456789", true); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "0123456789"}, {3, 4, "3456"}, {8, 10, "89"}, {10, -1, ""}, {12, 1, ""}, {5, 0, ""}} {
		r, err := b.NewRangeReader(t.Context(), "a", tt.offset, tt.length, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != tt.want || r.Size() != 10 {
			t.Errorf("%d+%d: %q, %v", tt.offset, tt.length, got, err)
		}
		_ = r.Close()
	}
}

// TestList compares with the list of a bucket in memory, for every prefix and
// page size.
func TestList(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := open(t, dir, Options{}), memblob.OpenBucket(nil)
	defer func() { _ = theirs.Close() }()
	keys := []string{
		"a", "a-b", "a.b/c", "a0", "ab/c", "ab/d/e", "ab/d-e", "ab/d.f/g", "ab/d0", "ab/e", "b/^a", "b/a", "b/a.1", "b/a.1.x", "b/~0",
		"u/x/r/y/n/1", "u/x/r/y/n/2", "u/x/user", "u/x0/user", "u/x-/user",
	}
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("many/%x", i*7919%997))
	}
	for _, key := range keys {
		for _, b := range []*blob.Bucket{ours, theirs} {
			if err := put(t, b, key, key, true); err != nil {
				t.Fatal(key, err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "empty/of/objects"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "u/nobody"), 0o700); err != nil {
		t.Fatal(err)
	}
	prefixes := []string{"", "none", "none/", "a", "a/", "ab/", "ab/d", "ab/d/", "b/a.", "b/", "u/", "u/x", "u/x/", "u/nobody/", "many/", "many/1", "empty/"}
	for _, prefix := range prefixes {
		for _, delimiter := range []string{"", "/"} {
			want := listing(t, theirs, prefix, delimiter, 1000)
			for _, size := range []int{1, 2, 3, 7, 1000} {
				if got := listing(t, ours, prefix, delimiter, size); !slices.Equal(got, want) {
					t.Errorf("%q by %q, %d each:\n got %q\nwant %q", prefix, delimiter, size, got, want)
				}
			}
		}
	}
}

func listing(t testing.TB, b *blob.Bucket, prefix, delimiter string, size int) []string {
	t.Helper()
	var all []string
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := b.ListPage(t.Context(), token, size, &blob.ListOptions{Prefix: prefix, Delimiter: delimiter})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > size || len(next) > 0 && len(page) < size {
			t.Errorf("a page of %d, not %d", len(page), size)
		}
		for _, o := range page {
			if !o.IsDir && o.Size != int64(len(o.Key)) {
				t.Errorf("%s has %d bytes", o.Key, o.Size)
			}
			all = append(all, o.Key)
		}
		token = next
	}
	return all
}

// TestListTruncated lists a folder in which more names than a page come before
// those with objects.
func TestListTruncated(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	for i := range 50 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("f/%02d", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t, b, "f/49/a", "f/49/a", true); err != nil {
		t.Fatal(err)
	}
	for _, delimiter := range []string{"", "/"} {
		if got := listing(t, b, "f/", delimiter, 3); len(got) != 1 {
			t.Errorf("found %q", got)
		}
	}
}

// TestConcurrentCreate has many create one key: one of them does, and its
// bytes are there.
func TestConcurrentCreate(t *testing.T) {
	dir := t.TempDir()
	buckets := []*blob.Bucket{open(t, dir, Options{}), open(t, dir, Options{})}
	for round := range 20 {
		key := fmt.Sprintf("r/%d", round)
		var won []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				body := fmt.Sprint(i)
				err := put(t, buckets[i%2], key, body, true)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, body)
				case gcerrors.Code(err) != gcerrors.FailedPrecondition:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := buckets[0].ReadAll(t.Context(), key)
		if err != nil || len(won) != 1 || won[0] != string(got) {
			t.Fatalf("%s: %q won, and there is %q, %v", key, won, got, err)
		}
	}
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

// TestFaults lets each step of each kind of change fail once. What was there
// stays, what is acknowledged is there, and a second try succeeds.
func TestFaults(t *testing.T) {
	large := strings.Repeat("x", 3*largeObject)
	changes := map[string]func(t *testing.T, b *blob.Bucket) error{
		"create":  func(t *testing.T, b *blob.Bucket) error { return put(t, b, "a/b/new", large, true) },
		"replace": func(t *testing.T, b *blob.Bucket) error { return put(t, b, "a/old", large, false) },
		"delete":  func(t *testing.T, b *blob.Bucket) error { return b.Delete(t.Context(), "a/old") },
	}
	for name, change := range changes {
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO, io.ErrShortWrite} {
			steps := 0
			for fail := 1; fail == steps+1; fail++ {
				t.Run(fmt.Sprintf("%s/%v/%d", name, fault, fail), func(t *testing.T) {
					if failAt(t, name, change, fault, fail, large) {
						steps++ // and maybe there is one more
					}
				})
			}
			if steps < 2 {
				t.Errorf("%s has only %d steps", name, steps)
			}
		}
	}
}

// failAt lets one step of a change fail, and returns false if it has not so
// many.
func failAt(t *testing.T, name string, change func(*testing.T, *blob.Bucket) error, fault error, fail int, large string) bool {
	dir := t.TempDir()
	if err := put(t, open(t, dir, Options{}), "a/old", "old", true); err != nil {
		t.Fatal(err)
	}
	count, failed := 0, Op("")
	b := open(t, dir, Options{Before: func(s *Step) error {
		if count++; count == fail+1 { // the first syncs for tmp
			failed = s.Op
			s.Data = s.Data[:len(s.Data)/2]
			return fault
		}
		return nil
	}})
	err := change(t, b)
	if failed == "" {
		return false
	}
	tolerated := failed == Remove && name == "create" // of what is in tmp
	if err == nil && !tolerated || err != nil && !errors.Is(err, fault) {
		t.Errorf("%s failed, and the change: %v", failed, err)
	}
	again := open(t, dir, Options{})
	for key, whole := range map[string][]string{"a/old": {"old", large}, "a/b/new": {large}} {
		got, err := again.ReadAll(t.Context(), key)
		if gcerrors.Code(err) == gcerrors.NotFound && (key == "a/b/new" || name == "delete") {
			continue
		}
		if err != nil || !slices.Contains(whole, string(got)) {
			t.Errorf("%s: after a failing %s there are %d bytes, %v", key, failed, len(got), err)
		}
	}
	switch err := change(t, again); {
	case err == nil:
	case name == "create" && gcerrors.Code(err) == gcerrors.FailedPrecondition:
	case name == "delete" && gcerrors.Code(err) == gcerrors.NotFound:
	default:
		t.Errorf("a second try after a failing %s: %v", failed, err)
	}
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("left in tmp: %q", left)
	}
	return true
}

// TestSteps holds the order of the steps on which durability rests.
func TestSteps(t *testing.T) {
	var steps []string
	record := func(s Step, err error) {
		if err == nil {
			name := s.Path
			if strings.HasPrefix(name, "tmp/") {
				name = "TEMP"
			}
			steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Op, name, s.To)))
		}
	}
	dir := t.TempDir()
	b := open(t, dir, Options{After: record})
	check := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(steps, want) {
			t.Errorf("%s:\n got %q\nwant %q", what, steps, want)
		}
		steps = nil
	}
	check("open", "mkdir tmp", "syncdir .")
	_ = put(t, b, "a/b", "x", true)
	check("create", "create TEMP", "write TEMP", "sync TEMP", "mkdir a", "syncdir .", "link TEMP a/b", "remove TEMP", "syncdir a")
	_ = put(t, b, "a/c", "x", false)
	check("write", "create TEMP", "write TEMP", "sync TEMP", "rename TEMP a/c", "syncdir a")
	_ = put(t, b, "a/c", "x", true)
	check("create of what is there", "create TEMP", "write TEMP", "remove TEMP")
	_ = b.Delete(t.Context(), "a/c")
	check("delete", "remove a/c", "syncdir a")

	// Another process's: durable before it is seen, and once only.
	other := open(t, dir, Options{After: record})
	steps = nil
	_, _ = other.Attributes(t.Context(), "a/b")
	check("stat of another's", "syncdir .", "syncdir a")
	_, _ = other.ReadAll(t.Context(), "a/b")
	check("read of another's again")
	_ = put(t, b, "a/d", "x", true)
	steps = nil
	listing(t, other, "none", "", 10)
	check("list elsewhere")
	for range 2 {
		_, _, _ = other.ListPage(t.Context(), blob.FirstPageToken, 10, &blob.ListOptions{Prefix: "a/"})
	}
	check("list of another's", "syncdir a")
	_ = put(t, b, "a/e", "x", true)
	steps = nil
	_ = put(t, other, "a/e", "y", true)
	check("create of another's", "create TEMP", "write TEMP", "syncdir a", "remove TEMP")
}

// TestSweep has a process die with a file in tmp, and another one be busy.
func TestSweep(t *testing.T) {
	if dir := os.Getenv("DISK_TEST_DIE_IN"); dir != "" {
		b, err := Open(dir, Options{Before: func(s *Step) error {
			if s.Op == Sync {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		}})
		if err == nil {
			_ = put(t, b, "a", "x", true)
		}
		t.Fatal("it lives")
	}
	dir := t.TempDir()
	b := open(t, dir, Options{})
	w, err := b.NewWriter(t.Context(), "busy", &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSweep$")
	cmd.Env = append(os.Environ(), "DISK_TEST_DIE_IN="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended by itself: %v\n%s", err, out)
	}
	if left := temps(t, dir); len(left) != 2 {
		t.Fatalf("tmp has %q", left)
	}
	// The directory may be / by mistake.
	stranger := filepath.Join(dir, tmp, "somebody's work")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{ReadOnly: true})
	if left := temps(t, dir); len(left) != 3 {
		t.Errorf("after it was opened to be read tmp has %q", left)
	}
	open(t, dir, Options{})
	if left := temps(t, dir); len(left) != 2 {
		t.Errorf("after a start tmp has %q", left)
	}
	if err := os.Remove(stranger); err != nil {
		t.Error("a file of somebody else was swept")
	}
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("the busy writer was swept: %v", err)
	}
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	small, large := strings.Repeat("x", largeObject), strings.Repeat("x", largeObject+1)
	for _, tt := range []struct {
		reserve   int64
		key, body string
		ok        bool
	}{
		{1, "large", large, true},
		{2 * free, "large", large, false},
		{2 * free, "small", small, true},
		{8 * free, "small", small, false},
		{8 * free, Vital + "marker", large, true},
	} {
		err := put(t, open(t, dir, Options{Reserve: tt.reserve}), tt.key, tt.body, false)
		if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s of %d bytes with a reserve of %d of the free bytes: %v", tt.key, len(tt.body), tt.reserve/free, err)
		}
	}
}

func TestOpenURL(t *testing.T) {
	dir := t.TempDir()
	b, err := OpenURL("file://"+dir+"/new%20one", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if _, err := os.Stat(filepath.Join(dir, "new one", "tmp")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"file://host/x", "file:x", "file:///x?y=z", "file:///x#y", "http:///x", "file://", "%"} {
		if b, err := OpenURL(bad, Options{}); err == nil {
			_ = b.Close()
			t.Errorf("%s was opened", bad)
		}
	}
}

// BenchmarkWrite is the pace of a large object, to its sync.
func BenchmarkWrite(b *testing.B) {
	bucket := open(b, b.TempDir(), Options{})
	buf := make([]byte, 1<<20)
	for i := range buf {
		buf[i] = byte(rand.Uint32())
	}
	b.SetBytes(64 << 20)
	for i := 0; b.Loop(); i++ {
		w, err := bucket.NewWriter(context.Background(), fmt.Sprint("k", i), &blob.WriterOptions{ContentType: contentType})
		if err != nil {
			b.Fatal(err)
		}
		for range 64 {
			if _, err := w.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		_ = bucket.Delete(context.Background(), fmt.Sprint("k", i))
	}
}
