// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/internal/memfs/packdir"
)

// pipeSize is what a pipe into the Keep holds. The default is a sixteenth, and
// both sides would take turns sleeping.
const pipeSize = 1 << 20

// pipe returns a pipe, one end of which is for the Keep. The read end is one
// that Go's poller can wait on if poll is true; all others block.
func pipe(poll bool) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // slower without
	if poll {
		if err := unix.SetNonblock(fds[0], true); err != nil {
			return nil, nil, fmt.Errorf("making a pipe: %w", err)
		}
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// tar makes the Keep read a host directory as a tar stream and returns the
// descriptor it does so from. The Keep never sees the directory itself.
func (s *starter) tar(dir string) (fd int, err error) {
	r, w, err := pipe(false)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCopy, err)
	}
	s.close, s.ours = append(s.close, r), append(s.ours, w)
	s.pumps = append(s.pumps, func(ctx context.Context, k *Keep) {
		defer w.Close()
		skipped, err := packdir.WriteTar(ctx, w, dir, packdir.Options{MaxBytes: handover.MaxFiles})
		for _, what := range skipped {
			s.Warn(fmt.Sprintf("not copied into the Keep: %s/%s", dir, what))
		}
		// A Keep that stopped reading has ended or does not want it.
		if err != nil && !errors.Is(err, unix.EPIPE) && ctx.Err() == nil {
			k.failed(fmt.Errorf("%w: %w", ErrCopy, err))
		}
	})
	return s.pass(r), nil
}
