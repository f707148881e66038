// SPDX-License-Identifier: Apache-2.0

// Command guest measures what system calls cost it, on plain Linux or in a Keep,
// and prints the nanoseconds of each. Its standard input must be writable and
// discard what is written, as /dev/null does.
package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batches   = 11
	batchTime = 20 * time.Millisecond
)

// sink is where results go, so that the compiler leaves nothing out.
var sink uint64

func main() {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	check("socket", err)
	var now unix.Timespec
	one := []byte{0}
	began := time.Now()
	for _, m := range []struct {
		name string
		call func()
	}{
		{"computation", compute},
		{"vdso", func() { sink += uint64(time.Since(began)) }}, // one reading of the monotonic clock
		{"getpid", func() { sink += uint64(unix.Getpid()) }},
		{"clock_gettime", func() { check("clock_gettime", unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)) }},
		{"getsockname", func() {
			_, err := unix.Getsockname(socket)
			check("getsockname", err)
		}},
		{"write", func() {
			_, err := unix.Write(0, one)
			check("write", err)
		}},
	} {
		fmt.Printf("%s %.1f\n", m.name, perCall(m.call))
	}
	runtime.KeepAlive(sink)
}

func check(call string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", call, err)
		os.Exit(1)
	}
}

// compute makes no call: what it takes more in a Keep is the virtual machine's.
func compute() {
	h := uint64(14695981039346656037)
	for i := range uint64(1000) {
		h = (h ^ i) * 1099511628211
	}
	sink += h
}

// perCall returns the least of the batches, in ns: what else the machine did made
// the others longer.
func perCall(call func()) float64 {
	n := 1
	for {
		took := batch(n, call)
		if took >= batchTime {
			break
		}
		n = max(2*n, int(float64(n)*1.1*float64(batchTime)/float64(took+1)))
	}
	least := math.Inf(1)
	for range batches {
		least = min(least, float64(batch(n, call).Nanoseconds())/float64(n))
	}
	return least
}

func batch(n int, call func()) time.Duration {
	start := time.Now()
	for range n {
		call()
	}
	took := time.Since(start)
	if took <= 0 {
		check("clock", errors.New("it went backwards"))
	}
	return took
}
