// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"hash/maphash"
	"sync"

	"enarx.dev/enarx/internal/drawbridged/store"
)

// fresh remembers which paths have been sent below the tags that are being
// published. The store keeps one record for the same content at several paths,
// and upstream's clients are told of each path that it was created. After a
// restart, or by another server of the store, some paths are then said to have
// been there already, which no client minds.
type fresh struct {
	seed maphash.Seed
	max  int // paths and tags that are remembered, twice

	mu         sync.Mutex
	young, old map[uint64]*publication // by user, repository and tag
	paths      int                     // in young
}

type publication struct {
	paths     map[uint64]bool
	committed bool
}

// maxFresh is how many paths and tags are remembered, twice: 16 bytes each,
// and a bit. When there are so many, those before the last so many are
// forgotten.
const maxFresh = 1 << 17

func newFresh(max int) *fresh {
	return &fresh{seed: maphash.MakeSeed(), max: max, young: map[uint64]*publication{}}
}

func (f *fresh) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	for _, part := range parts {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// put notes what came of a PUT of a tag, or of a node if node is set, and
// returns whether it is the first one, and whether it made the tag visible.
func (f *fresh) put(rt route, node bool, result store.PutResult) (created, committed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.of(f.hash(rt.user, rt.repo, rt.tag), !node && result.Created)
	if p == nil {
		return result.Created, result.Created && result.Committed
	}
	created = result.Created
	if node {
		path := f.hash(rt.path.String())
		created = !p.paths[path]
		if created {
			p.paths[path] = true
			f.paths++
		}
	}
	committed = result.Committed && !p.committed
	p.committed = p.committed || result.Committed
	return created, committed
}

// of finds a publication, or begins one.
func (f *fresh) of(key uint64, begin bool) *publication {
	p := f.young[key]
	if p == nil {
		p = f.old[key]
	}
	if p == nil && begin {
		p = &publication{paths: map[uint64]bool{}}
	}
	if p == nil || f.young[key] != nil {
		return p
	}
	if f.paths+len(f.young) >= f.max {
		f.old, f.young, f.paths = f.young, map[uint64]*publication{}, 0
	}
	f.young[key] = p
	f.paths += len(p.paths)
	return p
}
