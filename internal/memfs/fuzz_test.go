// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoadTar feeds archives to a jail. Whatever they hold, nothing outside it
// changes, the limit holds, and all space comes back.
func FuzzLoadTar(f *testing.F) {
	f.Add(archive(f, dir("d/"), file("d/f", "hello"), link("l", "../x"), hard("h", "d/f"), file("./a/b", "")))
	f.Add(archive(f, link("l", ".."), file("l/x", "")))
	f.Add(archive(f, file("../x", "")))
	f.Add(append(header("s", 'S', 0, ""), make([]byte, 1024)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = fixSums(data)
		fs := New(1 << 20)
		build(t, fs, "jail/", "secret")
		jail := find(t, fs, "jail")
		err := fs.LoadTar(jail, bytes.NewReader(data))
		if err != nil && !errors.Is(err, ErrArchive) {
			t.Errorf("unexpected kind of error: %v", err)
		}
		check(t, fs)
		top := map[string]bool{}
		for name := range fs.root.dir.byName {
			top[name] = true
		}
		if diff := cmp.Diff(map[string]bool{"jail": true, "secret": true}, top); diff != "" {
			t.Error(diff)
		}
		if get(t, fs, fs.Root(), "secret") != "secret" {
			t.Error("the secret changed")
		}
		secret := find(t, fs, "secret")
		for _, name := range tree(t, jail, "") {
			name, _, _ = strings.Cut(name, " -> ")
			if n, err := fs.Lookup(jail, name, true); err == nil && n == secret {
				t.Errorf("%q leads out", name)
			}
		}
		removeAll(t, fs, fs.Root())
		if fs.Used() != 0 {
			t.Errorf("%d in use, nothing left", fs.Used())
		}
	})
}

// fixSums returns data with the checksums corrected of what looks like headers,
// so that mutated archives get further than the first check.
func fixSums(data []byte) []byte {
	data = bytes.Clone(data)
	for h := data; len(h) >= 512; h = h[512:] {
		if bytes.HasPrefix(h[257:], []byte("ustar")) {
			setSum(h[:512])
		}
	}
	return data
}

// words are what FuzzPath makes paths of.
var words = []string{
	"a", "b", "c", ".", "..", "a/b", "b/c", "a/", "../", "/", "", "a/..", "a/../..", "../../secret",
	"/secret", "../jail/a", "b/../../jail", "a/b/c", "./a", "a//b", "c/.", "secret", "\x00", "\xff",
}

// script reads operations from fuzz input.
type script struct {
	data []byte
}

func (s *script) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *script) path() string {
	b := s.byte()
	p := words[int(b)%len(words)]
	if b >= 192 {
		p += "/" + words[int(s.byte())%len(words)]
	}
	return p
}

// FuzzPath runs random operations in a jail and checks, after each, that the
// file system is whole and that what lies outside was neither reached nor
// changed.
func FuzzPath(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x01\x02\x02\x03\x03\x04\x04\x05\x05\x06\x06\x07\x07"))
	f.Add([]byte{2, 0, 0, 2, 0, 5, 6, 0, 4, 13, 1, 0, 13, 9, 0, 8, 7, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2048 {
			t.Skip("longer scripts find nothing that several short ones do not")
		}
		runScript(t, data)
	})
}

// TestRandomScripts is FuzzPath for a plain test run.
func TestRandomScripts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 400 {
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(rnd.Uint32()) >> rnd.IntN(6) // small numbers make operations meet
		}
		runScript(t, data)
	}
}

func runScript(t *testing.T, data []byte) {
	fs := New(64 << 10)
	clock := int64(0)
	fs.Now = func() int64 { clock++; return clock }
	build(t, fs, "jail/", "secret", "out/", "out/a")
	base := fs.Used()
	outside := []*Node{fs.Root(), find(t, fs, "secret"), find(t, fs, "out"), find(t, fs, "out/a")}
	before := infos(outside)
	g := guest{t: t, fs: fs, script: script{data}, open: []*Node{find(t, fs, "jail")}}
	g.open[0].Retain()
	for len(g.script.data) > 0 {
		g.step(g.script.byte())
		check(t, fs, g.open...)
		for _, n := range g.open {
			if slices.Contains(outside, n) {
				t.Fatalf("reached node %d, outside", n.ino)
			}
		}
	}
	if diff := cmp.Diff(before, infos(outside)); diff != "" {
		t.Errorf("changed outside:\n%s", diff)
	}
	for _, n := range g.open {
		n.Release()
	}
	removeAll(t, fs, find(t, fs, "jail"))
	check(t, fs)
	if fs.Used() != base {
		t.Errorf("%d in use, %d at the start", fs.Used(), base)
	}
}

func infos(nodes []*Node) (list []Info) {
	for _, n := range nodes {
		list = append(list, n.Info())
	}
	return list
}

type guest struct {
	t      *testing.T
	fs     *FS
	script script
	open   []*Node // each retained once
}

func (g *guest) node() *Node { return g.open[int(g.script.byte())%len(g.open)] }

func (g *guest) step(op byte) {
	s, fs := &g.script, g.fs
	var err error
	switch op % 12 {
	case 0, 1:
		how := s.byte()
		n, openErr := fs.Open(g.node(), s.path(), Open{
			Follow: how&1 > 0, Create: how&2 > 0, Exclusive: how&4 > 0, Truncate: how&8 > 0, Directory: how&16 > 0,
		})
		if err = openErr; err == nil {
			g.open = append(g.open, n)
		}
	case 2:
		err = fs.Mkdir(g.node(), s.path())
	case 3:
		err = fs.Rmdir(g.node(), s.path())
	case 4:
		err = fs.Unlink(g.node(), s.path())
	case 5:
		err = fs.Rename(g.node(), s.path(), g.node(), s.path())
	case 6:
		err = fs.Link(g.node(), s.path(), g.node(), s.path())
	case 7:
		err = fs.Symlink(s.path(), g.node(), s.path())
	case 8:
		var target string
		if target, err = fs.Readlink(g.node(), s.path()); err == nil && !utf8.ValidString(target) {
			g.t.Errorf("target %q", target)
		}
	case 9:
		err = g.data(g.node())
	case 10:
		var list []Entry
		n := g.node()
		if list, err = n.ReadDir(uint64(s.byte()), int(s.byte())); err == nil && n.nlink > 0 && len(list) > len(n.dir.byName)+2 {
			g.t.Errorf("%d entries listed", len(list))
		}
	case 11:
		if i := int(s.byte()) % len(g.open); i > 0 {
			g.open[i].Release()
			g.open = append(g.open[:i], g.open[i+1:]...)
		}
	}
	if _, ok := errors.AsType[syscall.Errno](err); err != nil && !ok {
		g.t.Errorf("operation %d: %v is not an errno", op, err)
	}
}

func (g *guest) data(n *Node) error {
	s := &g.script
	op, off, size := s.byte(), int64(s.byte())<<(s.byte()%64), int64(s.byte())<<(s.byte()%12)
	p := bytes.Repeat([]byte{1}, int(size))
	var c int
	var err error
	switch op % 5 {
	case 0:
		c, err = n.ReadAt(p, off)
	case 1:
		c, err = n.WriteAt(p, off)
	case 2:
		c, _, err = n.Append(p)
	case 3:
		err = n.Truncate(off)
	case 4:
		err = n.Allocate(off, size)
	}
	if c < 0 || c > len(p) || err != nil && c != 0 {
		g.t.Errorf("operation %d on data: %d of %d, %v", op, c, len(p), err)
	}
	return err
}
