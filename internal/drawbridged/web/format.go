// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// size writes a number of bytes for people: one decimal at most.
func size(n int64) string {
	if n < 1024 {
		return count(int(n), "byte", "bytes")
	}
	v, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i, unit := range units {
		v /= 1024
		if v < 1023.95 || i == len(units)-1 {
			text := strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
			if v >= 99.95 {
				text = strconv.FormatFloat(v, 'f', 0, 64)
			}
			return text + " " + unit
		}
	}
	return ""
}

// thousands writes n in groups of three digits.
func thousands[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes n of something.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// stamp is a time in the page: for people, and for programs.
type stamp struct{ time.Time }

// Day is the date.
func (s stamp) Day() string { return s.UTC().Format("2 January 2006") }

// Exact is the date and the time, in UTC.
func (s stamp) Exact() string { return s.UTC().Format("2 January 2006, 15:04 UTC") }

// Machine is the time as the datetime attribute wants it.
func (s stamp) Machine() string { return s.UTC().Format(time.RFC3339) }

// sentence makes one of an error's text.
func sentence(text string) string {
	first, n := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[n:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// short is the start of a digest, enough to tell two apart by eye.
func short(digest [32]byte) string { return fmt.Sprintf("%x", digest[:6]) }
