// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
)

// spread is what is said of a series of numbers from a noisy machine.
type spread struct{ least, median, greatest float64 }

// spreadOf describes the numbers; ok is false when there are none.
func spreadOf(numbers []float64) (s spread, ok bool) {
	n := len(numbers)
	if n == 0 {
		return spread{}, false
	}
	sorted := slices.Sorted(slices.Values(numbers))
	return spread{sorted[0], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[n-1]}, true
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", short(s.median), short(s.least), short(s.greatest))
}

// short prints a number with about three significant digits.
func short(x float64) string {
	switch size := math.Abs(x); {
	case size >= 100:
		return fmt.Sprintf("%.0f", x)
	case size >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}

// quotients divides round by round: both numbers of a pair were taken moments
// apart, so that what else the machine did weighs on both.
func quotients(a, b []float64) []float64 {
	var q []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			q = append(q, a[i]/b[i])
		}
	}
	return q
}
