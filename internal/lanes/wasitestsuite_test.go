// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/internal/need"
)

// suiteFolders are the preview 1 parts of a wasi-testsuite checkout that holds the
// compiled programs (its branch prod/testsuite-base).
var suiteFolders = []string{
	"tests/assemblyscript/testsuite/wasm32-wasip1",
	"tests/c/testsuite/wasm32-wasip1",
	"tests/rust/testsuite/wasm32-wasip1",
}

// suiteSize is how many programs they held when this lane was written.
const suiteSize = 72

// specification is the JSON next to a program, in the suite's doc/specification.md
// the "legacy" form: the only one that the preview 1 programs use.
type specification struct {
	Args     []string          `json:"args"`
	Root     string            `json:"root"`
	Env      map[string]string `json:"env"`
	ExitCode int               `json:"exit_code"`
	Stdout   *string           `json:"stdout"` // nil is not checked
	Stderr   *string           `json:"stderr"`
}

// TestWASITestsuite runs the programs of the checkout that WASI_TESTSUITE names.
func TestWASITestsuite(t *testing.T) {
	suite := os.Getenv("WASI_TESTSUITE")
	if suite == "" {
		t.Skip("skipped: WASI_TESTSUITE does not name a checkout of github.com/WebAssembly/wasi-testsuite, branch prod/testsuite-base")
	}
	enarx := need.Enarx(t)
	programs := 0
	for _, folder := range suiteFolders {
		found, err := filepath.Glob(filepath.Join(suite, folder, "*.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		programs += len(found)
		language := strings.Split(folder, "/")[1]
		for _, program := range found {
			name := strings.TrimSuffix(filepath.Base(program), ".wasm")
			t.Run(language+"/"+name, func(t *testing.T) {
				t.Parallel()
				runSuiteProgram(t, enarx, program)
			})
		}
	}
	if programs < suiteSize {
		t.Errorf("%s holds %d compiled programs, not %d", suite, programs, suiteSize)
	}
}

func runSuiteProgram(t *testing.T, enarx, program string) {
	spec, err := readSpecification(strings.TrimSuffix(program, ".wasm") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	if spec.Root != "" {
		args = append(args, "--dir", filepath.Join(filepath.Dir(program), spec.Root)+"::/")
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Env)) {
		args = append(args, "--env", key+"="+spec.Env[key])
	}
	args = append(args, program)
	if len(spec.Args) > 0 {
		args = append(append(args, "--"), spec.Args...)
	}
	got := run(t, enarx, need.Scale(2*time.Minute), args...)
	if got.code != spec.ExitCode {
		t.Errorf("exit code %d, not %d", got.code, spec.ExitCode)
	}
	if spec.Stdout != nil && got.stdout != *spec.Stdout {
		t.Errorf("stdout %q, not %q", got.stdout, *spec.Stdout)
	}
	if spec.Stderr != nil && got.stderr != *spec.Stderr {
		t.Errorf("stderr %q, not %q", got.stderr, *spec.Stderr)
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", tail(got.stdout), tail(got.stderr))
	}
}

// readSpecification returns the defaults for a file that is not there. A key that
// is not known here would make the lane check less than the suite asks.
func readSpecification(path string) (specification, error) {
	var spec specification
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return spec, nil
	}
	if err != nil {
		return spec, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return spec, fmt.Errorf("reading %s: %w", path, err)
	}
	return spec, nil
}
