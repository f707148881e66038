// SPDX-License-Identifier: Apache-2.0

package store

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// A template is a store that many tests begin with, made once.
type template struct {
	objects map[string][]byte
	ahead   time.Duration // its clock
	err     error
}

// store returns a copy in memory.
func (p template) store(t testing.TB) *Store {
	t.Helper()
	if p.err != nil {
		t.Fatal(p.err)
	}
	c := &clock{}
	c.advance(p.ahead)
	s := memStore(t, testOptions(c))
	for key, data := range p.objects {
		mustReplace(t, s, key, data)
	}
	return s
}

// takeTemplate makes a template of a store that fill fills.
func takeTemplate(fill func(context.Context, *actor) error) func() template {
	return sync.OnceValue(func() template {
		ctx, c, p := context.Background(), &clock{}, template{objects: map[string][]byte{}}
		s, err := OpenURL(ctx, "mem://", testOptions(c))
		if err != nil {
			return template{err: err}
		}
		defer s.Close()
		if p.err = fill(ctx, &actor{Store: s, clock: c}); p.err != nil {
			return p
		}
		for o, err := range s.list(ctx, "", "") {
			if err == nil {
				p.objects[o.Key], err = s.bucket.ReadAll(ctx, o.Key)
			}
			p.err = errors.Join(p.err, err)
		}
		p.ahead = time.Duration(c.ahead.Load())
		return p
	})
}

// filled returns a store after the scenario.
func filled(t testing.TB) *Store { return filledTemplate().store(t) }

var filledTemplate = takeTemplate(fillStore)

func fillStore(ctx context.Context, a *actor) error {
	for _, st := range scenario() {
		if err := st.do(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	_, err := a.ClaimSubject(ctx, "https://idp.example/", "s", theUser)
	return errors.Join(err,
		a.Yank(ctx, theUser, theRepo, "4.0.0", drawbridge.Yank{Reason: "why", Time: time.Unix(1, 0).UTC(), By: "me"}),
		second(ctx, a.Store))
}

// second adds a private repository with contents of the first, and a user with
// a long name.
func second(ctx context.Context, s *Store) (err error) {
	long := strings.Repeat("Long", 60)
	must := func(_ any, e error) { err = errors.Join(err, e) }
	must(s.PutUser(ctx, long, NewObject(drawbridge.User{Subject: "l"}.Canonical(), drawbridge.TypeJSON)))
	must(s.PutRepo(ctx, long, "private", NewObject(drawbridge.Repository{}.Canonical(), drawbridge.TypeJSON)))
	must(s.PutRepo(ctx, long, "empty", NewObject(drawbridge.Repository{}.Canonical(), drawbridge.TypeJSON)))
	must(s.PutTag(ctx, long, "private", "1.0.0-RC.1+b", entryOf(ownTree)))
	for _, path := range inOrder(ownTree) {
		n := ownTree[path]
		must(s.PutNode(ctx, long, "private", "1.0.0-RC.1+b", splitPath(path), n.meta, bytes.NewReader(n.content)))
	}
	return err
}

func exported(t testing.TB, s *Store, selection ...Selection) []byte {
	t.Helper()
	var b bytes.Buffer
	report, err := s.Export(t.Context(), &b, TransferOptions{Select: selection})
	if err != nil || !report.Sound() {
		t.Fatalf("export: %v\n%v", err, report)
	}
	return b.Bytes()
}

// TestExportImport takes a store through every way out and in. An export of
// what was imported must be the same bytes.
func TestExportImport(t *testing.T) {
	from := filled(t)
	want := exported(t, from)
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if report, err := from.ExportDir(t.Context(), root, TransferOptions{}); err != nil || !report.Sound() {
		t.Fatalf("%v\n%v", err, report)
	}
	for name, in := range map[string]func(*Store) (TransferReport, error){
		"tar": func(s *Store) (TransferReport, error) {
			return s.Import(t.Context(), bytes.NewReader(want), TransferOptions{})
		},
		"dir":  func(s *Store) (TransferReport, error) { return s.ImportDir(t.Context(), root, TransferOptions{}) },
		"copy": func(s *Store) (TransferReport, error) { return s.Copy(t.Context(), from, TransferOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := memStore(t, Options{})
			first, err := in(s)
			if err != nil || !first.Sound() {
				t.Fatalf("%v\n%v", err, first)
			}
			if first.Users.New != 2 || first.Repositories.New != 3 || first.Tags.New != 4 || first.Orphans != 2 || first.Nodes.New == 0 {
				t.Errorf("first:\n%v", first)
			}
			again, err := in(s)
			if err != nil || !again.Sound() {
				t.Fatalf("%v\n%v", err, again)
			}
			if again.Users.New+again.Repositories.New+again.Tags.New+again.Nodes.New+again.Blobs != 0 || again.Nodes.Present != first.Nodes.New {
				t.Errorf("again:\n%v", again)
			}
			if report := mustFsck(t, s); !report.Clean() || report.Unreferenced != 0 {
				t.Errorf("fsck:\n%v", report)
			}
			if got := exported(t, s); !bytes.Equal(got, want) {
				t.Errorf("the export of the import is another: %s", firstDifference(t, got, want))
			}
		})
	}
}

// firstDifference compares the manifests of two exports.
func firstDifference(t *testing.T, got, want []byte) string {
	a, b := manifestOf(t, got), manifestOf(t, want)
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return "line " + strings.Join(a[min(i, len(a)):min(i+1, len(a))], "") + " instead of " + strings.Join(b[min(i, len(b)):min(i+1, len(b))], "")
		}
	}
	return "not in the manifest"
}

func manifestOf(t *testing.T, export []byte) []string {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(export))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(string(text), "\n")
}

func TestExportSelects(t *testing.T) {
	from, s := filled(t), memStore(t, Options{})
	all := exported(t, from)
	one := exported(t, from, Selection{theUser, theRepo})
	if len(one) >= len(all) {
		t.Error("a part is not smaller than the whole")
	}
	report, err := s.Import(t.Context(), bytes.NewReader(all), TransferOptions{Select: []Selection{{theUser, theRepo}}})
	if err != nil || !report.Sound() {
		t.Fatalf("%v\n%v", err, report)
	}
	if got := exported(t, s); !bytes.Equal(got, one) {
		t.Errorf("a selection on import is not that on export: %s", firstDifference(t, got, one))
	}
}

// TestSelectsNothing selects what is not there, with a name with a mistake in
// it: the backup that comes of it must not pass for one.
func TestSelectsNothing(t *testing.T) {
	from := filled(t)
	o := TransferOptions{Select: []Selection{{theUser, theRepo}, {theUser, "mistake"}, {"nobody", ""}}}
	for name, report := range map[string]func(*Store) (TransferReport, error){
		"export": func(*Store) (TransferReport, error) { return from.Export(t.Context(), io.Discard, o) },
		"import": func(s *Store) (TransferReport, error) {
			return s.Import(t.Context(), bytes.NewReader(exported(t, from)), o)
		},
		"copy": func(s *Store) (TransferReport, error) { return s.Copy(t.Context(), from, o) },
	} {
		r, err := report(memStore(t, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Problems) != 2 || r.Problems[0].Path != theUser+"/mistake" || r.Problems[1].Path != "nobody" || r.Repositories.New != 1 {
			t.Errorf("%s:\n%v", name, r)
		}
	}
}

// TestImportResumes cuts a stream at many places: what an import that failed
// has left is sound, and the next one completes it.
func TestImportResumes(t *testing.T) {
	from := filled(t)
	whole := exported(t, from)
	s := memStore(t, Options{})
	for at := 0; at < len(whole)-1024; at += len(whole)/13 + 1 {
		report, err := s.Import(t.Context(), bytes.NewReader(whole[:at]), TransferOptions{})
		if !errors.Is(err, ErrExport) && (err != nil || report.Sound()) { // tar does not notice a cut between files
			t.Fatalf("cut at %d: %v", at, err)
		}
		if report := mustFsck(t, s); !report.Clean() {
			t.Fatalf("cut at %d:\n%v", at, report)
		}
	}
	if report, err := s.Import(t.Context(), bytes.NewReader(whole), TransferOptions{}); err != nil || !report.Sound() {
		t.Fatalf("%v\n%v", err, report)
	}
	if got := exported(t, s); !bytes.Equal(got, whole) {
		t.Error(firstDifference(t, got, whole))
	}
}

// TestImportHostile changes single bytes of an export. Whatever is taken is
// sound all the same.
func TestImportHostile(t *testing.T) {
	whole := exported(t, filled(t), Selection{theUser, ""})
	for at := 0; at < len(whole); at += len(whole)/47 + 1 {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x41
		s := memStore(t, Options{})
		report, err := s.Import(t.Context(), bytes.NewReader(bad), TransferOptions{})
		if err != nil && !errors.Is(err, ErrExport) {
			t.Errorf("byte %d: %v", at, err)
		}
		if check := mustFsck(t, s); !check.Clean() {
			t.Errorf("byte %d: %v\n%v\n%v", at, err, report, check)
		}
	}
}

func TestImportConflicts(t *testing.T) {
	from, s := filled(t), memStore(t, Options{})
	ctx := t.Context()
	if _, err := s.PutUser(ctx, theUser, NewObject(drawbridge.User{Subject: "somebody else"}.Canonical(), drawbridge.TypeJSON)); err != nil {
		t.Fatal(err)
	}
	report, err := s.Import(ctx, bytes.NewReader(exported(t, from)), TransferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) != 1 || report.Problems[0].Kind != Different || report.Tags.New != 1 {
		t.Errorf("%v", report)
	}
	if _, err := s.GetRepo(ctx, theUser, theRepo); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else got a repository: %v", err)
	}
}

// TestExportDamaged exports all that is sound of a store with damage.
func TestExportDamaged(t *testing.T) {
	from := filled(t)
	sum, _ := ownTree["assets/big.bin"].meta.Digests.SHA256()
	if err := from.replace(t.Context(), blobKey(sum), bytes.Repeat([]byte{7}, len(ownTree["assets/big.bin"].content))); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	report, err := from.Export(t.Context(), &b, TransferOptions{})
	if err != nil || len(report.Problems) != 1 || report.Problems[0].Path != blobKey(sum) {
		t.Fatalf("%v\n%v", err, report)
	}
	s := memStore(t, Options{})
	report, err = s.Import(t.Context(), &b, TransferOptions{})
	if err != nil || report.Sound() || report.Tags.New != 4 {
		t.Errorf("%v\n%v", err, report)
	}
	tags, err := s.TagNames(t.Context(), theUser, theRepo)
	if want := []TagName{{"1.0.0", false}, {"4.0.0", true}}; err != nil || !slices.Equal(tags, want) {
		t.Errorf("%v %v", tags, err)
	}
	if check := mustFsck(t, s); !check.Clean() {
		t.Error(check)
	}
}

// TestImportDirHostile gives an unpacked export with links and pipes in it.
func TestImportDirHostile(t *testing.T) {
	from, dir := filled(t), t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := from.ExportDir(t.Context(), root, TransferOptions{}); err != nil {
		t.Fatal(err)
	}
	sum, _ := ownTree["main.wasm"].meta.Digests.SHA256()
	path := filepath.Join(dir, blobKey(sum))
	if err := errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path)); err != nil {
		t.Fatal(err)
	}
	s := memStore(t, Options{})
	report, err := s.ImportDir(t.Context(), root, TransferOptions{})
	if err != nil || report.Sound() {
		t.Errorf("%v\n%v", err, report)
	}
	if check := mustFsck(t, s); !check.Clean() {
		t.Error(check)
	}
}

// smallManifest is a seed that a fuzzer can take apart.
func smallManifest(f *testing.F) []byte {
	f.Helper()
	s := memStore(f, Options{})
	a := &actor{Store: s, clock: &clock{}}
	for _, st := range slices.Concat(scenario()[:3], upstreamSteps("1.0.0", tree{"main.wasm": "x", "dir/a": "", "tail": "y"}.nodes(true))) {
		if err := st.do(f.Context(), a); err != nil {
			f.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := s.manifest(f.Context(), &b, TransferOptions{}); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

func FuzzManifest(f *testing.F) {
	seed := smallManifest(f)
	f.Add(seed)
	for _, line := range bytes.SplitAfter(seed, []byte("\n")) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrExport) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, blob := range m.order {
			if len(m.needs[blob]) == 0 {
				t.Errorf("nobody needs %x", blob)
			}
		}
		for _, u := range m.users {
			for _, r := range u.repos {
				if drawbridge.CheckUser(r.User) != nil || drawbridge.CheckRepository(r.Repo) != nil || r.missing != len(r.nodes) {
					t.Errorf("%q/%q: %d of %d", r.User, r.Repo, r.missing, len(r.nodes))
				}
			}
		}
	})
}

// FuzzImport gives an import any manifest and any content behind it.
func FuzzImport(f *testing.F) {
	seed := smallManifest(f)
	f.Add(seed, []byte("x"), true)
	f.Add(seed, []byte("y"), false)
	f.Fuzz(func(t *testing.T, lines, content []byte, seal bool) {
		if seal { // so that what comes behind the check is reached
			lines = sealManifest(lines)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := tarFile(w, exportManifest, int64(len(lines)), bytes.NewReader(lines)); err != nil {
			t.Fatal(err)
		}
		sum, _ := drawbridge.Sum(content).SHA256()
		if err := tarFile(w, blobKey(sum), int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		w.Close()
		s := memStore(t, Options{})
		_, err := s.Import(t.Context(), &b, TransferOptions{})
		if err != nil && !errors.Is(err, ErrExport) {
			t.Fatalf("%v", err)
		}
		if report := mustFsck(t, s); !report.Clean() {
			t.Fatalf("%v", report)
		}
	})
}

// sealManifest replaces the last line by one that fits those before it.
func sealManifest(lines []byte) []byte {
	all := bytes.SplitAfter(lines, []byte("\n"))
	if len(all) > 0 && len(all[len(all)-1]) == 0 {
		all = all[:len(all)-1]
	}
	if len(all) == 0 {
		return nil
	}
	before := bytes.Join(all[:len(all)-1], nil)
	e := &exporter{out: bufio.NewWriter(io.Discard), sum: sha256.New()}
	var end bytes.Buffer
	e.sum.Write(before)
	e.out.Reset(&end)
	_ = e.write(exportRecord{Kind: exportEnd, Lines: int64(len(all) - 1), SHA256: hex.EncodeToString(e.sum.Sum(nil))})
	_ = e.out.Flush()
	return append(before, end.Bytes()...)
}
