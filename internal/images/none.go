// SPDX-License-Identifier: Apache-2.0

//go:build !keepimages

package images

var (
	execELF    []byte
	execSHA256 string
	shimKVM    []byte
)
