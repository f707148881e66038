// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
)

// TestGC follows what is collected, and when, with a clock of its own.
func TestGC(t *testing.T) {
	for name, open := range emptyBuckets {
		t.Run(name, func(t *testing.T) {
			c := &clock{}
			s, err := Open(t.Context(), open(t), testOptions(c))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			testGC(rig{t, s}, c)
		})
	}
}

// passes makes passes until a time is over, and returns what they did.
func (r rig) passes(c *clock, d time.Duration) (all GCReport) {
	r.Helper()
	for end := c.now().Add(d); c.now().Before(end); c.advance(testWait / 4) {
		one, err := r.GC(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		all.Nodes += one.Nodes
		all.Orphans += one.Orphans
		all.Pending += one.Pending
		all.Uploads += one.Uploads
		all.Blobs += one.Blobs
		all.Bytes += one.Bytes
	}
	return all
}

// abandon uploads half a tag, nodes for no tag, and a part.
func (r rig) abandon() (lost map[string]sent, staged, renewed sent, upload string) {
	r.Helper()
	ctx := r.Context()
	lost = tree{"a": "gone", "d/e": "never sent", "z": "gone too"}.nodes(true)
	if _, err := r.PutTag(ctx, "alice", "repo", "3.0.0", entryOf(lost)); err != nil {
		r.Fatal(err)
	}
	for _, path := range []string{"", "a", "d", "z"} {
		if _, err := r.node("alice", "repo", "3.0.0", path, lost[path]); err != nil {
			r.Fatal(err)
		}
	}
	staged, renewed = file("staged", "a/b"), file("renewed", "a/b")
	for _, n := range []sent{staged, renewed} {
		if _, err := r.node("alice", "repo", "", "", n); err != nil {
			r.Fatal(err)
		}
	}
	upload, err := r.NewUpload(ctx, "alice", "repo")
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.Append(ctx, "alice", "repo", upload, 0, bytes.NewReader([]byte("part"))); err != nil {
		r.Fatal(err)
	}
	return lost, staged, renewed, upload
}

func testGC(r rig, c *clock) {
	ctx := r.Context()
	r.repo("alice", "repo")
	kept, orphaned := deepTags["0.1.0"], deepTags["0.2.0"]
	r.publish("alice", "repo", "1.0.0", kept)
	r.publish("alice", "repo", "2.0.0", orphaned)
	lost, staged, renewed, id := r.abandon()
	if got := r.passes(c, testLife*3/4); got.Deleted() > 0 {
		r.Errorf("collected too early: %v", got)
	}
	// What is acknowledged again stays as long again, and so does what a pending
	// tag needs that is put again.
	if result, err := r.node("alice", "repo", "", "", renewed); err != nil || result.Created {
		r.Errorf("%+v, %v", result, err)
	}
	if got := r.passes(c, testLife/2); got.Nodes != 5 || got.Orphans != 1 || got.Pending != 1 || got.Uploads != 1 || got.Blobs != 5 {
		r.Errorf("collected: %v", got)
	}
	var metas []drawbridge.Meta
	for _, n := range []sent{staged, renewed, lost[""], lost["a"]} {
		metas = append(metas, n.meta)
	}
	if missing, err := r.Missing(ctx, "alice", "repo", metas); err != nil || fmt.Sprint(missing) != "[true false true true]" {
		r.Errorf("missing: %v, %v", missing, err)
	}
	_, err := r.Upload(ctx, "alice", "repo", id)
	r.is(err, ErrNotFound, "upload")
	_, err = r.node("alice", "repo", "3.0.0", "d/e", lost["d/e"])
	r.is(err, ErrNoParent, "a pending tag that is over")
	if got := r.passes(c, 2*testLife); got.Nodes != 1 || got.Blobs != 1 {
		r.Errorf("collected at the end: %v", got)
	}
	checkPublished(r, r.Store, "alice", "repo", "1.0.0", kept)
	checkPublished(r, r.Store, "alice", "repo", "2.0.0", orphaned)
	r.publish("alice", "repo", "3.0.0", lost)
	report, err := r.Fsck(ctx, FsckOptions{})
	if err != nil || !report.Clean() || report.Unreferenced > 0 {
		r.Errorf("fsck: %v, %v", report, err)
	}
	for o, err := range r.list(ctx, "gc/", "") {
		if err != nil || o.Key != settingsKey {
			r.Errorf("left: %v, %v", o, err)
		}
	}
}

// TestGCRace has servers publish what two others collect at that moment, with a
// GCWait of a tenth of a second. Nothing that was acknowledged may be lost.
func TestGCRace(t *testing.T) {
	run := 1500 * time.Millisecond
	if long() {
		run = 60 * time.Second
	}
	dir := fastDir(t)
	memory := emptyBuckets["memory"](t)
	for name, open := range map[string]func() *blob.Bucket{
		"memory": func() *blob.Bucket { return memory },
		"disk": func() *blob.Bucket {
			b, err := disk.Open(dir, disk.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			race := &gcRace{TB: t, end: time.Now().Add(run)}
			for range 2 {
				s, err := Open(t.Context(), open(), Options{GCWait: 100 * time.Millisecond, StagingLife: 400 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				race.stores = append(race.stores, s)
			}
			race.run()
		})
	}
}

type gcRace struct {
	testing.TB
	stores []*Store
	end    time.Time
	tags   sync.Map // of acknowledged ones: their nodes

	acked, busy, deleted, checked atomic.Int64
}

func (g *gcRace) run() {
	rig{g, g.stores[0]}.repo("alice", "repo")
	var wg sync.WaitGroup
	for i, s := range g.stores {
		wg.Go(func() { g.collect(s) })
		for j := range 5 {
			wg.Go(func() { g.stage(s, rand.New(rand.NewPCG(uint64(i), uint64(j)))) })
		}
		wg.Go(func() { g.publish(s, i, rand.New(rand.NewPCG(uint64(i), 100))) })
	}
	wg.Wait()
	if g.deleted.Load() == 0 || g.checked.Load() == 0 {
		g.Errorf("%d were deleted and %d checked", g.deleted.Load(), g.checked.Load())
	}
	tags := 0
	g.tags.Range(func(tag, nodes any) bool {
		tags++
		checkPublished(g, g.stores[1], "alice", "repo", tag.(string), nodes.(map[string]sent))
		return true
	})
	report, err := g.stores[0].Fsck(g.Context(), FsckOptions{})
	if err != nil || !report.Clean() {
		g.Errorf("fsck: %v, %v", report, err)
	}
	g.Logf("%d nodes acknowledged, %d checked, %d times busy, %d deleted, %d tags", g.acked.Load(), g.checked.Load(), g.busy.Load(), g.deleted.Load(), tags)
}

// goesOn reports whether the race is not over. On a busy machine a collector
// may often be too late to delete anything.
func (g *gcRace) goesOn() bool {
	late := time.Since(g.end)
	return late < 0 || late < 20*time.Second && (g.deleted.Load() == 0 || g.checked.Load() == 0)
}

func (g *gcRace) collect(s *Store) {
	for g.goesOn() {
		report, err := s.GC(g.Context())
		if err != nil {
			g.Error(err)
		}
		g.deleted.Add(int64(report.Nodes + report.Blobs))
	}
}

// raceContents is few enough that all are sent again once they are condemned.
const raceContents = 150

// content is one of them.
func content(i int) sent { return file(fmt.Sprintf("content %d", i), "a/b") }

// stage sends nodes for no tag. Each must be there for half of StagingLife.
func (g *gcRace) stage(s *Store, random *rand.Rand) {
	for g.goesOn() {
		n := content(random.IntN(raceContents))
		_, err := rig{g, s}.node("alice", "repo", "", "", n)
		acked := time.Now()
		if errors.Is(err, ErrBusy) {
			g.busy.Add(1)
		} else if err != nil {
			g.Error(err)
		}
		if err != nil {
			continue
		}
		g.acked.Add(1)
		time.Sleep(time.Duration(random.Int64N(int64(150 * time.Millisecond)))) // what is tested is time
		other := g.stores[random.IntN(len(g.stores))]
		h, ok, err := other.lookup(g.Context(), "alice", "repo", nodeOf(n.meta), true)
		size := int64(-1)
		if err == nil {
			size, _, err = other.stat(g.Context(), blobKey(h.id.blob))
		}
		if err != nil {
			g.Error(err)
		}
		if time.Since(acked) < 190*time.Millisecond {
			g.checked.Add(1)
			if !ok || size != n.meta.Length {
				g.Errorf("lost after %v: %t, %d bytes", time.Since(acked), ok, size)
			}
		}
	}
}

// publish makes tags of the same contents, as upstream's clients do.
func (g *gcRace) publish(s *Store, server int, random *rand.Rand) {
	for i := 0; time.Now().Before(g.end); i++ {
		tag := fmt.Sprintf("%d.0.%d", server, i)
		nodes := tree{"x": string(content(random.IntN(raceContents)).content), "id": tag}.nodes(false)
		for done := false; !done && g.goesOn(); {
			result, err := s.PutTag(g.Context(), "alice", "repo", tag, entryOf(nodes))
			for _, path := range inOrder(nodes) {
				if err != nil {
					break
				}
				var put PutResult
				put, err = rig{g, s}.node("alice", "repo", tag, path, nodes[path])
				result.Committed = result.Committed || put.Committed
			}
			switch {
			case errors.Is(err, ErrBusy):
				g.busy.Add(1)
			case errors.Is(err, ErrNoParent): // its time was over
			case err != nil:
				g.Error(err)
			}
			if done = result.Committed; done {
				g.tags.Store(tag, nodes)
			}
		}
		time.Sleep(50 * time.Millisecond) // or soon nothing could be collected any more
	}
}
