// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/drawbridged/disk"
)

// long reports whether the long versions of tests are wanted.
func long() bool { return os.Getenv("ENARX_TEST_LONG") != "" }

// fastDir returns a directory in memory where there is one: what is tested is
// the order of steps, and the disk would set the pace.
func fastDir(t testing.TB) string {
	t.Helper()
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "enarx-store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A faultKind is what goes wrong at a step.
type faultKind string

const (
	killed     faultKind = "SIGKILL"                 // the process dies before the step, or in the middle of a write
	dead       faultKind = "death in process"        // the same without a process
	full       faultKind = "disk full from then on"  // what needs space fails, deleting does not
	fullOnce   faultKind = "disk full once"          //
	shortWrite faultKind = "short write"             //
	eio        faultKind = "I/O error"               // the step is not taken
	eioDone    faultKind = "I/O error after success" // the step is taken and fails all the same
)

var errDead = errors.New("this process is dead")

// A fault counts the steps of a disk, and lets one go wrong.
type fault struct {
	kind faultKind
	at   int    // the step, from 1 on; 0: none
	dir  string // of the disk

	mu   sync.Mutex
	n    int
	dead bool
	hit  disk.Op   // what went wrong
	ops  []disk.Op // of all steps
}

func (f *fault) options() disk.Options {
	return disk.Options{Before: f.before, After: f.after, Reserve: 1}
}

func (f *fault) before(s *disk.Step) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	f.n++
	f.ops = append(f.ops, s.Op)
	if f.at == 0 || f.n < f.at || f.hit != "" && f.kind != full {
		return nil
	}
	return f.happen(s)
}

func (f *fault) happen(s *disk.Step) error {
	needsSpace := slices.Contains([]disk.Op{disk.Create, disk.Write, disk.Link, disk.Rename, disk.Mkdir}, s.Op)
	switch f.kind {
	case killed, dead:
		f.hit, f.dead = s.Op, true
		if s.Op == disk.Write {
			s.Data = s.Data[:len(s.Data)/2] // the killed one dies behind it
			return errDead
		}
		if f.kind == killed {
			die()
		}
		return errDead
	case full, fullOnce:
		if !needsSpace {
			return nil
		}
		f.hit = s.Op
		if s.Op == disk.Write {
			s.Data = s.Data[:len(s.Data)/3]
		}
		return syscall.ENOSPC
	case shortWrite:
		if s.Op != disk.Write || len(s.Data) == 0 {
			return nil
		}
		f.hit = s.Op
		s.Data = s.Data[:len(s.Data)/2]
		return nil
	case eioDone:
		if !f.doIt(s) {
			return nil
		}
	}
	f.hit = s.Op
	return syscall.EIO
}

// doIt takes a step whose failure will be reported.
func (f *fault) doIt(s *disk.Step) bool {
	at, to := filepath.Join(f.dir, s.Path), filepath.Join(f.dir, s.To)
	switch s.Op {
	case disk.Link:
		return os.Link(at, to) == nil
	case disk.Rename:
		return os.Rename(at, to) == nil
	case disk.Remove:
		return os.Remove(at) == nil
	case disk.Mkdir:
		return os.Mkdir(at, 0o700) == nil
	}
	return false
}

func (f *fault) after(s disk.Step, err error) {
	if f.kind == killed && f.dead && s.Op == disk.Write {
		die()
	}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// ranOn runs the scenario on a directory with a fault.
func ranOn(ctx context.Context, dir string, f *fault, begin func(step), told func(*actor, step, error)) (aftermath, error) {
	c := &clock{}
	out := outcomes{}
	result := aftermath{out: out}
	f.dir = dir
	b, err := disk.Open(dir, f.options())
	if err == nil {
		var s *Store
		if s, err = Open(ctx, b, testOptions(c)); err == nil {
			defer s.Close()
			a := &actor{Store: s, clock: c}
			a.run(ctx, scenario(), func(st step) {
				out[st.name] = failed
				begin(st)
			}, func(st step, err error) {
				if err == nil && !f.dead {
					out[st.name] = acked
				} else if f.dead {
					result.ahead = time.Duration(c.ahead.Load())
				}
				told(a, st, err)
			})
			result.upload = a.upload
		}
	}
	if result.ahead == 0 {
		result.ahead = time.Duration(c.ahead.Load())
	}
	return result, err
}

// survivors opens what a process left, as the next one does, and examines it.
func survivors(ctx context.Context, dir string, a aftermath) []string {
	c := &clock{}
	c.advance(a.ahead)
	b, err := disk.Open(dir, disk.Options{Reserve: 1})
	if err != nil {
		return []string{err.Error()}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		return []string{fmt.Sprintf("%d files are left in tmp, %v", len(left), err)}
	}
	s, err := Open(ctx, b, testOptions(c))
	if err != nil {
		return []string{err.Error()}
	}
	defer s.Close()
	return a.examine(ctx, s, c)
}

// TestFaults lets each kind of fault happen at steps all over the scenario.
// ENARX_TEST_LONG=1 takes every step, else it is a stride of them.
func TestFaults(t *testing.T) {
	t.Parallel()
	whole := &fault{}
	result, err := ranOn(t.Context(), fastDir(t), whole, func(step) {}, func(_ *actor, st step, err error) {
		if err != nil {
			t.Fatalf("without a fault: %s: %v", st.name, err)
		}
	})
	if err != nil || result.upload == "" {
		t.Fatal(err)
	}
	for i, kind := range []faultKind{dead, full, fullOnce, shortWrite, eio, eioDone} {
		t.Run(string(kind), func(t *testing.T) {
			stride, rounds := 1, 0
			if !long() {
				stride = len(whole.ops)/8 + 1
			}
			byOp := map[disk.Op]int{}
			for at := 1 + i*stride/6; at <= len(whole.ops); at += stride { // each kind elsewhere
				f := &fault{kind: kind, at: at}
				dir := fastDir(t)
				a, _ := ranOn(t.Context(), dir, f, func(step) {}, func(*actor, step, error) {})
				if f.hit == "" {
					break // nothing of the kind comes any more
				}
				a.odd = at%2 == 1
				if problems := survivors(t.Context(), dir, a); len(problems) > 0 {
					t.Errorf("step %d (%s), last of %v:\n%s", at, f.hit, f.ops[max(0, len(f.ops)-8):], strings.Join(problems, "\n"))
				}
				os.RemoveAll(dir)
				rounds++
				byOp[f.hit]++
			}
			t.Logf("%d rounds over %d steps: %v", rounds, len(whole.ops), byOp)
		})
	}
}

// childEnv names the directory of a child of TestKill, and where it dies.
const childEnv = "ENARX_STORE_CHILD"

// A childReport is a line that a child writes to its pipe.
type childReport struct {
	Begin  string        `json:",omitempty"`
	Step   string        `json:",omitempty"`
	Err    string        `json:",omitempty"`
	Upload string        `json:",omitempty"`
	Ahead  time.Duration `json:",omitempty"`
}

// TestKillChild is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	at, dir, ok := strings.Cut(os.Getenv(childEnv), ":")
	if !ok {
		t.Skip("skipped: it is run by TestKill")
	}
	f := &fault{kind: killed}
	if _, err := fmt.Sscan(at, &f.at); err != nil {
		t.Fatal(err)
	}
	pipe := json.NewEncoder(os.NewFile(3, "pipe"))
	_, err := ranOn(t.Context(), dir, f, func(st step) { _ = pipe.Encode(childReport{Begin: st.name}) }, func(a *actor, st step, err error) {
		r := childReport{Step: st.name, Upload: a.upload, Ahead: time.Duration(a.clock.ahead.Load())}
		if err != nil {
			r.Err = err.Error()
		}
		_ = pipe.Encode(r)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKill kills a process that runs the scenario at steps all over it.
func TestKill(t *testing.T) {
	t.Parallel()
	whole := &fault{}
	if _, err := ranOn(t.Context(), fastDir(t), whole, func(step) {}, func(*actor, step, error) {}); err != nil {
		t.Fatal(err)
	}
	stride, rounds := 1, 0
	if !long() {
		stride = len(whole.ops)/5 + 1
	}
	byOp := map[disk.Op]int{}
	for at := 1; at <= len(whole.ops); at += stride {
		dir := fastDir(t)
		a := child(t, dir, at)
		a.odd = at%2 == 1
		if problems := survivors(t.Context(), dir, a); len(problems) > 0 {
			t.Errorf("killed at step %d (%s):\n%s", at, whole.ops[at-1], strings.Join(problems, "\n"))
		}
		os.RemoveAll(dir)
		rounds++
		byOp[whole.ops[at-1]]++
	}
	t.Logf("%d processes killed over %d steps: %v", rounds, len(whole.ops), byOp)
}

// child runs TestKillChild until it dies, and returns what it said.
func child(t *testing.T, dir string, at int) aftermath {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%s", childEnv, at, dir))
	cmd.ExtraFiles = []*os.File{w}
	output := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	a := aftermath{out: outcomes{}}
	for in := bufio.NewScanner(r); in.Scan(); {
		var report childReport
		if err := json.Unmarshal(in.Bytes(), &report); err != nil {
			t.Fatalf("the child wrote %q", in.Bytes())
		}
		switch {
		case report.Begin != "":
			a.out[report.Begin] = failed
		case report.Err == "":
			a.out[report.Step] = acked
		}
		if report.Step != "" {
			a.upload, a.ahead = report.Upload, report.Ahead
		}
	}
	_, _ = io.Copy(io.Discard, r)
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("step %d: the child was not killed: %v\n%s\n%v", at, err, output, slices.Sorted(maps.Keys(a.out)))
	}
	return a
}
