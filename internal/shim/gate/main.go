// SPDX-License-Identifier: Apache-2.0

// Gate fails the build of a shim that breaks the rules of freestanding Go. No Go
// runtime is initialised below the shim, so its code must not allocate, start
// goroutines, or call anything that expects a scheduler, and it must not touch
// AVX state, which its entry code does not save.
//
// usage: gate SHIM, an unstripped ELF file
//
// It asks the compiler what escapes to the heap in the packages of the shim, and
// reads the linked code: every direct call from them must go to one of them or to
// a function on a short list, none of them may have initialisation code, and
// neither they nor what they call may contain a VEX or EVEX instruction.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

const module = "enarx.dev/enarx/"

// allowed is what shim code may call besides itself. The first are leaf functions
// that need no g. The next are never reached: a stack guard of 0 asks for no more
// stack, and a write barrier that is off for ever calls nothing. The last are where
// failed checks end; they fault, because there is no m, and the Keep stops with a report.
var allowed = []string{
	"runtime.memmove", "runtime.memclrNoHeapPointers", "runtime.memequal", "memeqbody", "runtime.duffzero", "runtime.duffcopy",

	"runtime.morestack_noctxt.abi0", "runtime.wbZero", "runtime.wbMove",
	"runtime.gcWriteBarrier1", "runtime.gcWriteBarrier2", "runtime.gcWriteBarrier3", "runtime.gcWriteBarrier4",
	"runtime.gcWriteBarrier5", "runtime.gcWriteBarrier6", "runtime.gcWriteBarrier7", "runtime.gcWriteBarrier8",

	"runtime.panicBounds", "runtime.panicdivide", "runtime.panicshift", "runtime.panicmem",
	"runtime.panicunsafeslicelen", "runtime.panicunsafeslicenilptr",
}

// maxShown is how many problems are worth reading before mending the first.
const maxShown = 20

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gate SHIM")
		os.Exit(2)
	}
	problems, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gate:", err)
		os.Exit(1)
	}
	for _, p := range problems[:min(len(problems), maxShown)] {
		fmt.Fprintln(os.Stderr, "gate:", p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func check(shim string) (problems []string, err error) {
	packages, err := shimPackages()
	if err != nil {
		return nil, err
	}
	escapes, err := escaping(packages)
	if err != nil {
		return nil, err
	}
	code, err := linked(shim, packages)
	return append(escapes, code...), err
}

// shimPackages returns our packages that the shim consists of.
func shimPackages() ([]string, error) {
	out, err := command("go", "list", "-deps", "./internal/shim/kvm")
	if err != nil {
		return nil, err
	}
	packages := slices.DeleteFunc(strings.Fields(string(out)), func(p string) bool { return !strings.HasPrefix(p, module) })
	if len(packages) < 2 {
		return nil, fmt.Errorf("the shim consists of %q: not looking at all of it", packages)
	}
	return packages, nil
}

func command(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// escaping returns what the compiler would put on the heap. go build replays
// the compiler's remarks for a package that it does not compile again.
func escaping(packages []string) (problems []string, err error) {
	cmd := exec.Command("go", append([]string{"build", "-gcflags=-m"}, packages...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go build: %w", err) // which the build without -m has explained
	}
	if !bytes.Contains(out, []byte("can inline")) {
		return nil, errors.New("the compiler made no remarks: this check would pass whatever the code")
	}
	return escapes(out), nil
}

func escapes(remarks []byte) (problems []string) {
	for line := range strings.Lines(string(remarks)) {
		if strings.Contains(line, "escapes to heap") || strings.Contains(line, "moved to heap") {
			problems = append(problems, strings.TrimSpace(line))
		}
	}
	return problems
}

var (
	text = regexp.MustCompile(`^TEXT (\S+)\(SB\)`)
	// The initialisation of a package, and not a method called init.
	initialiser = regexp.MustCompile(`^[^()]*\.init(\.\d+)?(\.abi\d|\.func\d+)?$`)
	// A line of go tool objdump: file and line, address, bytes, instruction.
	instruction = regexp.MustCompile(`^\s+(\S+:\d+)\s+0x[0-9a-f]+\s+([0-9a-f]+)\s+(\S+)\s*(.*?)\s*$`)
	target      = regexp.MustCompile(`^(\S+)\(SB\)$`)
)

// linked disassembles the shim's own functions.
func linked(shim string, packages []string) ([]string, error) {
	out, err := command("go", "tool", "objdump", "-s", `^(main\.|enarx\.dev/)`, shim)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(out, []byte("TEXT main.start(SB)")) {
		return nil, fmt.Errorf("%s has no symbols: not what this check reads", shim)
	}
	return inspect(out, packages), nil
}

func inspect(code []byte, packages []string) (problems []string) {
	function := ""
	lines := bufio.NewScanner(bytes.NewReader(code))
	for lines.Scan() {
		if m := text.FindStringSubmatch(lines.Text()); m != nil {
			function = m[1]
			if initialiser.MatchString(function) {
				problems = append(problems, function+": initialisation code, which never runs")
			}
			continue
		}
		m := instruction.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		at, bytes, op, operand := m[1], m[2], m[3], m[4]
		if vex(bytes) {
			problems = append(problems, fmt.Sprintf("%s: %s: %s %s uses AVX", function, at, op, operand))
		}
		if op != "CALL" && op != "JMP" {
			continue
		}
		if t := target.FindStringSubmatch(operand); t != nil && !mayCall(t[1], packages) {
			problems = append(problems, fmt.Sprintf("%s: %s: calls %s", function, at, t[1]))
		}
	}
	return problems
}

// vex says whether an instruction begins with a VEX or EVEX prefix. In 64-bit mode
// these bytes mean nothing else; legacy prefixes before them are an error.
func vex(hex string) bool {
	return strings.HasPrefix(hex, "c4") || strings.HasPrefix(hex, "c5") || strings.HasPrefix(hex, "62")
}

func mayCall(name string, packages []string) bool {
	if strings.HasPrefix(name, "main.") || slices.Contains(allowed, name) {
		return true
	}
	return slices.ContainsFunc(packages, func(p string) bool { return strings.HasPrefix(name, p+".") })
}
