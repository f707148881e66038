// SPDX-License-Identifier: Apache-2.0

// Command gc makes much garbage in several goroutines, with a small limit of memory, and
// checks that what is kept stays as it is.
package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"weak"
)

type tree struct {
	left, right *tree
	data        []byte
}

func grow(r *rand.Rand, depth int) *tree {
	t := &tree{data: make([]byte, r.IntN(200))}
	for i := range t.data {
		t.data[i] = byte(depth + i)
	}
	if depth > 0 {
		t.left, t.right = grow(r, depth-1), grow(r, depth-1)
	}
	return t
}

func (t *tree) sum(h []byte) [32]byte {
	if t == nil {
		return sha256.Sum256(h)
	}
	l := t.left.sum(t.data)
	return t.right.sum(l[:])
}

func work(seed uint64) [32]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	kept := grow(r, 12)
	want := kept.sum(nil)
	for range 12 {
		grow(r, 11)
		big := make([]byte, 1<<20+r.IntN(1<<20))
		big[len(big)-1] = 1
		if kept.sum(nil) != want {
			panic("memory changed")
		}
	}
	return want
}

func main() {
	debug.SetMemoryLimit(64 << 20)
	debug.SetGCPercent(20)
	sums := make([][32]byte, 4)
	var all sync.WaitGroup
	for i := range sums {
		all.Go(func() { sums[i] = work(uint64(i)) })
	}
	all.Wait()
	for i, s := range sums {
		fmt.Printf("%d %x\n", i, s[:8])
	}
	pointer := weak.Make(new([1 << 20]byte))
	runtime.GC()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Println(pointer.Value() == nil, stats.NumGC > 5, stats.HeapReleased > 0)
}
