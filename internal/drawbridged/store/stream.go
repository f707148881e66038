// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"enarx.dev/enarx/drawbridge"
)

// fill reads until buf is full. Unlike io.ReadFull it leaves the reader's error
// as it is: a body that was cut off gives io.ErrUnexpectedEOF, one that is
// over io.EOF.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// stream reads a body to its end, or to one byte more than its Meta says, and
// returns its digests and length. Reading, writing (unless w is nil) and each
// algorithm have a goroutine of their own: the slowest of them sets the pace,
// not their sum. It fails with ErrBody if reading does.
func (s *Store) stream(body io.Reader, m drawbridge.Meta, w io.Writer) (drawbridge.Digests, int64, error) {
	body = io.LimitReader(body, m.Length+1)
	select {
	case s.large <- struct{}{}:
		defer func() { <-s.large }()
	default:
		return streamSlow(body, m, w)
	}
	p := newPipeline(m.Digests.Algorithms(), w)
	n, err := p.read(body)
	digests, failed := p.wait()
	if err == nil {
		err = failed
	}
	return digests, n, err
}

// streamSlow does the same with little memory.
func streamSlow(body io.Reader, m drawbridge.Meta, w io.Writer) (drawbridge.Digests, int64, error) {
	h := drawbridge.NewHasher(m.Digests.Algorithms()...)
	buf := make([]byte, 64<<10)
	for {
		n, err := fill(body, buf)
		_, _ = h.Write(buf[:n])
		if w != nil && n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return drawbridge.Digests{}, h.Len(), err
			}
		}
		if err == io.EOF {
			return h.Sum(), h.Len(), nil
		}
		if err != nil {
			return drawbridge.Digests{}, h.Len(), fmt.Errorf("%w: %w", ErrBody, err)
		}
	}
}

// A chunk is bytes on their way to several who need them.
type chunk struct {
	data []byte
	need atomic.Int32 // how many still do
}

// A pipeline gives chunks to hashers and a writer, each in its own goroutine,
// and takes them back when all have had them.
type pipeline struct {
	free    chan *chunk
	queues  []chan *chunk
	hashers []*drawbridge.Hasher
	wg      sync.WaitGroup
	failed  atomic.Pointer[error] // of the writer
}

func newPipeline(algorithms []drawbridge.Algorithm, w io.Writer) *pipeline {
	p := &pipeline{free: make(chan *chunk, chunks)}
	for range chunks {
		p.free <- new(chunk)
	}
	for _, a := range algorithms {
		h := drawbridge.NewHasher(a)
		p.hashers = append(p.hashers, h)
		p.serve(func(data []byte) { _, _ = h.Write(data) })
	}
	if w != nil {
		p.serve(func(data []byte) {
			if p.failed.Load() != nil {
				return
			}
			if _, err := w.Write(data); err != nil {
				p.failed.Store(&err)
			}
		})
	}
	return p
}

// serve starts one who needs all chunks.
func (p *pipeline) serve(use func([]byte)) {
	queue := make(chan *chunk, chunks)
	p.queues = append(p.queues, queue)
	p.wg.Go(func() {
		for c := range queue {
			use(c.data)
			if c.need.Add(-1) == 0 {
				p.free <- c
			}
		}
	})
}

// read hands on what it reads, until the end or until the writer failed.
func (p *pipeline) read(r io.Reader) (total int64, err error) {
	for err == nil && p.failed.Load() == nil {
		c := <-p.free
		if c.data == nil {
			c.data = make([]byte, chunkSize)
		}
		var n int
		n, err = fill(r, c.data[:chunkSize])
		total += int64(n)
		c.data = c.data[:n]
		c.need.Store(int32(len(p.queues)))
		for _, queue := range p.queues {
			queue <- c
		}
	}
	if err != nil && err != io.EOF {
		return total, fmt.Errorf("%w: %w", ErrBody, err)
	}
	return total, nil
}

// wait ends the goroutines, and returns the digests or the writer's error.
func (p *pipeline) wait() (drawbridge.Digests, error) {
	for _, queue := range p.queues {
		close(queue)
	}
	p.wg.Wait()
	if err := p.failed.Load(); err != nil {
		return drawbridge.Digests{}, *err
	}
	var all drawbridge.Digests
	for _, h := range p.hashers {
		sum := h.Sum()
		for _, a := range sum.Algorithms() {
			digest, _ := sum.Get(a)
			_ = all.Set(a, digest) // of the right size by construction
		}
	}
	return all, nil
}
