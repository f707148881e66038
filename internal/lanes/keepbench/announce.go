// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"slices"

	"enarx.dev/enarx/internal/lanes/keepbench/microvm"
)

// firstByte is what a program that begins with announcement writes to descriptor 1.
const firstByte = 'x'

// announcement tells the host that a program has begun, and ends it: in a microVM
// by writing to a port, which needs no driver, and where there are no ports, as in
// a Keep, by writing to the standard output. It is what a compiler makes of
//
//	if ioperm(SignalPort, 1, 1) == 0 { outb(SignalPort, 'x') }
//	write(1, "x", 1)
//	exit_group(0)
var announcement = []byte{
	0xbf, microvm.SignalPort, 0, 0, 0, // MOV EDI,SignalPort
	0xbe, 1, 0, 0, 0, // MOV ESI,1
	0xba, 1, 0, 0, 0, // MOV EDX,1
	0xb8, 0xad, 0, 0, 0, // MOV EAX,173 # ioperm
	0x0f, 0x05, // SYSCALL
	0x85, 0xc0, // TEST EAX,EAX
	0x75, 0x04, // JNZ +4
	0xb0, firstByte, // MOV AL,'x'
	0xe6, microvm.SignalPort, // OUT SignalPort,AL
	0xbf, 1, 0, 0, 0, // MOV EDI,1
	0x48, 0x8d, 0x35, 0x14, 0, 0, 0, // LEA RSI,[RIP+0x14] # the last byte
	0xba, 1, 0, 0, 0, // MOV EDX,1
	0x89, 0xd0, // MOV EAX,EDX # write
	0x0f, 0x05, // SYSCALL
	0x31, 0xff, // XOR EDI,EDI
	0xb8, 0xe7, 0, 0, 0, // MOV EAX,231 # exit_group
	0x0f, 0x05, // SYSCALL
	0x0f, 0x0b, // UD2
	firstByte,
}

// announcing returns a program whose first instructions are announcement and that
// is the same otherwise: as large, and loaded in the same way.
func announcing(program []byte) ([]byte, error) {
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	for _, p := range file.Progs {
		if p.Type != elf.PT_LOAD || file.Entry < p.Vaddr || file.Entry-p.Vaddr >= p.Filesz {
			continue
		}
		at := file.Entry - p.Vaddr
		if p.Filesz-at < uint64(len(announcement)) {
			break
		}
		out := slices.Clone(program)
		copy(out[p.Off+at:], announcement)
		return out, nil
	}
	return nil, errors.New("there is no room at the program's entry")
}
