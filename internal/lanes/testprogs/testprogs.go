// SPDX-License-Identifier: Apache-2.0

// Package testprogs is the list of programs that `enarx unstable exec` must run as
// plain Linux does: small C programs linked with musl, both static and static-pie,
// small Go programs, and tests of Go's standard library. Each says exactly what it
// must print, or has a check, so that a run needs no second one to compare with; most
// can be run on plain Linux as well.
package testprogs

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Program is one run of one executable.
type Program struct {
	// Name is unique, and says how the program was built: "musl/echo", "musl-pie/echo",
	// "go/http", "std/sync".
	Name string
	// Path is where Build has put the executable.
	Path string
	// Missing, if not empty, says which tool was missing so that Path was not built.
	Missing string

	Args  []string // after the name of the program
	Stdin []byte

	// Code is the exit code: 128 and the number of the signal for a program that a
	// signal ended.
	Code int
	// Stdout is exactly what the program prints, unless Check is set.
	Stdout string
	// Check looks at what the program printed.
	Check func(stdout []byte) error

	// Linux reports that plain Linux must give the same result. It is false for programs
	// that make sure of what a Keep refuses.
	Linux bool
	// Parallel reports that the program measures how long two processors take. It may fail
	// on a machine that others use, or that emulates its processors.
	Parallel bool
	// Limit is more than the program needs on real hardware.
	Limit time.Duration
}

// Judge returns what is wrong with a run that printed stdout and ended with code.
func (p *Program) Judge(stdout []byte, code int) error {
	switch {
	case code != p.Code:
		return fmt.Errorf("exit code %d, want %d", code, p.Code)
	case p.Check != nil:
		return p.Check(stdout)
	case string(stdout) != p.Stdout:
		return fmt.Errorf("printed %d bytes, want %d: %q…", len(stdout), len(p.Stdout), head(firstDifference(stdout, p.Stdout)))
	}
	return nil
}

func firstDifference(got []byte, want string) []byte {
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	return got[max(0, n-40):]
}

func head(b []byte) []byte { return b[:min(len(b), 200)] }

// outcome matches a top-level test's result in the output of a test binary.
var outcome = regexp.MustCompile(`(?m)^--- (PASS|SKIP|FAIL): (\S+) \(`)

// Outcomes returns the results of the tests that a standard-library program ran,
// sorted: "PASS TestOnce". Two runs of one binary are compared by these.
func Outcomes(stdout []byte) []string {
	var all []string
	for _, m := range outcome.FindAllSubmatch(stdout, -1) {
		all = append(all, string(m[1])+" "+string(m[2]))
	}
	slices.Sort(all)
	return all
}

// passes checks the output of a test binary: all is well, and at least so many tests
// ran. The rest of the output holds durations.
func passes(least int) func([]byte) error {
	return func(stdout []byte) error {
		n := 0
		for _, o := range Outcomes(stdout) {
			if strings.HasPrefix(o, "FAIL ") {
				return fmt.Errorf("%s", o)
			}
			if strings.HasPrefix(o, "PASS ") {
				n++
			}
		}
		if !bytes.HasSuffix(bytes.TrimSpace(stdout), []byte("PASS")) {
			return fmt.Errorf("the output does not end with PASS")
		}
		if n < least {
			return fmt.Errorf("%d tests passed, at least %d must", n, least)
		}
		return nil
	}
}
