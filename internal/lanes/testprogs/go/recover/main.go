// SPDX-License-Identifier: Apache-2.0

// Command recover turns faults into panics and recovers from them, also in goroutines
// and from C-like addresses, and grows stacks to tens of megabytes.
package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

type node struct {
	_    [100]byte
	next *node
}

//go:noinline
func deref(n *node) *node { return n.next }

//go:noinline
func divide(a, b int) int { return a / b }

//go:noinline
func depth(n int) int {
	var frame [64]byte
	frame[n%64] = 1
	if n == 0 {
		return int(frame[0]) - 1
	}
	return depth(n-1) + int(frame[n%64])
}

func try(f func()) (err error) {
	defer func() {
		if e, ok := recover().(runtime.Error); ok {
			err = e
		}
	}()
	f()
	return nil
}

func main() {
	fmt.Println(try(func() { deref(nil) }))
	fmt.Println(try(func() { fmt.Println(divide(1, 0)) }))
	fmt.Println(try(func() { var f func(); f() }))
	var all sync.WaitGroup
	var lock sync.Mutex
	caught := 0
	for range 100 {
		all.Go(func() {
			for range 100 {
				err := try(func() { deref(nil) })
				if _, ok := errors.AsType[runtime.Error](err); ok {
					lock.Lock()
					caught++
					lock.Unlock()
				}
			}
		})
	}
	all.Wait()
	fmt.Println(caught, "faults caught")
	debug.SetMaxStack(1 << 30)
	for _, n := range []int{1000, 100_000, 500_000} {
		done := make(chan int)
		go func() { done <- depth(n) }()
		fmt.Println(<-done, "frames")
	}
	runtime.GC()
	debug.FreeOSMemory()
	fmt.Println("end")
}
