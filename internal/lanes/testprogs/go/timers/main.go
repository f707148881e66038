// SPDX-License-Identifier: Apache-2.0

// Command timers checks that time passes: sleeping takes as long as it must, timers fire
// in order, tickers tick, and deadlines end what waits.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"
)

func main() {
	log.SetFlags(0)
	start := time.Now()
	for _, d := range []time.Duration{time.Microsecond, 100 * time.Microsecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		before := time.Now()
		time.Sleep(d)
		if took := time.Since(before); took < d {
			log.Fatalf("sleeping %v took %v", d, took)
		}
	}
	fmt.Println("slept")

	order := make(chan int, 5)
	for _, n := range []int{4, 2, 0, 3, 1} {
		time.AfterFunc(time.Duration(n)*100*time.Millisecond, func() { order <- n })
	}
	for range cap(order) {
		fmt.Print(<-order, " ")
	}
	fmt.Println("in order")

	// The times in two ticks may be in any order: a runtime that is held up while it
	// sends one gives it a later time than it should.
	ticker := time.NewTicker(10 * time.Millisecond)
	last := time.Now()
	for range 10 {
		<-ticker.C
		now := time.Now()
		if now.Before(last) {
			log.Fatal("a tick before the last")
		}
		last = now
	}
	ticker.Stop()
	fmt.Println("ticks")

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	fmt.Println(ctx.Err())

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		fmt.Println("read:", errors.Is(err, os.ErrDeadlineExceeded))
	})
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	server.Wait()
	conn.Close()

	elapsed, wall := time.Since(start), time.Since(start.Round(0))
	if d := (elapsed - wall).Abs(); d > time.Second || elapsed < 500*time.Millisecond {
		log.Fatalf("%v by one clock, %v by the other", elapsed, wall)
	}
	if time.Now().Year() < 2026 {
		log.Fatal(time.Now())
	}
	fmt.Println("end")
}
