// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"fmt"
	"strconv"
	"strings"
)

// VersionRange is a requirement on a version as Cargo writes them, which
// upstream's abi key is: "1.51", ">=1.51", ">=1.49, <2", "~1.51", "1.*", "*".
type VersionRange struct {
	text  string
	parts []comparator
}

type comparator struct {
	low, high [3]uint64 // low ≤ version < high
	noHigh    bool
}

func (r *VersionRange) String() string { return r.text }

// ParseVersionRange reads a requirement. A version without an operator allows
// what is compatible with it, like a caret.
func ParseVersionRange(text string) (*VersionRange, error) {
	r := &VersionRange{text: text}
	for part := range strings.SplitSeq(text, ",") {
		c, err := parseComparator(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%.64q: %w", part, err)
		}
		r.parts = append(r.parts, c)
	}
	return r, nil
}

func parseComparator(s string) (comparator, error) {
	rest := strings.TrimLeft(s, "<>=^~")
	op := s[:len(s)-len(rest)]
	v, given, wild, err := parsePartial(strings.TrimSpace(rest))
	if err != nil {
		return comparator{}, err
	}
	if given == 0 {
		if op != "" {
			return comparator{}, fmt.Errorf("%s needs a version", op)
		}
		return comparator{noHigh: true}, nil
	}
	if wild {
		switch op {
		case "":
			op = "="
		case "^", "~", "=":
		default:
			return comparator{}, fmt.Errorf("%s does not go with a wildcard", op)
		}
	}
	// next is the least version beyond all that begin with v's first n numbers.
	next := func(n int) (w [3]uint64) {
		copy(w[:], v[:n])
		w[n-1]++
		return w
	}
	switch op {
	case "=":
		return comparator{low: v, high: next(given)}, nil
	case ">":
		return comparator{low: next(given), noHigh: true}, nil
	case ">=":
		return comparator{low: v, noHigh: true}, nil
	case "<":
		return comparator{high: v}, nil
	case "<=":
		return comparator{high: next(given)}, nil
	case "~":
		return comparator{low: v, high: next(min(given, 2))}, nil
	case "", "^":
		// The first number that is not zero must stay.
		n := 1
		for n < given && v[n-1] == 0 {
			n++
		}
		return comparator{low: v, high: next(n)}, nil
	}
	return comparator{}, fmt.Errorf("unknown operator %s", op)
}

// parsePartial reads up to three numbers; a * stands for all further ones.
func parsePartial(s string) (v [3]uint64, given int, wild bool, err error) {
	fields := strings.Split(s, ".")
	if len(fields) > 3 {
		return v, 0, false, fmt.Errorf("more than three numbers")
	}
	for i, f := range fields {
		if f == "*" {
			wild = true
			continue
		}
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil || wild || !each(f, digit) {
			return v, 0, false, fmt.Errorf("not a version like 1.51")
		}
		v[i], given = n, i+1
	}
	return v, given, wild, nil
}

// Contains reports whether the version meets every part of the requirement.
func (r *VersionRange) Contains(major, minor, patch uint64) bool {
	v := [3]uint64{major, minor, patch}
	for _, c := range r.parts {
		if less(v, c.low) || !c.noHigh && !less(v, c.high) {
			return false
		}
	}
	return true
}

func less(a, b [3]uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
