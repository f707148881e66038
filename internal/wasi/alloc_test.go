// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"os"
	"testing"

	"enarx.dev/enarx/internal/memfs"
)

// hotGuest has an idle listener at 0, an idle connection at 1, a null device at
// 2, output at 3 and a file at 5.
func hotGuest(t testing.TB) (g *guest, call func(name string, args ...uint64) errno) {
	g, addr := newServer(t, true)
	dial(t, addr)
	g.must("sock_accept", 0, flagNonblock, out)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	fs := memfs.New(0)
	if err := writeFile(fs, "f", make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	g.Append(Null(), Stdout(null), Dir("/", fs, fs.Root(), false))
	g.open(4, "f", 0, allRights, 0)
	g.flags(0)
	stack := make([]uint64, 9)
	mem := Memory(g.mem) // an engine has its memory as a pointer, which converts for free
	return g, func(name string, args ...uint64) errno {
		copy(stack, args)
		byName[Preview1][name].Call(g.Host, mem, stack)
		return errno(stack[0])
	}
}

// TestNoAllocation holds the calls that a server makes all the time to no
// garbage at all, since it would stay while the guest computes.
func TestNoAllocation(t *testing.T) {
	g, call := hotGuest(t)
	buf := g.put(make([]byte, 100))
	iov, n := g.iovecs(buf, 50, buf+50, 50)
	subs := g.put(g.encode([]sub{
		readable(0), readable(1), {userdata: 2, kind: eventClock, clock: clockMonotonic, timeout: 1000},
	}))
	events := g.put(make([]byte, 3*sizeEvent))
	tests := []struct {
		name string
		args []uint64
		want errno
	}{
		{"fd_read", []uint64{1, uint64(iov), uint64(n), out}, eAgain},
		{"sock_accept", []uint64{0, 0, out}, eAgain},
		{"fd_write", []uint64{2, uint64(iov), uint64(n), out}, success},
		{"fd_write", []uint64{3, uint64(iov), uint64(n), out}, success},
		{"fd_pread", []uint64{5, uint64(iov), uint64(n), 0, out}, success},
		{"fd_pwrite", []uint64{5, uint64(iov), uint64(n), 0, out}, success},
		{"fd_seek", []uint64{5, 0, 2, out}, success},
		{"fd_fdstat_get", []uint64{5, out}, success},
		{"clock_time_get", []uint64{clockMonotonic, 0, out}, success},
		{"clock_time_get", []uint64{clockRealtime, 0, out}, success},
		{"poll_oneoff", []uint64{uint64(subs), uint64(events), 3, out}, success},
		{"sched_yield", nil, success},
	}
	for _, tt := range tests {
		got := testing.AllocsPerRun(100, func() {
			if e := call(tt.name, tt.args...); e != tt.want {
				t.Errorf("%s%v = %d, want %d", tt.name, tt.args, e, tt.want)
			}
		})
		if got != 0 {
			t.Errorf("%s%v allocates %v times", tt.name, tt.args, got)
		}
	}
}

func BenchmarkCalls(b *testing.B) {
	g, call := hotGuest(b)
	buf := g.put(make([]byte, 100))
	iov, n := g.iovecs(buf, 100)
	list := []sub{{userdata: 2, kind: eventClock, clock: clockMonotonic}, readable(0)}
	for len(list) < 200 {
		list = append(list, readable(1))
	}
	subs := g.put(g.encode(list))
	events := g.put(make([]byte, 200*sizeEvent))
	for _, bb := range []struct {
		name, call string
		args       []uint64
	}{
		{"read connection", "fd_read", []uint64{1, uint64(iov), uint64(n), out}},
		{"write null", "fd_write", []uint64{2, uint64(iov), uint64(n), out}},
		{"pread file", "fd_pread", []uint64{5, uint64(iov), uint64(n), 0, out}},
		{"clock", "clock_time_get", []uint64{clockMonotonic, 0, out}},
		{"poll 2", "poll_oneoff", []uint64{uint64(subs), uint64(events), 2, out}},
		{"poll 200", "poll_oneoff", []uint64{uint64(subs), uint64(events), 200, out}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(bb.call, bb.args...)
			}
		})
	}
}
