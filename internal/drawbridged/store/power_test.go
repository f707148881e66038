// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/internal/drawbridged/disk"
)

// A plug is a model of a disk that may lose power. It knows of every file how
// much of it was synced, and of every folder which of its changes were: the
// others may be lost, each by itself, in any combination. That is less than
// any file system promises, and all that POSIX does.
type plug struct {
	ignore  map[string]bool // classes of syncs that have no effect: as if the code lacked them
	onStep  func()          // called before each step
	mu      sync.Mutex
	root    *folder
	lastOps map[string]disk.Op // last change in a folder by this process since it was synced
	classes map[string]int     // of the syncs that came
	links   []int              // steps at which a folder was synced after a link
	steps   int
}

type folder struct {
	current, durable map[string]any // *folder or *inode
	pending          []change       // that made current of durable
}

// A change gives a name in a folder, or with nil, takes it.
type change struct {
	name  string
	value any
}

type inode struct{ content, synced []byte }

func newFolder() *folder { return &folder{current: map[string]any{}, durable: map[string]any{}} }

func newPlug() *plug {
	return &plug{root: newFolder(), lastOps: map[string]disk.Op{}, classes: map[string]int{}, ignore: map[string]bool{}}
}

func (p *plug) options() disk.Options {
	return disk.Options{Reserve: 1, After: p.after, Before: func(*disk.Step) error {
		p.steps++
		if p.onStep != nil {
			p.onStep()
		}
		return nil
	}}
}

func (f *folder) change(name string, value any) {
	f.pending = append(f.pending, change{name, value})
	apply(f.current, change{name, value})
}

func apply(entries map[string]any, c change) {
	if c.value == nil {
		delete(entries, c.name)
	} else {
		entries[c.name] = c.value
	}
}

func (p *plug) folder(name string) *folder {
	f := p.root
	for _, part := range strings.Split(name, "/") {
		if part != "." {
			f = f.current[part].(*folder)
		}
	}
	return f
}

func (p *plug) file(name string) *inode {
	f, _ := p.folder(path.Dir(name)).current[path.Base(name)].(*inode)
	return f
}

// after follows what the disk did.
func (p *plug) after(s disk.Step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && s.Op != disk.Write {
		return
	}
	at := path.Dir(s.Path)
	switch s.Op {
	case disk.Create:
		p.folder(at).change(path.Base(s.Path), &inode{})
	case disk.Mkdir:
		p.folder(at).change(path.Base(s.Path), newFolder())
		p.lastOps[at] = s.Op
	case disk.Write:
		f := p.file(s.Path)
		f.content = append(f.content, s.Data...)
	case disk.Sync:
		if p.effective("sync") {
			f := p.file(s.Path)
			f.synced = bytes.Clone(f.content)
		}
	case disk.Link, disk.Rename:
		to := path.Dir(s.To)
		p.folder(to).change(path.Base(s.To), p.file(s.Path))
		if s.Op == disk.Rename {
			p.folder(at).change(path.Base(s.Path), nil)
		}
		p.lastOps[to] = s.Op
	case disk.Remove:
		p.folder(at).change(path.Base(s.Path), nil)
		p.lastOps[at] = s.Op
	case disk.SyncDir:
		p.syncDir(s.Path)
	}
}

// effective counts a sync, and reports whether it has an effect.
func (p *plug) effective(class string) bool {
	p.classes[class]++
	return !p.ignore[class]
}

// wasThere is the class of the syncs of folders that this process did not
// change since it synced them.
const wasThere = "syncdir of what was there"

func (p *plug) syncDir(name string) {
	class := wasThere
	if op, ok := p.lastOps[name]; ok {
		if class = "syncdir after " + string(op); op == disk.Link {
			p.links = append(p.links, p.steps)
		}
	}
	delete(p.lastOps, name)
	if !p.effective(class) {
		return
	}
	f := p.folder(name)
	for _, c := range f.pending {
		apply(f.durable, c)
	}
	f.pending = nil
}

// A fate decides of each thing that was not synced whether it survives, by its
// name and the seed alone.
type fate struct {
	seed  uint64
	worst bool // nothing does
}

func (f fate) random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return rand.New(rand.NewPCG(f.seed, h.Sum64()))
}

// pull writes what is on the disk after a loss of power to a new directory.
func (p *plug) pull(t testing.TB, dir string, f fate) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(t, p.root, dir, ".", f)
}

func (p *plug) write(t testing.TB, from *folder, dir, name string, f fate) {
	t.Helper()
	entries, random := maps.Clone(from.durable), f.random(name)
	for _, c := range from.pending {
		if random.IntN(2) == 0 && !f.worst {
			apply(entries, c)
		}
	}
	for entry, value := range entries {
		at, below := filepath.Join(dir, entry), path.Join(name, entry)
		switch value := value.(type) {
		case *folder:
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			p.write(t, value, at, below, f)
		case *inode:
			if err := os.WriteFile(at, value.survives(f.random(below), f.worst), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// survives returns what is left of a file: all that was synced, and of the
// rest nothing, a part, or zeros.
func (f *inode) survives(random *rand.Rand, worst bool) []byte {
	if len(f.content) == len(f.synced) || worst {
		return f.synced
	}
	end := len(f.synced) + random.IntN(len(f.content)-len(f.synced)+1)
	left := bytes.Clone(f.content[:end])
	if random.IntN(2) == 0 {
		clear(left[len(f.synced):])
	}
	return left
}

// A blackout runs the scenario in two lives on one disk: the first process
// dies somewhere, the second does everything again, and at some steps of both
// power is lost.
type blackout struct {
	plug  *plug
	every int // steps between losses of power
	from  int // the first
	until int // the last; 0: the end
	dies  int // step at which the first life ends; 0: the second begins after all
	seed  uint64
	stop  bool // at the first problem

	losses, n int
	problems  []string
}

func (b *blackout) run(t testing.TB) {
	t.Helper()
	dir := fastDir(t)
	defer os.RemoveAll(dir)
	b.life(t, dir, b.dies)
	if b.dies > 0 {
		b.life(t, dir, 0)
	}
}

// life is one process.
func (b *blackout) life(t testing.TB, dir string, dies int) {
	t.Helper()
	c, out, a := &clock{}, outcomes{}, &actor{}
	step0, isDead, again := b.n, false, b.n > 0
	clear(b.plug.lastOps) // what it syncs now is not what it has done
	b.plug.onStep = func() {
		b.n++
		isDead = isDead || dies > 0 && b.n-step0 >= dies
		if !isDead && b.n >= b.from && (b.until == 0 || b.n <= b.until) && (b.n-b.from)%b.every == 0 && !(b.stop && len(b.problems) > 0) {
			b.lose(t, aftermath{maps.Clone(out), time.Duration(c.ahead.Load()), a.upload, b.n%2 == 1, again})
		}
	}
	options := b.plug.options()
	before := options.Before
	var turn sync.Mutex // a look at a whole package takes steps at the same time
	options.Before = func(s *disk.Step) error {
		turn.Lock()
		defer turn.Unlock()
		if before(s); isDead {
			return errDead
		}
		return nil
	}
	bucket, err := disk.Open(dir, options)
	if err != nil {
		return
	}
	s, err := Open(t.Context(), bucket, testOptions(c))
	if err != nil {
		return
	}
	defer s.Close()
	*a = actor{Store: s, clock: c}
	a.run(t.Context(), scenario(), func(st step) { out[st.name] = failed }, func(st step, err error) {
		if err == nil && !isDead {
			out[st.name] = acked
		}
	})
	if !isDead && b.until == 0 {
		b.lose(t, aftermath{maps.Clone(out), time.Duration(c.ahead.Load()), a.upload, false, again})
	}
}

// lose pulls the plug, as bad as can be and at random.
func (b *blackout) lose(t testing.TB, a aftermath) {
	t.Helper()
	for _, worst := range []bool{true, false} {
		dir := fastDir(t)
		b.plug.pull(t, dir, fate{b.seed + uint64(b.n), worst})
		problems := survivors(context.WithoutCancel(t.Context()), dir, a)
		if len(problems) > 0 {
			b.problems = append(b.problems, fmt.Sprintf("at step %d (worst: %v):\n%s", b.n, worst, strings.Join(problems, "\n")))
		}
		os.RemoveAll(dir)
		b.losses++
	}
}

func TestPowerLoss(t *testing.T) {
	t.Parallel()
	every, deaths := 180, []int{0, 150}
	if long() {
		every, deaths = 7, []int{0, 60, 110, 150, 200, 230, 260, 290, 320, 350, 380}
	}
	for i, dies := range deaths {
		p := newPlug()
		b := &blackout{plug: p, every: every, from: 1 + i, dies: dies, seed: uint64(i) << 32}
		b.run(t)
		for _, problem := range b.problems {
			t.Error(problem)
		}
		t.Logf("first life ends at step %d: power lost %d times over %d steps; syncs: %v", dies, b.losses, b.n, p.classes)
	}
}

// TestPowerLossNotices takes the effect away from one class of syncs after the
// other: TestPowerLoss must fail then. So it would if the code lost one.
func TestPowerLossNotices(t *testing.T) {
	t.Parallel()
	whole := newPlug()
	(&blackout{plug: whole, every: 1, from: 1, until: -1}).run(t)
	for _, class := range slices.Sorted(maps.Keys(whole.classes)) {
		if class == wasThere { // nobody relies on one in a life that goes on: see below
			continue
		}
		t.Run(class, func(t *testing.T) {
			p := newPlug()
			p.ignore[class] = true
			notices(t, &blackout{plug: p, every: 50, from: 20, stop: true})
		})
	}
	// What somebody else has linked and died before he synced it: it is relied
	// upon after the death, and until something else syncs its folder.
	t.Run(wasThere, func(t *testing.T) {
		if len(whole.links) < 2 {
			t.Fatal("no folder was synced after a link")
		}
		dies := whole.links[1] // the user
		for _, ignore := range []bool{false, true} {
			p := newPlug()
			p.ignore[wasThere] = ignore
			b := &blackout{plug: p, every: 1, from: dies + 1, until: 2*dies + 10, dies: dies, stop: true}
			if ignore {
				notices(t, b)
			} else if b.run(t); len(b.problems) > 0 {
				t.Error(b.problems[0])
			}
			if p.classes[wasThere] == 0 {
				t.Error("there was no such sync")
			}
		}
	})
}

func notices(t *testing.T, b *blackout) {
	t.Helper()
	if b.run(t); len(b.problems) == 0 {
		t.Errorf("nobody noticed in %d losses of power", b.losses)
		return
	}
	t.Logf("noticed after %d losses: %.300s", b.losses, b.problems[0])
}
