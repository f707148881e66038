// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of input that a Mutant has.
const (
	KindRequest = "csr"        // a certification request, DER
	KindSNP     = "snp-report" // a bare report
	KindSGX     = "sgx-quote"  // a bare quote
	KindTDX     = "tdx-quote"  // a bare quote
)

// A Mutant is evidence with all that a verifier is given, and what it has to
// say. Those that are not Accepted differ in one thing from their Base, which is.
type Mutant struct {
	Name       string // like "snp-milan-v3/measurement/altered"
	Base       string // the accepted one that it differs from; empty: none
	Change     string // what differs
	Kind       string
	Input      []byte
	ReportData []byte  // what a bare report must be bound to; requests are bound to their key
	Collateral []Piece // besides what is in a request
	Roots      []Piece // certificates; those that are self-issued are trusted, others are hints
	Time       time.Time
	Policy     string // TOML; empty: the default policy
	Accepted   bool
	Code       string   // of the check that has to fail
	Also       []string // other checks that fail as a consequence
	// Loose says that further checks may fail: what was altered after it was
	// signed says nothing that could be relied on.
	Loose bool
}

// A Piece is a file that goes with evidence. Its name ends in .crt, .crl or .json.
type Piece struct {
	Name string
	Data []byte
}

// Mutants returns the conformance corpus of a world: evidence that has to be
// accepted, and for every signed or policed field evidence that differs in just
// that and has to be refused because of it. There are two ways to differ: a byte
// is altered without signing anew, which a check of that signature must find; or
// the field is set and all is properly signed, which the check on the field must
// find, under a policy that asks for it.
func Mutants(w *World) iter.Seq[Mutant] {
	return func(yield func(Mutant) bool) {
		g := &generator{w: w, yield: yield}
		for _, section := range []func(*generator){
			(*generator).snp, (*generator).amdCertificates, (*generator).amdCollateral,
			(*generator).sgx, (*generator).tdx, (*generator).policies, (*generator).requests,
		} {
			section(g)
		}
	}
}

// generator is one run of Mutants.
type generator struct {
	w       *World
	yield   func(Mutant) bool
	stopped bool
	base    Mutant // that the next ones differ from
}

func (g *generator) send(m Mutant) {
	if !g.stopped {
		g.stopped = !g.yield(m)
	}
}

// accept makes m, which has to be accepted, the base of what follows.
func (g *generator) accept(m Mutant) {
	m.Accepted = true
	if m.Roots == nil {
		m.Roots = g.w.rootPieces()
	}
	if m.Time.IsZero() {
		m.Time = g.w.Now
	}
	g.base = m
	g.send(m)
}

// refuse sends what edit makes of the base, which has to be refused by the
// check with the code.
func (g *generator) refuse(name, change, code string, edit func(m *Mutant)) {
	m := g.base
	m.Name, m.Base, m.Change, m.Accepted, m.Code = m.Name+"/"+name, m.Name, change, false, code
	m.Collateral, m.Roots = slices.Clone(m.Collateral), slices.Clone(m.Roots)
	edit(&m)
	g.send(m)
}

// still sends what edit makes of the base, which has to be accepted like it.
func (g *generator) still(name, change string, edit func(m *Mutant)) {
	m := g.base
	m.Name, m.Base, m.Change = m.Name+"/"+name, m.Name, change
	m.Collateral, m.Roots = slices.Clone(m.Collateral), slices.Clone(m.Roots)
	edit(&m)
	g.send(m)
}

// alter sends the base with the lowest bit of the byte at that place of the
// input flipped.
func (g *generator) alter(name string, at int, code string) {
	change := fmt.Sprintf("the lowest bit of the byte at 0x%x flipped after signing", at)
	g.refuse(name+"/altered", change, code, func(m *Mutant) { m.Input, m.Loose = flipped(m.Input, at), true })
}

// alterPiece sends the base with the lowest bit flipped in a piece of collateral
// or among the roots: of the byte at an offset in where needle is found.
func (g *generator) alterPiece(name, piece string, needle []byte, at int, code string) {
	g.refuse(name+"/altered", "one bit of "+piece+" flipped after signing", code, func(m *Mutant) {
		p := m.piece(piece)
		start := bytes.Index(p.Data, needle)
		if start < 0 || bytes.Contains(p.Data[start+1:], needle) {
			panic(fmt.Sprintf("attesttest: bug: %s: %x is not there once", m.Name, needle))
		}
		p.Data, m.Loose = flipped(p.Data, start+at), true
	})
}

// bump sends the base with the last byte of a piece, which its signature ends in, changed.
func (g *generator) bump(name, piece, code string) {
	g.refuse(name+"/altered", "the last byte of "+piece+" changed", code, func(m *Mutant) {
		p := m.piece(piece)
		p.Data, m.Loose = flipped(p.Data, len(p.Data)-1), true
	})
}

func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// piece returns the named piece of collateral or of the roots.
func (m *Mutant) piece(name string) *Piece {
	for _, list := range [][]Piece{m.Collateral, m.Roots} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	panic("attesttest: bug: " + m.Name + " has no " + name)
}

// replace puts other bytes in the place of a piece.
func (m *Mutant) replace(name string, data []byte) { m.piece(name).Data = data }

// drop takes a piece away.
func (m *Mutant) drop(name string) {
	is := func(p Piece) bool { return p.Name == name }
	m.Collateral, m.Roots = slices.DeleteFunc(m.Collateral, is), slices.DeleteFunc(m.Roots, is)
}

// add adds a piece of collateral.
func (m *Mutant) add(name string, data []byte) {
	m.Collateral = append(m.Collateral, Piece{name, data})
}

// rootPieces are the world's roots, and AMD's intermediates as hints.
func (w *World) rootPieces() []Piece {
	var all []Piece
	for _, p := range w.AMD.Products() {
		name := strings.ToLower(p.Name)
		all = append(all, Piece{"ark-" + name + ".crt", p.ARK()}, Piece{"ask-" + name + ".crt", p.ASK()}, Piece{"asvk-" + name + ".crt", p.ASVK()})
	}
	return append(all, Piece{"intel-root.crt", w.Intel.Root()})
}

// policy is a policy file: a table and keys with their values.
func policy(table string, lines ...string) string {
	return "[" + table + "]\n" + strings.Join(lines, "\n") + "\n"
}

// hexList is a TOML list of one value in hexadecimal.
func hexList(b []byte) string { return `["` + hex.EncodeToString(b) + `"]` }

// bound is the report data of bare evidence.
func bound() (data [64]byte) {
	for i := range data[:48] {
		data[i] = byte(i + 1)
	}
	return data
}

func decimal(n int) string { return strconv.Itoa(n) }
