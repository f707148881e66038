// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// TestS3CreateOnly checks what the whole protocol stands on: of writers that
// create one small key at once exactly one succeeds, and a writer that is
// cancelled leaves nothing. A large object goes up in several parts, where
// gofakes3 forgets the condition: only blobs are large, and all who write one
// blob write the same bytes.
func TestS3CreateOnly(t *testing.T) {
	t.Parallel()
	for name, start := range s3Servers {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			for key, size := range map[string]int{"small": 10, "medium": 4 << 20} {
				raceToCreate(t, s, key, size)
			}
			b, large := s.bucket(t, "probe"), bytes.Repeat([]byte("large"), 20<<20/5)
			for range 2 {
				if err := createKey(b, "large", large); err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
					t.Error(err)
				}
			}
			if got, err := b.ReadAll(t.Context(), "large"); err != nil || !bytes.Equal(got, large) {
				t.Errorf("large: %d bytes, %v", len(got), err)
			}
			leavesNothing(t, b)
		})
	}
}

func raceToCreate(t *testing.T, s *s3Server, key string, size int) {
	t.Helper()
	const writers = 4
	var won [writers]bool
	var wg sync.WaitGroup
	for i := range writers {
		b := s.bucket(t, "probe")
		wg.Go(func() {
			err := createKey(b, key, bytes.Repeat([]byte{byte(i)}, size))
			won[i] = err == nil
			if err == nil || gcerrors.Code(err) == gcerrors.FailedPrecondition {
				return
			}
			// versitygw refuses a body that it has not read and resets the
			// connection: what there is to know, the key tells.
			if there, stat := b.Exists(context.Background(), key); !there || stat != nil {
				t.Errorf("%s: %v: %v; there: %v %v", key, gcerrors.Code(err), err, there, stat)
			}
		})
	}
	wg.Wait()
	got, err := s.bucket(t, "probe").ReadAll(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	winners := 0
	for i := range won {
		if won[i] {
			winners++
			if !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, size)) {
				t.Errorf("%s: writer %d won, but its bytes are not there", key, i)
			}
		}
	}
	if winners != 1 {
		t.Errorf("%s: %d writers won", key, winners)
	}
}

func leavesNothing(t *testing.T, b *blob.Bucket) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.NewWriter(ctx, "cancelled", &blob.WriterOptions{IfNotExist: true})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 6<<20))
	cancel()
	if err := w.Close(); !errors.Is(err, context.Canceled) && gcerrors.Code(err) != gcerrors.Canceled {
		t.Errorf("close after cancel: %v", err)
	}
	if there, err := b.Exists(t.Context(), "cancelled"); there || err != nil {
		t.Errorf("a cancelled write is there: %v %v", there, err)
	}
}

func createKey(b *blob.Bucket, key string, content []byte) error {
	w, err := b.NewWriter(context.Background(), key, &blob.WriterOptions{IfNotExist: true, ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

// TestStoreVersity is TestStore on the S3 server that is a process of its own.
func TestStoreVersity(t *testing.T) {
	t.Parallel()
	s, n := startVersity(t), 0
	testStore(t, func(t testing.TB) *blob.Bucket {
		n++
		return s.bucket(t, fmt.Sprint("contract-", n))
	})
}
