// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
)

// buckets are what several servers may share, opened anew for each.
var buckets = map[string]func(t testing.TB) func() *blob.Bucket{
	"directory": func(t testing.TB) func() *blob.Bucket {
		dir := fastDir(t)
		return func() *blob.Bucket {
			b, err := disk.Open(dir, disk.Options{Reserve: 1})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	},
	"gofakes3": func(t testing.TB) func() *blob.Bucket {
		s := startFakeS3(t)
		return func() *blob.Bucket { return s.bucket(t, "replicas") }
	},
	"versitygw": func(t testing.TB) func() *blob.Bucket {
		s := startVersity(t)
		return func() *blob.Bucket { return s.bucket(t, "replicas") }
	},
}

// A fleet is several servers on one bucket, with publishers and collectors.
// The clock is moved on only between requests: that one is applied within a
// quarter of GCWait is what the protocol asks of the world.
type fleet struct {
	t        testing.TB
	replicas []*Store
	clock    *clock
	requests sync.RWMutex // held for reading by a request, for writing when the clock moves

	mu       sync.Mutex
	random   *rand.Rand
	promised map[string]map[string]sent // acknowledged tags
	retries  int
}

func newFleet(t testing.TB, open func() *blob.Bucket, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, clock: &clock{}, random: rand.New(rand.NewPCG(3, 1)), promised: map[string]map[string]sent{}}
	for range n {
		// A life is so short that publishing often outlasts it.
		s, err := Open(t.Context(), open(), Options{StagingLife: 4 * testWait, GCWait: testWait, Now: f.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		f.replicas = append(f.replicas, s)
	}
	a := &actor{Store: f.replicas[0], clock: f.clock}
	for _, st := range scenario()[:2] {
		if err := st.do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// any returns one of the replicas, as a load balancer does.
func (f *fleet) any() *Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[f.random.IntN(len(f.replicas))]
}

func (f *fleet) request(do func(*Store) error) error {
	f.requests.RLock()
	defer f.requests.RUnlock()
	return do(f.any())
}

func (f *fleet) promise(tag string, nodes map[string]sent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.promised[tag] != nil && entryOf(f.promised[tag]).Meta != entryOf(nodes).Meta {
		f.t.Errorf("two contents were acknowledged for %s", tag)
	}
	f.promised[tag] = nodes
}

// passing are the errors after which a client begins again.
func passing(err error) bool {
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrNoParent) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrOffset) || errors.Is(err, ErrNotListed)
}

var errPending = errors.New("the tag is still pending")

// publish publishes until it is done, or until somebody else has won.
func (f *fleet) publish(ctx context.Context, tag string, nodes map[string]sent, how func(context.Context, string, map[string]sent) error) (won bool) {
	for try := 0; ; try++ {
		err := how(ctx, tag, nodes)
		switch {
		case err == nil:
			f.promise(tag, nodes)
			return true
		case errors.Is(err, ErrConflict):
			return false
		case ctx.Err() != nil || try > 200 || !passing(err) && !errors.Is(err, errPending):
			f.t.Errorf("publishing %s, try %d: %v", tag, try, err)
			return false
		}
		f.mu.Lock()
		f.retries++
		f.mu.Unlock()
		time.Sleep(time.Duration(try) * time.Millisecond) // so that the collectors get somewhere
	}
}

// likeUpstream puts the tag and then everything.
func (f *fleet) likeUpstream(ctx context.Context, tag string, nodes map[string]sent) error {
	done := false
	err := f.request(func(s *Store) error {
		result, err := s.PutTag(ctx, theUser, theRepo, tag, entryOf(nodes))
		done = result.Committed
		return err
	})
	for _, path := range inOrder(nodes) {
		if err != nil {
			return err
		}
		n := nodes[path]
		err = f.request(func(s *Store) error {
			result, err := s.PutNode(ctx, theUser, theRepo, tag, splitPath(path), n.meta, bytes.NewReader(n.content))
			done = done || result.Committed
			return err
		})
	}
	if err == nil && !done {
		err = errPending
	}
	return err
}

// likeOurs puts what is missing, large nodes in parts, and then the tag.
func (f *fleet) likeOurs(ctx context.Context, tag string, nodes map[string]sent) error {
	for _, path := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[path]
		var missing []bool
		err := f.request(func(s *Store) (err error) {
			missing, err = s.Missing(ctx, theUser, theRepo, []drawbridge.Meta{n.meta})
			return err
		})
		switch {
		case err != nil:
			return err
		case !missing[0]:
			continue
		case len(n.content) > 10<<10:
			err = f.inParts(ctx, n)
		default:
			err = f.request(func(s *Store) error {
				_, err := s.PutNode(ctx, theUser, theRepo, "", nil, n.meta, bytes.NewReader(n.content))
				return err
			})
		}
		if err != nil {
			return err
		}
	}
	return f.request(func(s *Store) error {
		result, err := s.PutTag(ctx, theUser, theRepo, tag, entryOf(nodes))
		if err == nil && !result.Committed {
			err = errPending
		}
		return err
	})
}

func (f *fleet) inParts(ctx context.Context, n sent) error {
	var id string
	err := f.request(func(s *Store) (err error) {
		id, err = s.NewUpload(ctx, theUser, theRepo)
		return err
	})
	for at := 0; err == nil && at < len(n.content); at += 5 << 10 {
		err = f.request(func(s *Store) error {
			_, err := s.Append(ctx, theUser, theRepo, id, int64(at), bytes.NewReader(n.content[at:min(at+5<<10, len(n.content))]))
			return err
		})
	}
	if err != nil {
		return err
	}
	return f.request(func(s *Store) error {
		_, err := s.Finish(ctx, theUser, theRepo, id, n.meta)
		return err
	})
}

// collect runs collectors of all replicas until ctx is done. Time flies.
func (f *fleet) collect(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range f.replicas {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.GC(ctx); err != nil && ctx.Err() == nil {
					f.t.Errorf("collecting: %v", err)
					return
				}
				f.requests.Lock()
				f.clock.advance(testWait / 8)
				f.requests.Unlock()
			}
		})
	}
	wg.Wait()
}

// contentsOf returns different small trees that share files.
func contentsOf(i int) map[string]sent {
	return tree{
		"Enarx.toml": "shared = true\n", "main.wasm": fmt.Sprintf("\x00asm %d", i%3),
		"own": fmt.Sprint("own ", i), "dir/large": strings.Repeat(fmt.Sprint(i%2), 12<<10),
	}.nodes(false)
}

// TestReplicas lets servers on one bucket publish, collect and yank at once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for name, open := range buckets {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, open(t), 2)
			rounds := 3
			if long() {
				rounds = 60
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			collecting, stop := context.WithCancel(ctx)
			var collectors sync.WaitGroup
			collectors.Go(func() { f.collect(collecting) })
			for round := range rounds {
				f.round(ctx, round)
			}
			stop()
			collectors.Wait()
			f.check(ctx)
			t.Logf("%d tags promised, %d times begun again, the clock went %v", len(f.promised), f.retries, time.Duration(f.clock.ahead.Load()).Round(time.Hour))
		})
	}
}

// round has four publishers, of which two want one tag for different contents,
// and two for the same.
func (f *fleet) round(ctx context.Context, round int) {
	var wg sync.WaitGroup
	var won [2]bool
	contested := fmt.Sprintf("1.0.%d", round)
	for i := range 2 {
		how := f.likeUpstream
		if round%2 == 0 {
			how = f.likeOurs
		}
		wg.Go(func() { won[i] = f.publish(ctx, contested, contentsOf(2*round+i), how) })
		wg.Go(func() {
			how := []func(context.Context, string, map[string]sent) error{f.likeUpstream, f.likeOurs}[i]
			tag := fmt.Sprintf("2.0.%d", round)
			if !f.publish(ctx, tag, contentsOf(1000+round), how) {
				f.t.Errorf("%s: publishing twice the same was a conflict", tag)
			}
		})
	}
	wg.Go(func() { f.abandon(ctx, round) })
	wg.Wait()
	if won[0] == won[1] {
		f.t.Errorf("%s: winners: %v", contested, won)
	}
	if round > 0 {
		tag := fmt.Sprintf("2.0.%d", round-1)
		err := f.request(func(s *Store) error {
			return s.Yank(ctx, theUser, theRepo, tag, drawbridge.Yank{Reason: "old"})
		})
		if err == nil && round%2 == 0 {
			err = f.request(func(s *Store) error { return s.Unyank(ctx, theUser, theRepo, tag) })
		}
		if err != nil {
			f.t.Errorf("yanking %s: %v", tag, err)
		}
	}
}

// abandon leaves things that are garbage now and that others publish later.
func (f *fleet) abandon(ctx context.Context, round int) {
	nodes := contentsOf(2 * (round + 1))
	for _, path := range []string{"own", "main.wasm", "dir/large"} {
		n := nodes[path]
		err := f.request(func(s *Store) error {
			_, err := s.PutNode(ctx, theUser, theRepo, "", nil, n.meta, bytes.NewReader(n.content))
			return err
		})
		if err != nil && !errors.Is(err, ErrBusy) {
			f.t.Errorf("abandoning: %v", err)
		}
	}
	err := f.request(func(s *Store) error {
		_, err := s.PutTag(ctx, theUser, theRepo, fmt.Sprintf("3.0.%d", round), entryOf(contentsOf(5000+round)))
		return err
	})
	if err != nil && !errors.Is(err, ErrBusy) {
		f.t.Errorf("abandoning a tag: %v", err)
	}
}

// check checks on every replica that all promises are kept.
func (f *fleet) check(ctx context.Context) {
	for i, s := range f.replicas {
		for tag, nodes := range f.promised {
			if err := published(ctx, s, theUser, theRepo, tag, nodes); err != nil {
				f.t.Errorf("replica %d: %v", i, err)
			}
		}
		names, err := s.TagNames(ctx, theUser, theRepo)
		if err != nil || len(names) != len(f.promised) {
			f.t.Errorf("replica %d: %d tags of %d: %v", i, len(names), len(f.promised), err)
		}
		var round int
		for _, name := range names {
			if _, err := fmt.Sscanf(name.Name, "2.0.%d", &round); err != nil {
				continue
			}
			if want := round%2 == 0 && f.promised[fmt.Sprintf("2.0.%d", round+1)] != nil; name.Yanked != want {
				f.t.Errorf("replica %d: %s is yanked: %v", i, name.Name, name.Yanked)
			}
		}
		report, err := s.Fsck(ctx, FsckOptions{})
		if err != nil || !report.Clean() {
			f.t.Errorf("replica %d: %v\n%v", i, err, report)
		}
	}
}
