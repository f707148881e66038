// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// A slowBucket is a bucket far away, in the time of a synctest bubble: each
// request takes its time to get there and the answer to get back, mostly
// moments, now and then a good part of GCWait. A request whose sender has given
// up may take effect all the same, up to a fifth of GCWait later: that it does
// not much later is all that the store asks of the world. Lists come in pages
// between which everything may change.
type slowBucket struct {
	wait    time.Duration // GCWait
	mu      *sync.Mutex   // guards what follows, of all servers
	objects map[string]slowObject
	random  *rand.Rand // of one server
	skew    time.Duration
	sleeps  bool // the server's machine is sent to sleep now and then
	late    *int // requests that took effect when nobody waited for them
}

type slowObject struct {
	data []byte
	at   time.Time
}

var (
	errSlowGone  = errors.New("there is no such object")
	errSlowThere = errors.New("there is such an object")
)

// latency is mostly short.
func (b *slowBucket) latency() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch n := b.random.IntN(1000); {
	case n < 4 && b.sleeps:
		return time.Duration(b.random.Int64N(int64(6 * b.wait)))
	case n < 930:
		return time.Duration(b.random.IntN(50)) * time.Millisecond
	case n < 990:
		return time.Duration(b.random.Int64N(int64(b.wait / 16)))
	}
	return time.Duration(b.random.Int64N(int64(b.wait / 3)))
}

// request makes a request take effect, some time.
func (b *slowBucket) request(ctx context.Context, effect func() error) error {
	if b.sleep(ctx) != nil {
		b.mu.Lock()
		delay := time.Duration(b.random.Int64N(int64(b.wait / 5)))
		happens := b.random.IntN(2) == 0
		if happens {
			*b.late++
		}
		b.mu.Unlock()
		if happens {
			go func() { // the bubble waits for it
				time.Sleep(delay)
				b.mu.Lock()
				defer b.mu.Unlock()
				_ = effect()
			}()
		}
		return ctx.Err()
	}
	b.mu.Lock()
	err := effect()
	b.mu.Unlock()
	if b.sleep(ctx) != nil {
		return ctx.Err() // done, and nobody knows
	}
	return err
}

func (b *slowBucket) sleep(ctx context.Context) error {
	timer := time.NewTimer(b.latency())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *slowBucket) ErrorCode(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, errSlowGone):
		return gcerrors.NotFound
	case errors.Is(err, errSlowThere):
		return gcerrors.FailedPrecondition
	case errors.Is(err, context.DeadlineExceeded):
		return gcerrors.DeadlineExceeded
	}
	return gcerrors.Unknown
}

func (b *slowBucket) As(any) bool             { return false }
func (b *slowBucket) ErrorAs(error, any) bool { return false }
func (b *slowBucket) Close() error            { return nil }

func (b *slowBucket) Attributes(ctx context.Context, key string) (a *driver.Attributes, err error) {
	err = b.request(ctx, func() error {
		o, ok := b.objects[key]
		if !ok {
			return errSlowGone
		}
		a = &driver.Attributes{ContentType: "x/y", Size: int64(len(o.data)), ModTime: o.at}
		return nil
	})
	return a, err
}

func (b *slowBucket) ListPaged(ctx context.Context, o *driver.ListOptions) (page *driver.ListPage, err error) {
	err = b.request(ctx, func() error {
		page = new(driver.ListPage)
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			if !strings.HasPrefix(key, o.Prefix) {
				continue
			}
			object := &driver.ListObject{Key: key, Size: int64(len(b.objects[key].data)), ModTime: b.objects[key].at}
			if i := strings.Index(key[len(o.Prefix):], "/"); o.Delimiter != "" && i >= 0 {
				object = &driver.ListObject{Key: key[:len(o.Prefix)+i+1], IsDir: true}
			}
			if n := len(page.Objects); object.Key <= string(o.PageToken) || n > 0 && page.Objects[n-1].Key == object.Key {
				continue
			}
			if len(page.Objects) == 10 {
				page.NextPageToken = []byte(page.Objects[9].Key)
				break
			}
			page.Objects = append(page.Objects, object)
		}
		return nil
	})
	return page, err
}

type slowReader struct {
	*bytes.Reader
	attributes driver.ReaderAttributes
}

func (r slowReader) Close() error                         { return nil }
func (r slowReader) Attributes() *driver.ReaderAttributes { return &r.attributes }
func (r slowReader) As(any) bool                          { return false }

func (b *slowBucket) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (r driver.Reader, err error) {
	err = b.request(ctx, func() error {
		o, ok := b.objects[key]
		if !ok {
			return errSlowGone
		}
		end := int64(len(o.data))
		if length >= 0 {
			end = min(end, offset+length)
		}
		r = slowReader{bytes.NewReader(o.data[offset:end]), driver.ReaderAttributes{ContentType: "x/y", ModTime: o.at, Size: int64(len(o.data))}}
		return nil
	})
	return r, err
}

type slowWriter struct {
	bytes.Buffer
	b      *slowBucket
	ctx    context.Context
	key    string
	ifNone bool
}

func (b *slowBucket) NewTypedWriter(ctx context.Context, key, _ string, o *driver.WriterOptions) (driver.Writer, error) {
	return &slowWriter{b: b, ctx: ctx, key: key, ifNone: o.IfNotExist}, nil
}

func (w *slowWriter) Close() error {
	return w.b.request(w.ctx, func() error {
		if _, ok := w.b.objects[w.key]; ok && w.ifNone {
			return errSlowThere
		}
		w.b.objects[w.key] = slowObject{w.Bytes(), time.Now()}
		return nil
	})
}

func (b *slowBucket) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errors.ErrUnsupported
}

func (b *slowBucket) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	return b.request(ctx, func() error {
		if _, ok := b.objects[key]; !ok {
			return errSlowGone
		}
		delete(b.objects, key)
		return nil
	})
}

func (b *slowBucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errors.ErrUnsupported
}

// A history is one run of many servers in a bubble.
type history struct {
	*fleet
	bucket slowBucket
	seed   uint64
	began  time.Time
}

// server opens a server of some number, whose clock differs a little.
func (h *history) server(number int, sleeps bool) *Store {
	b := h.bucket
	b.sleeps = sleeps
	b.random = rand.New(rand.NewPCG(h.seed, uint64(number)))
	b.skew = time.Duration(b.random.Int64N(int64(b.wait/40))) - b.wait/80
	s, err := Open(h.t.(*testing.T).Context(), blob.NewBucket(&b), Options{
		StagingLife: 4 * b.wait, GCWait: b.wait, Now: func() time.Time { return time.Now().Add(b.skew) },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// TestInterleavings runs publishers, who want the same few contents, and
// sleepy collectors on a slow bucket, for days of fake time: whatever requests
// overtake each other, nothing that is acknowledged gets lost, and nothing
// refers to what is gone.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	histories := uint64(1)
	if long() {
		histories = 500
	}
	deleted, promised, retries, late := 0, 0, 0, 0
	for seed := range histories {
		synctest.Test(t, func(t *testing.T) {
			h := &history{seed: seed, bucket: slowBucket{wait: time.Hour, mu: new(sync.Mutex), objects: map[string]slowObject{}, late: new(int)}}
			h.fleet = &fleet{t: t, clock: &clock{}, random: rand.New(rand.NewPCG(seed, 0)), promised: map[string]map[string]sent{}}
			deleted += h.live(t.Context(), 60*time.Hour)
			promised, retries, late = promised+len(h.promised), retries+h.retries, late+*h.bucket.late
		})
		if t.Failed() {
			t.Fatalf("history %d", seed)
		}
	}
	t.Logf("%d histories: %d tags promised, %d times begun again, %d objects collected, %d requests took effect unseen", histories, promised, retries, deleted, late)
}

// live lets time pass, and checks the end. It returns how much was collected.
func (h *history) live(ctx context.Context, span time.Duration) (deleted int) {
	h.began = time.Now()
	first := h.server(0, false)
	for _, st := range scenario()[:2] {
		for st.do(ctx, &actor{Store: first, clock: h.clock}) != nil {
		}
	}
	ending, end := context.WithTimeout(ctx, span)
	defer end()
	var all sync.WaitGroup
	var counts [2]int
	for i := range counts {
		all.Go(func() { counts[i] = h.collector(ctx, ending, 1000*(i+1)) })
	}
	for i := range 3 {
		all.Go(func() { h.publisher(ctx, ending, i) })
	}
	all.Wait()
	time.Sleep(h.bucket.wait) // for requests on their way
	h.replicas = []*Store{h.server(1, false)}
	for tag, nodes := range h.promised {
		if err := published(ctx, h.replicas[0], theUser, theRepo, tag, nodes); err != nil {
			h.t.Error(err)
		}
	}
	report, err := h.replicas[0].Fsck(ctx, FsckOptions{})
	if err != nil || !report.Clean() {
		h.t.Errorf("%v\n%v", err, report)
	}
	return counts[0] + counts[1]
}

// collector collects, and is sometimes a server that was started anew.
func (h *history) collector(ctx, ending context.Context, number int) (deleted int) {
	s := h.server(number, true)
	for ending.Err() == nil {
		report, err := s.GC(ctx)
		if err != nil && !slowly(err) {
			h.t.Errorf("collecting: %v", err)
			return deleted
		}
		deleted += report.Deleted()
		h.mu.Lock()
		pause, again := time.Duration(h.random.Int64N(int64(h.bucket.wait/2))), h.random.IntN(40) == 0
		h.mu.Unlock()
		time.Sleep(pause)
		if again {
			number++
			s = h.server(number, true)
		}
	}
	return deleted
}

// publisher publishes one of few contents under new names, and leaves things
// behind.
func (h *history) publisher(ctx, ending context.Context, number int) {
	s := h.server(10+number, false)
	mine := &fleet{t: h.t, replicas: []*Store{s}, clock: h.clock, random: rand.New(rand.NewPCG(h.seed, uint64(100+number))), promised: map[string]map[string]sent{}}
	for i := 0; ending.Err() == nil; i++ {
		// What is left behind now is published when it is being collected.
		fashion := int(time.Since(h.began) / (2 * h.bucket.wait))
		tag, nodes := fmt.Sprintf("%d.0.%d", mine.random.IntN(2), i), littleTree(fashion-mine.random.IntN(2))
		how := mine.likeOurs
		if mine.random.IntN(2) == 0 {
			how = mine.likeUpstream
		}
		switch mine.random.IntN(2) {
		case 0: // leave it half done
			for path, n := range littleTree(fashion + mine.random.IntN(5)) {
				if mine.random.IntN(3) > 0 {
					_, err := s.PutNode(ctx, theUser, theRepo, "", nil, n.meta, bytes.NewReader(n.content))
					if err != nil && !passing(err) && !slowly(err) {
						h.t.Errorf("/%s: %v", path, err)
					}
				}
			}
		default:
			won := false
			for try := 0; ; try++ {
				err := how(ctx, tag, nodes)
				if won = err == nil; won || errors.Is(err, ErrConflict) {
					break
				}
				if try > 300 || !passing(err) && !errors.Is(err, errPending) && !slowly(err) {
					h.t.Errorf("publishing %s, try %d: %v", tag, try, err)
					return
				}
				h.mu.Lock()
				h.retries++
				h.mu.Unlock()
				time.Sleep(h.bucket.wait / 30)
			}
			if won {
				h.promise(tag, nodes)
			}
		}
		time.Sleep(time.Duration(mine.random.Int64N(int64(h.bucket.wait))))
	}
}

// slowly are the errors of a request that took too long, or of a session or
// body that the store could not write in time.
func slowly(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF)
}

func littleTree(i int) map[string]sent {
	return tree{"Enarx.toml": "shared", "main.wasm": fmt.Sprint("wasm ", i/2), "own": fmt.Sprint("own ", i)}.nodes(false)
}
