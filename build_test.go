// SPDX-License-Identifier: Apache-2.0

package enarx_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/need"
)

// TestBuilt looks at what `make build` left: programs that need no other file,
// and the Keep's one inside the other.
func TestBuilt(t *testing.T) {
	const image = "internal/images/bin/enarx-exec"
	enarx := need.Enarx(t)
	for _, path := range []string{enarx, image} {
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
			t.Errorf("%s is not static", path)
		}
	}
	whole, err := os.ReadFile(enarx)
	if err != nil {
		t.Fatal(err)
	}
	part, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := os.ReadFile(image + ".sha256")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(whole, part) {
		t.Errorf("%s does not embed the present %s: run `make build`", enarx, image)
	}
	if sum := sha256.Sum256(part); hex.EncodeToString(sum[:]) != strings.TrimSpace(string(digest)) {
		t.Errorf("%s.sha256 is of another file", image)
	}
}
