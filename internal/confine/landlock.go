// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrLandlock says that a kernel that has Landlock refused to build or enter
// the domain.
var ErrLandlock = errors.New("confine: entering a Landlock domain")

// Resolver names the files that resolving a host name reads.
var Resolver = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}

// Access is what a Landlock domain leaves open. The zero value leaves nothing:
// descriptors that are already open are all the program has.
type Access struct {
	// Execute is a program's file, for a process that is yet to execute it.
	// One in memory needs no permission.
	Execute *os.File
	// Read lists files that may be opened for reading. Missing ones are skipped.
	Read []string
	// BindTCP and ConnectTCP are the ports a program may listen on and connect
	// to. Kernels before ABI 4 cannot restrict them.
	BindTCP, ConnectTCP []uint16
	// AnyTCP leaves all ports open.
	AnyTCP bool
	// Thread is for a domain that one thread of a process enters, when others
	// have domains of their own. Signals stay unrestricted then: kernels before
	// 6.15 would keep the threads from signalling each other.
	Thread bool
}

// Rights that Landlock handles, by the ABI that brought them; landlock(7).
const (
	fsABI1 = uint64(0x1fff) // EXECUTE … MAKE_SYM
	fsABI2 = uint64(unix.LANDLOCK_ACCESS_FS_REFER)
	fsABI3 = uint64(unix.LANDLOCK_ACCESS_FS_TRUNCATE)
	fsABI5 = uint64(unix.LANDLOCK_ACCESS_FS_IOCTL_DEV)
	fsLate = uint64(unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX) // after ABI 7

	netABI4   = uint64(unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)
	scopeABI6 = uint64(unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL)
)

// handled returns everything that a kernel of this ABI can deny.
func handled(abi int) (attr unix.LandlockRulesetAttr) {
	attr.Handled_access_fs = fsABI1
	if abi >= 2 {
		attr.Handled_access_fs |= fsABI2
	}
	if abi >= 3 {
		attr.Handled_access_fs |= fsABI3
	}
	if abi >= 4 {
		attr.Handled_access_net = netABI4
	}
	if abi >= 5 {
		attr.Handled_access_fs |= fsABI5
	}
	if abi >= 6 {
		attr.Scoped = scopeABI6
	}
	return attr
}

// Restrict puts the calling thread, and whatever it starts, into a Landlock
// domain that denies everything but access. The thread cannot leave it again:
// call it on a locked OS thread that is given up afterwards, after
// [NoNewPrivs]. It returns the kernel's Landlock ABI, and 0 with no error
// where there is no Landlock.
//
// Go tries out IPv6 by binding port 0, so a program that listens or connects
// needs 0 in BindTCP; all that gives it is ephemeral ports.
func Restrict(access Access) (abi int, err error) {
	abi = landlockABI()
	if abi <= 0 {
		return 0, nil
	}
	if err := restrict(abi, access); err != nil {
		return abi, fmt.Errorf("%w: %w", ErrLandlock, err)
	}
	return abi, nil
}

func restrict(abi int, access Access) error {
	attr := handled(abi)
	if access.AnyTCP {
		attr.Handled_access_net = 0
	}
	if access.Thread {
		attr.Scoped &^= unix.LANDLOCK_SCOPE_SIGNAL
	}
	ruleset, err := -1, error(unix.EINVAL)
	if abi > 7 {
		// Which ABI brought this right is not worth a table: ask.
		late := attr
		late.Handled_access_fs |= fsLate
		ruleset, err = createRuleset(&late)
	}
	if errors.Is(err, unix.EINVAL) {
		ruleset, err = createRuleset(&attr)
	}
	if err != nil {
		return fmt.Errorf("creating a ruleset: %w", err)
	}
	defer unix.Close(ruleset)

	if access.Execute != nil {
		rights := uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE)
		if err := addPathRule(ruleset, int(access.Execute.Fd()), rights); err != nil {
			return fmt.Errorf("allowing to execute the program: %w", err)
		}
	}
	for _, path := range access.Read {
		if err := allowRead(ruleset, path); err != nil {
			return fmt.Errorf("allowing to read %s: %w", path, err)
		}
	}
	if abi >= 4 && !access.AnyTCP {
		if err := allowPorts(ruleset, unix.LANDLOCK_ACCESS_NET_BIND_TCP, access.BindTCP); err != nil {
			return err
		}
		if err := allowPorts(ruleset, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, access.ConnectTCP); err != nil {
			return err
		}
	}
	return restrictSelf(ruleset)
}

func allowRead(ruleset int, path string) error {
	// O_PATH follows symbolic links: /etc/resolv.conf is one on many systems,
	// and it is the file behind it that the rule must name.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return addPathRule(ruleset, fd, unix.LANDLOCK_ACCESS_FS_READ_FILE)
}

func allowPorts(ruleset int, right uint64, ports []uint16) error {
	ports = slices.Clone(ports)
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) {
		if err := addPortRule(ruleset, port, right); err != nil {
			return fmt.Errorf("allowing port %d: %w", port, err)
		}
	}
	return nil
}
