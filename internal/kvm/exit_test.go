// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"strings"
	"testing"
)

func ioExit(direction, size byte, port uint16, count uint32, offset uint64) *[0x100]byte {
	var u [0x100]byte
	u[0], u[1] = direction, size
	binary.LittleEndian.PutUint16(u[2:], port)
	binary.LittleEndian.PutUint32(u[4:], count)
	binary.LittleEndian.PutUint64(u[8:], offset)
	return &u
}

func TestDecodeExit(t *testing.T) {
	mem := make([]byte, 0x1008)
	copy(mem[0x1000:], []byte{0x11, 0x22, 0x33, 0x44})
	for name, tt := range map[string]struct {
		reason uint32
		union  *[0x100]byte
		want   Exit
	}{
		"4 bytes":      {ExitIO, ioExit(1, 4, 0xe0, 1, 0x1000), Exit{ExitIO, 0xe0, 4, true, 0x44332211}},
		"2 bytes":      {ExitIO, ioExit(1, 2, 0xe0, 1, 0x1000), Exit{ExitIO, 0xe0, 2, true, 0x2211}},
		"1 byte":       {ExitIO, ioExit(1, 1, 0xe0, 1, 0x1000), Exit{ExitIO, 0xe0, 1, true, 0x11}},
		"in":           {ExitIO, ioExit(0, 4, 0xe0, 1, 0x1000), Exit{ExitIO, 0xe0, 4, false, 0x44332211}},
		"string":       {ExitIO, ioExit(1, 4, 0xe0, 2, 0x1000), Exit{ExitIO, 0xe0, 0, true, 0}},
		"odd size":     {ExitIO, ioExit(1, 3, 0xe0, 1, 0x1000), Exit{ExitIO, 0xe0, 0, true, 0}},
		"last word":    {ExitIO, ioExit(1, 4, 0xe0, 1, 0x1004), Exit{ExitIO, 0xe0, 4, true, 0}},
		"past the end": {ExitIO, ioExit(1, 4, 0xe0, 1, 0x1005), Exit{ExitIO, 0xe0, 0, true, 0}},
		"far":          {ExitIO, ioExit(1, 4, 0xe0, 1, ^uint64(0)), Exit{ExitIO, 0xe0, 0, true, 0}},
		"HLT":          {ExitHLT, ioExit(1, 4, 0xe0, 1, 0x1000), Exit{Reason: ExitHLT}},
	} {
		if got := decodeExit(tt.reason, tt.union, mem); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	union := ioExit(1, 4, 0xe0, 1, 0x1000)
	var sink Exit
	if n := testing.AllocsPerRun(100, func() { sink = decodeExit(ExitIO, union, mem) }); n != 0 || sink.Port != 0xe0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDescribeExit(t *testing.T) {
	var emulation [0x100]byte
	emulation[0], emulation[4], emulation[8] = 1, 4, 1
	copy(emulation[0x10:], []byte{3, 0x0f, 0x01, 0xd9})
	var long = emulation
	long[0x10] = 200
	for want, tt := range map[string]struct {
		reason uint32
		union  *[0x100]byte
	}{
		"exit reason 2, port access: direction 1, port 0xe0, 4 bytes, count 1":                                {ExitIO, ioExit(1, 4, 0xe0, 1, 0x1000)},
		"exit reason 17, internal error of KVM, suberror 1, instruction 0f 01 d9":                             {ExitInternalError, &emulation},
		"exit reason 17, internal error of KVM, suberror 1, instruction 0f 01 d9" + strings.Repeat(" 00", 12): {ExitInternalError, &long},
		"exit reason 8, shutdown (triple fault)":                                                              {ExitShutdown, &emulation},
		"exit reason 99, unknown":                                                                             {99, &emulation},
	} {
		if got := describeExit(tt.reason, tt.union); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzExit(f *testing.F) {
	f.Add(uint32(ExitIO), []byte{1, 4, 0xe0, 0, 1, 0, 0, 0, 0, 0x10})
	f.Add(uint32(ExitInternalError), []byte{1, 0, 0, 0, 9, 0, 0, 0, 1})
	mem := make([]byte, 0x3000)
	f.Fuzz(func(t *testing.T, reason uint32, data []byte) {
		var union [0x100]byte
		copy(union[:], data)
		decodeExit(reason, &union, mem)
		describeExit(reason, &union)
	})
}
