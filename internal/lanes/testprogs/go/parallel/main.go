// SPDX-License-Identifier: Apache-2.0

// Command parallel makes sure that two goroutines run at the same time. Alone, it lets
// them take turns that only two processors can take fast, which shows even on a machine
// that others use as well. With the argument "time" it measures whether two that compute
// take about as long as one, and takes the best of several tries.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// most is how much longer two may take than one.
const most = 1.5

//go:noinline
func work() uint64 {
	x := uint64(88172645463325252)
	for range 20_000_000 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func measure(n int) time.Duration {
	start := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if work() == 0 {
				panic("zero")
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

const (
	// turns is more than what one processor does: it changes a hundred times a second
	// between goroutines that do not give way.
	turns   = 20_000
	patient = 20 * time.Second
)

func takeTurns() bool {
	var turn atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(patient)
	for me := range int64(2) {
		all.Go(func() {
			for n := 0; turn.Load() < turns; n++ {
				if turn.Load()%2 == me {
					turn.Add(1)
				} else if n%1_000_000 == 0 && time.Now().After(end) {
					return
				}
			}
		})
	}
	all.Wait()
	return turn.Load() >= turns
}

func main() {
	if runtime.GOMAXPROCS(0) < 2 {
		fmt.Fprintln(os.Stderr, "one processor only")
		os.Exit(2)
	}
	if len(os.Args) == 1 {
		if !takeTurns() {
			os.Exit(1)
		}
		fmt.Println("parallel")
		return
	}
	one, two := time.Hour, time.Hour
	for range 40 {
		one, two = min(one, measure(1)), min(two, measure(2))
		if float64(two) < most*float64(one) {
			fmt.Println("parallel")
			return
		}
	}
	fmt.Fprintf(os.Stderr, "one takes %v, two take %v\n", one, two)
	os.Exit(1)
}
