// SPDX-License-Identifier: Apache-2.0

package microvm

import "io"

const (
	serialPort  = 0x3f8 // of the first serial port
	serialPorts = 8

	regData, regEnable, regID, regLine, regLineStatus, regModemStatus = 0, 1, 2, 3, 5, 6

	latch       = 0x80 // of regLine: the first two registers are the divisor
	nothingNew  = 0x01 // of regID
	canSend     = 0x60 // of regLineStatus
	linePresent = 0xb0 // of regModemStatus
)

// serial is a 16550 that sends at once and never receives or interrupts.
type serial struct {
	out       io.Writer
	registers [serialPorts]byte
}

func (s *serial) write(register int, b byte) {
	if register == regData && s.registers[regLine]&latch == 0 {
		if s.out != nil {
			_, _ = s.out.Write([]byte{b}) // it is for people to look at
		}
		return
	}
	if register != regData && register != regEnable || s.registers[regLine]&latch == 0 {
		s.registers[register] = b
	}
}

func (s *serial) read(register int) byte {
	switch register {
	case regData:
		return 0
	case regID:
		return nothingNew
	case regLineStatus:
		return canSend
	case regModemStatus:
		return linePresent
	}
	return s.registers[register]
}
