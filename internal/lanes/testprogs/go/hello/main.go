// SPDX-License-Identifier: Apache-2.0

// Command hello prints its arguments, some of what the runtime found at its start, and
// the length of its standard input. It exits with 3.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

func main() {
	fmt.Printf("%q %s %s %d\n", os.Args[1:], runtime.GOOS, runtime.GOARCH, os.Getpagesize())
	n, err := io.Copy(io.Discard, os.Stdin)
	fmt.Println(n, err)
	if runtime.NumCPU() < 1 || os.Getpid() < 1 {
		os.Exit(1)
	}
	os.Exit(3)
}
