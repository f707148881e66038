// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"sync"
)

// queue is the standard input of a command until it reads it. It has no limit:
// waiting here would stop the input of every other command.
type queue struct {
	mu     sync.Mutex
	change sync.Cond
	data   []byte
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.change.L = &q.mu
	return q
}

// add appends data; none is the end.
func (q *queue) add(data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.data = append(q.data, data...)
	q.closed = q.closed || len(data) == 0
	q.change.Broadcast()
}

func (q *queue) Read(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.data) == 0 && !q.closed {
		q.change.Wait()
	}
	if len(q.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, q.data)
	q.data = q.data[n:]
	return n, nil
}
