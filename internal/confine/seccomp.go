// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Guard is who holds the program to the list.
type Guard string

const (
	BySeccomp Guard = "seccomp" // the Linux kernel, from now on, for every thread
	ByShim    Guard = "shim"    // whoever answered ENOSYS to seccomp(2): a Keep's shim
)

// ErrSelf says that the filter could not be installed, so that the program
// must not go on.
var ErrSelf = errors.New("confine: the system call filter is not in place")

// Self holds the calling program to [Calls] for the rest of its life. It is
// the first thing enarx-exec does, before it reads a byte from the host.
//
// In a TEE there is no seccomp(2): the shim answers ENOSYS, and is itself the
// filter. A Linux kernel built without seccomp looks the same from in here,
// which is why the host warns about that before it starts a Keep ([Probe]).
func Self() (Guard, error) {
	// no_new_privs is a thread's; TSYNC below carries it to the others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	nnp := NoNewPrivs()
	switch err := install(Program(uint32(os.Getpid()))); {
	case errors.Is(err, unix.ENOSYS):
		return ByShim, nil
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrSelf, err)
	case nnp != nil:
		return "", fmt.Errorf("%w: %w", ErrSelf, nnp)
	}
	return BySeccomp, nil
}

// NoNewPrivs makes it impossible for the calling thread, and for what it
// starts, to gain rights by executing a set-user-ID or otherwise marked file.
func NoNewPrivs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	return nil
}

//go:generate go test -run ^TestGenerated$ -update .

// Program is [Calls] for the process pid as a seccomp filter: an unlisted call
// answers ENOSYS, a call through another architecture's entry ends the
// process. It is compiled beforehand (zprogram.go), because every workload
// would wait for that.
func Program(pid uint32) []unix.SockFilter {
	p := make([]unix.SockFilter, len(program))
	for i, in := range program {
		p[i] = unix.SockFilter{Code: uint16(in >> 48), Jt: uint8(in >> 40), Jf: uint8(in >> 32), K: uint32(in)}
	}
	for _, i := range ownPID {
		p[i].K = pid
	}
	return p
}
