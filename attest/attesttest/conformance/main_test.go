// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err == nil {
		t.Error("written into a folder that is not the corpus's")
	}
	old := filepath.Join(dir, "files", "old.csr")
	if err := os.Mkdir(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "README.md"), old} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("a file that is not in the corpus is still there")
	}
	if names, err := os.ReadDir(filepath.Dir(old)); err != nil || len(names) < 500 {
		t.Errorf("%d files, %v", len(names), err)
	}
}
