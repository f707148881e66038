// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

const ruleNetPort = 2 // LANDLOCK_RULE_NET_PORT, which x/sys lacks

// netPort has the layout of struct landlock_net_port_attr.
type netPort struct {
	_       structs.HostLayout
	allowed uint64
	port    uint64
}

// landlockABI returns the version of the kernel's Landlock; 0 or less is none.
func landlockABI() int {
	// With this flag the kernel takes no pointer.
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

func createRuleset(attr *unix.LandlockRulesetAttr) (fd int, err error) {
	// The kernel copies the structure; bytes beyond those it knows must be zero.
	r, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func addPathRule(ruleset, fd int, allowed uint64) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: allowed, Parent_fd: int32(fd)}
	// The kernel copies the 12 packed bytes, which is where Go puts the fields.
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func addPortRule(ruleset int, port uint16, allowed uint64) error {
	attr := netPort{allowed: allowed, port: uint64(port)}
	// The kernel copies the structure.
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		ruleNetPort, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func restrictSelf(ruleset int) error {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
