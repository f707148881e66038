// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"fmt"
	"strings"
)

// Closest returns the one of known that word is a slip of the finger away from.
func Closest(word string, known ...string) (best string, ok bool) {
	least := 3
	for _, k := range known {
		// One slip in a short word, two in a longer one; upper case is none.
		if dist := distance(strings.ToLower(word), strings.ToLower(k)); dist <= 1+min(len(k)/5, 1) && dist < least {
			best, least = k, dist
		}
	}
	return best, least < 3
}

// Suggest returns the hint for a word that is not one of known: the closest one
// if there is one, else the whole list under its title.
func Suggest(word, title string, known []string) string {
	if best, ok := Closest(word, known...); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) == 0 {
		return ""
	}
	return title + ": " + strings.Join(known, ", ")
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b. Words too long to be a slip are far from all.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 100
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
