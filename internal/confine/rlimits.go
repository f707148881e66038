// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// spareFiles is what a program needs beside its declared descriptors and its
// sockets: epoll, the event descriptor, the resolver's files and sockets.
const spareFiles = 64

// Limits sets the resource limits of a process that has just been started and
// has not been given anything yet. sockets and files are how many descriptors
// the workload may hold.
//
// Set: CORE 0, because a core file would put a workload's memory on disk;
// MEMLOCK 0 and MSGQUEUE 0, because nothing locks memory or makes queues;
// NOFILE as declared. Not set: AS and DATA, since Go and the engine reserve
// far more address space than they use (the workload's memory has its own
// bound); NPROC, which counts the user's other processes too and does not
// bind root (the list of calls allows threads only); FSIZE, which would hit
// an output redirected to a file; CPU and wall time, which exec itself keeps.
func Limits(pid, sockets, files int) error {
	for _, l := range []struct {
		name     string
		resource int
		max      uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"memlock", unix.RLIMIT_MEMLOCK, 0},
		{"msgqueue", unix.RLIMIT_MSGQUEUE, 0},
		{"nofile", unix.RLIMIT_NOFILE, uint64(max(sockets, 0)+max(files, 0)) + spareFiles},
	} {
		if err := lower(pid, l.resource, l.max); err != nil {
			return fmt.Errorf("confine: setting the %s limit: %w", l.name, err)
		}
	}
	return nil
}

// lower sets both limits of a resource, never above the hard limit there is.
func lower(pid, resource int, limit uint64) error {
	err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return err
	}
	limit = min(limit, old.Max)
	return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil)
}
