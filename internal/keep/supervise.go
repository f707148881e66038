// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"time"
)

// A signal that arrives just before a call blocks is lost, so it is sent
// again until it was heard, ever less often: most are heard at once.
const (
	firstNag = 500 * time.Microsecond
	lastNag  = 16 * time.Millisecond
)

// supervise interrupts what must be interrupted while the Keep lives, ends it
// when its time has come, and then takes everything away.
func (k *Keep) supervise(ctx context.Context) {
	timer := time.NewTimer(0)
	<-timer.C
	pause := firstNag
	for !k.stopping.Load() {
		select {
		case <-ctx.Done():
			k.end(AbortCode, context.Cause(ctx))
		case <-k.stop:
		case <-k.nag:
			pause = firstNag
			timer.Reset(pause)
		case <-timer.C:
			if k.nagCalls() {
				pause = min(2*pause, lastNag)
				timer.Reset(pause)
			}
		}
	}
	timer.Stop()
	k.stopThreads()
	k.free()
	close(k.gone)
}

// wakeNag has supervise look after kicked vCPUs that are in a call.
func (k *Keep) wakeNag() {
	select {
	case k.nag <- struct{}{}:
	default:
	}
}

// nagCalls interrupts kicked vCPUs that are in a call, and says whether there
// were any.
func (k *Keep) nagCalls() (any bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.cpus {
		if c.kicked.Load() && c.doing.Load() == calling {
			c.thread.Interrupt()
			any = true
		}
	}
	return any
}

// stopThreads interrupts all vCPUs, whatever they do, until they have ended.
func (k *Keep) stopThreads() {
	ended := make(chan struct{})
	go func() {
		k.threads.Wait()
		close(ended)
	}()
	for pause := firstNag; ; pause = min(2*pause, lastNag) {
		k.mu.Lock()
		for _, c := range k.cpus {
			c.vcpu.RequestExit()
			c.thread.Interrupt()
		}
		k.mu.Unlock()
		select {
		case <-ended:
			return
		case <-time.After(pause):
		}
	}
}

// free takes away what setup made. There are no threads, or never were.
func (k *Keep) free() {
	for _, c := range k.cpus {
		c.vcpu.Close()
	}
	if k.vm != nil {
		k.vm.Close()
	}
	k.mem.unmap()
	if k.proxy != nil {
		k.proxy.Close()
	}
}
