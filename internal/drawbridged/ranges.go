// SPDX-License-Identifier: Apache-2.0

package drawbridged

import (
	"strconv"
	"strings"
)

// A span is the part of a content that is sent.
type span struct{ offset, length int64 }

// What a Range header asks for, RFC 9110 section 14.
type rangeKind int

const (
	rangeNone rangeKind = iota // nothing, or what we need not understand: all of the content
	rangePart
	rangeOutside // beyond the content: 416
)

// parseRange reads a Range header for a content of size bytes. Several ranges
// at once are answered with all of the content, which the RFC allows; so is
// everything that is not a range of bytes.
func parseRange(header string, size int64) (span, rangeKind) {
	unit, set, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Contains(set, ",") {
		return span{}, rangeNone
	}
	first, last, ok := strings.Cut(strings.Trim(set, " \t"), "-")
	if !ok {
		return span{}, rangeNone
	}
	if first == "" {
		return suffix(last, size)
	}
	from, ok := position(first)
	if !ok {
		return span{}, rangeNone
	}
	to := size - 1
	if last != "" {
		end, ok := position(last)
		if !ok || end < from {
			return span{}, rangeNone
		}
		to = min(to, end)
	}
	if from >= size {
		return span{}, rangeOutside
	}
	return span{from, to - from + 1}, rangePart
}

// suffix is the last bytes of the content.
func suffix(count string, size int64) (span, rangeKind) {
	n, ok := position(count)
	switch {
	case !ok:
		return span{}, rangeNone
	case n == 0 || size == 0:
		return span{}, rangeOutside
	}
	n = min(n, size)
	return span{size - n, n}, rangePart
}

func position(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// etagged reports whether a list of entity tags, that of an If-None-Match, has
// etag or is *. Weak ones count: the comparison is RFC 9110's weak one.
func etagged(headers []string, etag string) bool {
	for _, header := range headers {
		for member := range strings.SplitSeq(header, ",") {
			member = strings.Trim(member, " \t")
			if member == "*" || strings.TrimPrefix(member, "W/") == etag {
				return true
			}
		}
	}
	return false
}
