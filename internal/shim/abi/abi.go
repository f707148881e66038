// SPDX-License-Identifier: Apache-2.0

// Package abi is the part of the Linux x86-64 ABI that a shim offers to the
// program above it: numbers of calls, errors and flags.
package abi

//go:generate go run gen.go

// PageSize is the size of a page in bytes.
const PageSize = 4096

// Protection of memory: PROT_READ, PROT_WRITE and PROT_EXEC.
const (
	ProtRead  = 1
	ProtWrite = 2
	ProtExec  = 4
)

// UserEnd is the first address that no program may use. The page below the end of the
// lower canonical half stays free: a SYSCALL at its very end would return to a
// non-canonical address, which faults at CPL 0 on Intel CPUs.
const UserEnd = 0x0000_7fff_ffff_f000

// UserStart is the lowest address that a program may map, as Linux's mmap_min_addr.
const UserStart = 0x1_0000

// Err returns a system call's result that reports errno.
func Err(errno int64) int64 { return -errno }
