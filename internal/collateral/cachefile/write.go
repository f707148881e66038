// SPDX-License-Identifier: Apache-2.0

package cachefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"enarx.dev/enarx/internal/diag"
)

const (
	lockPause = 200 * time.Millisecond
	lockTries = 100 // what other releases of Enarx wait for
)

// Write replaces a cache file while it holds its lock file, as every release
// of Enarx does: readers find the old contents or the new, never a part. The
// folder is made if need be.
func Write(ctx context.Context, path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return diag.Hint(err, "write it as root, or give another folder with --dir")
	}
	unlock, err := lock(ctx, path+lockExt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return WriteFile(path, data)
}

func lock(ctx context.Context, path string) (unlock func() error, err error) {
	for try := 0; ; try++ {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		switch {
		case err == nil:
			return func() error { return errors.Join(f.Close(), os.Remove(path)) }, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, diag.Hint(err, "write it as root, or give another folder with --dir")
		case !errors.Is(err, fs.ErrExist):
			return nil, err
		case try == lockTries:
			return nil, diag.Hint(fmt.Errorf("potential stale lock file: %s", path), "if no other enarx is writing there, remove it")
		}
		t := time.NewTimer(lockPause)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("waiting for the lock file %s: %w", path, ctx.Err())
		case <-t.C:
		}
	}
}

// WriteFile writes a file that others may read, all or nothing.
func WriteFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
