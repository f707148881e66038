// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"syscall"
)

// Technology is the kind of hardware that vouches for a Keep; upstream's codes.
type Technology uint8

// The technologies.
const (
	NoHardware Technology = 0 // an ordinary process or virtual machine
	SNP        Technology = 1 // AMD SEV-SNP
	SGX        Technology = 2 // Intel SGX
)

// sysAttest is the private system call that a Keep's shim serves: without a
// buffer it returns the size of the evidence and, in rdx, the technology
// (upstream's get_attestation).
const sysAttest = 0xea01

// Hardware asks what is below this program. An ordinary kernel does not know
// the call, and neither does a filter in front of one: ENOSYS or EPERM is the
// answer "no hardware".
func Hardware() (Technology, error) {
	_, technology, errno := syscall.RawSyscall6(sysAttest, 0, 0, 0, 0, 0, 0)
	switch {
	case errors.Is(errno, syscall.ENOSYS), errors.Is(errno, syscall.EPERM):
		return NoHardware, nil
	case errno != 0:
		return NoHardware, fmt.Errorf("identity: asking for the hardware of the Keep: %w", errno)
	case technology > uintptr(SGX):
		return NoHardware, fmt.Errorf("identity: unknown attestation technology %d", technology)
	}
	return Technology(technology), nil
}
