// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"testing"
)

// FuzzQueue runs a queue beside a plain slice. The bytes choose operations.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 10, 2, 4, 1, 200, 3, 0, 2, 255, 0, 255, 0, 255, 4, 9, 2, 255})
	f.Add(bytes.Repeat([]byte{0, 255, 1, 3}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) {
		var q queue
		var want []byte
		next := byte(0)
		make := func(n int) []byte {
			p := make([]byte, n)
			for i := range p {
				p[i] = next
				next = next*5 + 1
			}
			return p
		}
		ops = ops[:min(len(ops), 100)]
		for ; len(ops) >= 2; ops = ops[2:] {
			n := int(ops[1]) * int(ops[1]) / 2
			switch ops[0] % 5 {
			case 0:
				p := make(n)
				q.append(p)
				want = append(want, p...)
			case 1:
				ch := newChunk(n)
				ch.w = copy(ch.data, make(min(n, len(ch.data))))
				want = append(want, ch.data[:ch.w]...)
				q.push(ch)
			case 2:
				p := bytes.Clone(make(n))
				if got := q.read(p); !bytes.Equal(p[:got], want[:min(n, len(want))]) {
					t.Fatal("read differs")
				}
				want = want[min(n, len(want)):]
			case 3:
				p := make(n)
				if got := q.peek(p); !bytes.Equal(p[:got], want[:min(n, len(want))]) {
					t.Fatal("peek differs")
				}
			case 4:
				front := q.front()
				if !bytes.HasPrefix(want, front) || (len(front) == 0) != (len(want) == 0) {
					t.Fatal("front differs")
				}
				if n = min(n, len(front)); n > 0 {
					q.drop(n)
					want = want[n:]
				}
			}
			if q.size != len(want) {
				t.Fatalf("size %d, want %d", q.size, len(want))
			}
		}
		q.clear()
		if q.size != 0 || q.head != nil || q.tail != nil {
			t.Fatal("clear leaves something")
		}
	})
}
