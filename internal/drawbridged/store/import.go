// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"enarx.dev/enarx/drawbridge"
)

// A Selection is a user, or one repository of a user.
type Selection struct {
	User, Repository string // Repository "": all of them
}

// ParseSelection reads user or user/repository.
func ParseSelection(text string) (Selection, error) {
	user, repo, one := strings.Cut(text, "/")
	if err := drawbridge.CheckUser(user); err != nil {
		return Selection{}, err
	}
	if one {
		if err := drawbridge.CheckRepository(repo); err != nil {
			return Selection{}, err
		}
	}
	return Selection{user, repo}, nil
}

// TransferOptions are for imports and exports. The zero value takes everything.
type TransferOptions struct {
	Select   []Selection          // none: everything
	Progress func(TransferReport) // called now and then, from one goroutine; may be nil

	met map[Selection]bool // those of Select that there is something of
}

// watching returns the options with a note of which selections are met.
func (o TransferOptions) watching() TransferOptions {
	o.met = make(map[Selection]bool, len(o.Select))
	return o
}

func (o TransferOptions) selectedUser(user string) bool {
	for _, s := range o.Select {
		if s == (Selection{User: user}) {
			o.met[s] = true
		}
	}
	return len(o.Select) == 0 || slices.ContainsFunc(o.Select, func(s Selection) bool { return s.User == user })
}

func (o TransferOptions) selected(user, repo string) bool {
	for _, s := range o.Select {
		if s == (Selection{user, repo}) {
			o.met[s] = true
		}
	}
	return len(o.Select) == 0 || slices.ContainsFunc(o.Select, func(s Selection) bool {
		return s.User == user && (s.Repository == "" || s.Repository == repo)
	})
}

// unmet has a problem for each selection that there is nothing of: a backup
// of a name with a mistake in it must not look like one.
func (o TransferOptions) unmet() (problems []Problem) {
	for _, s := range o.Select {
		switch {
		case o.met[s]:
		case s.Repository == "":
			problems = append(problems, Problem{Missing, s.User, "there is no such user"})
		default:
			problems = append(problems, Problem{Missing, s.User + "/" + s.Repository, "there is no such repository"})
		}
	}
	return problems
}

// ProblemKind says what became of something that was not taken as it is.
type ProblemKind string

// The kinds of problems.
const (
	Quarantined ProblemKind = "quarantined" // it contradicts itself; its bytes are kept under quarantine/
	CutOff      ProblemKind = "cut off"     // half-written: there is nothing to take
	Incomplete  ProblemKind = "incomplete"  // a tag that lacks nodes, or what could not be put this time
	Refused     ProblemKind = "refused"     // a name, a form or a link that is not allowed
	Different   ProblemKind = "different"   // the destination has something else under this name
	Missing     ProblemKind = "missing"     // it was selected, and the source has nothing of this name
)

// A Problem is one thing that was not taken as it is.
type Problem struct {
	Kind   ProblemKind `json:"kind"`
	Path   string      `json:"path"` // in the source
	Reason string      `json:"reason"`
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s: %s", p.Kind, p.Path, p.Reason) }

// A Count is of things that came in and of things that were there.
type Count struct {
	New     int `json:"new"`
	Present int `json:"present"` // already, the same
}

func (c *Count) add(created bool) {
	if created {
		c.New++
	} else {
		c.Present++
	}
}

// TransferReport is what an export or an import did.
type TransferReport struct {
	Users        Count     `json:"users"`
	Repositories Count     `json:"repositories"`
	Tags         Count     `json:"tags"`
	Nodes        Count     `json:"nodes"`
	Orphans      int       `json:"orphans"` // nodes that their directory does not list
	Blobs        int       `json:"blobs"`   // contents, each counted once
	Bytes        int64     `json:"bytes"`   // of contents
	Problems     []Problem `json:"problems"`
}

// Sound reports whether everything was taken as it is.
func (r TransferReport) Sound() bool { return len(r.Problems) == 0 }

// String returns the report for people, one line for each kind of thing and
// one for each problem.
func (r TransferReport) String() string {
	var b strings.Builder
	for _, c := range []struct {
		what string
		Count
	}{{"users", r.Users}, {"repositories", r.Repositories}, {"tags", r.Tags}, {"nodes", r.Nodes}} {
		fmt.Fprintf(&b, "%s: %d new, %d already there\n", c.what, c.New, c.Present)
	}
	fmt.Fprintf(&b, "nodes that no directory lists: %d\ncontents: %d, %d bytes\n", r.Orphans, r.Blobs, r.Bytes)
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// An importer puts things into a store and counts them.
type importer struct {
	TransferOptions
	store  *Store
	report TransferReport
}

func (in *importer) problem(kind ProblemKind, path string, err error) {
	in.report.Problems = append(in.report.Problems, Problem{kind, printable(path), printable(err.Error())})
}

func (in *importer) tell() {
	if in.Progress != nil {
		in.Progress(in.report)
	}
}

func (in *importer) finish() TransferReport {
	slices.SortStableFunc(in.report.Problems, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	in.tell()
	return in.report
}

// put counts a write that was tried, or reports why it was refused. ok tells
// whether the thing is there now; the error is one that ends the import.
func (in *importer) put(path string, count *Count, created bool, err error) (ok bool, fatal error) {
	switch {
	case err == nil:
		count.add(created)
		in.tell()
		return true, nil
	case errors.Is(err, ErrConflict):
		in.problem(Different, path, err)
	case errors.Is(err, ErrBusy), errors.Is(err, ErrQuota): // another run may have more luck
		in.problem(Incomplete, path, err)
	case errors.Is(err, ErrNotListed), errors.Is(err, ErrNoParent), errors.Is(err, ErrNotFound),
		errors.Is(err, ErrInvalid), errors.Is(err, ErrTooLarge), errors.Is(err, ErrMismatch):
		in.problem(Refused, path, err)
	default:
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return false, nil
}

// broken reports an entity that cannot be taken. What has bytes is kept under
// quarantine/, so that nothing is lost when the old store is thrown away.
func (in *importer) broken(ctx context.Context, e oldEntity, why error) error {
	if errors.Is(why, errNoSidecar) || errors.Is(why, errNoContent) {
		in.problem(CutOff, e.path, why)
		return nil
	}
	content, size, err := e.open("content")
	if err != nil {
		in.problem(Refused, e.path, why)
		return nil
	}
	defer func() { _ = content.Close() }()
	if size > maxQuarantine {
		in.problem(Refused, e.path, fmt.Errorf("%w; its %d bytes are too many for quarantine", why, size))
		return nil
	}
	in.problem(Quarantined, e.path, why)
	sidecar := []byte("null")
	if meta, err := e.meta(); err == nil {
		sidecar = meta.Canonical()
	}
	key := fmt.Sprintf("quarantine/import/%x", sha256.Sum256([]byte(e.path)))
	note, err := json.Marshal(quarantineNote{Path: e.path, Reason: why.Error(), Meta: sidecar})
	if err != nil {
		return err
	}
	return in.store.quarantine(ctx, key, note, content)
}

// maxQuarantine is the longest content that is copied there: a sparse file may
// claim to be larger than any disk.
const maxQuarantine = 256 << 20

// A quarantineNote stands beside bytes under quarantine/.
type quarantineNote struct {
	Path   string          `json:"path"` // where the bytes were
	Reason string          `json:"reason"`
	Meta   json.RawMessage `json:"meta,omitempty"` // what was declared of them
}

// quarantine keeps bytes that are not what they should be where no reader
// finds them: at key/content, with the reason at key/note.
func (s *Store) quarantine(ctx context.Context, key string, note []byte, content io.Reader) error {
	if err := s.replace(ctx, key+"/note", note); err != nil {
		return err
	}
	w, err := s.newWriter(ctx, key+"/content", false)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, content); err != nil {
		w.abort()
		return err
	}
	return w.Close()
}

// printable makes a text with names from outside fit for a terminal.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(text)
	}
	return text
}
