// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"slices"
	"testing"

	"enarx.dev/enarx/internal/shim/abi"
)

// Where the sequences of calls take place: around a boundary between leaf tables,
// around one between tables of the third level, and where brk is.
const (
	areaPages = 64
	areaLow   = 0x10_0020_0000 - areaPages/2*pageSize
	areaHigh  = 0x80_0000_0000 - areaPages/2*pageSize
	areaBrk   = 0x20_0000_0000
	modelTop  = areaLow + areaPages*pageSize
)

// mpage is what the model knows of a mapped page.
type mpage struct {
	prot, most, kind uint8
	gpa              uint64
	word             uint64 // the first word of the page
}

// model is an address space as a map, on which every call is a few obvious lines.
type model struct {
	pages map[uint64]mpage
	brk   uint64
}

func (d *model) free(addr, n uint64) bool {
	for a := addr; a < addr+n; a += pageSize {
		if _, ok := d.pages[a]; ok {
			return false
		}
	}
	return true
}

// place returns the highest free range below modelTop.
func (d *model) place(n uint64) uint64 {
	top := uint64(modelTop)
	var all []uint64
	for a := range d.pages {
		if a < top {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	for _, a := range slices.Backward(all) {
		if top-(a+pageSize) >= n {
			break
		}
		top = a
	}
	return top - n
}

func (d *model) mmap(addr, n, prot, flags uint64) int64 {
	switch {
	case flags&(mapFixed|mapFixedNoReplace) != 0:
		if flags&mapFixedNoReplace != 0 && !d.free(addr, n) {
			return -abi.EEXIST
		}
	case addr == 0 || !d.free(addr, n):
		addr = d.place(n)
	}
	for a := addr; a < addr+n; a += pageSize {
		d.pages[a] = mpage{prot: uint8(prot), most: protAll, kind: kindAnon}
	}
	return int64(addr)
}

func (d *model) munmap(addr, n uint64) int64 {
	for a := addr; a < addr+n; a += pageSize {
		delete(d.pages, a)
	}
	return 0
}

func (d *model) mprotect(addr, n, prot uint64) int64 {
	end, ret := addr, int64(0)
	for ; end < addr+n; end += pageSize {
		if _, ok := d.pages[end]; !ok {
			ret = -abi.ENOMEM
			break
		}
	}
	for a := addr; a < end; a += pageSize {
		if uint8(prot)&^d.pages[a].most != 0 {
			return -abi.EACCES
		}
	}
	for a := addr; a < end; a += pageSize {
		p := d.pages[a]
		p.prot = uint8(prot)
		d.pages[a] = p
	}
	return ret
}

// run returns the end of the VMA that holds addr.
func (d *model) run(addr uint64) uint64 {
	p := d.pages[addr]
	for {
		addr += pageSize
		q, ok := d.pages[addr]
		if !ok || p.prot != q.prot || p.most != q.most || p.kind != q.kind || p.kind != kindAnon && p.gpa+pageSize != q.gpa {
			return addr
		}
		p = q
	}
}

func (d *model) mremap(addr, oldLen, newLen, flags uint64) int64 {
	p, ok := d.pages[addr]
	switch {
	case !ok:
		return -abi.EFAULT
	case oldLen >= newLen:
		d.munmap(addr+newLen, oldLen-newLen)
		return int64(addr)
	case addr+oldLen > d.run(addr) || p.kind != kindAnon:
		return -abi.EFAULT
	}
	p.word = 0
	to := addr
	if d.run(addr) != addr+oldLen || !d.free(addr+oldLen, newLen-oldLen) {
		if flags == 0 {
			return -abi.ENOMEM
		}
		to = d.place(newLen)
	}
	for a := uint64(0); a < newLen; a += pageSize {
		q := p
		if a < oldLen {
			q = d.pages[addr+a]
			delete(d.pages, addr+a)
		}
		d.pages[to+a] = q
	}
	return int64(to)
}

func (d *model) madvise(addr, n, advice uint64) int64 {
	ret := int64(0)
	for a := addr; a < addr+n; a += pageSize {
		p, ok := d.pages[a]
		switch {
		case !ok:
			if ret = -abi.ENOMEM; advice == madvPopulateWrite {
				return ret
			}
			continue
		case advice == madvPopulateWrite && p.prot&abi.ProtWrite == 0:
			return -abi.EINVAL
		case (advice == madvFree || advice == madvDontNeed) && p.kind == kindShim, advice == madvFree && p.kind == kindImage:
			return -abi.EINVAL
		case advice == madvDontNeed || advice == madvFree:
			p.word = 0
			d.pages[a] = p.fresh()
		}
	}
	return ret
}

// fresh returns p as it is before anybody wrote to it.
func (p mpage) fresh() mpage {
	switch p.kind {
	case kindAnon:
		p.word = 0
	case kindImage:
		p.word = imageWord(int(p.gpa-testImage) / pageSize)
	}
	return p
}

func (d *model) mapPages(addr, n, prot uint64, kind uint8, gpa uint64) int64 {
	most := uint8(protAll)
	if kind == kindShim {
		most = uint8(prot)
	}
	switch {
	case kind == kindShim && prot&abi.ProtWrite != 0:
		return -abi.EACCES
	case !d.free(addr, n):
		return -abi.EEXIST
	}
	for a := uint64(0); a < n; a += pageSize {
		d.pages[addr+a] = mpage{prot: uint8(prot), most: most, kind: kind, gpa: gpa + a}.fresh()
	}
	return int64(addr)
}

func (d *model) setBrk(addr uint64) int64 {
	if addr >= areaBrk {
		was, now := pages(d.brk), pages(addr)
		switch {
		case now <= was:
			d.munmap(now, was-now)
			d.brk = addr
		case d.free(was, now+pageSize-was):
			d.mmap(was, now-was, abi.ProtRead|abi.ProtWrite, mapFixed)
			d.brk = addr
		}
	}
	return int64(d.brk)
}

// access returns what the model says of an access to the page at addr.
func (d *model) access(addr uint64, need uint8) (mpage, Outcome) {
	p, ok := d.pages[addr]
	switch {
	case !ok:
		return p, MapErr
	case !allows(p.prot, need):
		return p, AccErr
	}
	return p, Handled
}

// script is a source of choices: bytes, and zeroes after their end.
type script struct{ b []byte }

func (in *script) upTo(n int) uint64 {
	if len(in.b) == 0 {
		return 0
	}
	c := in.b[0]
	in.b = in.b[1:]
	return uint64(int(c) % n)
}

func (in *script) addr() uint64 {
	base := uint64(areaLow)
	switch in.upTo(8) {
	case 1, 2, 3:
		base = areaHigh
	case 4:
		base = areaBrk
	}
	return base + in.upTo(areaPages)*pageSize
}

func (in *script) length() uint64 { return (1 + in.upTo(20)) * pageSize }

func (in *script) prot() uint64 {
	return [...]uint64{3, 1, 0, 5, 3, 2, 4, 3}[in.upTo(8)]
}

// step makes one call, of the model and of the machine, and compares.
func (m *machine) step(d *model, in *script) {
	m.t.Helper()
	cpu := uint32(in.upTo(len(m.tlbs)))
	m.cpu = int(cpu)
	op, addr, n, prot := in.upTo(20), in.addr(), in.length(), in.prot()
	switch op {
	case 0, 1:
		flags := [...]uint64{0, mapFixed, mapFixedNoReplace, mapFixed | mapPopulate}[in.upTo(4)]
		if addr == areaLow {
			addr = 0
			flags = 0
		}
		want(m.t, "mmap", m.Mmap(cpu, addr, n, prot, flags|mapPrivate|mapAnonymous), d.mmap(addr, n, prot, flags))
	case 2, 3:
		want(m.t, "munmap", m.Munmap(cpu, addr, n), d.munmap(addr, n))
	case 4, 5:
		want(m.t, "mprotect", m.Mprotect(cpu, addr, n, prot), d.mprotect(addr, n, prot))
	case 6, 7:
		newLen, flags := in.length(), in.upTo(2)
		want(m.t, "mremap", m.Mremap(cpu, addr, n, newLen, flags), d.mremap(addr, n, newLen, flags))
	case 8:
		advice := [...]uint64{madvDontNeed, madvFree, madvHugePage, madvPopulateWrite}[in.upTo(4)]
		want(m.t, "madvise", m.Madvise(cpu, addr, n, advice), d.madvise(addr, n, advice))
	case 9:
		to := areaBrk + in.upTo(40)*3000
		want(m.t, "brk", m.Brk(cpu, to), d.setBrk(to))
	case 10:
		gpa := testImage + in.upTo(imagePages-20)*pageSize
		want(m.t, "MapImage", m.MapImage(cpu, addr, n, prot, gpa), d.mapPages(addr, n, prot, kindImage, gpa))
	case 11:
		want(m.t, "MapShimPage", m.MapShimPage(cpu, addr, testShim, prot), d.mapPages(addr, pageSize, prot, kindShim, testShim))
	case 12, 13:
		p, out := d.access(addr, abi.ProtRead)
		word, got := m.load(int(cpu), addr)
		if got != out || got == Handled && word != p.word {
			m.t.Fatalf("load(%#x) = %#x, %d; want %#x, %d", addr, word, got, p.word, out)
		}
	case 14, 15, 16:
		p, out := d.access(addr, abi.ProtWrite)
		p.word = in.upTo(256) + 1
		if got := m.store(int(cpu), addr, p.word); got != out {
			m.t.Fatalf("store(%#x) = %d, want %d", addr, got, out)
		}
		if out == Handled {
			d.pages[addr] = p
		}
	case 17:
		_, out := d.access(addr, abi.ProtExec)
		if _, got := m.touch(int(cpu), addr+0x123, abi.ProtExec); got != out {
			m.t.Fatalf("execute %#x = %d, want %d", addr, got, out)
		}
	case 18, 19:
		m.copies(d, cpu, addr, n, op == 18)
	}
}

// copies compares a copy to or from several pages.
func (m *machine) copies(d *model, cpu uint32, addr, n uint64, in bool) {
	m.t.Helper()
	need, buf, ok := uint8(abi.ProtRead), make([]byte, n-8), true
	if !in {
		need = abi.ProtWrite
	}
	done := addr
	for ; done < addr+n && ok; done += pageSize {
		_, out := d.access(done, need)
		ok = out == Handled
	}
	if !in {
		if got := m.CopyOut(cpu, addr, buf); got != ok {
			m.t.Fatalf("CopyOut(%#x, %#x) = %v", addr, n, got)
		}
		for a := addr; a < done && (ok || a < done-pageSize); a += pageSize {
			p := d.pages[a]
			p.word = 0
			d.pages[a] = p
		}
		return
	}
	if got := m.CopyIn(cpu, buf, addr); got != ok {
		m.t.Fatalf("CopyIn(%#x, %#x) = %v", addr, n, got)
	}
	for a := addr; ok && a < addr+n; a += pageSize {
		if got, want := uint64(buf[a-addr])|uint64(buf[a-addr+1])<<8, d.pages[a].word&0xffff; got != want {
			m.t.Fatalf("CopyIn of %#x: %#x, want %#x", a, got, want)
		}
	}
}

// play makes all calls of a script, and then unmaps all: nothing may be left.
func play(t testing.TB, b []byte, every int) {
	m := newMachine(t, 2<<20, 16<<20, 3)
	m.SetTop(modelTop)
	m.SetBrk(areaBrk)
	d, in := &model{pages: map[uint64]mpage{}, brk: areaBrk}, &script{b}
	for i := 0; len(in.b) > 0; i++ {
		m.step(d, in)
		if i%every == 0 {
			m.check(0)
		}
	}
	m.check(0)
	for a := range d.pages {
		p, out := d.access(a, abi.ProtRead)
		if word, got := m.load(0, a); got != out || got == Handled && word != p.word {
			t.Fatalf("load(%#x) = %#x, %d; want %#x, %d", a, word, got, p.word, out)
		}
	}
	m.cpu = 0
	want(t, "munmap of all", m.Munmap(0, 0, abi.UserEnd), 0)
	m.check(0)
	if st := m.Stats(); st.VMAs != 0 || st.Frames-st.Tables-st.Pooled-(m.base.Frames-m.base.Tables) > 1 {
		t.Fatalf("after unmapping all: %+v, at the start %+v", st, m.base)
	}
}

func TestModel(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for seed := range rounds {
		b := make([]byte, 6000)
		r := newRand(uint64(seed))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		play(t, b, 7)
	}
}

func FuzzCalls(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, 9, 0, 1, 1, 14, 0, 5, 0, 0, 9, 2, 2, 0, 6, 1, 0})
	r := newRand(99)
	for range 8 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		play(t, b[:min(len(b), 4000)], 1)
	})
}
