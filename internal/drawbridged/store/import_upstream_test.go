// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gocloud.dev/blob"

	"enarx.dev/enarx/drawbridge"
)

// An oldStore is a directory as upstream's server leaves it (spec 5.1).
type oldStore struct {
	t   *testing.T
	dir string
}

func newOldStore(t *testing.T) oldStore {
	t.Helper()
	o := oldStore{t, fastDir(t)}
	o.mkdir("users")
	return o
}

func (o oldStore) mkdir(path string) {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Join(o.dir, path), 0o700); err != nil {
		o.t.Fatal(err)
	}
}

func (o oldStore) write(path string, content []byte) {
	o.t.Helper()
	o.mkdir(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(o.dir, path), content, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// put writes an entity as a PUT that went well does.
func (o oldStore) put(path, mediaType string, content []byte) drawbridge.Meta {
	o.t.Helper()
	meta := drawbridge.MetaOf(content, mediaType)
	o.write(path+"/meta.json", meta.Canonical())
	o.write(path+"/content", content)
	return meta
}

func (o oldStore) user(name, subject string) {
	o.t.Helper()
	o.put("users/"+name, drawbridge.TypeJSON, drawbridge.User{Subject: subject}.Canonical())
	o.mkdir("users/" + name + "/repos")
}

func (o oldStore) repo(user, name string, public bool) {
	o.t.Helper()
	path := "users/" + user + "/repos/" + name
	o.put(path, drawbridge.TypeJSON, drawbridge.Repository{Public: public}.Canonical())
	o.mkdir(path + "/tags")
}

// A tree is files by their path, as a publisher has them.
type tree map[string]string

// nodes returns what a client uploads for a tree, by path, "" for the root:
// every file and every directory. With defect, listings stop where those of
// upstream's clients do (spec 2.3).
func (files tree) nodes(defect bool) map[string]sent {
	nodes := map[string]sent{}
	files.directory("", defect, nodes)
	return nodes
}

type sent struct {
	meta    drawbridge.Meta
	content []byte
}

func (files tree) directory(prefix string, defect bool, nodes map[string]sent) drawbridge.Meta {
	listing := drawbridge.Directory{}
	names := map[string]bool{}
	for path := range files {
		if rest, ok := strings.CutPrefix(path, prefix); ok && rest != "" {
			name, _, _ := strings.Cut(rest, "/")
			names[name] = true
		}
	}
	stopped := false
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var meta drawbridge.Meta
		content, file := files[prefix+name]
		if file {
			meta = drawbridge.MetaOf([]byte(content), drawbridge.TypeByName(name))
			nodes[prefix+name] = sent{meta, []byte(content)}
		} else {
			meta = files.directory(prefix+name+"/", defect, nodes)
		}
		if !stopped {
			listing[name] = drawbridge.Entry{Meta: meta}
		}
		stopped = stopped || defect && !file
	}
	content := listing.Canonical()
	meta := drawbridge.MetaOf(content, drawbridge.TypeDirectory)
	nodes[strings.TrimSuffix(prefix, "/")] = sent{meta, content}
	return meta
}

// publish writes a tag and its tree.
func (o oldStore) publish(user, repo, tag string, nodes map[string]sent) {
	o.t.Helper()
	path := "users/" + user + "/repos/" + repo + "/tags/" + tag
	o.put(path, drawbridge.TypeEntry, drawbridge.Entry{Meta: nodes[""].meta}.Canonical())
	for at, n := range nodes {
		o.put(path+oldPath(at), n.meta.Type, n.content)
		if n.meta.Type == drawbridge.TypeDirectory {
			o.mkdir(path + oldPath(at) + "/entries")
		}
	}
}

// oldPath is where upstream keeps a node below its tag.
func oldPath(path string) string {
	if path == "" {
		return "/tree"
	}
	return "/tree/entries/" + strings.ReplaceAll(path, "/", "/entries/")
}

var (
	plainTree = tree{"Enarx.toml": "steward = \"https://attest.example\"\n", "main.wasm": "\x00asm\x01\x00\x00\x00"}
	deepTree  = tree{"a": "", "dir/sub/file.txt": "text", "dir/zz": "more", "tail": "never listed", "tail2": "nor this"}
)

// sampleOldStore has what upstream can hold when nothing ever went wrong.
func sampleOldStore(t *testing.T) oldStore {
	t.Helper()
	o := newOldStore(t)
	o.user("alice", "test|alice")
	o.user("Alice", "test|alice")
	o.repo("alice", "public-repo", true)
	o.repo("alice", "private", false)
	o.user("bob", "test|bob")
	o.repo("bob", "empty", true)
	o.publish("alice", "public-repo", "0.1.0", plainTree.nodes(false))
	o.publish("alice", "public-repo", "0.2.0+defect", deepTree.nodes(true))
	o.publish("alice", "private", "1.0.0-rc.1", map[string]sent{"": {drawbridge.MetaOf([]byte("lone"), drawbridge.TypeWasm), []byte("lone")}})
	o.mkdir("oidc/auth0")
	for _, user := range []string{"alice", "bob"} {
		if err := os.Symlink("../../users/"+user, filepath.Join(o.dir, "oidc/auth0/test|"+user)); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o oldStore) open() *os.Root {
	o.t.Helper()
	root, err := os.OpenRoot(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { root.Close() })
	return root
}

func memStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := OpenURL(t.Context(), "mem://", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestImportUpstream(t *testing.T) {
	o, s := sampleOldStore(t), memStore(t, Options{})
	for round, want := range []TransferReport{
		{Users: Count{3, 0}, Repositories: Count{3, 0}, Tags: Count{3, 0}, Nodes: Count{12, 0}, Orphans: 3},
		{Users: Count{0, 3}, Repositories: Count{0, 3}, Tags: Count{0, 3}, Nodes: Count{0, 12}, Orphans: 3},
	} {
		got, err := s.ImportUpstream(t.Context(), o.open(), TransferOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Users != want.Users || got.Repositories != want.Repositories || got.Tags != want.Tags || got.Nodes != want.Nodes ||
			got.Orphans != want.Orphans || !got.Sound() || got.Blobs == 0 || got.Blobs > 12 {
			t.Errorf("round %d:\n%v", round, got)
		}
	}
	for tag, nodes := range map[string]map[string]sent{"0.1.0": plainTree.nodes(false), "0.2.0+defect": deepTree.nodes(true)} {
		checkPublished(t, s, "alice", "public-repo", tag, nodes)
	}
	if report := mustFsck(t, s); !report.Clean() {
		t.Errorf("fsck:\n%v", report)
	}
}

// checkPublished reads back every node of a tag.
func checkPublished(t testing.TB, s *Store, user, repo, tag string, nodes map[string]sent) {
	t.Helper()
	if err := published(t.Context(), s, user, repo, tag, nodes); err != nil {
		t.Error(err)
	}
}

func TestImportUpstreamSelects(t *testing.T) {
	o, s := sampleOldStore(t), memStore(t, Options{})
	selection, err := ParseSelection("alice/private")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.ImportUpstream(t.Context(), o.open(), TransferOptions{Select: []Selection{selection}})
	if err != nil || got.Users.New != 1 || got.Repositories.New != 1 || got.Tags.New != 1 || got.Nodes.New != 1 {
		t.Errorf("%v\n%v", err, got)
	}
}

// TestImportUpstreamCrashes has every state that a crash, a liar or a bad disk
// leaves in an upstream store (spec 5.3), and what becomes of it.
func TestImportUpstreamCrashes(t *testing.T) {
	const repo = "users/alice/repos/public-repo"
	const tag = repo + "/tags/0.1.0"
	for name, c := range map[string]struct {
		damage func(o oldStore)
		want   []string // kind: path
		gone   bool     // the tag is not there afterwards
	}{
		"user without anything":  {func(o oldStore) { o.mkdir("users/carol") }, []string{"cut off: users/carol"}, false},
		"user without sidecar":   {func(o oldStore) { o.remove("users/alice/meta.json") }, []string{"cut off: users/alice"}, true},
		"user without content":   {func(o oldStore) { o.remove("users/alice/content") }, []string{"cut off: users/alice"}, true},
		"user record is no user": {func(o oldStore) { o.put("users/alice", drawbridge.TypeJSON, []byte(`{"sub":1}`)) }, []string{"quarantined: users/alice"}, true},
		"repo of other bytes":    {func(o oldStore) { o.write(repo+"/content", []byte(`{"public":tru3}`)) }, []string{"quarantined: " + repo}, true},
		"repo cut short":         {func(o oldStore) { o.write(repo+"/content", []byte(`{"pub`)) }, []string{"quarantined: " + repo}, true},
		"tag mkdir only": {func(o oldStore) { o.mkdir(repo + "/tags/9.9.9") },
			[]string{"cut off: " + repo + "/tags/9.9.9"}, false},
		"tag before its tree": {func(o oldStore) { o.removeAll(tag + "/tree") }, []string{"incomplete: " + tag}, true},
		"tag sidecar cut short": {func(o oldStore) { o.write(tag+"/meta.json", []byte(`{"digest":{"sha-2`)) },
			[]string{"quarantined: " + tag}, true},
		"tag that is no entry": {func(o oldStore) { o.put(tag, drawbridge.TypeEntry, []byte(`[]`)) }, []string{"quarantined: " + tag}, true},
		"tag of another root": {func(o oldStore) {
			o.put(tag, drawbridge.TypeEntry, drawbridge.Entry{Meta: drawbridge.MetaOf(nil, drawbridge.TypeDirectory)}.Canonical())
		}, []string{"incomplete: " + tag, "quarantined: " + tag + "/tree"}, true},
		"node mkdir only": {func(o oldStore) {
			o.removeAll(tag + "/tree/entries/main.wasm")
			o.mkdir(tag + "/tree/entries/main.wasm")
		}, []string{"incomplete: " + tag, "cut off: " + tag + "/tree/entries/main.wasm"}, true},
		"node never sent": {func(o oldStore) { o.removeAll(tag + "/tree/entries/main.wasm") }, []string{"incomplete: " + tag}, true},
		"node cut short": {func(o oldStore) { o.write(tag+"/tree/entries/main.wasm/content", []byte("\x00as")) },
			[]string{"incomplete: " + tag, "quarantined: " + tag + "/tree/entries/main.wasm"}, true},
		"node of other bytes": {func(o oldStore) { o.write(tag+"/tree/entries/main.wasm/content", []byte("\x00asm\x02\x00\x00\x00")) },
			[]string{"incomplete: " + tag, "quarantined: " + tag + "/tree/entries/main.wasm"}, true},
		"node not as listed": {func(o oldStore) { o.put(tag+"/tree/entries/main.wasm", drawbridge.TypeWasm, []byte("evil")) },
			[]string{"incomplete: " + tag, "quarantined: " + tag + "/tree/entries/main.wasm"}, true},
		"node without sidecar": {func(o oldStore) { o.remove(tag + "/tree/entries/main.wasm/meta.json") },
			[]string{"incomplete: " + tag, "cut off: " + tag + "/tree/entries/main.wasm"}, true},
		"unlisted without excuse": {func(o oldStore) { o.put(tag+"/tree/entries/a.txt", drawbridge.TypeBinary, []byte("x")) },
			[]string{"refused: " + tag + "/tree/entries/a.txt"}, false},
		"dots": {func(o oldStore) { o.put("users/al.ice", drawbridge.TypeJSON, []byte(`{"subject":"x"}`)) },
			[]string{"refused: users/al.ice"}, false},
		"no version":       {func(o oldStore) { o.mkdir(repo + "/tags/v1") }, []string{"refused: " + repo + "/tags/v1"}, false},
		"file for folder":  {func(o oldStore) { o.write("users/file", nil) }, []string{"refused: users/file"}, false},
		"control in name":  {func(o oldStore) { o.mkdir("users/a\x1b[31m") }, []string{`refused: "users/a\x1b[31m"`}, false},
		"huge sidecar":     {func(o oldStore) { o.write(repo+"/meta.json", bytes.Repeat([]byte(" "), maxSidecar+1)) }, []string{"quarantined: " + repo}, true},
		"pipe as content":  {func(o oldStore) { o.remove(repo + "/content"); o.pipe(repo + "/content") }, []string{"refused: " + repo}, true},
		"link as content":  {func(o oldStore) { o.remove(repo + "/content"); o.link("/etc/hostname", repo+"/content") }, []string{"refused: " + repo}, true},
		"link inside":      {func(o oldStore) { o.remove(repo + "/content"); o.link("../private/content", repo+"/content") }, []string{"refused: " + repo}, true},
		"link as user":     {func(o oldStore) { o.link("alice", "users/mallory") }, []string{"refused: users/mallory"}, false},
		"link out":         {func(o oldStore) { o.link("/", "users/root") }, []string{"refused: users/root"}, false},
		"link as entries":  {func(o oldStore) { o.removeAll(tag + "/tree/entries"); o.link("..", tag+"/tree/entries") }, []string{"incomplete: " + tag, "refused: " + tag + "/tree/entries"}, true},
		"link as the tree": {func(o oldStore) { o.removeAll(tag + "/tree"); o.link("../0.2.0+defect/tree", tag+"/tree") }, []string{"incomplete: " + tag, "refused: " + tag + "/tree"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o, s := sampleOldStore(t), memStore(t, Options{})
			c.damage(o)
			report, err := s.ImportUpstream(t.Context(), o.open(), TransferOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range report.Problems {
				got = append(got, string(p.Kind)+": "+p.Path)
			}
			slices.SortStableFunc(got, cmp.Compare)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("problems:\n%v\nwant %q", report, c.want)
			}
			err = published(t.Context(), s, "alice", "public-repo", "0.1.0", plainTree.nodes(false))
			if (err != nil) != c.gone {
				t.Errorf("the tag: %v", err)
			}
			checkQuarantine(t, s, c.want)
			if report := mustFsck(t, s); !report.Clean() {
				t.Errorf("fsck:\n%v", report)
			}
		})
	}
}

// checkQuarantine checks that there is one thing in quarantine for each that
// was reported so.
func checkQuarantine(t *testing.T, s *Store, problems []string) {
	t.Helper()
	want := 0
	for _, p := range problems {
		if strings.HasPrefix(p, "quarantined") {
			want++
		}
	}
	got := 0
	for it := s.bucket.List(&blob.ListOptions{Prefix: "quarantine/"}); ; {
		object, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(object.Key, "/content") {
			got++
		}
	}
	if got != want {
		t.Errorf("%d in quarantine, want %d", got, want)
	}
}

func (o oldStore) remove(path string) {
	o.t.Helper()
	if err := os.Remove(filepath.Join(o.dir, path)); err != nil {
		o.t.Fatal(err)
	}
}

func (o oldStore) removeAll(path string) {
	o.t.Helper()
	if err := os.RemoveAll(filepath.Join(o.dir, path)); err != nil {
		o.t.Fatal(err)
	}
}

func (o oldStore) pipe(path string) {
	o.t.Helper()
	if err := syscall.Mkfifo(filepath.Join(o.dir, path), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o oldStore) link(target, path string) {
	o.t.Helper()
	if err := os.Symlink(target, filepath.Join(o.dir, path)); err != nil {
		o.t.Fatal(err)
	}
}

func mustFsck(t testing.TB, s *Store) FsckReport {
	t.Helper()
	report, err := s.Fsck(t.Context(), FsckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// FuzzImportUpstream imports a tag with any sidecars and contents.
func FuzzImportUpstream(f *testing.F) {
	nodes := plainTree.nodes(false)
	entry := drawbridge.Entry{Meta: nodes[""].meta}.Canonical()
	f.Add(drawbridge.MetaOf(entry, drawbridge.TypeEntry).Canonical(), entry, nodes[""].meta.Canonical(), nodes[""].content)
	f.Add([]byte(`{"digest":{},"length":0,"type":"a/b"}`), []byte("{}"), []byte(`{"digest":{"sha-224":""},"length":-1,"type":""}`), []byte(nil))
	f.Fuzz(func(t *testing.T, tagMeta, tag, rootMeta, root []byte) {
		o, s := newOldStore(t), memStore(t, Options{})
		o.user("alice", "s")
		o.repo("alice", "r", true)
		const at = "users/alice/repos/r/tags/1.0.0"
		o.write(at+"/meta.json", tagMeta)
		o.write(at+"/content", tag)
		o.write(at+"/tree/meta.json", rootMeta)
		o.write(at+"/tree/content", root)
		o.put(at+"/tree/entries/main.wasm", drawbridge.TypeWasm, []byte(plainTree["main.wasm"]))
		if _, err := s.ImportUpstream(t.Context(), o.open(), TransferOptions{}); err != nil {
			t.Fatal(err)
		}
		if report := mustFsck(t, s); !report.Clean() {
			t.Fatal(report)
		}
	})
}
