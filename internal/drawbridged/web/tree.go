// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/workload"
)

const (
	pageFiles       = 500
	pageDirectories = 400       // that one page opens to sum sizes up
	maxConfig       = 128 << 10 // bytes of an Enarx.toml that is shown
)

// budget is how many directories a page may open yet, to sum sizes up. A large
// one counts as many: each 8 KiB of its listing as another.
type budget struct{ left atomic.Int64 }

func newBudget(n int64) *budget {
	b := new(budget)
	b.left.Store(n)
	return b
}

// A sum is how much a package holds.
type sum struct {
	bytes int64
	files int
	part  bool // there is more: the budget was used up
}

// String returns the size, as far as it is known.
func (s sum) String() string {
	if s.part {
		return "over " + size(s.bytes)
	}
	return size(s.bytes)
}

// total sums the files of a package up: those that its digest covers.
func (v *visit) total(at place, tag store.TagInfo, b *budget) sum {
	var s sum
	at.Path = nil
	v.add(&s, at, tag.Tag.Entry.Meta, b)
	return s
}

func (v *visit) add(s *sum, at place, m drawbridge.Meta, b *budget) {
	if m.Type != drawbridge.TypeDirectory {
		s.bytes += m.Length
		s.files++
		return
	}
	if len(at.Path) >= drawbridge.MaxDepth || b.left.Add(-1-m.Length>>13) < 0 {
		s.part = true
		return
	}
	_, dir, err := v.directory(at)
	if err != nil {
		s.part = true // the page of the directory says what is wrong with it
		return
	}
	for name, entry := range dir {
		v.add(s, at.child(name), entry.Meta, b)
	}
}

// directory returns a directory of a package.
func (v *visit) directory(at place) (store.NodeInfo, drawbridge.Directory, error) {
	node, err := v.cfg.Store.Node(v.ctx, at.User, at.Repo, at.Tag, at.Path)
	if err != nil || node.Meta.Type != drawbridge.TypeDirectory {
		return node, nil, err
	}
	dir, err := v.cfg.Store.Directory(v.ctx, node.Blob)
	return node, dir, err
}

// contents is about for what is below a tag, and the tag. What was yanked is
// there for its owner only.
func (v *visit) contents(at place) (auth.Resource, store.TagInfo, error) {
	about, err := v.readable(at)
	if err != nil {
		return about, store.TagInfo{}, err
	}
	tag, err := v.cfg.Store.GetTag(v.ctx, at.User, at.Repo, at.Tag)
	if errors.Is(err, store.ErrNotFound) {
		return about, tag, errMissing
	}
	if err != nil {
		return about, tag, err
	}
	if about.Root, err = v.root(at, tag); err != nil {
		return about, tag, err
	}
	about.Reveal = true
	if tag.Yank != nil {
		about.Yanked, about.Reason = true, tag.Yank.Reason
	}
	return about, tag, nil
}

// A fileRow is one entry of a directory.
type fileRow struct {
	Name, URL, Download string
	Type, Bytes, Digest string
	Directory, Orphan   bool
}

// fileTable is a directory.
type fileTable struct {
	Caption string
	Rows    []fileRow
	Orphans bool
	Pages   pager
}

// table lists the entries of the directory at, the unlisted ones last.
func (v *visit) table(at place, dir drawbridge.Directory) (*fileTable, error) {
	orphans, err := v.cfg.Store.Orphans(v.ctx, at.User, at.Repo, at.Tag)
	if err != nil {
		return nil, err
	}
	t := &fileTable{Caption: "Files"}
	for _, name := range dir.Names() {
		t.Rows = append(t.Rows, row(at.child(name), dir[name].Meta, false))
	}
	for _, o := range orphans {
		depth := len(o.Path) - 1
		if depth == len(at.Path) && slices.Equal(o.Path[:depth], at.Path) && dir[o.Path[depth]].Type == "" {
			t.Rows = append(t.Rows, row(at.child(o.Path[depth]), o.Meta, true))
			t.Orphans = true
		}
	}
	page, pages := v.paged(len(t.Rows), pageFiles, at.treeURL(), "Pages of files")
	t.Rows, t.Pages = t.Rows[page*pageFiles:min(len(t.Rows), (page+1)*pageFiles)], pages
	return t, nil
}

func row(at place, m drawbridge.Meta, orphan bool) fileRow {
	r := fileRow{
		Name: at.Path[len(at.Path)-1], URL: at.treeURL(), Type: m.Type, Bytes: thousands(m.Length), Digest: digest(m.Digests),
		Directory: m.Type == drawbridge.TypeDirectory, Orphan: orphan,
	}
	if r.Directory {
		r.Type, r.Bytes = "directory", ""
	} else {
		r.Download = at.fileURL()
	}
	return r
}

// digest is the one that people compare.
func digest(d drawbridge.Digests) string {
	if sum, ok := d.SHA256(); ok {
		return fmt.Sprintf("%x", sum)
	}
	return "not declared"
}

type crumb struct{ Name, URL string }

type hash struct{ Algorithm, Hex string }

// file is a node that is no directory.
type file struct {
	Type, Bytes, Download string
	Digests               []hash
}

// tree is the page of a directory or a file of a package.
func (v *visit) tree(at place) error {
	about, _, err := v.contents(at)
	if err != nil {
		return err
	}
	if auth.Decide(v.as, auth.ReadTree, about) != nil {
		return v.leave(at.tagURL(), nil) // which says that it was yanked
	}
	node, dir, err := v.directory(at)
	if errors.Is(err, store.ErrNotFound) {
		return errMissing
	}
	if err != nil {
		return err
	}
	body := struct {
		User, Repo, Tag, TagURL string
		Crumbs                  []crumb
		Orphan                  bool
		Files                   *fileTable
		File                    *file
		Config                  *configuration
	}{User: at.User, Repo: at.Repo, Tag: at.Tag, TagURL: at.tagURL(), Orphan: node.Orphan, Crumbs: crumbs(at)}
	if dir != nil {
		if body.Files, err = v.table(at, dir); err != nil {
			return err
		}
	} else {
		body.File = describeFile(at, node.Meta)
		if slices.Equal(at.Path, drawbridge.Path{workload.FileName}) && !node.Orphan {
			if body.Config, err = v.configOf(node); err != nil {
				return err
			}
		}
	}
	title := "Files"
	if len(at.Path) > 0 {
		title = at.Path.String()
	}
	title += " · " + at.User + "/" + at.Repo + ":" + at.Tag
	return v.show(http.StatusOK, "tree", title, body)
}

func crumbs(at place) []crumb {
	path := at.Path
	at.Path = nil
	all := []crumb{{"files", at.treeURL()}}
	for _, name := range path {
		at = at.child(name)
		all = append(all, crumb{name, at.treeURL()})
	}
	all[len(all)-1].URL = ""
	return all
}

func describeFile(at place, m drawbridge.Meta) *file {
	f := &file{Type: m.Type, Bytes: thousands(m.Length), Download: at.fileURL()}
	for _, alg := range drawbridge.All() {
		if sum, ok := m.Digests.Get(alg); ok {
			f.Digests = append(f.Digests, hash{string(alg), fmt.Sprintf("%x", sum)})
		}
	}
	return f
}

// config returns the Enarx.toml of a package, in words.
func (v *visit) config(at place) (*configuration, error) {
	at.Path = drawbridge.Path{workload.FileName}
	node, err := v.cfg.Store.Node(v.ctx, at.User, at.Repo, at.Tag, at.Path)
	if errors.Is(err, store.ErrNotFound) || err == nil && node.Orphan {
		return defaultConfiguration(), nil
	}
	if err != nil {
		return nil, err
	}
	return v.configOf(node)
}

func (v *visit) configOf(node store.NodeInfo) (*configuration, error) {
	if node.Meta.Length > maxConfig {
		return &configuration{Problem: "it is too large to be shown here"}, nil
	}
	in, err := v.cfg.Store.Open(v.ctx, node.Blob, 0, node.Meta.Length)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	source, err := io.ReadAll(io.LimitReader(in, maxConfig))
	if err != nil {
		return nil, err
	}
	return describeConfig(source), nil
}
