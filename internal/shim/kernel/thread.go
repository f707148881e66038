// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Process and thread numbers. The main thread's is that of the process.
const (
	pid    = 1000
	ppid   = 1
	maxTID = 1 << 22 // Linux's PID_MAX_LIMIT: C libraries pack flags above
)

// The three ways in which a thread is made, as internal/confine allows them:
// with these flags exactly.
const (
	cloneGo    = 0x0d0f00
	cloneGlibc = 0x3d0f00
	cloneMusl  = 0x7d0f00

	cloneParentTID = 0x10_0000 // CLONE_PARENT_SETTID
	cloneChildTID  = 0x20_0000 // CLONE_CHILD_CLEARTID
)

// clone starts a thread: clone(flags, stack, parent_tid, child_tid, tls).
func (k *Kernel) clone(t *Thread, a *[6]uint64) int64 {
	flags, stack, parentTID, childTID, tls := a[0], a[1], a[2], a[3], a[4]
	switch flags {
	case cloneGo, cloneGlibc, cloneMusl:
	default:
		return -abi.EINVAL
	}
	if tls >= abi.UserEnd {
		return -abi.EPERM
	}
	k.mu.Lock()
	tid := k.newTID()
	if flags&cloneParentTID != 0 {
		k.storeInt(t, parentTID, tid) // Linux does not look at the result either
	}
	child := k.vacant(t)
	for child == nil && k.ending.Load() != 0 {
		// Who has joined a thread may count on its place, although the thread
		// has a few steps to go.
		k.mu.Unlock()
		k.yield(t)
		k.mu.Lock()
		child = k.vacant(t)
	}
	if child == nil {
		k.mu.Unlock()
		return -abi.EAGAIN
	}
	child.inherit(t)
	child.gs = k.hooks.GetGS()
	child.Frame.FSBase = tls
	if stack != 0 {
		child.Frame.RSP = stack
	}
	if flags&cloneChildTID != 0 {
		child.clearTID = childTID
	}
	k.live++
	child.tid.Store(tid) // from here on the vCPU may run it
	k.mu.Unlock()
	k.unpark(t, child)
	return int64(tid)
}

// inherit makes t a copy of its parent as clone(2) has it: registers, signal
// mask, and nothing that is pending or registered.
func (t *Thread) inherit(parent *Thread) {
	t.Frame = parent.Frame
	t.Frame.RAX = 0
	t.Frame.Vector = 0 // IRET: the stack pointer is not that of a SYSCALL
	t.FX = parent.FX
	t.clearTID, t.robust, t.restart = 0, 0, 0
	t.sig = signals{mask: parent.sig.mask, alt: altStack{flags: ssDisable}}
}

// vacant returns a vCPU without a thread, starting one when all are taken.
// Called with mu held.
func (k *Kernel) vacant(self *Thread) *Thread {
	n := k.count.Load()
	for i := range n {
		if t := k.cpus[i]; t.tid.Load() == 0 {
			return t
		}
	}
	if n >= k.limit {
		return nil
	}
	t := k.cpus[n]
	if t == nil {
		if t = k.hooks.Map(n); t == nil {
			return nil
		}
		t.Index = n
		k.cpus[n] = t
	}
	// vCPUs number themselves in the order in which they start, so this one is n
	// because the lock is held.
	if k.host(self, sallyport.OpSpawn, 0, 0) != 0 {
		return nil
	}
	k.count.Store(n + 1)
	return t
}

// newTID returns a number that no thread has. Called with mu held.
func (k *Kernel) newTID() uint32 {
	for {
		k.lastTID++
		if k.lastTID > maxTID {
			k.lastTID = pid + 1
		}
		if k.find(k.lastTID) == nil {
			return k.lastTID
		}
	}
}

// find returns the thread numbered tid, or nil. Called with mu held.
func (k *Kernel) find(tid uint32) *Thread {
	if tid == 0 {
		return nil
	}
	for i := range k.count.Load() {
		if t := k.cpus[i]; t.tid.Load() == tid {
			return t
		}
	}
	return nil
}

// Enter runs on a vCPU that has just started: it waits for a thread to run.
// What it returns with in t.Frame and t.FX is the state to resume.
func (k *Kernel) Enter(t *Thread) {
	k.idle(t)
	k.Leave(t)
}

// idle waits until clone gives the vCPU a thread.
func (k *Kernel) idle(t *Thread) {
	k.park(t, &t.tid, never, false)
	k.hooks.SetGS(t.gs)
}

// exitThread ends the calling thread and makes the vCPU run another. The user
// stack is not touched: Go has given it back already.
func (k *Kernel) exitThread(t *Thread, status uint64) {
	k.ending.Add(1)
	k.leaveRobust(t)
	if t.clearTID != 0 && k.Space.Store32(t.Index, t.clearTID, 0) {
		k.futexWake(t, t.clearTID, 1, matchAny)
	}
	k.mu.Lock()
	if t.tid.Load() == pid {
		k.leader = status
	}
	k.live--
	last, leader := k.live == 0, k.leader
	t.sig.pending.Store(0)
	t.tid.Store(0)
	k.ending.Add(^uint32(0))
	heir := k.receiver(nil, k.pending.Load())
	k.mu.Unlock()
	if last {
		k.exit(t, leader&0xff, 0) // the process ends as its main thread did
		return
	}
	if heir != nil {
		k.notify(t, heir) // it takes the signals that this thread would have
	}
	k.idle(t)
}

// Fields of struct robust_list_head, and of the futexes on the list
// (Linux, Documentation/locking/robust-futex-ABI).
const (
	robustSize    = 24
	robustLimit   = 2048 // longest list that is walked: it may be a circle
	robustWaiters = 0x8000_0000
	robustDied    = 0x4000_0000
	robustTID     = 0x3fff_ffff
)

// leaveRobust marks the robust futexes that the thread holds, so that who waits
// for one learns that its owner has died.
func (k *Kernel) leaveRobust(t *Thread) {
	head := t.robust
	var b [robustSize]byte
	if head == 0 || !k.Space.CopyIn(t.Index, b[:], head) {
		return
	}
	entry, offset, pending := sallyport.Get64(b[:], 0), sallyport.Get64(b[:], 8), sallyport.Get64(b[:], 16)
	for i := 0; i < robustLimit && entry&^1 != head; i++ {
		// The next one first: its memory may go once the lock is free.
		next, ok := k.Space.CopyIn(t.Index, b[:8], entry&^1), true
		if entry != pending {
			ok = k.ownerDied(t, entry&^1+offset, false)
		}
		if !next || !ok {
			return
		}
		entry = sallyport.Get64(b[:], 0)
	}
	if pending != 0 {
		k.ownerDied(t, pending&^1+offset, true)
	}
}

// ownerDied marks one futex. pending: the thread was about to take or leave it.
// The word is not changed atomically, but while a dead thread owns it others can
// only set the waiters' bit, and losing that does no harm because we always wake.
func (k *Kernel) ownerDied(t *Thread, addr uint64, pending bool) bool {
	if badFutex(addr) != 0 {
		return false
	}
	v, ok := k.Space.Load32(t.Index, addr)
	if !ok {
		return false
	}
	if v&robustTID == t.tid.Load() {
		if !k.Space.Store32(t.Index, addr, v&robustWaiters|robustDied) {
			return false
		}
		k.futexWake(t, addr, 1, matchAny)
	} else if pending && v == 0 {
		k.futexWake(t, addr, 1, matchAny)
	}
	return true
}

// getRobustList answers get_robust_list for a thread of the process.
func (k *Kernel) getRobustList(t *Thread, tid, head, size uint64) int64 {
	list := t.robust
	if tid != 0 && uint32(tid) != t.tid.Load() {
		return -abi.EPERM // another thread's is its own business here
	}
	if !k.storeWord(t, head, list) || !k.storeWord(t, size, robustSize) {
		return -abi.EFAULT
	}
	return 0
}

// Functions of arch_prctl.
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
	archGetFS = 0x1003
	archGetGS = 0x1004
)

func (k *Kernel) archPrctl(t *Thread, code, addr uint64) int64 {
	value := uint64(0)
	switch uint32(code) {
	case archSetGS, archSetFS:
		if addr >= abi.UserEnd {
			return -abi.EPERM
		}
		if uint32(code) == archSetFS {
			t.Frame.FSBase = addr
		} else {
			k.hooks.SetGS(addr)
		}
		return 0
	case archGetFS:
		value = t.Frame.FSBase
	case archGetGS:
		value = k.hooks.GetGS()
	default:
		return -abi.EINVAL
	}
	if !k.storeWord(t, addr, value) {
		return -abi.EFAULT
	}
	return 0
}
