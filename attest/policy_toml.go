// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"enarx.dev/enarx/internal/diag"
)

// maxPolicy bounds a policy file: room for thousands of chips.
const maxPolicy = 1 << 20

// policyReader turns one file into a Policy. go-toml reads the values; a first
// pass with its parser notes where every key stands, which its decoder tells
// for syntax errors only.
type policyReader struct {
	p       *Policy
	text    []byte
	offsets map[string]int // of "key" and "table.key"
}

// ParsePolicy reads a policy file. name is what messages call it. The tables
// and keys are those of docs/evidence.md: upstream's, with their meaning, and
// ours. An unknown one is an error. Errors are of type *PolicyError.
func ParsePolicy(name string, text []byte) (*Policy, error) {
	d := &policyReader{p: DefaultPolicy(), text: bytes.Clone(text), offsets: map[string]int{}}
	p := d.p
	p.name, p.sources, p.digest = name, map[string]string{}, sha256.Sum256(text)
	if len(text) > maxPolicy {
		return nil, &PolicyError{Name: name, Msg: fmt.Sprintf("%d bytes, more than %d", len(text), maxPolicy)}
	}
	if err := d.locate(); err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := toml.Unmarshal(d.text, &doc); err != nil {
		return nil, d.syntax(err)
	}
	if err := d.tables(doc); err != nil {
		return nil, err
	}
	if err := d.consistent(); err != nil {
		return nil, err
	}
	return p, nil
}

// syntax gives go-toml's message its position.
func (d *policyReader) syntax(err error) error {
	e := &PolicyError{Name: d.p.name, Msg: strings.TrimPrefix(err.Error(), "toml: ")}
	if t, ok := errors.AsType[*toml.DecodeError](err); ok {
		e.Line, e.Column = t.Position()
	} else if t, ok := errors.AsType[*unstable.ParserError](err); ok {
		// The highlight is a slice of the document up to the document's
		// capacity, so the capacities tell where it begins.
		e.Line, e.Column = d.position(max(cap(d.text)-cap(t.Highlight), 0))
	}
	return e
}

// locate notes the offset of every key and table.
func (d *policyReader) locate() error {
	var p unstable.Parser
	p.Reset(d.text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = d.note("", e)
		case unstable.KeyValue:
			d.note(table, e)
			if v := e.Value(); v.Kind == unstable.InlineTable {
				d.inline(d.path(table, e), v)
			}
		}
	}
	if err := p.Error(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// inline notes the keys of one level of an inline table; the schema has no
// second whose position anybody wants.
func (d *policyReader) inline(table string, v *unstable.Node) {
	for it := v.Children(); it.Next(); {
		if it.Node().Kind == unstable.KeyValue {
			d.note(table, it.Node())
		}
	}
}

// path is the dotted path of an expression's key within table.
func (d *policyReader) path(table string, e *unstable.Node) string {
	path := table
	for it := e.Key(); it.Next(); {
		path = strings.TrimPrefix(path+"."+string(it.Node().Data), ".")
	}
	return path
}

// note records where the parts of a key stand, the first time each is seen.
func (d *policyReader) note(table string, e *unstable.Node) string {
	path := table
	for it := e.Key(); it.Next(); {
		path = strings.TrimPrefix(path+"."+string(it.Node().Data), ".")
		if _, known := d.offsets[path]; !known {
			d.offsets[path] = int(it.Node().Raw.Offset)
		}
	}
	return path
}

// position returns the line and column of a byte offset, both from 1.
func (d *policyReader) position(offset int) (line, column int) {
	before := d.text[:min(offset, len(d.text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// at returns the source of a key: "policy.toml:12".
func (d *policyReader) at(path string) string {
	line, _ := d.position(d.offsets[path])
	return fmt.Sprintf("%s:%d", d.p.name, line)
}

func (d *policyReader) errorAt(path, hint, format string, args ...any) error {
	e := &PolicyError{Name: d.p.name, Msg: fmt.Sprintf(format, args...), Hint: hint}
	e.Line, e.Column = d.position(d.offsets[path])
	return e
}

func (d *policyReader) warn(path, format string, args ...any) {
	d.p.Warnings = append(d.p.Warnings, Warning{d.at(path), fmt.Sprintf(format, args...)})
}

// inOrder returns the keys of a table as they stand in the file.
func (d *policyReader) inOrder(prefix string, t map[string]any) []string {
	keys := slices.Collect(maps.Keys(t))
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(d.offsets[prefix+a], d.offsets[prefix+b]), cmp.Compare(a, b))
	})
	return keys
}

// tables reads the document.
func (d *policyReader) tables(doc map[string]any) error {
	for _, name := range d.inOrder("", doc) {
		keys, isTable := policyTables[name]
		if !isTable {
			if err := d.set("", policyKeys, name, doc[name]); err != nil {
				return err
			}
			continue
		}
		table, ok := doc[name].(map[string]any)
		switch {
		case !ok:
			return d.errorAt(name, "write it as ["+name+"]", "%s must be a table", name)
		case len(table) == 0:
			return d.errorAt(name, "remove the table, or say what it requires", "[%s] is empty", name)
		}
		for _, key := range d.inOrder(name+".", table) {
			if err := d.set(name+".", keys, key, table[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// set gives one key's value to its rule.
func (d *policyReader) set(prefix string, known map[string]setter, key string, value any) error {
	path := prefix + key
	rule, ok := known[key]
	if !ok {
		names := slices.Sorted(maps.Keys(known))
		where := ""
		if prefix == "" {
			names = slices.Sorted(slices.Values(append(names, slices.Collect(maps.Keys(policyTables))...)))
		} else {
			where = " in [" + strings.TrimSuffix(prefix, ".") + "]"
		}
		return d.errorAt(path, d.elsewhere(prefix, key, names), "unknown key %.64q%s", key, where)
	}
	d.p.sources[path] = d.at(path)
	if err := rule(d, path, value); err != nil {
		if e, ok := errors.AsType[*PolicyError](err); ok {
			return e
		}
		return d.errorAt(path, "", "%s: %s", path, err)
	}
	return nil
}

// elsewhere is the hint for an unknown key: the table that has it, or the key
// that was probably meant.
func (d *policyReader) elsewhere(prefix, key string, names []string) string {
	for _, table := range slices.Sorted(maps.Keys(policyTables)) {
		if _, ok := policyTables[table][key]; ok && table+"." != prefix {
			return fmt.Sprintf("%s belongs in [%s]", key, table)
		}
	}
	if _, ok := policyKeys[key]; ok && prefix != "" {
		return fmt.Sprintf("%s belongs at the top of the file, before any table", key)
	}
	return diag.Suggest(key, "known", names)
}

// consistent refuses rules that contradict each other.
func (d *policyReader) consistent() error {
	p := d.p
	for _, pair := range []struct {
		allowed, denied [][]byte
		path            string
	}{
		{p.SNP.Hash, p.SNP.HashDenied, "snp.hash_blacklist"},
		{p.SNP.IDKey, p.SNP.IDDenied, "snp.id_key_digest_blacklist"},
		{p.SNP.ChipIDs, p.SNP.ChipIDsDenied, "snp.chip_ids_denied"},
		{p.SGX.Hash, p.SGX.HashDenied, "sgx.hash_blacklist"},
		{p.SGX.PPIDs, p.SGX.PPIDsDenied, "sgx.ppids_denied"},
		{p.TDX.MRTD, p.TDX.MRTDDenied, "tdx.mr_td_denied"},
		{p.TDX.PPIDs, p.TDX.PPIDsDenied, "tdx.ppids_denied"},
	} {
		for _, v := range pair.denied {
			if contains(pair.allowed, v) {
				return d.errorAt(pair.path, "remove it from one of the lists", "%s: %x is allowed too", pair.path, v)
			}
		}
	}
	for _, name := range p.Expected {
		if _, ok := p.Measurements[name]; !ok {
			return d.errorAt("expected", diag.Suggest(name, "known", slices.Sorted(maps.Keys(p.Measurements))), "expected: there is no [measurements.%s]", name)
		}
	}
	if p.Certificate.Life > p.Certificate.MaxLife {
		path := "certificate.life"
		if _, ok := d.offsets[path]; !ok {
			path = "certificate.max_life"
		}
		return d.errorAt(path, "", "%s: life %s is more than max_life %s", path, p.Certificate.Life, p.Certificate.MaxLife)
	}
	if len(p.Measurements) > 0 && p.Expected == nil {
		d.warn("measurements", `measurements without expected = ["NAME"]: they are not required of anybody`)
	}
	if len(p.SGX.Advisories) > 0 && p.SGX.Statuses == nil {
		d.warn("sgx.allowed_advisories", `allowed_advisories does not switch the TCB status check off, as it did upstream: add allowed_tcb_statuses to accept platforms that are not UpToDate`)
	}
	return nil
}

func contains(all [][]byte, v []byte) bool {
	for _, a := range all {
		if bytes.Equal(a, v) {
			return true
		}
	}
	return false
}
