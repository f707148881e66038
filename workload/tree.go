// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// The document is first read into a tree that remembers where everything was,
// by go-toml's parser but not its decoder: that one gives positions for syntax
// errors only, matches keys whatever their case, and looks for repeated keys
// in time quadratic in their number (1 MB of keys: 14 s), which a
// service reading other people's packages cannot afford.

// maxDepth bounds dotted keys and nested arrays. The schema needs three.
const maxDepth = 8

// node is a value and where it was written.
type node struct {
	kind  unstable.Kind // String, Integer, …, Array, ArrayTable, Table
	key   int           // offset of its key, or of the header that made it
	pos   int           // offset of the value; of the key where there is none
	text  string        // String: the value; other scalars: as written
	items []*node       // Array, ArrayTable
	table *table        // Table
}

// origin is how a table came to be, which decides what may still be added.
type origin uint8

const (
	implied origin = iota // by a deeper header: [a.b] implies a
	headed                // by its own header
	dotted                // by a dotted key: a.b = 1
	inlined               // as a value: a = {b = 1}
)

// table is the keys of one table, in the order written.
type table struct {
	origin origin
	names  []string
	nodes  map[string]*node
}

func (t *table) add(name string, n *node) *node {
	if t.nodes == nil {
		t.nodes = make(map[string]*node)
	}
	t.names = append(t.names, name)
	t.nodes[name] = n
	return n
}

// treeBuilder applies TOML's rules on what may be defined where and how often.
type treeBuilder struct {
	*decoder
	p   unstable.Parser
	cur *table // the table of the last header
}

// parseTree returns the root table of d.data.
func parseTree(d *decoder) (*table, error) {
	root := &table{origin: headed}
	b := &treeBuilder{decoder: d, cur: root}
	b.p.Reset(d.data)
	for b.p.NextExpression() {
		var err error
		switch e := b.p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			err = b.header(root, e)
		default:
			err = b.keyValue(b.cur, e, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := b.p.Error(); err != nil {
		return nil, b.syntaxError(err)
	}
	return root, nil
}

// syntaxError gives go-toml's message its position.
func (b *treeBuilder) syntaxError(err error) error {
	offset := 0
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok {
		// The highlight is a slice of the document up to the document's
		// capacity, so the capacities tell where it begins.
		offset = max(cap(b.data)-cap(perr.Highlight), 0)
	}
	msg, hint := err.Error(), ""
	switch {
	case strings.HasPrefix(msg, "unexpected character U+000A"), strings.HasPrefix(msg, "unexpected character U+000D"):
		msg = "a value is missing"
	case strings.HasPrefix(msg, "expected keyword"), strings.HasSuffix(msg, "at start of value"):
		hint = "strings need quotes"
	}
	return b.errorAt(offset, "", hint, "%s", msg)
}

// keyPart is one part of a dotted key.
type keyPart struct {
	name string
	pos  int
}

func (b *treeBuilder) keyParts(e *unstable.Node) ([]keyPart, error) {
	var parts []keyPart
	for it := e.Key(); it.Next(); {
		part := keyPart{string(it.Node().Data), int(it.Node().Raw.Offset)}
		if len(parts) == maxDepth {
			return nil, b.errorAt(part.pos, part.name, "", "a key of more than %d parts", maxDepth)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// header enters the table of [a.b] or appends one to the array of [[a.b]].
func (b *treeBuilder) header(root *table, e *unstable.Node) error {
	parts, err := b.keyParts(e)
	if err != nil {
		return err
	}
	t := root
	for _, part := range parts[:len(parts)-1] {
		n := t.nodes[part.name]
		if n == nil {
			n = t.add(part.name, &node{kind: unstable.Table, key: part.pos, pos: part.pos, table: &table{origin: implied}})
		}
		if n.kind == unstable.ArrayTable {
			n = n.items[len(n.items)-1]
		}
		if n.kind != unstable.Table || n.table.origin == inlined {
			return b.redefined(part, n)
		}
		t = n.table
	}
	last := parts[len(parts)-1]
	n := t.nodes[last.name]
	here := &node{kind: unstable.Table, key: last.pos, pos: last.pos, table: &table{origin: headed}}
	switch {
	case e.Kind == unstable.ArrayTable && n == nil:
		t.add(last.name, &node{kind: unstable.ArrayTable, key: last.pos, pos: last.pos, items: []*node{here}})
	case e.Kind == unstable.ArrayTable && n.kind == unstable.ArrayTable:
		n.items = append(n.items, here)
	case e.Kind == unstable.Table && n == nil:
		t.add(last.name, here)
	case e.Kind == unstable.Table && n.kind == unstable.Table && n.table.origin == implied:
		n.table.origin = headed
		here = n
	default:
		return b.redefined(last, n)
	}
	b.cur = here.table
	return nil
}

// keyValue adds key = value, whose key may be dotted, to t.
func (b *treeBuilder) keyValue(t *table, e *unstable.Node, depth int) error {
	parts, err := b.keyParts(e)
	if err != nil {
		return err
	}
	for _, part := range parts[:len(parts)-1] {
		n := t.nodes[part.name]
		if n == nil {
			n = t.add(part.name, &node{kind: unstable.Table, key: part.pos, pos: part.pos, table: &table{origin: dotted}})
		}
		if n.kind != unstable.Table || n.table.origin != dotted {
			return b.redefined(part, n)
		}
		t = n.table
	}
	last := parts[len(parts)-1]
	if n := t.nodes[last.name]; n != nil {
		return b.redefined(last, n)
	}
	n, err := b.value(e.Value(), last.pos, depth)
	if err != nil {
		return err
	}
	t.add(last.name, n)
	return nil
}

func (b *treeBuilder) redefined(part keyPart, earlier *node) error {
	line, _ := b.position(earlier.key)
	return b.errorAt(part.pos, part.name, "", "%.64q is already defined in line %d", part.name, line)
}

// value copies what v holds out of the parser's reused memory.
func (b *treeBuilder) value(v *unstable.Node, key, depth int) (*node, error) {
	n := &node{kind: v.Kind, key: key, pos: key}
	if v.Raw.Length > 0 { // an array has none
		n.pos = int(v.Raw.Offset)
	}
	if depth == maxDepth {
		return nil, b.errorAt(n.pos, "", "", "values nested more than %d deep", maxDepth)
	}
	switch v.Kind {
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			item, err := b.value(it.Node(), n.pos, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case unstable.InlineTable:
		n.kind, n.table = unstable.Table, &table{origin: inlined}
		for it := v.Children(); it.Next(); {
			if err := b.keyValue(n.table, it.Node(), depth+1); err != nil {
				return nil, err
			}
		}
	default:
		n.text = string(v.Data)
	}
	return n, nil
}
