// SPDX-License-Identifier: Apache-2.0

// Package wasi is the operating system that a WebAssembly program sees: all of
// WASI preview 1 (wasi_snapshot_preview1) and preview 0 (wasi_unstable), as
// host functions that know nothing about the engine calling them.
//
// A [Host] serves one guest. Its descriptor table starts as Enarx.toml declares
// it: standard streams, null devices, listeners, connections and directories.
// Directories and files are in package memfs, sockets in package socket; the
// only descriptors of the real machine in reach are the standard streams.
//
// What is trusted and what is not. Every argument of every function is the
// guest's: pointers, lengths, counts, flags, descriptors, paths. Each function
// checks all memory it is going to read or write before it acts, copies what it
// must not see change, and answers EFAULT, EINVAL or EBADF; no argument can make
// it panic, write elsewhere, or allocate without bound. The one panic is [Exit],
// which is how proc_exit and proc_raise leave the guest's stack.
//
// Goroutines. Host functions run on one goroutine, the guest's, and none of a
// Host's state is locked. [Host.Wake] alone may be called from others: it ends
// a wait in poll_oneoff or in a blocking call, which then looks again at what
// it waits for. So a waiting guest costs nothing, and a guest that never calls
// the host holds up nobody.
//
// Reads, writes and polls allocate nothing once their scratch has grown: the
// garbage collector does not run while a guest computes.
//
// The specification is phases/snapshot/docs.md of github.com/WebAssembly/WASI,
// and where that is silent the programs of github.com/WebAssembly/wasi-testsuite.
package wasi

import (
	"crypto/rand"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// Config is what a [Host] gives its guest.
type Config struct {
	Args []string // argv, the program's name first
	Env  []string // "NAME=value", FD_COUNT and FD_NAMES included
	// Files are the descriptors the guest starts with: the index is the number.
	Files []File

	Now    func() time.Time // clock, with a monotonic reading; nil is time.Now
	Random io.Reader        // of random_get; nil is crypto/rand
	Log    *slog.Logger     // nil is slog.DiscardHandler

	// Yield, when not nil, is called on the guest's goroutine at the start of
	// each host call and each time that one has waited: a moment at which the
	// runtime may stop the world.
	Yield func()
}

// Host is the system of one guest.
type Host struct {
	args, env stringList
	random    io.Reader
	log       *slog.Logger

	fds  []*desc // by number, nil is free
	free int     // no number below is free

	clock clock
	yield func()
	wake  chan struct{} // capacity 1: any number of Wakes before a wait are one
	timer *time.Timer

	iovecs [][]byte       // scratch of buffers
	subs   []subscription // scratch of poll_oneoff
	line   []byte         // scratch of writeOutput

	// testOnlyNoWait makes every wait end at once as if interrupted, so that a
	// fuzz input cannot hang.
	testOnlyNoWait bool
}

// New returns the system for one guest.
func New(cfg Config) *Host {
	h := &Host{
		args:   newStringList(cfg.Args),
		env:    newStringList(cfg.Env),
		random: cfg.Random,
		log:    cfg.Log,
		clock:  newClock(cfg.Now),
		wake:   make(chan struct{}, 1),
		timer:  time.NewTimer(time.Hour),
	}
	h.timer.Stop()
	if h.yield = cfg.Yield; h.yield == nil {
		h.yield = func() {}
	}
	if h.random == nil {
		h.random = rand.Reader
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.Append(cfg.Files...)
	return h
}

// Append adds descriptors behind those of Config.Files, before the guest runs.
// Sockets need it: making them takes a function to wake the Host with. A File
// belongs to the one Host it is given to.
func (h *Host) Append(files ...File) {
	for _, f := range files {
		if f.d != nil && f.d.node != nil {
			f.d.node.Retain()
		}
		h.fds = append(h.fds, f.d)
	}
}

// Wake makes a waiting guest look again at what it waits for. It never blocks
// and may be called from any goroutine.
func (h *Host) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Yield is called by the engine's glue at the start of each host call.
func (h *Host) Yield() { h.yield() }

// Close closes every descriptor: connections send what was written to them,
// which socket.Net.Close waits for. The guest must have ended.
func (h *Host) Close() {
	for fd, d := range h.fds {
		if d == nil {
			continue
		}
		if e := d.close(); e != success {
			h.log.Debug("closing descriptor", "fd", fd, "errno", int(e))
		}
	}
	h.fds, h.free = nil, 0
}

// forever is a wait that only Wake ends.
const forever time.Duration = -1

// sleep waits for Wake, or until d has passed. It may return early for a Wake
// that came before: callers look again. False means that waiting is off.
func (h *Host) sleep(d time.Duration) bool {
	if h.testOnlyNoWait {
		return false
	}
	defer h.yield()
	if d < 0 {
		<-h.wake
		return true
	}
	h.timer.Reset(d)
	select {
	case <-h.wake:
		h.timer.Stop()
	case <-h.timer.C:
	}
	return true
}

// block waits for something to happen on a descriptor that had nothing, or
// tells why the call must not wait.
func (h *Host) block(d *desc) errno {
	if d.nonblocking() {
		return eAgain
	}
	if !h.sleep(forever) {
		return eIntr
	}
	return success
}

// Exit is the panic value of proc_exit, and of proc_raise for a fatal signal. The engine's glue recovers it; it is an
// error so that engines which turn panics into errors keep it intact.
type Exit struct{ Code uint32 }

// Error says with which code the guest ended.
func (e Exit) Error() string {
	return "wasi: exit status " + strconv.FormatUint(uint64(e.Code), 10)
}
