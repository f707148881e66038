// SPDX-License-Identifier: Apache-2.0

// Command kernels-go is the Go twin of the C program in ../kernels-c: `kernels-go NAME ROUNDS`
// runs one CPU kernel from a fixed seed and prints its checksum, which is the same
// on every machine, in both languages and in every round.
package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"strconv"
)

var kernels = map[string]func() uint64{
	"fnv":     fnv,
	"gemm":    gemm,
	"interp":  interp,
	"jacobi":  jacobi,
	"json":    jsonDocument,
	"mandel":  mandel,
	"map":     mapChurn,
	"mix":     mix,
	"nbody":   nbody,
	"none":    func() uint64 { return 0 },
	"regexp":  regexps,
	"sha256":  sha256,
	"sieve":   sieve,
	"sort":    sortWords,
	"strings": stringWork,
	"tree":    trees,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: kernels NAME ROUNDS")
	}
	kernel, ok := kernels[args[0]]
	if !ok {
		return fmt.Errorf("no kernel is named %s", args[0])
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil || rounds < 1 {
		return fmt.Errorf("%q is no number of rounds", args[1])
	}
	sum := kernel()
	for range rounds - 1 {
		if kernel() != sum {
			return fmt.Errorf("two rounds of %s differ", args[0])
		}
	}
	fmt.Printf("%s %016x\n", args[0], sum)
	return nil
}

// rnd is splitmix64.
func rnd(state *uint64) uint64 {
	*state += 0x9E3779B97F4A7C15
	z := *state
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// fold adds one word to a checksum.
func fold(sum, word uint64) uint64 {
	return bits.RotateLeft64(sum^word, 23) * 0x9E3779B97F4A7C15
}

func foldFloats(sum uint64, v []float64) uint64 {
	for _, x := range v {
		sum = fold(sum, math.Float64bits(x))
	}
	return sum
}

const (
	fnvOffset = 0xCBF29CE484222325
	fnvPrime  = 0x100000001B3
)

func fnv1a[T string | []byte](hash uint64, text T) uint64 {
	for i := range len(text) {
		hash = (hash ^ uint64(text[i])) * fnvPrime
	}
	return hash
}

// real gives the next number in [-1, 1).
func real(state *uint64) float64 {
	return float64(int64(rnd(state)>>11))/4503599627370496.0 - 1.0
}
