// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/images"
)

// MaxImages is how many bytes of programs are kept by default: those of a few
// releases.
const MaxImages = 64 << 20

// prepareImage finds the file that the Keep executes, and says whether it
// lies on disk. If not, it must still be made from image: see [memfd].
//
// Executing a program that lies in this one's memory means to copy it first,
// which takes longer than all else that a small workload does. So a copy is
// kept as a file. That file is trusted for the same reason as this program's
// own file: only the user can write it. Its length tells a damaged one.
func (s *starter) prepareImage() (image []byte, err error) {
	image, digest, err := s.program()
	if err != nil || s.Images == nil {
		return image, err
	}
	if f := s.Images.lookup(digest); f != nil {
		if info, err := f.Stat(); err == nil && info.Size() == int64(len(image)) && info.Mode().Perm()&0o500 == 0o500 {
			s.image, s.onDisk = f, true
			return image, nil
		}
		f.Close()
	}
	s.pumps = append(s.pumps, func(context.Context, *Keep) {
		if err := s.Images.add(digest, 0o500, func(f *os.File) error { return write(f, image) }); err != nil {
			s.Log.Debug("program not kept", "err", err)
		}
	})
	return image, nil
}

// program returns the ELF file to run in the Keep, and its SHA-256.
func (s *starter) program() (image []byte, digest string, err error) {
	if s.Image == nil {
		return images.Exec()
	}
	sum := sha256.Sum256(s.Image)
	return s.Image, hex.EncodeToString(sum[:]), nil
}

// write writes a program to a file, and from there to the disk: half a program
// must not be left by a machine that loses power.
func write(f *os.File, image []byte) error {
	if _, err := f.Write(image); err != nil {
		return err
	}
	return f.Sync()
}

const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// memfd returns an executable file in memory that holds image and that nobody
// can change any more.
func memfd(image []byte) (*os.File, error) {
	// Kernels from 6.3 want to be told that the file will be executed, and
	// may be set up to insist; older ones do not know the flag.
	fd, err := unix.MemfdCreate("enarx-exec", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("enarx-exec", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "enarx-exec")
	if _, err := f.Write(image); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("sealing a file in memory: %w", err)
	}
	return f, nil
}

// socketpair returns the two ends of the hand-over's connection.
func socketpair() (here, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "handover"), os.NewFile(uintptr(fds[1]), "handover"), nil
}
