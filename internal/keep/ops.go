// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"time"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/sallyport"
)

// exit serves one exit to a port: the request in the vCPU's block.
func (c *cpu) exit(e kvm.Exit) error {
	if e.Port != sallyport.ExitPort || !e.Out || e.Size != 4 {
		return fmt.Errorf("%w: vCPU %d: %s", ErrProtocol, c.id, c.vcpu.Describe())
	}
	if err := c.bind(e.Value); err != nil {
		return err
	}
	ret := -int64(syscall.ENOSYS)
	if sallyport.ReadRequest(c.block, &c.req) {
		if c.req.Nr < sallyport.MaxNr {
			c.call()
			return nil
		}
		var err error
		if ret, err = c.op(); err != nil {
			return err
		}
	}
	sallyport.Reply(c.block, c.req.Seq, ret)
	return nil
}

// call has the proxy make a system call. A kick that came before the call,
// while the vCPU was in the shim, must end it as one that comes during it.
func (c *cpu) call() {
	c.doing.Store(calling)
	if c.kicked.Load() {
		c.keep.wakeNag()
	}
	c.keep.proxy.Serve(c.block, &c.req)
	c.doing.Store(outside)
}

// op serves a request of the shim's own. Its arguments are private copies, and
// anything may be in them.
func (c *cpu) op() (ret int64, err error) {
	k, a := c.keep, &c.req.Args
	switch c.req.Nr {
	case sallyport.OpSpawn:
		return k.spawn(), nil
	case sallyport.OpPark:
		return c.park(a[0], a[1]), nil
	case sallyport.OpUnpark:
		return k.unpark(a[0]), nil
	case sallyport.OpKick:
		return k.kick(a[0]), nil
	case sallyport.OpYield:
		runtime.Gosched()
		return 0, nil
	case sallyport.OpGrow:
		return k.errno("grow", k.grow(a[0], a[1])), nil
	case sallyport.OpRelease:
		return k.errno("release", k.release(a[0], a[1])), nil
	case sallyport.OpLog:
		c.log(a[0], a[1])
		return 0, nil
	case sallyport.OpExit:
		k.end(exitCode(a[0], a[1]), nil)
		return 0, nil // main's loop sees that it is over
	case sallyport.OpAbort:
		err := c.abort(a[0])
		if errors.Is(err, ErrProgram) {
			k.end(ProgramCode, err)
		} else {
			k.end(AbortCode, err)
		}
		return 0, nil
	}
	return -int64(syscall.ENOSYS), nil
}

// exitCode is what a shell would say of a program that ended like this.
func exitCode(status, signal uint64) int {
	if signal != 0 {
		return 128 + int(signal&0x7f)
	}
	return int(status & 0xff)
}

// errno is what the shim gets to hear of err, which goes to the log.
func (k *Keep) errno(what string, err error) int64 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRange):
		return -int64(syscall.EINVAL)
	case !errors.Is(err, errLimit):
		k.log.Warn("memory request refused", "request", what, "err", err)
	}
	return -int64(syscall.ENOMEM)
}

// spawn makes one more vCPU and lets it run. What it is to run, the shim
// knows.
func (k *Keep) spawn() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || len(k.cpus) >= k.cfg.MaxCPUs {
		return -int64(syscall.EAGAIN)
	}
	c, err := k.newCPU()
	if err != nil {
		k.log.Warn("no more vCPUs", "have", len(k.cpus), "err", err)
		return -int64(syscall.EAGAIN)
	}
	k.run(c)
	return 0
}

// kick kicks the vCPU with the given index. One that has not exited yet has
// told nobody its index, so all of those are kicked: a kick too many is only
// a little work.
func (k *Keep) kick(index uint64) int64 {
	if index >= uint64(len(k.owners)) {
		return -int64(syscall.ESRCH)
	}
	if c := k.owners[index].Load(); c != nil {
		c.kick()
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	bound := make(map[*cpu]bool)
	for i := range k.owners {
		if c := k.owners[i].Load(); c != nil {
			bound[c] = true
		}
	}
	for _, c := range k.cpus {
		if !bound[c] {
			c.kick()
		}
	}
	return 0
}

// park sleeps until the park word is not what it is expected to be, somebody
// unparks the vCPU, or the time is over. Kicks do not end it: their signals
// are for calls and guests.
func (c *cpu) park(expected, timeout uint64) int64 {
	word := c.slot[sallyport.ParkPage*sallyport.PageSize:]
	limited := timeout != sallyport.Forever
	left := time.Duration(min(timeout, uint64(maxPark)))
	start := time.Now()
	c.doing.Store(parked)
	defer c.doing.Store(outside)
	for !c.keep.stopping.Load() {
		errno := futexWait(word, uint32(expected), left, limited)
		if errno != syscall.EINTR {
			return -int64(errno)
		}
		if limited {
			left = max(time.Duration(min(timeout, uint64(maxPark)))-time.Since(start), 0)
		}
	}
	return -int64(syscall.EINTR)
}

// maxPark keeps a timeout inside time.Duration; whoever asks for more than a
// century gets woken early, which the protocol allows.
const maxPark = 100 * 365 * 24 * time.Hour

// unpark wakes the vCPU with the given index, whose park word has changed.
func (k *Keep) unpark(index uint64) int64 {
	if index >= uint64(len(k.owners)) {
		return -int64(syscall.EINVAL)
	}
	futexWake(k.slot(uint32(index))[sallyport.ParkPage*sallyport.PageSize:])
	return 0
}

// Bounds on what a guest can write to our log: it is not its disk.
const (
	maxLogLine  = 1024
	maxLogLines = 10_000
)

// log writes a message of the shim to the Keep's log.
func (c *cpu) log(level, length uint64) {
	k := c.keep
	switch n := k.logged.Add(1); {
	case n > maxLogLines:
		return
	case n == maxLogLines:
		k.log.Warn("the shim logs too much: the rest is not shown")
		return
	}
	text := make([]byte, min(length, maxLogLine))
	copy(text, sallyport.Data(c.block))
	severity := max(min(int64(level), int64(slog.LevelError)), int64(slog.LevelDebug))
	k.log.Log(context.Background(), slog.Level(severity), "shim", "text", diag.Clean(string(text)), "vcpu", c.index)
}
