// SPDX-License-Identifier: Apache-2.0

package socket

import "sync"

const (
	smallSize = 4 << 10
	// largeSize holds one whole TLS record (RFC 8446 5.2: 16,384 bytes and up
	// to 22 of framing), so that a full record leaves in one system call, and is
	// a size class of Go's allocator.
	largeSize = 18 << 10
)

// The pools make steady traffic free of garbage: no collection happens while
// the guest computes.
var (
	smallChunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, smallSize)} }}
	largeChunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, largeSize)} }}
)

// chunk is a piece of a queue: data[r:w] is waiting to be read.
type chunk struct {
	next *chunk
	data []byte
	r, w int
}

// newChunk returns an empty chunk that holds size bytes, if that is possible.
func newChunk(size int) *chunk {
	if size <= smallSize {
		return smallChunks.Get().(*chunk)
	}
	return largeChunks.Get().(*chunk)
}

func (ch *chunk) release() {
	ch.next, ch.r, ch.w = nil, 0, 0
	if len(ch.data) == smallSize {
		smallChunks.Put(ch)
	} else {
		largeChunks.Put(ch)
	}
}

// take moves bytes to p.
func (ch *chunk) take(p []byte) int {
	n := copy(p, ch.data[ch.r:ch.w])
	ch.r += n
	return n
}

// queue is a first-in first-out buffer of bytes that holds no memory while it
// is empty, so that an idle connection costs none. Its owner bounds and locks it.
type queue struct {
	head, tail *chunk
	size       int
}

// append copies p to the end.
func (q *queue) append(p []byte) {
	q.size += len(p)
	if q.tail != nil {
		n := copy(q.tail.data[q.tail.w:], p)
		q.tail.w += n
		p = p[n:]
	}
	for len(p) > 0 {
		ch := newChunk(len(p))
		ch.w = copy(ch.data, p)
		p = p[ch.w:]
		q.link(ch)
	}
}

// push appends ch itself, which now belongs to the queue. What fits in the last
// chunk is copied there instead: else a peer that sends single bytes would fill
// memory with nearly empty chunks.
func (q *queue) push(ch *chunk) {
	if q.tail != nil && ch.w-ch.r <= len(q.tail.data)-q.tail.w || ch.w-ch.r <= smallSize {
		q.append(ch.data[ch.r:ch.w])
		ch.release()
		return
	}
	q.size += ch.w - ch.r
	q.link(ch)
}

func (q *queue) link(ch *chunk) {
	if q.tail == nil {
		q.head = ch
	} else {
		q.tail.next = ch
	}
	q.tail = ch
}

// front returns the first bytes as they lie in memory. They stay in place while
// others append, until drop.
func (q *queue) front() []byte {
	if q.head == nil {
		return nil
	}
	return q.head.data[q.head.r:q.head.w]
}

// drop removes the first n bytes, at most those that front returns.
func (q *queue) drop(n int) {
	q.size -= n
	q.head.r += n
	if q.head.r == q.head.w {
		empty := q.head
		if q.head = empty.next; q.head == nil {
			q.tail = nil
		}
		empty.release()
	}
}

// read moves bytes to p.
func (q *queue) read(p []byte) int {
	n := 0
	for n < len(p) && q.size > 0 {
		m := copy(p[n:], q.front())
		q.drop(m)
		n += m
	}
	return n
}

// peek copies the first bytes to p and leaves them where they are.
func (q *queue) peek(p []byte) int {
	n := 0
	for ch := q.head; ch != nil && n < len(p); ch = ch.next {
		n += copy(p[n:], ch.data[ch.r:ch.w])
	}
	return n
}

// clear drops everything.
func (q *queue) clear() {
	for q.size > 0 {
		q.drop(len(q.front()))
	}
}
