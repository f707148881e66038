// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	typ    byte
	name   string
	target string // or contents
	mtime  time.Time
	pax    map[string]string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := &tar.Header{Typeflag: e.typ, Name: e.name, ModTime: e.mtime, PAXRecords: e.pax, Format: tar.FormatPAX}
		if e.typ == tar.TypeReg {
			hdr.Size = int64(len(e.target))
		} else {
			hdr.Linkname = e.target
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatalf("%q: %v", e.name, err)
		}
		if e.typ == tar.TypeReg {
			if _, err := w.Write([]byte(e.target)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// file, dir, link and hard are entries of the four kinds that are accepted.
func file(name, contents string) entry { return entry{typ: tar.TypeReg, name: name, target: contents} }
func dir(name string) entry            { return entry{typ: tar.TypeDir, name: name} }
func link(name, target string) entry {
	return entry{typ: tar.TypeSymlink, name: name, target: target}
}
func hard(name, target string) entry { return entry{typ: tar.TypeLink, name: name, target: target} }

func TestLoadTar(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	big := strings.Repeat("0123456789", 20000)
	data := archive(t,
		entry{typ: tar.TypeDir, name: "./", mtime: at},
		entry{typ: tar.TypeDir, name: "d/", mtime: at},
		entry{typ: tar.TypeReg, name: "d/f", target: "hello", mtime: at},
		entry{typ: tar.TypeReg, name: "./big", target: big, mtime: at},
		entry{typ: tar.TypeReg, name: "implied/deep/f", target: "x", mtime: time.Unix(-5, 0)},
		entry{typ: tar.TypeSymlink, name: "out", target: "../../etc/passwd", mtime: at},
		link("abs", "/etc/passwd"),
		link("in", "d/f"),
		hard("d/h", "d/f"),
		hard("d/hl", "./out"),
		dir("d"),
		file("later", ""),
		entry{typ: tar.TypeReg, name: "eternal", mtime: time.Unix(1<<40, 0)},
		entry{typ: tar.TypeReg, name: "ünïcode ☃", target: "u"},
		file(strings.Repeat("long/", 50)+strings.Repeat("n", 255), "l"),
		entry{typ: tar.TypeDir, name: "d/", mtime: at},
	)
	fs := New(1 << 20)
	build(t, fs, "mnt/")
	mnt := find(t, fs, "mnt")
	r := bytes.NewReader(append(data, "next"...))
	if err := fs.LoadTar(mnt, r); err != nil {
		t.Fatal(err)
	}
	check(t, fs)
	if r.Len() != 4 {
		t.Errorf("%d bytes left after the archive, want 4", r.Len())
	}
	for name, want := range map[string]string{"d/f": "hello", "in": "hello", "d/h": "hello", "big": big, "implied/deep/f": "x"} {
		if got := get(t, fs, mnt, name); got != want {
			t.Errorf("%s holds %.20q", name, got)
		}
	}
	for _, name := range []string{".", "d", "d/f", "big", "out"} {
		n, err := fs.Lookup(mnt, name, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Info().Mtime; got != at.UnixNano() {
			t.Errorf("%s: mtime %d", name, got)
		}
	}
	for name, want := range map[string]int64{"implied/deep/f": 0, "eternal": math.MaxInt64} {
		n, err := fs.Lookup(mnt, name, false)
		if err != nil || n.Info().Mtime != want {
			t.Errorf("%s: mtime %d, %v", name, n.Info().Mtime, err)
		}
	}
	if n, err := fs.Lookup(mnt, "d/f", false); err != nil || n.Info().Nlink != 2 {
		t.Errorf("nlink %d, %v", n.Info().Nlink, err)
	}
	for name, target := range map[string]string{"out": "../../etc/passwd", "abs": "/etc/passwd", "d/hl": "../../etc/passwd"} {
		if got, err := fs.Readlink(mnt, name); got != target || err != nil {
			t.Errorf("%s -> %q, %v", name, got, err)
		}
		if _, err := fs.Lookup(mnt, name, true); err != syscall.EPERM {
			t.Errorf("following %s: %v", name, err)
		}
	}
	removeAll(t, fs, fs.Root())
	if fs.Used() != 0 {
		t.Errorf("%d in use, nothing left", fs.Used())
	}
}

func TestLoadTarRefuses(t *testing.T) {
	deep := strings.Repeat("d/", MaxDepth)
	tests := []struct {
		name    string
		entries []entry
		want    error
	}{
		{"absolute", []entry{file("/etc/passwd", "")}, errAbsolute},
		{"absolute directory", []entry{dir("/")}, errAbsolute},
		{"dot dot", []entry{file("../f", "")}, errName},
		{"dot dot inside", []entry{dir("a"), file("a/../f", "")}, errName},
		{"dot dot last", []entry{dir("a/..")}, errName},
		{"dot dot after dot", []entry{file("./../f", "")}, errName},
		{"dot inside", []entry{file("a/./f", "")}, errName},
		{"two slashes", []entry{file("a//f", "")}, errName},
		{"dot slash slash", []entry{file(".//f", "")}, errName},
		{"two slashes at the end", []entry{dir("a//")}, errName},
		{"dot file", []entry{file(".", "")}, errName},
		{"link called dot", []entry{link("./", "t")}, errName},
		{"link with slash", []entry{link("a/", "t")}, errName},
		{"character device", []entry{{typ: tar.TypeChar, name: "null"}}, errType},
		{"block device", []entry{{typ: tar.TypeBlock, name: "sda"}}, errType},
		{"pipe", []entry{{typ: tar.TypeFifo, name: "p"}}, errType},
		{"contiguous", []entry{{typ: tar.TypeCont, name: "c"}}, errType},
		{"not UTF-8", []entry{file("a\xff", "")}, syscall.EILSEQ},
		{"long component", []entry{file(strings.Repeat("n", 256), "")}, syscall.ENAMETOOLONG},
		{"long name", []entry{file(strings.Repeat("n/", 3000)+"f", "")}, syscall.ENAMETOOLONG},
		{"deep", []entry{file(deep+"f", "")}, errDepth},
		{"file twice", []entry{file("f", "1"), file("f", "2")}, errDuplicate},
		{"file over directory", []entry{dir("d"), file("d", "")}, errDuplicate},
		{"file over implied", []entry{file("d/f", ""), file("d", "")}, errDuplicate},
		{"directory over file", []entry{file("d", ""), dir("d")}, errParent},
		{"link over file", []entry{file("f", ""), link("f", "t")}, errDuplicate},
		{"hard link over file", []entry{file("f", ""), hard("f", "f")}, errDuplicate},
		{"below a file", []entry{file("f", ""), file("f/x", "")}, errParent},
		{"below a link", []entry{dir("d"), link("l", "d"), file("l/x", "")}, errParent},
		{"below a link out", []entry{link("l", "../.."), file("l/x", "")}, errParent},
		{"directory over link", []entry{dir("d"), link("l", "d"), dir("l/")}, errParent},
		{"hard link to directory", []entry{dir("d"), hard("h", "d")}, errLink},
		{"hard link to nothing", []entry{hard("h", "f")}, errLink},
		{"hard link to later", []entry{hard("h", "f"), file("f", "")}, errLink},
		{"hard link out", []entry{hard("h", "../f")}, errName},
		{"hard link to absolute", []entry{hard("h", "/f")}, errAbsolute},
		{"hard link through file", []entry{file("f", ""), hard("h", "f/x")}, errLink},
		{"hard link through link", []entry{dir("d"), file("d/f", ""), link("l", "d"), hard("h", "l/f")}, errLink},
		{"hard link to itself", []entry{hard("h", "h")}, errLink},
		{"link to non UTF-8", []entry{link("l", "\xff")}, syscall.EILSEQ},
		{"link to long", []entry{link("l", strings.Repeat("a", 5000))}, syscall.ENAMETOOLONG},
		{"too big", []entry{file("f", strings.Repeat("x", 2<<20))}, syscall.ENOSPC},
	}
	for _, tt := range tests {
		fs := New(1 << 20)
		build(t, fs, "jail/", "f")
		err := fs.LoadTar(find(t, fs, "jail"), bytes.NewReader(archive(t, tt.entries...)))
		if !errors.Is(err, tt.want) || !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%s: an error of %d bytes", tt.name, len(err.Error()))
		}
		if got := len(fs.root.dir.byName); got != 2 || get(t, fs, fs.Root(), "f") != "f" {
			t.Errorf("%s: it reached outside", tt.name)
		}
		check(t, fs)
	}
}

// TestLoadTarNoRoom has room for the first entry and none for the second.
func TestLoadTarNoRoom(t *testing.T) {
	for _, e := range []entry{file("g", ""), dir("d"), link("l", "t"), hard("h", "f"), file("d/g", "")} {
		fs := New(Cost("f", Regular, 100))
		err := fs.LoadTar(fs.Root(), bytes.NewReader(archive(t, file("f", strings.Repeat("x", 100)), e)))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", e.name, err)
		}
		if diff := cmp.Diff([]string{"f"}, tree(t, fs.Root(), "")); diff != "" {
			t.Error(diff)
		}
		check(t, fs)
	}
}

// header is a ustar header made by hand, for what archive/tar will not write.
func header(name string, typ byte, size int64, link string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	for i, d := 11, size; i > 0; i, d = i-1, d/8 {
		h[124+i-1] = '0' + byte(d%8)
	}
	copy(h[136:], "00000000000\x00")
	h[156] = typ
	copy(h[157:], link)
	copy(h[257:], "ustar\x0000")
	setSum(h)
	return h
}

// setSum puts the right checksum into a header.
func setSum(h []byte) {
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	for i := 5; i >= 0; i, sum = i-1, sum/8 {
		h[148+i] = '0' + byte(sum%8)
	}
	h[154] = 0
}

func TestLoadTarRaw(t *testing.T) {
	end := make([]byte, 1024)
	pax := func(records ...string) []byte {
		text := ""
		for _, r := range records {
			size := len(r) + 4 // two digits, a space and a newline
			text += fmt.Sprintf("%d %s\n", size, r)
		}
		b := append(header("pax", 'x', int64(len(text)), ""), text...)
		return append(b, make([]byte, (512-len(text)%512)%512)...)
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, ErrArchive},
		{"end only", end, nil},
		{"half an end", end[:512], ErrArchive},
		{"no end", header("f", '0', 0, ""), ErrArchive},
		{"file", append(header("f", '0', 0, ""), end...), nil},
		{"empty name", append(header("", '0', 0, ""), end...), ErrArchive},
		{"empty target", append(header("l", '2', 0, ""), end...), ErrArchive},
		{"file that never comes", header("f", '0', 1<<30, ""), ErrArchive},
		{"global header", append(header("g", 'g', 0, ""), end...), ErrArchive},
		{"GNU sparse", append(header("s", 'S', 0, ""), end...), ErrArchive},
		{"unknown type", append(header("s", 'Z', 0, ""), end...), ErrArchive},
		{"PAX sparse 0.1", bytes.Join([][]byte{
			pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.realsize=1152921504606846976",
				"GNU.sparse.numblocks=1", "GNU.sparse.map=1152921504606846975,1", "GNU.sparse.name=s"),
			header("s", '0', 1, ""), make([]byte, 512), end}, nil), errSparse},
		{"PAX sparse 1.0", bytes.Join([][]byte{
			pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=1152921504606846976", "GNU.sparse.name=s"),
			header("s", '0', 512, ""), []byte("0\n"), make([]byte, 510), end}, nil), errSparse},
		{"PAX size", bytes.Join([][]byte{pax("size=9223372036854775807"), header("s", '0', 0, ""), end}, nil), ErrArchive},
		{"garbage", bytes.Repeat([]byte("garbage!"), 512), ErrArchive},
	}
	for _, tt := range tests {
		fs := New(1 << 20)
		err := fs.LoadTar(fs.Root(), bytes.NewReader(tt.data))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		check(t, fs)
	}
}

func TestLoadTarCut(t *testing.T) {
	data := archive(t, dir("d"), file("d/f", strings.Repeat("x", 700)), link("l", "t"))
	for cut := range data {
		fs := New(1 << 20)
		if err := fs.LoadTar(fs.Root(), bytes.NewReader(data[:cut])); !errors.Is(err, ErrArchive) {
			t.Errorf("cut at %d of %d: %v", cut, len(data), err)
		}
	}
	for name, r := range map[string]io.Reader{
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(data)),
		"end with the data":  iotest.DataErrReader(bytes.NewReader(data)),
	} {
		fs := New(1 << 20)
		if err := fs.LoadTar(fs.Root(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	boom := errors.New("boom")
	fs := New(0)
	if err := fs.LoadTar(fs.Root(), io.MultiReader(bytes.NewReader(data[:600]), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("a broken stream: %v", err)
	}
}

func TestLoadTarWhere(t *testing.T) {
	fs := New(0)
	build(t, fs, "f", "d/", "d/old")
	if err := fs.LoadTar(find(t, fs, "f"), nil); err != syscall.ENOTDIR {
		t.Errorf("into a file: %v", err)
	}
	if err := fs.LoadTar(New(0).Root(), nil); err != syscall.ENOTDIR {
		t.Errorf("into another file system: %v", err)
	}
	if err := fs.LoadTar(find(t, fs, "d"), bytes.NewReader(archive(t, file("new", "")))); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"f", "d/", "d/old", "d/new"}, tree(t, fs.Root(), "")); diff != "" {
		t.Error(diff)
	}
}

// TestLoadTarEntries bounds an archive on a file system that has no bound.
func TestLoadTarEntries(t *testing.T) {
	fs := New(0)
	l := loader{fs: fs, top: fs.Root(), dirTimes: map[*Node]int64{}, headers: MaxEntries - 1, nodes: MaxEntries - 2}
	for name, want := range map[string]error{"a": nil} {
		if err := l.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name}, nil); err != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.entry(&tar.Header{Typeflag: tar.TypeDir, Name: "a"}, nil); err != errEntries {
		t.Errorf("one header too many: %v", err)
	}
	l.headers = 0
	if err := l.entry(&tar.Header{Typeflag: tar.TypeDir, Name: "b/c"}, nil); err != errEntries {
		t.Errorf("one node too many: %v", err)
	}
}

func TestCost(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 513, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7} {
		fs := New(1 << 30)
		e := file("name", strings.Repeat("x", int(size)))
		if err := fs.LoadTar(fs.Root(), bytes.NewReader(archive(t, e))); err != nil {
			t.Fatal(err)
		}
		if got := Cost("name", Regular, size); got != fs.Used() {
			t.Errorf("Cost of %d bytes is %d, it takes %d", size, got, fs.Used())
		}
	}
	fs := New(1 << 30)
	if err := fs.LoadTar(fs.Root(), bytes.NewReader(archive(t, dir("dir"), link("link", "target")))); err != nil {
		t.Fatal(err)
	}
	if got := Cost("dir", Directory, 0) + Cost("link", Symlink, 6); got != fs.Used() {
		t.Errorf("Cost is %d, it takes %d", got, fs.Used())
	}
}
