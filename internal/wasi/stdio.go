// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"io"
	"os"
	"sync"
)

// maxLine is up to how much output that comes in pieces is joined, so that a
// line of printf reaches the host in one write.
const maxLine = 8 << 10

func (h *Host) writeOutput(d *desc, bufs [][]byte, total uint32) (uint32, errno) {
	if len(bufs) > 1 && total <= maxLine {
		h.line = h.line[:0]
		for _, b := range bufs {
			h.line = append(h.line, b...)
		}
		n, err := d.file.Write(h.line)
		return uint32(n), unlessDone(uint32(n), errnoOf(err))
	}
	sum := uint32(0)
	for _, b := range bufs {
		n, err := d.file.Write(b)
		sum += uint32(n)
		if err != nil {
			return sum, unlessDone(sum, errnoOf(err))
		}
	}
	return sum, success
}

// readStdin returns what there is, waiting for at least one byte. Only the first
// buffer is filled when reading directly: filling the second could wait, with
// the first one's bytes withheld.
func (h *Host) readStdin(d *desc, bufs [][]byte) (uint32, errno) {
	if len(bufs) == 0 {
		return 0, success
	}
	if d.reader == nil && (d.regular || !d.nonblocking()) {
		n, err := d.file.Read(bufs[0])
		if err == io.EOF {
			err = nil
		}
		return uint32(n), unlessDone(uint32(n), errnoOf(err))
	}
	r := h.stdinReader(d)
	for {
		n, done, e := r.take(bufs)
		if done {
			return n, e
		}
		if e := h.block(d); e != success {
			return 0, e
		}
	}
}

// stdinBuffer is how far the reader may be ahead of the guest.
const stdinBuffer = 64 << 10

// stdinReader reads a stream that cannot be polled, ahead of the guest.
type stdinReader struct {
	mu    sync.Mutex
	buf   []byte // read and not yet taken
	ended bool   // nothing will be added
	err   errno  // why, unless it was the end
	empty chan struct{}
}

// stdinReader starts the reader if it does not run yet. It has no owner that
// waits for it: a read of a terminal or a pipe cannot be ended, only outlived.
func (h *Host) stdinReader(d *desc) *stdinReader {
	if d.reader == nil {
		d.reader = &stdinReader{empty: make(chan struct{}, 1)}
		go d.reader.run(d.file, h.Wake)
	}
	return d.reader
}

func (r *stdinReader) run(f *os.File, wake func()) {
	storage := make([]byte, stdinBuffer)
	for {
		n, err := f.Read(storage)
		r.mu.Lock()
		r.buf = storage[:n]
		if err != nil {
			r.ended = true
			if err != io.EOF {
				r.err = errnoOf(err)
			}
		}
		r.mu.Unlock()
		wake()
		if err != nil {
			return
		}
		<-r.empty
	}
}

// take moves what was read into buffers. It is done if there was something to
// return: bytes, the end, or an error.
func (r *stdinReader) take(bufs [][]byte) (n uint32, done bool, e errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf) == 0 {
		return 0, r.ended, r.err
	}
	for _, b := range bufs {
		m := copy(b, r.buf)
		r.buf = r.buf[m:]
		n += uint32(m)
	}
	if len(r.buf) == 0 && !r.ended {
		r.empty <- struct{}{} // never blocks: one for each time it was filled
	}
	return n, true, success
}

// readable tells how much can be taken, and whether the end was reached.
func (r *stdinReader) readable() (n int, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.buf), r.ended
}
