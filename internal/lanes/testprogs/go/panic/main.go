// SPDX-License-Identifier: Apache-2.0

// Command panic ends as its argument says: by a panic, a fault that nobody recovers
// from, a stack without end, a deadlock, or while other goroutines compute.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// Through a variable, so that neither a compiler nor a checker knows the end.
var endless func(n int) int

func init() { endless = func(n int) int { return endless(n+1) + 1 } }

func main() {
	fmt.Println(os.Args[1])
	switch os.Args[1] {
	case "panic":
		panic("on purpose")
	case "nil":
		var p *[1000]int
		p[999] = 1
	case "stack":
		debug.SetMaxStack(1 << 20)
		fmt.Println(endless(0))
	case "deadlock":
		select {}
	case "exit":
		for range 2 * runtime.GOMAXPROCS(0) {
			go func() {
				for n := 1; n != 0; n += 2 {
				}
			}()
		}
		os.Exit(17)
	}
}
