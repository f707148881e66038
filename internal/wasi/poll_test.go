// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sub is a subscription in words.
type sub struct {
	userdata uint64
	kind     uint8
	fd       uint32
	clock    uint32
	timeout  uint64
	flags    uint16
}

type event struct {
	Userdata uint64
	Err      errno
	Kind     uint8
	Nbytes   uint64
	Flags    uint16
}

func (g *guest) encode(subs []sub) []byte {
	a := &preview1
	if g.module == Preview0 {
		a = &preview0
	}
	b := make([]byte, uint32(len(subs))*a.subscription)
	for i, s := range subs {
		e := b[uint32(i)*a.subscription:]
		le.PutUint64(e, s.userdata)
		e[8] = s.kind
		if s.kind != eventClock {
			le.PutUint32(e[16:], s.fd)
			continue
		}
		c := e[a.subClock:]
		le.PutUint32(c, s.clock)
		le.PutUint64(c[8:], s.timeout)
		le.PutUint16(c[24:], s.flags)
	}
	return b
}

// poll calls poll_oneoff with events written over the subscriptions, which is
// the worst case.
func (g *guest) poll(subs ...sub) []event {
	g.Helper()
	at := g.put(g.encode(subs))
	g.must("poll_oneoff", at, at, len(subs), out)
	events := make([]event, g.u32(out))
	for i := range events {
		e := g.mem[at+uint32(i)*sizeEvent:]
		events[i] = event{le.Uint64(e), errno(le.Uint16(e[8:])), e[10], le.Uint64(e[16:]), le.Uint16(e[24:])}
	}
	return events
}

func (g *guest) wantPoll(want []event, subs ...sub) {
	g.Helper()
	if diff := cmp.Diff(want, g.poll(subs...)); diff != "" {
		g.Errorf("events (-want +got):\n%s", diff)
	}
}

// soon is a timeout that a test does not expect to see.
var soon = sub{userdata: 99, kind: eventClock, clock: clockMonotonic, timeout: uint64(time.Minute)}

func TestPollClocks(t *testing.T) {
	const ms = uint64(time.Millisecond)
	tests := []struct {
		name  string
		subs  []sub
		want  []event
		after time.Duration
	}{
		{"zero", []sub{{1, eventClock, 0, clockMonotonic, 0, 0}}, []event{{1, 0, 0, 0, 0}}, 0},
		{"relative", []sub{{1, eventClock, 0, clockMonotonic, 200 * ms, 0}}, []event{{1, 0, 0, 0, 0}}, 200 * time.Millisecond},
		{"real time", []sub{{1, eventClock, 0, clockRealtime, 30 * ms, 0}}, []event{{1, 0, 0, 0, 0}}, 30 * time.Millisecond},
		{"earliest", []sub{
			{1, eventClock, 0, clockMonotonic, 30 * ms, 0}, {2, eventClock, 0, clockRealtime, 10 * ms, 0},
			{3, eventClock, 0, clockMonotonic, math.MaxUint64, 0},
		}, []event{{2, 0, 0, 0, 0}}, 10 * time.Millisecond},
		{"same moment", []sub{
			{1, eventClock, 0, clockMonotonic, 10 * ms, 0}, {2, eventClock, 0, clockMonotonic, 10 * ms, 0},
		}, []event{{1, 0, 0, 0, 0}, {2, 0, 0, 0, 0}}, 10 * time.Millisecond},
		{"same userdata", []sub{
			{7, eventClock, 0, clockMonotonic, 0, 0}, {7, eventClock, 0, clockMonotonic, 0, 0},
		}, []event{{7, 0, 0, 0, 0}, {7, 0, 0, 0, 0}}, 0},
		{"past", []sub{{1, eventClock, 0, clockMonotonic, 1, clockAbstime}}, []event{{1, 0, 0, 0, 0}}, 0},
		{"absolute", []sub{{1, eventClock, 0, clockMonotonic, uint64(monotonicStart) + 50*ms, clockAbstime}}, []event{{1, 0, 0, 0, 0}}, 50 * time.Millisecond},
		{"absolute real time", []sub{
			{1, eventClock, 0, clockRealtime, uint64(time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC).UnixNano()), clockAbstime},
		}, []event{{1, 0, 0, 0, 0}}, time.Second},
		{"unknown clock", []sub{{1, eventClock, 0, 9, 0, 0}, {2, eventClock, 0, clockMonotonic, 10, 0}}, []event{{1, eInval, 0, 0, 0}}, 0},
		{"processor clock", []sub{{1, eventClock, 0, clockProcessCPU, 0, 0}}, []event{{1, eInval, 0, 0, 0}}, 0},
		{"unknown flag", []sub{{1, eventClock, 0, clockMonotonic, 0, 2}}, []event{{1, eInval, 0, 0, 0}}, 0},
		{"unknown kind", []sub{{1, 3, 0, 0, 0, 0}}, []event{{1, eInval, 3, 0, 0}}, 0},
	}
	for _, module := range []string{Preview1, Preview0} {
		for _, tt := range tests {
			t.Run(module+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGuest(t, Config{})
					g.module = module
					start := time.Now()
					g.wantPoll(tt.want, tt.subs...)
					if got := time.Since(start); got != tt.after {
						t.Errorf("waited %v, want %v", got, tt.after)
					}
				})
			})
		}
	}
}

// TestPollWake checks that a Wake without a reason does not end a poll.
func TestPollWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuest(t, Config{})
		start := time.Now()
		go func() {
			for range 5 {
				time.Sleep(10 * time.Millisecond)
				g.Wake()
				g.Wake()
			}
		}()
		g.wantPoll([]event{{1, 0, 0, 0, 0}}, sub{1, eventClock, 0, clockMonotonic, uint64(time.Second), 0})
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v", got)
		}
	})
}

func TestPollDescriptors(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	g.write(fd, "0123456789")
	g.must("fd_seek", fd, uint64(4), 0, out)
	blind := g.open(3, "f", 0, rightRead, 0)
	_, w := pipe(t)
	g.Append(Stdout(w), Null())
	stdout, null := uint32(len(g.fds)-2), uint32(len(g.fds)-1)

	g.wantPoll([]event{
		{1, 0, eventRead, 6, 0}, {2, 0, eventWrite, 1, 0},
		{3, eNotcapable, eventRead, 0, 0}, {4, eBadf, eventWrite, 0, 0},
		{5, 0, eventRead, 0, 0}, {6, 0, eventWrite, 1, 0}, {7, 0, eventRead, 0, 0},
		{8, eBadf, eventRead, 0, 0}, {9, 0, eventWrite, 1, 0}, {10, 0, eventRead, 0, 0},
	},
		sub{1, eventRead, fd, 0, 0, 0}, sub{2, eventWrite, fd, 0, 0, 0},
		sub{3, eventRead, blind, 0, 0, 0}, sub{4, eventWrite, 1 << 31, 0, 0, 0},
		sub{5, eventRead, null, 0, 0, 0}, sub{6, eventWrite, null, 0, 0, 0}, sub{7, eventRead, 0, 0, 0, 0},
		sub{8, eventRead, stdout, 0, 0, 0}, sub{9, eventWrite, stdout, 0, 0, 0}, sub{10, eventRead, 3, 0, 0, 0},
		soon,
	)
}

func TestPollArguments(t *testing.T) {
	g := newGuest(t, Config{})
	g.want(eInval, "poll_oneoff", 100, 100, 0, out)
	g.want(eInval, "poll_oneoff", 100, 100, maxSubscriptions+1, out)
	g.want(eInval, "poll_oneoff", 100, 100, -1, out)
	end := len(g.mem)
	g.want(eFault, "poll_oneoff", end-47, 100, 1, out)
	g.want(eFault, "poll_oneoff", 100, end-31, 1, out)
	g.want(eFault, "poll_oneoff", 100, 100, 1, end-3)
	g.want(eFault, "poll_oneoff", 100, 100, maxSubscriptions, out)
	g.mem = make(memory, 4<<20)
	g.must("poll_oneoff", 100, 100, maxSubscriptions, out) // real-time clocks, due
	if got := g.u32(out); got != maxSubscriptions {
		t.Errorf("%d events", got)
	}
	if cap(g.subs) > keepSubscriptions {
		t.Error("the scratch of a large poll was kept")
	}
}
