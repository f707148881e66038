// SPDX-License-Identifier: Apache-2.0

package main

//lint:file-ignore U1000 only the assembly goes to these

// start is where every vCPU begins, in 64-bit mode on the boot page tables, with
// interrupts off and without a stack. A ticket says which vCPU it is: no register
// need differ between them, so in a confidential VM all of them have one measured
// state. It finds its area by that number, makes the state that Go code expects,
// and leaves through enter and resume. The area must be mapped by then.
func start()

// syscallEntry is the target of SYSCALL. It saves the user's state in the
// vCPU's frame and goes on in serve.
func syscallEntry()

// trapEntry is where the stubs of all vectors meet, on an IST stack. From ring
// 3 it saves the user's state and goes on in serve; from ring 0 it goes to fatalEntry.
func trapEntry()

// serve changes to the vCPU's own stack, saves FS base and FX state, calls trap,
// and goes on in resume. It uses no SSE register before they are saved, and never
// any AVX state: what it does not save it does not touch.
func serve()

// resume returns to ring 3 with the state in the vCPU's frame: by SYSRET when
// that came from a SYSCALL, otherwise by IRET, which checks what it loads.
func resume()

// fatalEntry stops the Keep: an exception in ring 0 is a bug of ours or an
// attack. It records the exception and calls fatal.
func fatalEntry()

// stubs is the entry points of the vectors, 16 bytes each: those of 0 to 31,
// that of the kick, and one for all others.
func stubs()
