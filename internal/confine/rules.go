// SPDX-License-Identifier: Apache-2.0

package confine

import "golang.org/x/sys/unix"

// Rules that need more than a line in the table.

// mmapRules refuse W+X memory (a JIT writes, then switches), and anything but
// private anonymous memory: a Keep has no files to map.
func mmapRules() []Rule {
	return []Rule{
		when(fail(unix.EACCES), Cond{Arg: 2, Mask: wx, Value: wx}),
		when(Serve, Cond{Arg: 2, Mask: all &^ prot}, Cond{Arg: 3, Mask: all &^ (mmapOK &^ anon), Value: anon}),
		// Go's random numbers from the vDSO, which a shim does not have, live
		// in such memory; refused, each one would cost two system calls.
		when(Serve, Cond{Arg: 2, Mask: all &^ prot}, Cond{Arg: 3, Mask: all, Value: droppable}),
	}
}

func mprotectRules() []Rule {
	return []Rule{
		when(fail(unix.EACCES), Cond{Arg: 2, Mask: wx, Value: wx}),
		when(Serve, Cond{Arg: 2, Mask: all &^ prot}),
	}
}

// madviseRules serve what Go and the engine advise.
func madviseRules() []Rule {
	return anyOf(Serve, 2, []uint64{unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE,
		unix.MADV_COLLAPSE, unix.MADV_POPULATE_WRITE})
}

func cloneRules() []Rule {
	return []Rule{
		when(Serve, Cond{Arg: 0, Mask: all, Value: cloneGo}),
		when(Serve, Cond{Arg: 0, Mask: all, Value: cloneGlibc}),
		when(Serve, Cond{Arg: 0, Mask: all, Value: cloneMusl}),
	}
}

// ownProcess lets signals go to the program itself and to nobody else.
func ownProcess() []Rule { return []Rule{when(Serve, Cond{Arg: 0, Mask: low, OwnPID: true})} }

// openRules let a file be read, which is all a virtual file allows; Landlock
// says which names exist. flags is the number of the argument.
func openRules(flags int) []Rule { return []Rule{when(Serve, within(flags, openOK))} }

// ioctlRules leave out, above all, TIOCSTI, which would type into the host's
// terminal: descriptors 0-2 may be one.
func ioctlRules() []Rule { return anyOf(Serve, 1, []uint64{unix.TIOCINQ, fionbio}) }

func fcntlRules() []Rule {
	return append(
		anyOf(Serve, 1, []uint64{unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL}),
		when(Serve, is(1, unix.F_SETFL), Cond{Arg: 2, Mask: unix.O_ASYNC})) // O_ASYNC sends signals
}

// archRules serve ARCH_{SET_GS,SET_FS,GET_FS,GET_GS}.
func archRules() []Rule { return anyOf(Serve, 0, []uint64{0x1001, 0x1002, 0x1003, 0x1004}) }

// futexRules serve FUTEX_{WAIT,WAKE,REQUEUE,CMP_REQUEUE,WAIT_BITSET,
// WAKE_BITSET}. Priority inheritance is a large, often broken part of the
// kernel that nobody here uses.
func futexRules() (rules []Rule) {
	for _, op := range []uint64{0, 1, 3, 4, 9, 10} {
		rules = append(rules, when(Serve, Cond{Arg: 1, Mask: low &^ futexOK, Value: op}))
	}
	return rules
}

func socketRules() (rules []Rule) {
	for _, domain := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, t := range [][2]uint64{{unix.SOCK_STREAM, 0}, {unix.SOCK_STREAM, unix.IPPROTO_TCP},
			{unix.SOCK_DGRAM, 0}, {unix.SOCK_DGRAM, unix.IPPROTO_UDP}} {
			rules = append(rules, when(Serve, is(0, domain),
				Cond{Arg: 1, Mask: low &^ sockTypeFlags, Value: t[0]}, is(2, t[1])))
		}
		// Go asks for Multipath TCP first and falls back on this answer.
		// (Landlock's port rules do not cover Multipath TCP at all.)
		rules = append(rules, when(fail(unix.EPROTONOSUPPORT), is(0, domain)))
	}
	return rules
}

func setsockoptRules() []Rule {
	return append(numberRules(), when(Serve, is(1, unix.SOL_SOCKET), is(2, unix.SO_LINGER)))
}

// numberRules are for options that are a number, which may be set and read.
func numberRules() []Rule {
	rules := anyOf(Serve, 2, []uint64{unix.SO_REUSEADDR, unix.SO_BROADCAST, unix.SO_SNDBUF, unix.SO_RCVBUF,
		unix.SO_KEEPALIVE, unix.SO_REUSEPORT}, is(1, unix.SOL_SOCKET))
	rules = append(rules, anyOf(Serve, 2, []uint64{unix.TCP_NODELAY, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL,
		unix.TCP_KEEPCNT, unix.TCP_USER_TIMEOUT}, is(1, unix.IPPROTO_TCP))...)
	return append(rules, when(Serve, is(1, unix.IPPROTO_IPV6), is(2, unix.IPV6_V6ONLY)))
}

func getsockoptRules() []Rule {
	return append(numberRules(), anyOf(Serve, 2, []uint64{unix.SO_ERROR, unix.SO_TYPE, unix.SO_ACCEPTCONN, unix.SO_PROTOCOL,
		unix.SO_DOMAIN}, is(1, unix.SOL_SOCKET))...)
}

func msgRules() []Rule { return []Rule{when(Serve, within(3, msgOK))} }

// prlimitRules let a limit be read; raising one would undo [Limits].
func prlimitRules() []Rule { return []Rule{when(Serve, is(0, 0), Cond{Arg: 2, Mask: all})} }

// membarrierRules answer MEMBARRIER_CMD_QUERY and the registrations; no
// expedited command exists.
func membarrierRules() []Rule { return anyOf(Done, 0, []uint64{0, 1 << 2, 1 << 4, 1 << 6, 1 << 8}) }
