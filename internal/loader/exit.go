// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/diag"
)

// killedError is the end of a Keep by a signal.
type killedError struct{ signal unix.Signal }

func (e *killedError) Error() string {
	return fmt.Sprintf("%v by signal %d (%s)", ErrKilled, e.signal, unix.SignalName(e.signal))
}

func (e *killedError) Unwrap() error { return ErrKilled }

// exit turns the end of a process into an exit code. A signal is not the
// workload's doing: enarx-exec turns a trap into exit code 134 itself. One
// that somebody sends to have it end, from a terminal for instance, is no
// error, and gives the code that a shell would.
func exit(status unix.WaitStatus) (code int, err error) {
	if !status.Signaled() {
		return status.ExitStatus(), nil
	}
	err = &killedError{status.Signal()}
	switch status.Signal() {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP:
		return 128 + int(status.Signal()), nil
	case unix.SIGKILL:
		err = diag.Hint(err, "if nobody did that, the machine is short of memory: see the kernel's log")
	case unix.SIGSYS:
		err = diag.Hint(err, "it made a system call through a forbidden entry; please report this")
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGABRT:
		err = diag.Hint(err, "this is a bug in enarx or its WebAssembly engine; please report it")
	}
	return 1, err
}

// notKilledByUs drops the error of a Keep that this process killed.
func notKilledByUs(err error) error {
	if killed, ok := errors.AsType[*killedError](err); ok && killed.signal == unix.SIGKILL {
		return nil
	}
	return err
}
