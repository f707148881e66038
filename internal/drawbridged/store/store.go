// SPDX-License-Identifier: Apache-2.0

// Package store is what a Drawbridge keeps, in a bucket of gocloud.dev/blob: a
// directory, memory, or S3. It needs of the bucket only put-if-absent, get,
// range, list and delete, each of them atomic and seen by everybody at once, so
// any number of servers may share one.
//
// Content is kept once per unique bytes, in blobs/. That a repository has
// received some content, in full and verified, is said by a node record in that
// repository; only through it is a blob reachable, so that naming the digest of
// somebody else's content gives nobody access to it. A tag is pending, and seen
// by nobody, until every node that it reaches has its record; then creating one
// object makes it visible, and this is the only instant at which anything does.
//
// Nothing is locked. Whatever may be collected is condemned first, in a marker
// that every writer obeys; see guard.go for why nothing is lost.
//
// What is in the bucket is not trusted to be whole: every record is sealed with
// its SHA-256, and what does not fit is an error, never a panic.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob" // s3:// in OpenURL
	"golang.org/x/sync/semaphore"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
)

// Options are how a Store behaves. The zero value is ready for use.
type Options struct {
	// StrictTree refuses nodes that their directory does not list. Without it
	// they are taken where upstream's clients are known to forget them.
	StrictTree bool

	// StagingLife is how long what was uploaded waits for the tag that needs
	// it: at least four times GCWait. 0: what the bucket says, at first 24 hours.
	StagingLife time.Duration

	// GCWait is how long what is to be collected stays condemned before it is
	// deleted, and after half of that who needs it is told to come again later.
	// The clocks of all servers must agree within a quarter of it. 0: what the
	// bucket says, at first 15 minutes.
	GCWait time.Duration

	// NewTimes changes what the bucket says of the two. No other server may run.
	// Else all servers must have the same, as something is lost otherwise.
	NewTimes bool

	// Offline neither asks nor tells the bucket. No other server may run.
	Offline bool

	// ReadOnly is for who only reads, maybe a snapshot that cannot be written:
	// opening writes nothing, and who writes nevertheless finds out then.
	ReadOnly bool

	// Limits returns what a user may have; nil: no limits.
	Limits func(user string) Limits

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // of damage and of collecting; nil: discarded
}

// Limits are a user's quotas. 0 is no limit. They are exact within a process;
// several servers of one bucket may together exceed them by what they accept
// within a minute.
type Limits struct {
	Bytes int64 // of all nodes in his repositories, each counted once per repository, and of tags; with 4 KiB for each object
	Repos int
	Tags  int // in one repository, pending ones too
}

// Errors, for errors.Is. Further errors are of the bucket: the store's fault.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("already exists")                     // and is not the same
	ErrNotListed = errors.New("not listed in its directory")        // or listed otherwise
	ErrNoParent  = errors.New("the directory above is not there")   // not yet, or no such tag
	ErrInvalid   = errors.New("invalid content")                    // the bytes are not of their type
	ErrTooLarge  = errors.New("too large")                          // a limit that is not a quota
	ErrQuota     = errors.New("quota exceeded")                     // of the user
	ErrBusy      = errors.New("being collected, try again later")   // or the bucket is too slow
	ErrOffset    = errors.New("upload continues at another offset") // see Upload
	ErrBody      = errors.New("reading the body")                   // the sender's fault
	ErrCorrupt   = errors.New("the store is damaged")
	ErrMismatch  = errors.New("content mismatch") // is a *MismatchError
	ErrVetoed    = errors.New("the tag may not become visible")
	ErrTimes     = errors.New("the servers of this store agreed on other times")
)

// MismatchError says that a content is not what was declared. Its texts are
// upstream's.
type MismatchError struct {
	Length    bool  // it is the length; else a digest
	Want, Got int64 // bytes
}

func (e *MismatchError) Error() string {
	if e.Length {
		return fmt.Sprintf("Content length mismatch, expected: %d, got %d", e.Want, e.Got)
	}
	return "Content digest mismatch"
}

// Is makes errors.Is(err, ErrMismatch) hold.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// Object is a small content, kept with the Meta that was declared for it.
type Object struct {
	Body []byte
	Meta drawbridge.Meta
}

// NewObject returns a body with all four digests, for when none was declared.
func NewObject(body []byte, mediaType string) Object {
	return Object{body, drawbridge.MetaOf(body, mediaType)}
}

// check returns a *MismatchError unless the body is what the Meta says.
func (o Object) check() error {
	h := drawbridge.NewHasher(o.Meta.Digests.Algorithms()...)
	_, _ = h.Write(o.Body)
	return compare(o.Meta, h.Sum(), int64(len(o.Body)))
}

// same reports whether both have the same bytes and the same declared Meta.
func (o Object) same(p Object) bool { return o.Meta == p.Meta && string(o.Body) == string(p.Body) }

// PutResult is what a write did.
type PutResult struct {
	Created   bool // false: it was there already, the same
	Committed bool // the tag is visible now
}

// Store is the storage of a Drawbridge. Its methods may be called at once from
// any number of goroutines. Names and paths must have passed drawbridge's
// checks; the Store checks them again.
type Store struct {
	bucket *blob.Bucket
	disk   *disk.Bucket // nil if it is not in a directory
	opts   Options
	real   bool   // the clock is the machine's
	owner  string // of this process's rounds of collecting

	guards  *cache[string, *guard]
	records *cache[string, any]      // what never changes once it is there: users, repositories, tags
	dirs    *cache[[32]byte, *dir]   // parsed directories
	nodes   *cache[string, had]      // node records that were seen
	puts    *cache[[32]byte, bool]   // nodes that were put below a tag
	walks   *cache[string, *walk]    // how far pending tags are from complete
	staged  *cache[string, *staging] // pending tags by tag, for a moment
	spots   *cache[[32]byte, node]   // where paths lead in committed tags
	briefs  *cache[string, brief]    // what committed tags are looked for by
	large   chan struct{}            // taken by uploads that have large buffers
	parsing *semaphore.Weighted      // bytes of listings that are being parsed
	vet     atomic.Pointer[Vet]
	usage   usages
	rounds  rounds
	close   sync.Once
}

// The memory for each of the caches, in about bytes.
const (
	guardMemory  = 8 << 20
	recordMemory = 24 << 20
	dirMemory    = 16 << 20
	nodeMemory   = 8 << 20
	putMemory    = 2 << 20
	walkMemory   = 8 << 20
	stagedMemory = 4 << 20
	spotMemory   = 4 << 20
	briefMemory  = 8 << 20
)

// parsedAtOnce is how many bytes of listings are parsed at a time. It takes 35
// times as much memory, and who wants a deep path makes us parse many.
const parsedAtOnce = 2 * drawbridge.MaxJSON

// Open returns the Store in a bucket, which is closed with it.
func Open(ctx context.Context, b *blob.Bucket, o Options) (*Store, error) {
	machine := o.Now == nil
	if machine {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		bucket: b, opts: o, real: machine, owner: randomID(),
		large:   make(chan struct{}, maxLarge),
		guards:  newCache[string, *guard](guardMemory),
		records: newCache[string, any](recordMemory),
		dirs:    newCache[[32]byte, *dir](dirMemory),
		nodes:   newCache[string, had](nodeMemory),
		puts:    newCache[[32]byte, bool](putMemory),
		walks:   newCache[string, *walk](walkMemory),
		staged:  newCache[string, *staging](stagedMemory),
		spots:   newCache[[32]byte, node](spotMemory),
		briefs:  newCache[string, brief](briefMemory),
		parsing: semaphore.NewWeighted(parsedAtOnce),
	}
	if !b.As(&s.disk) {
		s.disk = nil
	}
	if err := s.agree(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// settingsRecord is what all servers of a bucket must have the same.
type settingsRecord struct {
	StagingLife time.Duration `json:"staging_life_ns"`
	GCWait      time.Duration `json:"gc_wait_ns"`
}

// agree fills in what the bucket says, or tells it what is to be.
func (s *Store) agree(ctx context.Context) error {
	var agreed settingsRecord
	err := s.readRecord(ctx, settingsKey, &agreed)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	is := settingsRecord{
		StagingLife: cmp.Or(s.opts.StagingLife, agreed.StagingLife, 24*time.Hour),
		GCWait:      cmp.Or(s.opts.GCWait, agreed.GCWait, 15*time.Minute),
	}
	s.opts.StagingLife, s.opts.GCWait = is.StagingLife, is.GCWait
	switch {
	case is.GCWait <= 0 || is.StagingLife/4 < is.GCWait:
		return fmt.Errorf("what is uploaded lives %v, which is less than four times %v, the wait before something is deleted", is.StagingLife, is.GCWait)
	case s.opts.Offline || s.opts.ReadOnly || is == agreed:
		return nil
	case s.opts.NewTimes:
		return s.replace(ctx, settingsKey, sealed(is))
	case agreed != settingsRecord{}:
		return fmt.Errorf("%w: what is uploaded lives %v and %v pass before something is deleted, not %v and %v",
			ErrTimes, agreed.StagingLife, agreed.GCWait, is.StagingLife, is.GCWait)
	}
	if created, err := s.create(ctx, settingsKey, sealed(is)); created || err != nil {
		return err
	}
	return s.agree(ctx)
}

// OpenURL opens the Store at file:///directory (which is made if it is not
// there), mem:// or s3://bucket?options, as gocloud.dev/blob describes them.
func OpenURL(ctx context.Context, url string, o Options) (*Store, error) {
	b, err := openBucket(ctx, url, o.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", redactURL(url), err)
	}
	s, err := Open(ctx, b, o)
	if err == nil && s.disk == nil && !o.ReadOnly {
		err = s.probe(ctx)
	}
	if err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("opening the store %s: %w", redactURL(url), err)
	}
	return s, nil
}

// Schemes returns what OpenURL knows. Those of other clouds than Amazon's are
// linked with the build tags gcs and azure.
func Schemes() []string {
	schemes := append(blob.DefaultURLMux().BucketSchemes(), "file", "mem")
	slices.Sort(schemes)
	return slices.Compact(schemes)
}

func openBucket(ctx context.Context, url string, readOnly bool) (*blob.Bucket, error) {
	scheme, _, ok := strings.Cut(url, "://")
	switch {
	case !ok:
		return nil, errors.New("not a URL: file:///directory, mem:// or s3://bucket")
	case scheme == "file":
		return disk.OpenURL(url, disk.Options{ReadOnly: readOnly})
	case scheme == "mem":
		return memblob.OpenBucket(&memblob.Options{NoMD5: true}), nil
	}
	return blob.OpenBucket(ctx, url)
}

// redactURL drops what may be secret in a URL.
func redactURL(url string) string {
	before, _, _ := strings.Cut(url, "?")
	if scheme, rest, ok := strings.Cut(before, "://"); ok {
		if _, host, ok := strings.Cut(rest, "@"); ok {
			return scheme + "://" + host
		}
	}
	return before
}

// Ready returns an error if the bucket does not answer.
func (s *Store) Ready(ctx context.Context) error {
	_, _, err := s.bucket.ListPage(ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: "gc/"})
	return err
}

// probe returns an error if the bucket writes over what is there although it
// was asked not to: some servers of S3 do not know how to.
func (s *Store) probe(ctx context.Context) error {
	key := markerKey(probeMarkers, s.now())
	for i, want := range []bool{true, false} {
		created, err := s.create(ctx, key, sealed(i))
		if err == nil && created != want {
			err = errors.New("the bucket does not honour If-None-Match, without which two could publish one tag")
		}
		if err != nil {
			return errors.Join(err, s.remove(context.WithoutCancel(ctx), key))
		}
	}
	return s.remove(ctx, key)
}

// Close closes the bucket.
func (s *Store) Close() (err error) {
	s.close.Do(func() { err = s.bucket.Close() })
	return err
}

// Open returns length bytes of a blob from offset on, length < 0: all that are
// left. It fails with ErrNotFound.
func (s *Store) Open(ctx context.Context, sum [32]byte, offset, length int64) (io.ReadCloser, error) {
	r, err := s.bucket.NewRangeReader(ctx, blobKey(sum), offset, length, nil)
	if err != nil {
		return nil, notFound(err)
	}
	return r, nil
}

// now is the time by the wall's clock, which goes on while a machine sleeps.
func (s *Store) now() time.Time { return s.opts.Now().Round(0) }

// Times returns the effective StagingLife and GCWait.
func (s *Store) Times() (life, wait time.Duration) { return s.opts.StagingLife, s.opts.GCWait }
