// SPDX-License-Identifier: Apache-2.0

// Package vdso is how a program in a Keep reads the clock without a system call:
// a page of data that the shim keeps, and a page with an ELF image whose functions
// read it and the time stamp counter (TSC). Both are mapped read-only, the data
// right below the code; AT_SYSINFO_EHDR points to the code.
//
// Nothing in here is secret, and nothing is trusted: the shim never reads these
// pages back.
//
// This package is freestanding: see package abi's neighbours for what that forbids.
package vdso

import (
	"math/bits"
	"sync/atomic"
)

// Clock turns readings of the TSC into time.
type Clock struct {
	Mult   uint64 // nanoseconds per tick, times 1<<shift: see Mult
	TSC    uint64 // a reading,
	NS     uint64 // and the monotonic time at that reading, in nanoseconds
	Offset int64  // to be added for the time since 1970
}

// shift places the binary point of Clock.Mult. At 62, every frequency that Mult
// takes has at least 58 significant bits, and products wrap only after centuries.
const shift = 62

// MinKHz and MaxKHz bound the frequency of a TSC that we believe in.
const (
	MinKHz = 500_000
	MaxKHz = 10_000_000
)

// Mult returns Clock.Mult for a TSC that ticks khz times in a millisecond, and
// whether that is possible.
func Mult(khz uint64) (uint64, bool) {
	if khz < MinKHz || khz > MaxKHz {
		return 0, false
	}
	// 1e6<<62 in two words; the quotient fits because khz exceeds the upper one.
	const ns = 1_000_000
	mult, _ := bits.Div64(ns>>(64-shift), ns<<shift&(1<<64-1), khz)
	return mult, true
}

// Monotonic returns the monotonic time at a reading of the TSC, as the program
// computes it from the same Clock. Readings of before Clock.TSC count as that one:
// counters of two processors may differ by a few ticks.
func (c *Clock) Monotonic(tsc uint64) uint64 {
	if tsc < c.TSC {
		tsc = c.TSC
	}
	hi, lo := bits.Mul64(tsc-c.TSC, c.Mult)
	return c.NS + (hi<<(64-shift) | lo>>shift)
}

// Data is the start of the data page.
type Data struct {
	// seq is odd while the shim writes, and another one afterwards; 0: never written.
	// In both cases the program asks the shim with a system call.
	seq   atomic.Uint32
	clock Clock
}

// Set changes what programs see. One caller at a time.
func (d *Data) Set(c Clock) {
	d.seq.Add(1)
	d.clock = c
	if d.seq.Add(1) == 0 {
		d.seq.Store(2)
	}
}
