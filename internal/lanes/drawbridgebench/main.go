// SPDX-License-Identifier: Apache-2.0

// Drawbridgebench measures uploads and downloads of a Drawbridge on this
// machine beside what bounds them, SHA-256 and the disk, and beside CNCF
// distribution's registry with the same content over the same TLS. Everything
// is measured in turns, round after round, and compared within a round. Part of
// `make bench`, which builds both servers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	large   int64 // bytes of the large file
	small   int   // bytes of a small one
	rounds  int
	slice   time.Duration // how long small requests are measured, each time
	clients int
	servers string // folder of the registry's program
	folder  string // where the servers keep things: on the disk that is meant
}

func main() {
	var o options
	size := flag.Int64("large", 128, "MiB of the large file")
	flag.IntVar(&o.small, "small", 4096, "bytes of a small file")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each thing is measured")
	flag.DurationVar(&o.slice, "slice", 2*time.Second, "how long small requests are measured each time")
	flag.IntVar(&o.clients, "clients", 16, "connections that ask for small files at once")
	flag.StringVar(&o.servers, "servers", "build/servers", "folder with distribution's registry")
	flag.StringVar(&o.folder, "dir", "build", "folder, on a disk, to work in")
	flag.Parse()
	o.large = *size << 20
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "drawbridgebench: %v\n", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.folder, "drawbridgebench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	rig, err := start(ctx, o, dir)
	if err != nil {
		return err
	}
	defer rig.stop()
	fmt.Printf("\n%s/%s, %s, %d processors\n", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU())
	if err := large(ctx, o, rig); err != nil {
		return err
	}
	return small(ctx, o, rig)
}
