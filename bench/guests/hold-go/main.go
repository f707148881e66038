// SPDX-License-Identifier: Apache-2.0

// Command hold-go takes as many MiB of memory as its argument says, writes to every
// page of it, says so, and stays until its standard input ends.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	size := 0
	if len(os.Args) > 1 {
		n, err := strconv.Atoi(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, "hold-go:", err)
			os.Exit(2)
		}
		size = n << 20
	}
	memory := make([]byte, size)
	for at := 0; at < size; at += 4096 {
		memory[at] = 1
	}
	fmt.Println("ready")
	waitForEOF()
	runtime.KeepAlive(memory)
}

// waitForEOF bears with Node, which makes a pipe non-blocking and cannot wait on it.
func waitForEOF() {
	for {
		_, err := os.Stdin.Read(make([]byte, 64))
		switch {
		case err == io.EOF:
			return
		case err != nil:
			time.Sleep(10 * time.Millisecond)
		}
	}
}
