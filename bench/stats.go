// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
)

// spread is what is said of a series of numbers from a noisy machine.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// spreadOf describes the numbers; ok is false when there are none.
func spreadOf(numbers []float64) (s spread, ok bool) {
	if len(numbers) == 0 {
		return spread{}, false
	}
	sorted := slices.Sorted(slices.Values(numbers))
	return spread{Min: sorted[0], Median: middle(sorted), Max: sorted[len(sorted)-1]}, true
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", short(s.Median), short(s.Min), short(s.Max))
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

// geomean is the mean for ratios: that of a/b is the inverse of that of b/a.
func geomean(ratios []float64) (mean float64, ok bool) {
	if len(ratios) == 0 {
		return 0, false
	}
	sum := 0.0
	for _, r := range ratios {
		if r <= 0 {
			return 0, false
		}
		sum += math.Log(r)
	}
	return math.Exp(sum / float64(len(ratios))), true
}

// quantile returns the smallest number that the share q of all does not exceed.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}
