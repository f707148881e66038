// SPDX-License-Identifier: Apache-2.0

// Show prints how much of a Keep the shim is: the size of its file, the lines of
// source that run at CPL 0, and the pages of memory that it starts with.
//
// usage: show SHIM
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"enarx.dev/enarx/internal/loader/layout"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: show SHIM")
		os.Exit(2)
	}
	if err := show(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "show:", err)
		os.Exit(1)
	}
}

func show(path string) error {
	shim, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	img, err := layout.New(shim, 1)
	if err != nil {
		return err
	}
	goLines, asmLines, err := source()
	if err != nil {
		return err
	}
	fmt.Printf("shim: %d KiB; %d lines of Go and %d of assembly at CPL 0 (no blank lines, comments or tests); "+
		"pages: %d measured, %d zero, %d from the host\n", len(shim)>>10, goLines, asmLines,
		img.Pages(layout.Normal), img.Pages(layout.Zero), img.Pages(layout.Unmeasured))
	return nil
}

// source counts the lines of our packages that the shim links.
func source() (goLines, asmLines int, err error) {
	list := exec.Command("go", "list", "-deps", "-f",
		`{{if not .Standard}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .SFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}`,
		"./internal/shim/kvm")
	out, err := list.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", list, err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, 0, err
		}
		if filepath.Ext(file) == ".go" {
			goLines += lines(data)
		} else {
			asmLines += lines(data)
		}
	}
	return goLines, asmLines, nil
}

func lines(src []byte) (n int) {
	for s := bufio.NewScanner(bytes.NewReader(src)); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}
