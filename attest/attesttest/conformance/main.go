// SPDX-License-Identifier: Apache-2.0

// Command conformance writes the conformance corpus: evidence that every
// verifier of SNP, SGX and TDX evidence has to accept or to refuse, and why.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"enarx.dev/enarx/attest/attesttest"
)

func main() {
	dir := flag.String("out", "testdata/conformance", "folder to write into; what is in its folder files is replaced")
	flag.Parse()
	if err := write(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "conformance: error:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		return errors.New(dir + " does not look like the corpus: it has no README.md")
	}
	files := filepath.Join(dir, "files")
	if err := os.RemoveAll(files); err != nil {
		return err
	}
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	for name, data := range attesttest.Corpus() {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
