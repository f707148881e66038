// SPDX-License-Identifier: Apache-2.0

package wasi

import "time"

const (
	// maxSubscriptions bounds the work and the memory of one poll_oneoff.
	maxSubscriptions = 1 << 16
	// keepSubscriptions is how much scratch survives a call.
	keepSubscriptions = 4 << 10
)

// subscription is one decoded subscription.
type subscription struct {
	userdata uint64
	deadline int64 // of a clock, in monotonic time
	desc     *desc // of a descriptor; nil if err says why there is none
	kind     uint8
	err      errno
}

// readiness is the answer for one subscription.
type readiness struct {
	ready  bool
	hangup bool
	err    errno
	nbytes uint64
}

// pollOneoff waits until at least one subscription has an event and writes all
// events there are. Nothing allocates, nothing spins: the guest's goroutine
// sleeps until the earliest deadline or until a pump calls Wake.
func (h *Host) pollOneoff(mem Memory, p []uint64, a *abi) errno {
	count := uint32(p[2])
	if count == 0 || count > maxSubscriptions {
		return eInval
	}
	in, ok1 := array(mem, uint32(p[0]), count, a.subscription)
	out, ok2 := array(mem, uint32(p[1]), count, sizeEvent)
	result, ok3 := view(mem, uint32(p[3]), 4)
	if !ok1 || !ok2 || !ok3 {
		return eFault
	}
	first, clocks := h.subscribe(in, a)
	events := h.events(out)
	for events == 0 {
		wait := forever
		if clocks {
			wait = time.Duration(first - h.clock.monotonic())
			if wait <= 0 {
				break // due at once; the first round had no time to see it
			}
		}
		if !h.sleep(wait) {
			break
		}
		events = h.events(out)
	}
	if events == 0 && clocks {
		events = h.expired(out, first)
	}
	h.dropSubscriptions()
	le.PutUint32(result, events)
	return success
}

// subscribe decodes all subscriptions, as the events may be written over them,
// and returns the earliest deadline.
func (h *Host) subscribe(in []byte, a *abi) (first int64, clocks bool) {
	h.subs = h.subs[:0]
	for ; len(in) > 0; in = in[a.subscription:] {
		s := subscription{userdata: le.Uint64(in), kind: in[8]}
		switch s.kind {
		case eventClock:
			h.subscribeClock(&s, in[a.subClock:])
			if s.err == success && (!clocks || s.deadline < first) {
				first, clocks = s.deadline, true
			}
		case eventRead, eventWrite:
			h.subscribeDesc(&s, le.Uint32(in[16:]))
		default:
			s.err = eInval
		}
		h.subs = append(h.subs, s)
	}
	return first, clocks
}

func (h *Host) subscribeClock(s *subscription, b []byte) {
	id, timeout, flags := le.Uint32(b), le.Uint64(b[8:]), le.Uint16(b[24:])
	if flags&^clockAbstime != 0 {
		s.err = eInval
		return
	}
	s.deadline, s.err = h.clock.deadline(id, timeout, flags&clockAbstime != 0)
}

func (h *Host) subscribeDesc(s *subscription, fd uint32) {
	d := h.lookup(uint64(fd))
	switch {
	case d == nil:
		s.err = eBadf
	case d.base&rightPoll == 0:
		s.err = eNotcapable
	default:
		if d.kind == kindListener {
			d.lazyNonblock = false
		}
		s.desc = d
	}
}

// events writes an event for each subscription that has one.
func (h *Host) events(out []byte) uint32 {
	n := uint32(0)
	now, known := int64(0), false
	for i := range h.subs {
		s := &h.subs[i]
		r := readiness{ready: true, err: s.err}
		switch {
		case s.err != success:
		case s.kind == eventClock:
			if !known {
				now, known = h.clock.monotonic(), true
			}
			r.ready = s.deadline <= now
		case s.kind == eventRead:
			r = h.readable(s.desc)
		default:
			r = writable(s.desc)
		}
		if r.ready {
			putEvent(out[n*sizeEvent:], s, r)
			n++
		}
	}
	return n
}

// expired writes the events of the clocks that are due at a moment.
func (h *Host) expired(out []byte, moment int64) uint32 {
	n := uint32(0)
	for i := range h.subs {
		s := &h.subs[i]
		if s.kind == eventClock && s.err == success && s.deadline <= moment {
			putEvent(out[n*sizeEvent:], s, readiness{})
			n++
		}
	}
	return n
}

func putEvent(b []byte, s *subscription, r readiness) {
	le.PutUint64(b[0:], s.userdata)
	le.PutUint64(b[8:], uint64(r.err)|uint64(s.kind)<<16) // error, type, padding
	le.PutUint64(b[16:], r.nbytes)
	flags := uint64(0)
	if r.hangup {
		flags = eventHangup
	}
	le.PutUint64(b[24:], flags)
}

// readable tells whether reading would not wait, and how many bytes there are:
// of a connection decrypted ones, of a listener 1 for a waiting connection.
func (h *Host) readable(d *desc) readiness {
	switch d.kind {
	case kindConn:
		n, eof := d.conn.Readable()
		return readiness{ready: n > 0 || eof, hangup: eof, nbytes: uint64(n)}
	case kindListener:
		return readiness{ready: d.listener.Pending(), nbytes: 1}
	case kindStdin:
		if d.regular {
			return readiness{ready: true, nbytes: 1}
		}
		n, ended := h.stdinReader(d).readable()
		return readiness{ready: n > 0 || ended, hangup: ended, nbytes: uint64(n)}
	case kindRegular:
		return readiness{ready: true, nbytes: uint64(max(d.node.Info().Size-d.pos, 0))}
	case kindOutput:
		return readiness{ready: true, err: eBadf}
	}
	return readiness{ready: true}
}

// writable tells whether writing would not wait. Room is not counted: 1 stands
// for some. A listener never becomes writable, as under poll(2).
func writable(d *desc) readiness {
	switch d.kind {
	case kindConn:
		return readiness{ready: d.conn.Writable(), nbytes: 1}
	case kindListener:
		return readiness{}
	case kindStdin:
		return readiness{ready: true, err: eBadf}
	}
	return readiness{ready: true, nbytes: 1}
}

// dropSubscriptions forgets the descriptors, which may be closed next.
func (h *Host) dropSubscriptions() {
	clear(h.subs)
	h.subs = h.subs[:0]
	if cap(h.subs) > keepSubscriptions {
		h.subs = nil
	}
}
