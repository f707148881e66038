// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// task is one row: a guest that several runners execute in turn.
type task struct {
	section, name string
	guest         string
	args          []string
	runners       []string
	rounds        int
	check         func(stdout string) error
}

func (t task) id() string { return t.section + "/" + t.name }

// result is what one runner made of a task.
type result struct {
	Runner  string   `json:"runner"`
	Why     string   `json:"why,omitempty"` // why there are no samples
	Samples []sample `json:"samples,omitempty"`
}

// of returns one quantity of all rounds.
func (r result) of(quantity func(sample) float64) []float64 {
	var numbers []float64
	for _, s := range r.Samples {
		numbers = append(numbers, quantity(s))
	}
	return numbers
}

// row is a task with its results.
type row struct {
	Section  string    `json:"section"`
	Name     string    `json:"name"`
	Guest    string    `json:"guest"`
	Language string    `json:"language"`
	Results  []*result `json:"results"`
}

// result returns that of a runner, never nil.
func (r row) result(runner string) result {
	i := slices.IndexFunc(r.Results, func(x *result) bool { return x.Runner == runner })
	if i < 0 {
		return result{Runner: runner, Why: "is not measured in this row"}
	}
	return *r.Results[i]
}

// ratio compares two runners round by round.
func (r row) ratio(a, b string, quantity func(sample) float64) (spread, bool) {
	return spreadOf(quotients(r.result(a).of(quantity), r.result(b).of(quantity)))
}

// contender is a runner that takes part in a series.
type contender struct {
	argv   []string
	result *result
}

// series measures a task: every runner once to warm up, then once per round, in
// an order that each round draws anew. In a fixed order one runner would always
// follow the heaviest of the others, and find the caches full of its memory. A
// runner that fails leaves the series with the reason in its result.
func (b *bench) series(ctx context.Context, t task) row {
	r := row{Section: t.section, Name: t.name, Guest: t.guest, Language: guests[t.guest].language}
	var field []*contender
	for _, runner := range b.runners {
		if !slices.Contains(t.runners, runner.name) {
			continue
		}
		res := &result{Runner: runner.name, Why: runner.why}
		r.Results = append(r.Results, res)
		if res.Why != "" {
			continue
		}
		file, err := b.builder.path(ctx, t.guest, runner.wasm())
		if err != nil {
			res.Why = err.Error()
			continue
		}
		field = append(field, &contender{runner.argv(file, t.args), res})
	}
	b.progress("%s, rounds: %d", t.id(), t.rounds)
	order := rand.New(rand.NewPCG(1, uint64(t.rounds))) // the same in each run of the program
	for round := range t.rounds + 1 {                   // the first only warms up
		order.Shuffle(len(field), func(i, j int) { field[i], field[j] = field[j], field[i] })
		for _, c := range field {
			s, err := b.once(ctx, t, c)
			switch {
			case err != nil:
				c.result.Why, c.result.Samples = err.Error(), nil
				b.fail(c.result.Runner, "%s: %s: %v", t.id(), c.result.Runner, err)
			case round > 0:
				c.result.Samples = append(c.result.Samples, s)
			}
		}
		field = slices.DeleteFunc(field, func(c *contender) bool { return c.result.Why != "" })
	}
	return r
}

// once runs one contender and looks at what it printed: a program that computes
// nothing, or the wrong thing, is fast.
func (b *bench) once(ctx context.Context, t task, c *contender) (sample, error) {
	s, stdout, err := run(ctx, c.argv, b.env)
	if err != nil {
		return s, fmt.Errorf("the run failed: %w", err)
	}
	if err := t.check(string(stdout)); err != nil {
		return s, fmt.Errorf("the output is wrong: %w", err)
	}
	return s, nil
}

// prints checks for exactly this output.
func prints(want string) func(string) error {
	return func(got string) error {
		if got != want {
			return fmt.Errorf("%.80q instead of %.80q", got, want)
		}
		return nil
	}
}
