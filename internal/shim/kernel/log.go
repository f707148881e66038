// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"enarx.dev/enarx/internal/sallyport"
)

// Levels of OpLog: those of log/slog.
const (
	levelDebug = ^uint64(3) // -4
	levelError = 8
)

const (
	logMax     = 256 // bytes of a line
	numCounted = 512 // system calls that are counted by number
)

// line is a line of the log in the making, in the thread's buffer. What does
// not fit is left out.
type line struct {
	b []byte
	n int
}

func (l *line) text(s string) { l.n += copy(l.b[l.n:], s) }

// number adds v in base 10 or 16.
func (l *line) number(v, base uint64) {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = "0123456789abcdef"[v%base&15]
		v /= base
		if v == 0 || i == 0 {
			break
		}
	}
	l.n += copy(l.b[l.n:], digits[i:])
}

func (l *line) hex(name string, v uint64) {
	l.text(name)
	l.text("0x")
	l.number(v, 16)
}

// log hands a line to the host. It holds no secrets: the host can read it.
func (k *Kernel) log(t *Thread, level uint64, l *line) {
	t.send(l.b[:l.n])
	k.host(t, sallyport.OpLog, level, uint64(l.n))
}

// logSignal says which signal ends the program and where it was.
func (k *Kernel) logSignal(t *Thread, sig uint32, from origin) {
	l := line{b: t.text[:]}
	l.text("program ended by signal ")
	l.number(uint64(sig), 10)
	l.hex(" at rip ", t.Frame.RIP)
	if from.code > 0 {
		l.hex(", address ", from.addr)
		l.text(", exception ")
		l.number(t.sig.trap, 10)
		l.hex(", error ", t.sig.code)
	}
	k.log(t, levelError, &l)
}

// countUnknown notes a call that is not served, and says so the first time.
func (k *Kernel) countUnknown(t *Thread, nr uint64) {
	n := k.unknown[min(nr, numCounted-1)].Add(1)
	if !k.trace || n != 1 {
		return
	}
	l := line{b: t.text[:]}
	l.text("unsupported system call ")
	l.number(nr, 10)
	l.text(" (ENOSYS)")
	k.log(t, levelDebug, &l)
}

// summary says at the end which calls were not served, and how often.
func (k *Kernel) summary(t *Thread) {
	if !k.trace {
		return
	}
	l := line{b: t.text[:]}
	l.text("unsupported system calls:")
	before := l.n
	for nr := range k.unknown {
		n := k.unknown[nr].Load()
		if n == 0 {
			continue
		}
		if nr == numCounted-1 {
			l.text(" others")
		} else {
			l.text(" ")
			l.number(uint64(nr), 10)
		}
		l.text("×")
		l.number(uint64(n), 10)
	}
	if l.n > before {
		k.log(t, levelDebug, &l)
	}
}
