// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/spin"
)

// Operations of futex(2), and the flags beside them.
const (
	futexWait       = 0
	futexWake       = 1
	futexRequeue    = 3
	futexCmpRequeue = 4
	futexWaitBitset = 9
	futexWakeBitset = 10

	futexPrivate  = 128 // all are: there is one process
	futexRealtime = 256
	matchAny      = 0xffff_ffff
)

const (
	bucketBits = 8
	numBuckets = 1 << bucketBits
)

// A bucket is the threads that wait at some addresses, oldest first.
type bucket struct {
	lock       spin.Lock
	head, tail *Thread
	ticket     uint64 // of the latest arrival
	_          [32]byte
}

// waiter is a thread's place in a bucket, whose lock guards it.
type waiter struct {
	next, prev *Thread
	key        uint64
	ticket     uint64
	bits       uint32
	in         atomic.Uint32 // index of the bucket, plus 1; 0 when in none
}

func bucketOf(addr uint64) uint32 {
	return uint32(addr >> 2 * 0x9e37_79b9_7f4a_7c15 >> (64 - bucketBits)) // Fibonacci hashing
}

func (k *Kernel) push(i uint32, t *Thread) {
	b, n := &k.buckets[i], &t.node
	b.ticket++
	n.ticket, n.next, n.prev = b.ticket, nil, b.tail
	if b.tail == nil {
		b.head = t
	} else {
		b.tail.node.next = t
	}
	b.tail = t
	n.in.Store(i + 1)
}

func (k *Kernel) remove(i uint32, t *Thread) {
	b, n := &k.buckets[i], &t.node
	if n.prev == nil {
		b.head = n.next
	} else {
		n.prev.node.next = n.next
	}
	if n.next == nil {
		b.tail = n.prev
	} else {
		n.next.node.prev = n.prev
	}
	n.next, n.prev = nil, nil
}

// release takes t out of bucket i and tells it so. in is last: a thread that finds
// it 0 may wait again at once.
func (k *Kernel) release(i uint32, t *Thread) {
	k.remove(i, t)
	t.woken.Store(1)
	t.node.in.Store(0)
}

// dequeue takes t out of its bucket, wherever it has been requeued to. It
// reports false when another thread has woken t.
func (k *Kernel) dequeue(t *Thread) bool {
	for {
		in := t.node.in.Load()
		if in == 0 {
			return false
		}
		b := &k.buckets[in-1]
		b.lock.Lock()
		same := t.node.in.Load() == in
		if same {
			k.remove(in-1, t)
			t.node.in.Store(0)
		}
		b.lock.Unlock()
		if same {
			return true
		}
	}
}

// wokenThreads collects threads to unpark, which waits until no lock is held.
type wokenThreads struct {
	n int
	t [16]*Thread
}

func (w *wokenThreads) full() bool { return w.n == len(w.t) }

func (w *wokenThreads) add(t *Thread) {
	w.t[w.n%len(w.t)] = t
	w.n++
}

// unparkAll ends the waits of w. A thread in it may already be elsewhere; then
// the unpark is one more spurious one.
func (k *Kernel) unparkAll(self *Thread, w *wokenThreads) {
	for _, t := range w.t[:w.n] {
		k.unpark(self, t)
	}
	w.n = 0
}

// futex answers futex(2).
func (k *Kernel) futex(t *Thread, a *[6]uint64) int64 {
	addr, val, val2, addr2 := a[0], uint32(a[2]), a[3], a[4]
	op := uint32(a[1]) &^ (futexPrivate | futexRealtime)
	realtime := a[1]&futexRealtime != 0
	if realtime && op != futexWaitBitset {
		return -abi.ENOSYS
	}
	switch op {
	case futexWait:
		return k.futexWait(t, addr, val, matchAny, val2, false, false)
	case futexWaitBitset:
		return k.futexWait(t, addr, val, uint32(a[5]), val2, true, realtime)
	case futexWake:
		return k.futexWake(t, addr, val, matchAny)
	case futexWakeBitset:
		return k.futexWake(t, addr, val, uint32(a[5]))
	case futexRequeue:
		return k.futexRequeue(t, addr, addr2, val, uint32(val2), 0, false)
	case futexCmpRequeue:
		return k.futexRequeue(t, addr, addr2, val, uint32(val2), uint32(a[5]), true)
	}
	return -abi.ENOSYS
}

// badFutex reports whether addr can be no futex. Whether it is mapped is the
// business of those who load it.
func badFutex(addr uint64) int64 {
	switch {
	case addr%4 != 0:
		return -abi.EINVAL
	case addr >= abi.UserEnd:
		return -abi.EFAULT
	}
	return 0
}

func (k *Kernel) futexWait(t *Thread, addr uint64, val, bits uint32, timeout uint64, absolute, realtime bool) int64 {
	deadline := never
	if timeout != 0 {
		ns, errno := k.loadTime(t, timeout)
		switch {
		case errno != 0:
			return errno
		case !absolute:
			ns += k.clock.now(k.hooks.TSC())
		case realtime:
			ns = k.clock.monotonic(ns)
		}
		deadline = ns
	}
	if bits == 0 {
		return -abi.EINVAL
	}
	if errno := badFutex(addr); errno != 0 {
		return errno
	}
	if errno := k.enqueue(t, addr, val, bits); errno != 0 {
		return errno
	}
	w := k.park(t, &t.woken, deadline, true)
	switch {
	case !k.dequeue(t):
		return 0
	case w == timedOut:
		return -abi.ETIMEDOUT
	case deadline == never:
		return -restartSys
	}
	return -restartNoHandler
}

// enqueue makes t wait at addr if the word there is val. A waker changes the word
// before it takes the lock, so either we see that or it sees us.
func (k *Kernel) enqueue(t *Thread, addr uint64, val, bits uint32) int64 {
	// Once without the lock: a page that has to be made may take a host call.
	if _, ok := k.Space.Load32(t.Index, addr); !ok {
		return -abi.EFAULT
	}
	i := bucketOf(addr)
	b := &k.buckets[i]
	b.lock.Lock()
	v, ok := k.Space.Load32(t.Index, addr)
	if ok && v == val {
		t.woken.Store(0)
		t.node.key, t.node.bits = addr, bits
		k.push(i, t)
	}
	b.lock.Unlock()
	switch {
	case !ok:
		return -abi.EFAULT
	case v != val:
		return -abi.EAGAIN
	}
	return 0
}

// futexWake wakes up to n threads; as on Linux at least one, whatever n is.
func (k *Kernel) futexWake(t *Thread, addr uint64, n, bits uint32) int64 {
	if bits == 0 {
		return -abi.EINVAL
	}
	if errno := badFutex(addr); errno != 0 {
		return errno
	}
	limit := max(int64(int32(n)), 1)
	i := bucketOf(addr)
	b := &k.buckets[i]
	var batch wokenThreads
	count, last := int64(0), never
	for more := true; more; {
		b.lock.Lock()
		// Who arrives after the first batch is not ours: it could come
		// back for ever.
		last = min(last, b.ticket)
		w := b.head
		for w != nil && w.node.ticket <= last && count < limit && !batch.full() {
			next := w.node.next
			if w.node.key == addr && w.node.bits&bits != 0 {
				k.release(i, w)
				batch.add(w)
				count++
			}
			w = next
		}
		more = w != nil && w.node.ticket <= last && count < limit
		b.lock.Unlock()
		k.unparkAll(t, &batch)
	}
	return count
}

// futexRequeue wakes up to wake threads that wait at addr and moves up to move
// others to addr2.
func (k *Kernel) futexRequeue(t *Thread, addr, addr2 uint64, wake, move, val uint32, compare bool) int64 {
	if int32(wake) < 0 || int32(move) < 0 {
		return -abi.EINVAL
	}
	for _, a := range [2]uint64{addr, addr2} {
		if errno := badFutex(a); errno != 0 {
			return errno
		}
	}
	if compare {
		if _, ok := k.Space.Load32(t.Index, addr); !ok {
			return -abi.EFAULT
		}
	}
	from, to := bucketOf(addr), bucketOf(addr2)
	k.lockTwo(from, to)
	if compare {
		if v, ok := k.Space.Load32(t.Index, addr); !ok || v != val {
			k.unlockTwo(from, to)
			if !ok {
				return -abi.EFAULT
			}
			return -abi.EAGAIN
		}
	}
	var batch wokenThreads
	woken, moved := uint32(0), uint32(0)
	last := k.buckets[from].ticket // what moves within one bucket is not met again
	for w := k.buckets[from].head; w != nil && w.node.ticket <= last; {
		next := w.node.next
		switch {
		case w.node.key != addr:
		case woken < wake:
			if batch.full() {
				k.unparkAll(t, &batch)
			}
			k.release(from, w)
			batch.add(w)
			woken++
		case moved < move:
			k.remove(from, w)
			w.node.key = addr2
			k.push(to, w)
			moved++
		}
		if woken == wake && moved == move {
			break
		}
		w = next
	}
	k.unlockTwo(from, to)
	k.unparkAll(t, &batch)
	return int64(woken) + int64(moved)
}

// lockTwo locks two buckets, which may be one.
func (k *Kernel) lockTwo(i, j uint32) {
	k.buckets[min(i, j)].lock.Lock()
	if i != j {
		k.buckets[max(i, j)].lock.Lock()
	}
}

func (k *Kernel) unlockTwo(i, j uint32) {
	k.buckets[i].lock.Unlock()
	if i != j {
		k.buckets[j].lock.Unlock()
	}
}
