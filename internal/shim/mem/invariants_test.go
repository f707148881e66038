// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"math/bits"

	"enarx.dev/enarx/internal/shim/abi"
)

// census is what a walk of the page tables finds.
type census struct {
	frames map[uint64]string // use of each frame of the heap
	tables uint64
	owned  uint64
}

// check verifies everything that must hold between two calls. extra is the number
// of frames that the test itself holds.
func (m *machine) check(extra uint64) {
	m.t.Helper()
	m.checkVMAs()
	c := &census{frames: map[uint64]string{}}
	m.checkTable(c, m.phys.table(testRoot), topLevel, 0)
	m.checkFrames(c, extra)
	m.checkTLBs()
	if m.t.Failed() {
		m.t.FailNow()
	}
}

func (m *machine) checkVMAs() {
	m.t.Helper()
	hole := uint64(0)
	for i := range m.n {
		v := &m.vmas[i]
		if v.start >= v.end || (v.start|v.end)&pageMask != 0 || v.start < abi.UserStart || v.end > abi.UserEnd {
			m.t.Errorf("VMA %d: [%#x, %#x)", i, v.start, v.end)
		}
		if v.prot&protWX == protWX || v.prot&^v.most != 0 {
			m.t.Errorf("VMA %d: protection %d of %d", i, v.prot, v.most)
		}
		if i == 0 {
			continue
		}
		u := &m.vmas[i-1]
		if u.end > v.start {
			m.t.Errorf("VMA %d overlaps the one before", i)
		}
		if u.end == v.start && u.prot == v.prot && u.most == v.most && u.kind == v.kind &&
			(u.kind == kindAnon || u.gpa+u.end-u.start == v.gpa) {
			m.t.Errorf("VMAs %d and %d at %#x should be one", i-1, i, v.start)
		}
	}
	for at := m.scan; at < m.top; {
		next := m.top
		i := m.find(at)
		if i < m.n {
			next = min(next, max(at, m.vmas[i].start))
		}
		hole = max(hole, next-at)
		at = m.top
		if i < m.n {
			at = m.vmas[i].end
		}
	}
	if hole > m.scanHole {
		m.t.Errorf("a hole of %#x above scan, which remembers %#x", hole, m.scanHole)
	}
}

// use notes a frame's only use.
func (m *machine) use(c *census, gpa uint64, what string) {
	if old, dup := c.frames[gpa]; dup {
		m.t.Errorf("frame %#x is %s and %s", gpa, old, what)
	}
	c.frames[gpa] = what
	off := gpa - testHeap
	if gpa < testHeap || off>>chunkShift >= m.frames.chunks {
		m.t.Errorf("%s %#x is outside of the heap", what, gpa)
		return
	}
	if bit := off >> pageShift % chunkFrames; m.frames.chunk(off >> chunkShift).bitmap[bit/64]>>(bit%64)&1 != 0 {
		m.t.Errorf("%s %#x is a free frame", what, gpa)
	}
}

func (m *machine) checkTable(c *census, t *table, level uint, base uint64) {
	for i := range uint64(tableEntries) {
		e, at := t.get(i), base+i*span(level)
		upper := level == topLevel && i >= tableEntries/2 || base>>47 != 0
		switch {
		case e == 0:
		case upper && e&pteUser != 0:
			m.t.Errorf("entry %#x at %#x is the program's", e, at)
		case level == 2 && upper && e&pteLarge != 0:
		case level > 1:
			m.use(c, e&addrMask, "page table")
			c.tables++
			if e&ptePresent == 0 {
				m.t.Errorf("table at %#x is not present", at)
			}
			if !upper && !m.overlaps(at, at+span(level)) {
				m.t.Errorf("table of level %d at %#x serves nothing", level-1, at)
			}
			m.checkTable(c, m.phys.table(e&addrMask), level-1, at)
		case !upper:
			m.checkLeaf(c, e, at)
		}
	}
}

func (m *machine) checkLeaf(c *census, e, at uint64) {
	v := m.lookup(at)
	if v == nil {
		m.t.Errorf("entry %#x at %#x, where nothing is mapped", e, at)
		return
	}
	owned := e&pteOwned != 0
	if flags := e &^ addrMask; flags != leafFlags(v.prot, owned) {
		m.t.Errorf("entry %#x at %#x for protection %d: flags want %#x", e, at, v.prot, leafFlags(v.prot, owned))
	}
	if e&pteWrite != 0 && e&pteNX == 0 {
		m.t.Errorf("entry %#x at %#x is writable and executable", e, at)
	}
	if owned {
		c.owned++
		m.use(c, e&addrMask, "page")
	} else if source := v.gpa + at - v.start; v.kind == kindAnon || e&addrMask != source {
		m.t.Errorf("entry %#x at %#x, want the page %#x", e, at, source)
	}
}

func (m *machine) checkFrames(c *census, extra uint64) {
	f := &m.frames
	pooled := uint64(0)
	for gpa := m.pool; gpa != 0; gpa = m.phys.table(gpa).get(0) {
		m.use(c, gpa, "pooled table")
		pooled++
		for i := range uint64(tableEntries - 1) {
			if m.phys.table(gpa).get(i+1) != 0 {
				m.t.Errorf("pooled table %#x is not empty", gpa)
			}
		}
	}
	if c.tables != m.tables || pooled != m.pooled {
		m.t.Errorf("%d tables and %d pooled, counted as %d and %d", c.tables, pooled, m.tables, m.pooled)
	}
	groups := (f.chunks + groupChunks - 1) / groupChunks
	dir := ((f.most+groupChunks-1)/groupChunks*4 + pageMask) / pageSize
	if sum := c.tables + pooled + c.owned + groups + dir + vmaFrames + uint64(f.spares) + extra; sum != f.used {
		m.t.Errorf("%d frames are used, but %d are known", f.used, sum)
	}
	var count [lists + 1]uint64
	used := uint64(0)
	for i := range f.chunks {
		k, free := f.chunk(i), 0
		for _, w := range k.bitmap {
			free += bits.OnesCount64(w)
		}
		used += chunkFrames - uint64(free)
		count[k.list]++
		if free != int(k.free) || (k.list == listNone) != (free == 0 || i == f.fixed) ||
			(k.list == listPartial) != (free > 0 && free < chunkFrames && i != f.fixed) {
			m.t.Errorf("chunk %d: %d frames free, counted as %d, in list %d", i, free, k.free, k.list)
		}
		va := uint64(DirectBase + testHeap + i*chunkSize)
		if i >= m.first/chunkSize && m.directEntry(va) != (testHeap+i*chunkSize)|0x1e3|pteNX {
			m.t.Errorf("chunk %d: direct map has %#x", i, m.directEntry(va))
		}
	}
	for l := range lists {
		n := uint64(0)
		for i := f.head[l]; i != 0; i = f.chunk(uint64(i - 1)).next {
			n++
		}
		if n != f.count[l] || n != count[l] {
			m.t.Errorf("list %d has %d chunks, counted as %d; %d chunks say so", l, n, f.count[l], count[l])
		}
	}
	if used != f.used || f.spares != spareFrames {
		m.t.Errorf("%d frames used, counted as %d; %d spare", used, f.used, f.spares)
	}
}

// directEntry returns the entry of the direct map for the 2 MiB at va.
func (m *machine) directEntry(va uint64) uint64 {
	t := m.phys.table(testRoot)
	for level := uint(topLevel); level > 2; level-- {
		e := t.get(index(va, level))
		if e == 0 {
			return 0
		}
		t = m.phys.table(e & addrMask)
	}
	return t.get(index(va, 2))
}

// checkTLBs verifies that no vCPU can use more than the page tables allow.
func (m *machine) checkTLBs() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for cpu, c := range m.tlbs {
		for part, cached := range c.tables {
			if t, _ := m.leaf(part << chunkShift); t != m.phys.table(cached) {
				m.t.Errorf("vCPU %d still finds a table at %#x for %#x", cpu, cached, part<<chunkShift)
			}
		}
		for addr, cached := range c.pages {
			e := uint64(0)
			if t, _ := m.leaf(addr); t != nil {
				e = t.get(index(addr, 1))
			}
			if narrows(cached, e) || (cached^e)&addrMask != 0 {
				m.t.Errorf("vCPU %d still has %#x for %#x, which is %#x now", cpu, cached, addr, e)
			}
		}
	}
}
