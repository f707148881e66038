// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// LandlockABI is the newest Landlock whose every right the nil backend uses.
const LandlockABI = 6

// A Layer is one part of the wall around a nil Keep, as this kernel has it.
type Layer struct {
	Name    string
	OK      bool
	Info    string // what was found, or ""
	Missing string // what is not confined for want of it; "" when nothing
}

// Probe says which layers the running kernel gives. It changes nothing.
func Probe() []Layer {
	_, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return []Layer{
		layer("no_new_privs", err == nil, "the Keep's process could gain rights from a set-user-ID file"),
		layer("seccomp filter", hasSeccomp(), "the Keep's process may use every system call"),
		landlockLayer(landlockABI()),
		layer("resource limits", unix.Prlimit(os.Getpid(), unix.RLIMIT_CORE, nil, &unix.Rlimit{}) == nil,
			"core files and open files of the Keep's process are not limited"),
	}
}

func layer(name string, ok bool, missing string) Layer {
	if ok {
		missing = ""
	}
	return Layer{Name: name, OK: ok, Missing: missing}
}

func landlockLayer(abi int) Layer {
	l := Layer{Name: "Landlock", OK: abi >= 1, Info: "ABI " + strconv.Itoa(abi)}
	switch {
	case abi < 1:
		l.Info = ""
		l.Missing = "the Keep's process may open the files and TCP ports its user may"
	case abi < 4:
		l.Missing = "the Keep's process may use every TCP port"
	case abi < LandlockABI:
		l.Missing = "the Keep's process may signal its user's processes"
	}
	return l
}
