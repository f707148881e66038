// SPDX-License-Identifier: Apache-2.0

// Attestbench measures how fast evidence is judged and certificates are issued,
// on one core, beside the bare signature verifications of the same evidence and
// beside Google's libraries on the same input. Everything is measured in turns,
// round after round, and compared within a round. Part of `make bench`.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 7, "how often each thing is measured")
	slice := flag.Duration("slice", 150*time.Millisecond, "how long each time")
	only := flag.String("only", "", "only cases whose name contains this")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	if err := bench(*rounds, *slice, *only); err != nil {
		fmt.Fprintf(os.Stderr, "attestbench: %v\n", err)
		os.Exit(1)
	}
}

// A runner is one way to do a case's work.
type runner struct {
	name string
	do   func() error
	per  []time.Duration // one operation, in each round
}

// A row is a case: the same evidence for all its runners. The first is the
// yardstick: the signatures alone.
type row struct {
	name    string
	runners []*runner
}

func bench(rounds int, slice time.Duration, only string) error {
	rows, err := cases(time.Now())
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !strings.Contains(r.name, only) })
	for round := range rounds + 1 {
		for _, row := range rows {
			for _, r := range row.runners {
				per, err := measure(r.do, slice)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", row.name, r.name, err)
				}
				if round > 0 { // the first warms up
					r.per = append(r.per, per)
				}
			}
		}
	}
	print(rows)
	return nil
}

// measure returns how long one do takes, doing it for about the time given.
func measure(do func() error, slice time.Duration) (time.Duration, error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := do(); err != nil {
			return 0, err
		}
		if spent := time.Since(start); spent >= slice {
			return spent / time.Duration(n), nil
		}
	}
}

func print(rows []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s/%s, %s, one core\n", runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Fprintln(w, "case\twhat\ttime each\tper second and core\tof the bare signatures' rate (range)")
	for _, row := range rows {
		for _, r := range row.runners {
			lo, mid, hi := r.against(row.runners[0])
			per := median(r.per)
			fmt.Fprintf(w, "%s\t%s\t%v\t%.0f\t%.2f (%.2f to %.2f)\n", row.name, r.name, per.Round(time.Microsecond/10),
				float64(time.Second)/float64(per), mid, lo, hi)
		}
		fmt.Fprintln(w, "\t\t\t\t")
	}
	w.Flush()
}

// against returns how fast r is in units of the yardstick, compared within each
// round: the lowest, the middle and the highest ratio.
func (r *runner) against(yardstick *runner) (lo, mid, hi float64) {
	ratios := make([]float64, len(r.per))
	for i := range r.per {
		ratios[i] = float64(yardstick.per[i]) / float64(r.per[i])
	}
	slices.Sort(ratios)
	return ratios[0], ratios[len(ratios)/2], ratios[len(ratios)-1]
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
