// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// deed is a record as a server might have.
type deed struct {
	Time  time.Time `json:"time"`
	What  string    `json:"what"`
	Where []string  `json:"where,omitempty"`
}

func (d deed) When() time.Time { return d.Time }

func (d deed) Check() error {
	if d.Time.IsZero() || d.What == "" {
		return errors.New("its time or what was done is missing")
	}
	return nil
}

type nothing struct{}

func (nothing) When() time.Time { return time.Time{} }
func (nothing) Check() error    { return nil }

type list []nothing

func (list) When() time.Time { return time.Time{} }
func (list) Check() error    { return nil }

func entry(n int) deed {
	at := time.Date(2026, 11, 21, 12, 0, n%60, 0, time.UTC)
	return deed{Time: at, What: fmt.Sprintf("deed <%d>", n), Where: []string{"host/user/repo:1.0"}}
}

func open(t *testing.T, path string) *Log[deed] {
	t.Helper()
	l, err := Open[deed](path, "the log of deeds", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendN(t *testing.T, l *Log[deed], from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := l.Append(entry(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func audit(t *testing.T, path string) *Summary {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Audit[deed](bytes.NewReader(text), nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// TestFormat: what a line is, to the byte; logs that exist must stay readable.
func TestFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	appendN(t, l, 1, 3)
	const first = `{"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","time":"2026-11-21T12:00:01Z","what":"deed \u003c1\u003e","where":["host/user/repo:1.0"]}`
	second := fmt.Sprintf(`{"seq":2,"prev":"%x","time":"2026-11-21T12:00:02Z","what":"deed \u003c2\u003e","where":["host/user/repo:1.0"]}`, sha256.Sum256([]byte(first)))
	if text, err := os.ReadFile(path); err != nil || string(text) != first+"\n"+second+"\n" {
		t.Errorf("%v\n%s", err, text)
	}
	line, err := encode(link{Sequence: 7}, nothing{})
	if want := `{"seq":7,"prev":"` + (Hash{}).String() + "\"}\n"; err != nil || string(line) != want {
		t.Errorf("a record without members: %q, %v", line, err)
	}
	if line, err := encode(link{Sequence: 7}, list{}); err == nil {
		t.Errorf("a record that is no object: %q", line)
	}
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	appendN(t, l, 0, 3)
	if err := l.Append(entry(3), entry(4)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry(5)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	l = open(t, path) // a restart continues the chain
	appendN(t, l, 5, 7)
	s := audit(t, path)
	if s.Lines != 7 || s.Next != 8 || s.Start != 1 || s.First.Second() != 0 || s.Last.Second() != 6 {
		t.Errorf("%+v", s)
	}
	if s, err := Audit[deed](strings.NewReader(""), nil, nil); err != nil || s.Lines != 0 || s.Next != 1 {
		t.Errorf("an empty log: %+v, %v", s, err)
	}
}

// Entries of many at once all arrive, in one chain, with far fewer syncs than entries.
func TestAppendTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	a, b := open(t, path), open(t, path) // two processes, as far as the lock is concerned
	const clients, each = 64, 20
	var wg sync.WaitGroup
	begin := time.Now()
	for c := range clients {
		wg.Go(func() {
			for n := range each {
				if err := []*Log[deed]{a, b}[c%2].Append(entry(c*each + n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%.0f entries/s from two writers", clients*each/time.Since(begin).Seconds())
	if s := audit(t, path); s.Lines != clients*each {
		t.Errorf("%d lines, want %d", s.Lines, clients*each)
	}
}

func TestTornLine(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	l := open(t, whole)
	appendN(t, l, 0, 3)
	l.Close()
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.IndexByte(text, '\n') + 1
	for _, cut := range []int{1, second - 1, second, second + 1, len(text) - 1, len(text)} {
		path := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		l, err := Open[deed](path, "the log of deeds", slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatalf("cut to %d: %v", cut, err)
		}
		appendN(t, l, 7, 8)
		l.Close()
		lines := bytes.Count(text[:cut], []byte("\n"))
		if s := audit(t, path); s.Lines != lines+1 {
			t.Errorf("cut to %d: %d lines, want %d", cut, s.Lines, lines+1)
		}
		if torn := text[cut-1] != '\n'; torn != strings.Contains(said.String(), "cut short") {
			t.Errorf("cut to %d: said %q", cut, said.String())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"another file": "hello\n",
		"long line":    strings.Repeat("x", 2*MaxLine) + "\n",
		"long tail":    strings.Repeat("x", 3*MaxLine),
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open[deed](path, "the log of deeds", nil); err == nil {
			l.Close()
			t.Errorf("%s: opened", name)
		}
		if now, _ := os.ReadFile(path); string(now) != text {
			t.Errorf("%s: it was changed", name)
		}
	}
	if _, err := Open[deed]("/dev/full", "the log of deeds", nil); err == nil {
		t.Error("opened a device")
	}
}

func TestAppendRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	long := entry(1)
	long.Where = []string{strings.Repeat("x", MaxLine)}
	if err := l.Append(entry(0), long); err == nil {
		t.Error("wrote a line that Audit would not read")
	}
	appendN(t, l, 0, 2)
	// The file shrinks behind the log's back: nobody may go on as if nothing was.
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry(2)); err == nil || l.Err() == nil {
		t.Errorf("appended to a log that was cut: %v", err)
	}
	if err := l.Append(entry(2)); err == nil {
		t.Error("appended afterwards")
	}
}

// TestCheck: a log that could not be written is so until it can.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	appendN(t, l, 0, 1)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "not an entry\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Errorf("before it was written: %v", err)
	}
	if err := l.Append(entry(1)); err == nil {
		t.Fatal("wrote after a line that is no entry")
	}
	if err := l.Check(); err == nil {
		t.Error("after a write that failed: it is fine")
	}
	if err := os.Truncate(path, int64(len(text))); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Errorf("repaired: %v", err)
	}
	appendN(t, l, 1, 3)
	if s := audit(t, path); s.Lines != 3 {
		t.Errorf("%d lines", s.Lines)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	l := open(t, path)
	appendN(t, l, 0, 2)
	if err := l.Reopen(); err != nil { // nothing has happened
		t.Fatal(err)
	}
	appendN(t, l, 2, 3)
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 3, 4) // still into the old file
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 4, 6)
	first, second := audit(t, old), audit(t, path)
	if first.Lines != 4 || second.Lines != 2 || second.Start != 5 || second.StartAfter != first.Head {
		t.Errorf("%+v, then %+v", first, second)
	}
}

// TestReopenTogether: processes that share a log are told of a rotation one
// after the other. Whoever writes first goes on where all of them ended.
func TestReopenTogether(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	a, b := open(t, path), open(t, path)
	appendN(t, a, 0, 1)
	appendN(t, b, 1, 3) // which a has not seen
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	appendN(t, b, 3, 4) // there is no other file yet
	if err := a.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, b, 4, 5) // though nobody has told it
	appendN(t, a, 5, 6)
	if err := b.Reopen(); err != nil {
		t.Fatal(err)
	}
	appendN(t, b, 6, 7)
	first, second := audit(t, old), audit(t, path)
	if first.Lines != 4 || second.Lines != 3 || second.Start != 5 || second.StartAfter != first.Head {
		t.Errorf("%+v, then %+v", first, second)
	}
}

func TestAuditNamesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	appendN(t, l, 0, 5)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	lines[4] += "\n"
	edit := func(f func(l []string) []string) string { return strings.Join(f(append([]string(nil), lines...)), "") }
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"a line changed": {edit(func(l []string) []string { l[1] = strings.Replace(l[1], "deed", "dead", 1); return l }), 3},
		"a line dropped": {edit(func(l []string) []string { return append(l[:2], l[3:]...) }), 3},
		"lines swapped":  {edit(func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }), 2},
		"a line twice":   {edit(func(l []string) []string { return append(l[:2], l[1:]...) }), 3},
		"not an entry":   {edit(func(l []string) []string { l[3] = "{}\n"; return l }), 4},
		"not JSON":       {edit(func(l []string) []string { l[0] = "x\n"; return l }), 1},
		"cut":            {strings.TrimSuffix(string(text), "\n"), 5},
		"too long":       {strings.Repeat("x", MaxLine+1), 1},
		"a first line that names one before it": {edit(func(l []string) []string {
			l[0] = strings.Replace(l[0], `"prev":"00`, `"prev":"01`, 1)
			return l
		}), 1},
	} {
		_, err := Audit[deed](strings.NewReader(test.text), nil, nil)
		bad, ok := errors.AsType[*BadLine](err)
		if !ok || bad.Line != test.line {
			t.Errorf("%s: %v, want line %d", name, err, test.line)
		}
	}
	head := audit(t, path).Head
	if s, _ := Audit[deed](bytes.NewReader(text), &head, nil); !s.Found {
		t.Error("did not find the head")
	}
	if s, _ := Audit[deed](strings.NewReader(strings.Join(lines[:4], "")), &head, nil); s.Found {
		t.Error("found the head in a log that lacks it")
	}
}

func FuzzAudit(f *testing.F) {
	path := filepath.Join(f.TempDir(), "log")
	l, err := Open[deed](path, "the log of deeds", nil)
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Append(entry(0), entry(1)); err != nil {
		f.Fatal(err)
	}
	l.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"seq":1,"prev":"00`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Audit[deed](bytes.NewReader(text), nil, nil)
		if err == nil && s.Lines != bytes.Count(text, []byte("\n")) {
			t.Errorf("%d lines of %d", s.Lines, bytes.Count(text, []byte("\n")))
		}
		// Opening must leave a sound log sound, and never panic on another.
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l, openErr := Open[deed](path, "the log of deeds", nil)
		if openErr != nil {
			if err == nil {
				t.Errorf("a sound log was not opened: %v", openErr)
			}
			return
		}
		defer l.Close()
		if appendErr := l.Append(entry(3)); err == nil && appendErr == nil {
			if after := audit(t, path); after.Lines != s.Lines+1 {
				t.Errorf("%d lines after %d", after.Lines, s.Lines)
			}
		}
	})
}
