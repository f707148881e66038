// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// readPrivate reads a file that nobody but its owner may.
func readPrivate(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("credentials: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("credentials: others may read %s (mode %04o): if they did not, `chmod 600` it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s is over %d bytes", path, max)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return data, nil
}

// writePrivate replaces a file in one step, durably: the temporary file that
// os.CreateTemp makes is its owner's alone.
func writePrivate(path string, data []byte) (err error) {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, name+".*")
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // best effort: what it holds is encrypted, or never used
			err = fmt.Errorf("credentials: %w", err)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const (
	lockPatience = 30 * time.Second
	lockInterval = 20 * time.Millisecond
)

// lock waits until this process is the only one that holds the file's lock.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience,
		fmt.Errorf("credentials: another process has held %s for %v", path, lockPatience))
	defer cancel()
	for {
		// flock goes with the open file, so it also keeps goroutines apart, and a
		// process that is killed holds nothing.
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("credentials: locking %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(lockInterval):
		}
	}
}

// Exclusive keeps other processes of this user from calling Exclusive, until
// unlock is called: for what takes a secret, exchanges it and stores the new
// one. dir is as in [Config]. Where no file can be written there is no lock,
// and no error: a helper or keyring may still take secrets.
func Exclusive(ctx context.Context, dir string) (unlock func(), err error) {
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return func() {}, nil
		}
		dir = filepath.Join(config, "enarx")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return func() {}, nil
	}
	unlock, err = lock(ctx, filepath.Join(dir, "refresh.lock"))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return func() {}, nil
	}
	return unlock, err
}
