// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"enarx.dev/enarx/drawbridge"
)

// maxRecord is the longest record, sealed: a tag in base64, with its frame.
const maxRecord = drawbridge.MaxJSON/3*4 + 64<<10

// seal is what a record starts with: this, its SHA-256, and a line's end.
const seal = "drawbridge1 "

// objectRecord keeps what was PUT as a user, repository or tag, to the byte.
// Kind and names are those of its key, so that one object is never taken for
// another.
type objectRecord struct {
	Kind    kind            `json:"kind"`
	User    string          `json:"user"`
	Repo    string          `json:"repository,omitempty"`
	Name    string          `json:"tag,omitempty"`
	Meta    drawbridge.Meta `json:"meta"`
	Body    []byte          `json:"body"`
	Created time.Time       `json:"created"`
}

func (r *objectRecord) object() Object { return Object{r.Body, r.Meta} }

// cost is what the record takes in a cache, in about bytes.
func (r *objectRecord) cost() int64 { return int64(len(r.Body)) + 600 }

// nodeRecord says that the bytes of exactly this Meta were received in full
// and verified, in the repository of its key, and where they are. The same
// node has always the same record.
type nodeRecord struct {
	Meta drawbridge.Meta `json:"meta"`
	Blob string          `json:"blob"` // SHA-256, hexadecimal
}

// orphanRecord is a node that a tag's listings do not have.
type orphanRecord struct {
	Tag  string          `json:"tag"`
	Path string          `json:"path"`
	Meta drawbridge.Meta `json:"meta"`
}

type policyRecord struct {
	Body []byte    `json:"body"`
	Time time.Time `json:"time"`
}

type uploadRecord struct {
	User    string    `json:"user"`
	Repo    string    `json:"repository"`
	Created time.Time `json:"created"`
}

type tokenRecord struct {
	User string `json:"user"`
	ID   string `json:"id"`
	Body []byte `json:"body"`
}

type useRecord struct {
	Body  []byte `json:"body"`
	Nonce string `json:"nonce"`
}

type subjectRecord struct {
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	User    string    `json:"user"`
	Created time.Time `json:"created"`
}

// sealed returns the bytes of a record.
func sealed(record any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(record); err != nil {
		panic("store: bug: a record that JSON cannot say: " + err.Error())
	}
	sum := sha256.Sum256(b.Bytes())
	return append([]byte(seal+hex.EncodeToString(sum[:])+"\n"), b.Bytes()...)
}

// unseal reads the bytes of a record. It fails with ErrCorrupt.
func unseal(data []byte, record any) error {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(body)
	if !ok || string(head) != seal+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%w: a record does not fit its seal", ErrCorrupt)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(record); err != nil {
		return fmt.Errorf("%w: a record: %w", ErrCorrupt, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: a record with more behind it", ErrCorrupt)
	}
	return nil
}

// decodeObject reads a user's, repository's or tag's record, and checks that it is
// the one meant and that its bytes are those declared.
func decodeObject(data []byte, k kind, user, repo, name string) (*objectRecord, error) {
	var r objectRecord
	if err := unseal(data, &r); err != nil {
		return nil, err
	}
	if r.Kind != k || r.User != user || r.Repo != repo || r.Name != name {
		return nil, fmt.Errorf("%w: the %s %s/%s:%s is in another's place", ErrCorrupt, r.Kind, r.User, r.Repo, r.Name)
	}
	if err := r.object().check(); err != nil {
		return nil, fmt.Errorf("%w: the %s %s/%s:%s: %w", ErrCorrupt, k, user, repo, name, err)
	}
	return &r, nil
}

// decodeNode reads a node record of the name id.
func decodeNode(data []byte, id nodeID) (drawbridge.Meta, error) {
	var r nodeRecord
	if err := unseal(data, &r); err != nil {
		return drawbridge.Meta{}, err
	}
	if r.Meta.Key() != id.meta || r.Meta.Length != id.length || r.Blob != hex.EncodeToString(id.blob[:]) {
		return drawbridge.Meta{}, fmt.Errorf("%w: a node record is in another's place", ErrCorrupt)
	}
	if sum, ok := r.Meta.Digests.SHA256(); ok && sum != id.blob {
		return drawbridge.Meta{}, fmt.Errorf("%w: a node record names another blob", ErrCorrupt)
	}
	return r.Meta, nil
}

func nodeRecordOf(m drawbridge.Meta, blob [32]byte) ([]byte, nodeID) {
	id := nodeID{m.Key(), m.Length, blob}
	return sealed(nodeRecord{m, hex.EncodeToString(blob[:])}), id
}

// notFound makes an error of the bucket ErrNotFound if that is what it is.
func notFound(err error) error {
	if err != nil && gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// read returns an object of at most limit bytes. It fails with ErrNotFound, and
// with ErrCorrupt if the object is longer.
func (s *Store) read(ctx context.Context, key string, limit int64) ([]byte, error) {
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, notFound(err)
	}
	defer func() { _ = r.Close() }()
	if r.Size() > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, key, r.Size())
	}
	data := make([]byte, r.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, notFound(err))
	}
	return data, nil
}

// readRecord reads a sealed record. It fails with ErrNotFound and ErrCorrupt.
func (s *Store) readRecord(ctx context.Context, key string, record any) error {
	data, err := s.read(ctx, key, maxRecord)
	if err != nil {
		return err
	}
	if err := unseal(data, record); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// readObject reads the record of a user, repository or committed tag. None of
// them ever changes, so what was read once is kept.
func (s *Store) readObject(ctx context.Context, key string, k kind, user, repo, name string) (*objectRecord, error) {
	if v, ok := s.records.get(key); ok {
		return v.(*objectRecord), nil
	}
	data, err := s.read(ctx, key, maxRecord)
	if err != nil {
		return nil, err
	}
	r, err := decodeObject(data, k, user, repo, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	s.records.put(key, r, r.cost())
	return r, nil
}

// create writes an object unless one has the key. The answer false does not say
// that somebody else wrote it: a lost answer makes the S3 client ask again.
func (s *Store) create(ctx context.Context, key string, body []byte) (bool, error) {
	for try := 0; ; try++ {
		err := s.write(ctx, key, body, true)
		switch {
		case err == nil:
			return true, nil
		case isPrecondition(err) || s.appeared(ctx, key):
			return false, nil
		case !isConflict(err) || try == 3:
			return false, fmt.Errorf("writing %s: %w", key, err)
		}
	}
}

// appeared reports whether an object is there after writing it failed. Some S3
// servers refuse what is there by closing the connection. A disk never leaves
// that open.
func (s *Store) appeared(ctx context.Context, key string) bool {
	if s.disk != nil || ctx.Err() != nil {
		return false
	}
	size, _, err := s.stat(ctx, key)
	return err == nil && size >= 0
}

// isPrecondition reports whether there is an object already.
func isPrecondition(err error) bool { return gcerrors.Code(err) == gcerrors.FailedPrecondition }

// isConflict reports whether S3 could not decide between two writers, and
// wants to be asked again.
func isConflict(err error) bool {
	var coded interface{ ErrorCode() string }
	return errors.As(err, &coded) && coded.ErrorCode() == "ConditionalRequestConflict"
}

// replace writes an object whether or not one has the key.
func (s *Store) replace(ctx context.Context, key string, body []byte) error {
	if err := s.write(ctx, key, body, false); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, key string, body []byte, ifNotExist bool) error {
	w, err := s.newWriter(ctx, key, ifNotExist)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		w.abort()
		return err
	}
	return w.Close()
}

// A writer writes one object, which is there only after Close.
type writer struct {
	*blob.Writer
	cancel context.CancelFunc
}

// S3 takes a large object in at most so many parts, which must not be smaller.
const (
	s3Parts    = 10_000
	s3PartSize = 5 << 20
)

func (s *Store) newWriter(ctx context.Context, key string, ifNotExist bool) (writer, error) {
	return s.newLargeWriter(ctx, key, 0, ifNotExist)
}

// newLargeWriter returns a writer of an object of about size bytes.
func (s *Store) newLargeWriter(ctx context.Context, key string, size int64, ifNotExist bool) (writer, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/octet-stream", IfNotExist: ifNotExist,
		BufferSize: int(max(s3PartSize, size/s3Parts+1)), MaxConcurrency: 1, // it holds two parts in memory
	})
	if err != nil {
		cancel()
	}
	return writer{w, cancel}, err
}

// Close makes the object visible.
func (w writer) Close() error {
	defer w.cancel()
	return w.Writer.Close()
}

// abort leaves nothing behind.
func (w writer) abort() {
	w.cancel()
	_ = w.Writer.Close()
}

// remove deletes an object. It is no error if there is none.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	return nil
}

// stat returns the size of an object, -1 if there is none, and when it was
// written, by the bucket's clock.
func (s *Store) stat(ctx context.Context, key string) (size int64, at time.Time, err error) {
	a, err := s.bucket.Attributes(ctx, key)
	switch {
	case err == nil:
		return a.Size, a.ModTime, nil
	case gcerrors.Code(err) == gcerrors.NotFound:
		return -1, time.Time{}, nil
	}
	return -1, time.Time{}, err
}

// list yields the objects below a prefix in the order of their keys. With a
// delimiter, what is behind it is one IsDir.
func (s *Store) list(ctx context.Context, prefix, delimiter string) iter.Seq2[*blob.ListObject, error] {
	return func(yield func(*blob.ListObject, error) bool) {
		it := s.bucket.List(&blob.ListOptions{Prefix: prefix, Delimiter: delimiter})
		for {
			o, err := it.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("listing %q: %w", prefix, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}
