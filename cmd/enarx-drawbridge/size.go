// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const sizeType = "size"

// size is the value of a flag that counts bytes: 1000, 64MiB, 2GB, -1.
type size struct{ bytes *int64 }

func newSize(bytes *int64, value int64) *size {
	*bytes = value
	return &size{bytes}
}

func (s *size) String() string { return formatSize(*s.bytes) }
func (s *size) Type() string   { return sizeType }

func (s *size) Set(text string) (err error) {
	*s.bytes, err = parseSize(text)
	return err
}

// units are what a size may end in, no unit being the end of another before it.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func parseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, fmt.Errorf("%q is no number of bytes like 1000, 64MiB or 2GB", text)
	}
	return n * unit, nil
}

// formatSize returns what parseSize reads back: exact, in the largest binary unit.
func formatSize(n int64) string {
	best := units[len(units)-1]
	for _, u := range units[:4] {
		if n != 0 && n%u.bytes == 0 {
			best = u
		}
	}
	if best.bytes == 1 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n/best.bytes, 10) + best.name
}
