// SPDX-License-Identifier: Apache-2.0

package kernel

import "enarx.dev/enarx/internal/sallyport"

// never is a deadline that does not come.
const never = sallyport.Forever

// host makes a host call that is not a Linux call.
func (k *Kernel) host(t *Thread, op, a0, a1 uint64) int64 {
	ret := t.Port.Call(op, a0, a1, 0, 0, 0, 0)
	if t.Port.Broken {
		k.abort(t, sallyport.AbortBroken)
	}
	return ret
}

// abort ends the Keep because something is wrong with it or with its host.
func (k *Kernel) abort(t *Thread, code uint64) {
	var r sallyport.Report
	f := &t.Frame
	r.Vector, r.Error, r.RIP, r.CS = f.Vector, f.Error, f.RIP, f.CS
	r.RFLAGS, r.RSP, r.RBP, r.Index = f.RFLAGS, f.RSP, f.RBP, uint64(t.Index)
	t.Port.Report(&r)
	t.Port.Call(sallyport.OpAbort, code, 0, 0, 0, 0, 0)
	k.hooks.Stop()
}

// exit ends the Keep as the program asks. The host tears down the other vCPUs.
func (k *Kernel) exit(t *Thread, status, signal uint64) {
	k.summary(t)
	t.Port.Call(sallyport.OpExit, status, signal, 0, 0, 0, 0)
	k.hooks.Stop()
}

// Fatal reports an exception in the shim itself, which is a bug of ours or an
// attack, and does not return. It looks at nothing that could be damaged but
// the stack, and at that only through a hook that knows its bounds.
func (k *Kernel) Fatal(t *Thread, e *Exception) {
	r := sallyport.Report{
		Vector: e.Vector, Error: e.Error, RIP: e.RIP, CS: e.CS, RFLAGS: e.RFLAGS,
		RSP: e.RSP, CR2: e.CR2, RBP: e.RBP, Index: uint64(t.Index),
	}
	k.backtrace(t, e.RBP, r.Trace[:])
	t.Port.Report(&r)
	t.Port.Call(sallyport.OpAbort, sallyport.AbortException, 0, 0, 0, 0, 0)
	k.hooks.Stop()
}

// backtrace follows the chain of frame pointers upwards.
func (k *Kernel) backtrace(t *Thread, rbp uint64, trace []uint64) {
	if k.hooks.Word == nil {
		return
	}
	for i := range trace {
		up, ok := k.hooks.Word(t.Index, rbp)
		ret, ok2 := k.hooks.Word(t.Index, rbp+8)
		if !ok || !ok2 {
			return
		}
		trace[i] = ret
		if up <= rbp {
			return // a chain that does not go up would not end
		}
		rbp = up
	}
}

// Functions that other packages call through variables: they have no receiver.

func abortCurrent(code uint64) { active.abort(active.hooks.Current(), code) }

func growHeap(cpu uint32, gpa, bytes uint64) bool {
	return active.host(active.cpus[cpu], sallyport.OpGrow, gpa, bytes) == 0
}

func releaseHeap(cpu uint32, gpa, bytes uint64) {
	active.host(active.cpus[cpu], sallyport.OpRelease, gpa, bytes)
}

// relax runs between two looks at a lock. The holder may be a vCPU that the host
// does not run because it runs us.
func relax(tries uint32) {
	if tries%1024 != 0 {
		active.hooks.Pause()
		return
	}
	t := active.hooks.Current()
	active.host(t, sallyport.OpYield, 0, 0)
}
