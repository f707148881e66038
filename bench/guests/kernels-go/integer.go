// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"math/bits"
)

func mix() uint64 {
	var table [256]uint8
	for i := range table {
		table[i] = uint8(i*167 + 13)
	}
	a, b, c := uint64(1), uint64(2), uint64(3)
	for i := range uint64(5000000) {
		a = bits.RotateLeft64(a, 13) ^ (b + i)
		b = b*0x2545F4914F6CDD1D + uint64(table[a&255])
		table[b>>56] ^= uint8(a)
		if (a^b)&1 != 0 {
			c += b >> 32
		} else {
			c ^= a
		}
		if i&7 == 0 {
			c += a / (b | 1)
		}
	}
	return fold(fold(fold(0, a), b), c)
}

func fnv() uint64 {
	data := make([]byte, 1<<20)
	seed := uint64(1)
	for i := range data {
		data[i] = byte(rnd(&seed))
	}
	hash := uint64(fnvOffset)
	for range 16 {
		hash = fnv1a(hash, data)
	}
	return hash
}

var roundConstants = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

func sha256Block(state *[8]uint32, block []byte) {
	var w [64]uint32
	for i := range 16 {
		w[i] = binary.BigEndian.Uint32(block[4*i:])
	}
	for i := 16; i < 64; i++ {
		s0 := bits.RotateLeft32(w[i-15], -7) ^ bits.RotateLeft32(w[i-15], -18) ^ w[i-15]>>3
		s1 := bits.RotateLeft32(w[i-2], -17) ^ bits.RotateLeft32(w[i-2], -19) ^ w[i-2]>>10
		w[i] = w[i-16] + s0 + w[i-7] + s1
	}
	a, b, c, d, e, f, g, h := state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]
	for i := range 64 {
		s1 := bits.RotateLeft32(e, -6) ^ bits.RotateLeft32(e, -11) ^ bits.RotateLeft32(e, -25)
		t1 := h + s1 + ((e & f) ^ (^e & g)) + roundConstants[i] + w[i]
		s0 := bits.RotateLeft32(a, -2) ^ bits.RotateLeft32(a, -13) ^ bits.RotateLeft32(a, -22)
		t2 := s0 + ((a & b) ^ (a & c) ^ (b & c))
		h, g, f, e, d, c, b, a = g, f, e, d+t1, c, b, a, t1+t2
	}
	for i, v := range [8]uint32{a, b, c, d, e, f, g, h} {
		state[i] += v
	}
}

// sha256 is our own on purpose: the standard library's would compare the SHA
// instructions of the processor with none.
func sha256() uint64 {
	state := [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
	data := make([]byte, 4<<20)
	for i := 0; i < len(data); i += 64 {
		sha256Block(&state, data[i:i+64])
	}
	last := make([]byte, 64)
	last[0] = 0x80
	binary.BigEndian.PutUint64(last[56:], uint64(len(data))*8)
	sha256Block(&state, last)
	return uint64(state[0])<<32 | uint64(state[1])
}

func sieve() uint64 {
	const limit = 6000000
	composite := make([]bool, limit)
	var count, last uint64
	for n := 2; n < limit; n++ {
		if composite[n] {
			continue
		}
		count++
		last = uint64(n)
		for m := n * n; m < limit; m += n {
			composite[m] = true
		}
	}
	return count<<32 | last
}

const (
	opSet = iota
	opAdd
	opMul3
	opHalf
	opOdd
	opOne
	opLess
	opJump
	opMove
	opInc
	opHalt
)

// program counts Collatz steps; ../kernels-c/integer.c explains it line by line.
var program = [...][3]uint8{
	{opSet, 3, 1}, {opMove, 0, 3}, {opSet, 1, 0}, {opOne, 0, 10}, {opInc, 1, 1}, {opOdd, 0, 8}, {opHalf, 0, 0},
	{opJump, 0, 3}, {opMul3, 0, 0}, {opJump, 0, 3}, {opAdd, 2, 1}, {opInc, 3, 1}, {opLess, 3, 1}, {opHalt, 0, 0},
}

func interp() uint64 {
	reg := [6]uint64{4: 20000}
	executed := uint64(0)
	for pc := uint8(0); ; executed++ {
		op := &program[pc]
		pc++
		switch op[0] {
		case opSet:
			reg[op[1]] = uint64(op[2])
		case opAdd:
			reg[op[1]] += reg[op[2]]
		case opMul3:
			reg[op[1]] = reg[op[1]]*3 + 1
		case opHalf:
			reg[op[1]] >>= 1
		case opOdd:
			if reg[op[1]]&1 != 0 {
				pc = op[2]
			}
		case opOne:
			if reg[op[1]] == 1 {
				pc = op[2]
			}
		case opLess:
			if reg[op[1]] < reg[4] {
				pc = op[2]
			}
		case opJump:
			pc = op[2]
		case opMove:
			reg[op[1]] = reg[op[2]]
		case opInc:
			reg[op[1]] += uint64(op[2])
		case opHalt:
			return fold(fold(0, reg[2]), executed)
		}
	}
}
