// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"hash/maphash"
	"sync"
)

// A Memo remembers facts that never change: what some bytes parse to, and that
// a signature over some bytes is good under some key. It changes how long a
// verification takes, never what it says: dates, revocation and policy are
// looked at every time. Only successes are remembered, their exact inputs are
// kept and compared, and what it holds is bounded, so that a stranger can make
// it forget but not lie. A nil Memo remembers nothing. It is safe for
// concurrent use.
type Memo struct {
	seed  maphash.Seed
	limit int // bytes per generation, about

	mu         sync.Mutex
	young, old map[uint64]*memory // what has not been used while young grew to the limit is forgotten
	size       int                // bytes in young, about
}

type memory struct {
	kind  string
	parts [][]byte
	value any
}

// NewMemo returns an empty Memo that takes up to about limit bytes of memory.
func NewMemo(limit int) *Memo {
	return &Memo{seed: maphash.MakeSeed(), limit: limit / 2, young: map[uint64]*memory{}}
}

// Remember returns what make returned for this kind of fact and these exact
// inputs, calling it if it has not succeeded with them before or that was
// forgotten.
func Remember[T any](m *Memo, kind string, make func() (T, error), parts ...[]byte) (T, error) {
	if m == nil {
		return make()
	}
	key := m.key(kind, parts)
	if value, ok := m.get(key, kind, parts); ok {
		return value.(T), nil
	}
	value, err := make()
	if err == nil {
		own := [][]byte{}
		for _, p := range parts {
			own = append(own, bytes.Clone(p))
		}
		m.put(key, &memory{kind, own, value})
	}
	return value, err
}

func (m *Memo) key(kind string, parts [][]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	h.WriteString(kind)
	for _, p := range parts {
		h.WriteByte(byte(len(p)))
		h.Write(p)
	}
	return h.Sum64()
}

func (m *Memo) get(key uint64, kind string, parts [][]byte) (any, bool) {
	m.mu.Lock()
	e, old := m.young[key], false
	if e == nil {
		e, old = m.old[key], true
	}
	m.mu.Unlock()
	if e == nil || !e.is(kind, parts) {
		return nil, false
	}
	if old {
		m.put(key, e)
	}
	return e.value, true
}

func (e *memory) is(kind string, parts [][]byte) bool {
	if e.kind != kind || len(e.parts) != len(parts) {
		return false
	}
	for i := range parts {
		if !bytes.Equal(e.parts[i], parts[i]) {
			return false
		}
	}
	return true
}

// parsed is how many bytes there can be, about, in what one byte of input is
// parsed to: a stranger decides what is in it.
var parsed = map[string]int{"certificate": 16, "crl": 16, "tcb info": 8, "qe identity": 8}

func (m *Memo) put(key uint64, e *memory) {
	size := 256 // of the bookkeeping, about
	for _, p := range e.parts {
		size += len(p) * (1 + parsed[e.kind])
	}
	if size > m.limit/4 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size+size > m.limit {
		m.old, m.young, m.size = m.young, map[uint64]*memory{}, 0
	}
	if m.young[key] == nil {
		m.size += size
	}
	m.young[key] = e
}

// Certificate parses one DER certificate.
func (m *Memo) Certificate(der []byte) (*x509.Certificate, error) {
	return Remember(m, "certificate", func() (*x509.Certificate, error) { return x509.ParseCertificate(bytes.Clone(der)) }, der)
}
