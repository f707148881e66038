// SPDX-License-Identifier: Apache-2.0

// Command goroutines runs ten thousand of them at a time, with timers, channels,
// select, locked OS threads, and one that never yields.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const many = 10_000

func ring() int {
	first := make(chan int)
	in := first
	for range many {
		from, out := in, make(chan int)
		go func() { out <- 1 + <-from }()
		in = out
	}
	go func() { first <- 0 }()
	return <-in
}

func sleepers() int64 {
	var woken atomic.Int64
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			time.Sleep(time.Duration(i%50) * time.Millisecond)
			woken.Add(1)
		})
	}
	all.Wait()
	return woken.Load()
}

func selects() int {
	a, b, stop := make(chan int), make(chan int), make(chan struct{})
	for _, c := range []chan int{a, b} {
		for range 50 {
			go func() {
				for {
					select {
					case c <- 1:
					case <-stop:
						return
					}
				}
			}()
		}
	}
	sum := 0
	for range many {
		select {
		case n := <-a:
			sum += n
		case n := <-b:
			sum += n
		}
	}
	close(stop)
	return sum
}

// locked gives each of many goroutines a thread of its own, then lets the threads end.
func locked() int64 {
	var done atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			for range 20 {
				runtime.Gosched()
			}
			done.Add(1)
		})
	}
	all.Wait()
	return done.Load()
}

var never bool

// spin can only be stopped by a signal: it makes no call.
func spin(spinning *atomic.Bool) {
	spinning.Store(true)
	for i := 0; ; i++ {
		if never && i == 0 {
			return
		}
	}
}

func main() {
	fmt.Println("ring", ring())
	fmt.Println("sleepers", sleepers())
	fmt.Println("selects", selects())
	fmt.Println("locked", locked())
	var spinning atomic.Bool
	go spin(&spinning)
	for !spinning.Load() {
		time.Sleep(time.Millisecond)
	}
	runtime.GC() // stops all goroutines, that one too
	fmt.Println("stopped the world")
}
