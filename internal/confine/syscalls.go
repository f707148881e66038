// SPDX-License-Identifier: Apache-2.0

// Package confine is the wall around a Keep's program in the nil backend, and
// the one place that says what that program may ask of a kernel.
//
// [Calls] lists the system calls a Keep serves. In a TEE the shim answers
// exactly these; in nil, [Self] turns the same list into a seccomp filter, so
// that enarx-exec meets the same world in both and a call it must not need
// fails in every test run and not first on real hardware. Whatever is not
// listed is answered ENOSYS, as a shim would.
//
// The host side adds what ordinary Linux offers before the program starts:
// no_new_privs, a Landlock domain ([Restrict]) and resource limits ([Limits]).
// [Probe] says which of these layers the running kernel has. None of it
// protects the workload from the host; it protects the host from the workload.
package confine

import "golang.org/x/sys/unix"

const (
	prot   = unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC
	wx     = unix.PROT_WRITE | unix.PROT_EXEC
	anon   = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	mmapOK = anon | unix.MAP_FIXED | unix.MAP_FIXED_NOREPLACE | unix.MAP_NORESERVE | unix.MAP_STACK

	droppable = unix.MAP_DROPPABLE | unix.MAP_ANONYMOUS

	// The only three ways a thread is made: Go, glibc's fallback, musl. Each
	// has CLONE_THREAD, so none is a new process, and none a new namespace.
	cloneGo    = 0x0d0f00
	cloneGlibc = 0x3d0f00
	cloneMusl  = 0x7d0f00

	fionbio       = 0x5421 // FIONBIO, which x/sys lacks
	sockTypeFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	msgOK         = unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT | unix.MSG_PEEK | unix.MSG_WAITALL
	futexOK       = 128 | 256 // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME

	// Of the flags that read, O_DIRECTORY and O_NOFOLLOW only ever refuse more.
	// O_PATH is not among them: Landlock lets it have any file.
	openOK = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_DIRECTORY | unix.O_NOFOLLOW |
		0x8000 // O_LARGEFILE, which x/sys defines as 0 here
)
