// SPDX-License-Identifier: Apache-2.0

//go:build keepimages

package images

import _ "embed"

var (
	//go:embed bin/enarx-exec
	execELF []byte
	//go:embed bin/enarx-exec.sha256
	execSHA256 string

	//go:embed bin/enarx-shim-kvm
	shimKVM []byte
)
