// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

func word(seed *uint64, shortest, longest uint64) string {
	w := make([]byte, shortest+rnd(seed)%(longest-shortest+1))
	for i := range w {
		w[i] = byte('a' + rnd(seed)%6)
	}
	return string(w)
}

func stringWork() uint64 {
	var text strings.Builder
	seed, sum := uint64(5), uint64(0)
	for i := range 100000 {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(word(&seed, 1, 9))
	}
	for range 24 {
		sum = fold(sum, uint64(strings.Count(text.String(), word(&seed, 2, 6))))
	}
	joined := strings.Join(strings.Fields(strings.ToUpper(text.String())), "--")
	return fold(sum, fnv1a(fnvOffset, joined))
}

func sortWords() uint64 {
	words := make([]string, 60000)
	seed, sum := uint64(6), uint64(fnvOffset)
	for i := range words {
		words[i] = word(&seed, 3, 14)
	}
	sort.Slice(words, func(i, j int) bool { return words[i] < words[j] })
	for _, w := range words {
		sum = fnv1a(fnv1a(sum, w), "\x00")
	}
	return sum
}

type node struct{ key, value uint64 }

func mapChurn() uint64 {
	table := map[uint64]*node{}
	seed, sum := uint64(7), uint64(0)
	for i := range uint64(400000) {
		r := rnd(&seed)
		key := r % 50000
		switch n := table[key]; {
		case n == nil:
			table[key] = &node{key, i}
		case r>>32&1 != 0:
			sum ^= n.value
			delete(table, key)
		default:
			n.value += i
		}
	}
	for _, n := range table {
		sum += n.key * n.value
	}
	return fold(fold(0, sum), uint64(len(table)))
}

type tree struct {
	left, right *tree
	value       uint64
}

func grow(depth int, seed *uint64) *tree {
	t := &tree{value: rnd(seed)}
	if depth > 0 {
		t.left = grow(depth-1, seed)
		t.right = grow(depth-1, seed)
	}
	return t
}

func (t *tree) sum() uint64 {
	if t.left == nil {
		return t.value
	}
	return fold(fold(t.value, t.left.sum()), t.right.sum())
}

func trees() uint64 {
	seed, sum := uint64(8), uint64(0)
	for range 24 {
		sum = fold(sum, grow(12, &seed).sum())
	}
	return sum
}

type item struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Score int      `json:"score"`
	Tags  []string `json:"tags"`
	Sizes []int    `json:"sizes"`
	OK    bool     `json:"ok"`
	Next  *item    `json:"next"`
}

func document() []byte {
	const items = 3000
	var text bytes.Buffer
	seed := uint64(9)
	text.WriteString("[\n")
	for i := range items {
		r := rnd(&seed)
		comma := ","
		if i == items-1 {
			comma = ""
		}
		fmt.Fprintf(&text, "  {\n    \"id\": %d,\n    \"name\": \"item \\\"%c%c%c\\\"\\n\",\n    \"score\": %d,\n"+
			"    \"tags\": [\"t%d\", \"u%d\"],\n    \"sizes\": [%d, %d, %d],\n    \"ok\": %t,\n    \"next\": null\n  }%s\n",
			i, 'a'+rune(r&15), 'a'+rune(r>>4&15), 'a'+rune(r>>8&15), int(r>>12&65535)-32768,
			r>>28&31, r>>33&31, r>>38&255, r>>46&255, r>>54&255, r>>63 != 0, comma)
	}
	text.WriteString("]\n")
	return text.Bytes()
}

func jsonDocument() uint64 {
	var items []item
	if err := json.Unmarshal(document(), &items); err != nil {
		panic("bug: our own document does not parse: " + err.Error())
	}
	out, err := json.Marshal(items)
	if err != nil {
		panic("bug: our own items do not encode: " + err.Error())
	}
	return fnv1a(fnvOffset, out)
}

var expressions = []*regexp.Regexp{
	regexp.MustCompile(`(\w+)@(\w+)\.example`),
	regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`),
	regexp.MustCompile(`(?m)^(GET|PUT) (/[a-z/]+)\?id=([0-9]+)`),
	regexp.MustCompile(`[a-f]+e[a-f]*\s+[^a-f\s]`),
}

func regexps() uint64 {
	var text strings.Builder
	seed, sum := uint64(10), uint64(0)
	for range 1500 {
		r := rnd(&seed)
		fmt.Fprintf(&text, "%s /%s/%s?id=%d\n%s@%s.example from %d.%d.%d.%d\n",
			[]string{"GET", "PUT", "POST", "HEAD"}[r&3], word(&seed, 2, 8), word(&seed, 2, 8), r>>40,
			word(&seed, 3, 9), word(&seed, 3, 9), r>>2&255, r>>10&255, r>>18&255, r>>26&255)
	}
	for _, expression := range expressions {
		for _, at := range expression.FindAllStringSubmatchIndex(text.String(), -1) {
			for _, position := range at {
				sum = fold(sum, uint64(position))
			}
		}
	}
	return sum
}
