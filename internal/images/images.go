// SPDX-License-Identifier: Apache-2.0

// Package images embeds the programs that go into a Keep. `make build` makes
// them first, reproducibly, and then builds enarx with the tag keepimages; a
// tree where that has not happened still compiles, and says so when a Keep is
// asked for.
package images

import (
	"errors"
	"strings"

	"enarx.dev/enarx/internal/diag"
)

// ErrNotBuilt says that this binary carries no Keep images.
var ErrNotBuilt = errors.New("images: this enarx was built without its Keep images")

// Exec returns the enarx-exec ELF image, which must not be modified, and its
// SHA-256 in lower hex as the build computed it.
func Exec() (elf []byte, digest string, err error) {
	if len(execELF) == 0 {
		return nil, "", diag.Hint(ErrNotBuilt, "build with `make build`, which leaves bin/enarx complete")
	}
	return execELF, strings.TrimSpace(execSHA256), nil
}

// ShimKVM returns the ELF image of the shim of virtual machine Keeps, which must
// not be modified.
func ShimKVM() ([]byte, error) {
	if len(shimKVM) == 0 {
		return nil, diag.Hint(ErrNotBuilt, "build with `make build`, which leaves bin/enarx complete")
	}
	return shimKVM, nil
}
