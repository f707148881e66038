// SPDX-License-Identifier: Apache-2.0

package enarx_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules of the repository that a compiler does not check: what each file
// must say about itself, and that the documents do not promise what is not
// there.

const maxLines = 600

// longFiles are allowed more than maxLines, each for the reason given.
var longFiles = map[string]string{}

// readFiles returns the text of every file for which want says yes, by slash
// path relative to the top folder.
func readFiles(t *testing.T, want func(rel string) bool) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := walk(".", func(rel string) error {
		if !want(rel) {
			return nil
		}
		text, err := os.ReadFile(filepath.FromSlash(rel))
		files[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no file found: the test looks in the wrong place")
	}
	return files
}

func hasExt(exts ...string) func(string) bool {
	return func(rel string) bool { return slices.Contains(exts, path.Ext(rel)) }
}

func inOrder(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }

func TestSPDX(t *testing.T) {
	source := hasExt(".go", ".sh", ".s", ".S", ".c", ".h", ".ts", ".wat")
	byName := []string{"Makefile", ".ci/run"}
	files := readFiles(t, func(rel string) bool {
		return path.Base(rel) != "go.mod" && (source(rel) || slices.Contains(byName, rel) || path.Base(rel) == "Makefile")
	})
	for _, rel := range inOrder(files) {
		lines := bytes.SplitN(files[rel], []byte("\n"), 6)
		head := bytes.Join(lines[:min(5, len(lines))], []byte("\n"))
		if !bytes.Contains(head, []byte("SPDX-License-Identifier: Apache-2.0")) {
			t.Errorf("%s: no SPDX-License-Identifier line in the first five", rel)
		}
	}
}

func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for rel, text := range readFiles(t, hasExt(".go")) {
		pkg := path.Dir(rel)
		f, err := parser.ParseFile(token.NewFileSet(), rel, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("parsing %s: %v", rel, err)
			continue
		}
		if strings.HasSuffix(rel, "_test.go") {
			continue
		}
		documented[pkg] = documented[pkg] || startsWell(f)
	}
	for _, pkg := range slices.Sorted(maps.Keys(documented)) {
		if !documented[pkg] {
			t.Errorf("package %s has no package comment that starts with its name", pkg)
		}
	}
}

// startsWell reports whether f carries a package comment as godoc wants it.
// A command's starts with the name of the program instead.
func startsWell(f *ast.File) bool {
	text := f.Doc.Text()
	return text != "" && (f.Name.Name == "main" || strings.HasPrefix(text, "Package "+f.Name.Name+" "))
}

func TestFileLength(t *testing.T) {
	files := readFiles(t, hasExt(".go"))
	for _, rel := range inOrder(files) {
		lines := bytes.Count(files[rel], []byte("\n"))
		if _, listed := longFiles[rel]; lines > maxLines && !listed {
			t.Errorf("%s has %d lines: split it, or list it in longFiles with the reason", rel, lines)
		}
	}
	for rel := range longFiles {
		if bytes.Count(files[rel], []byte("\n")) <= maxLines {
			t.Errorf("%s is in longFiles and not long", rel)
		}
	}
}

// directives returns the lines of a go.mod that belong to the given verb,
// whether in a block or alone, without the verb.
func directives(text []byte, verb string) []string {
	var found []string
	inBlock := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch rest, one := strings.CutPrefix(line, verb+" "); {
		case line == verb+" (":
			inBlock = true
		case line == ")":
			inBlock = false
		case one:
			found = append(found, rest)
		case inBlock && line != "" && !strings.HasPrefix(line, "//"):
			found = append(found, line)
		}
	}
	return found
}

func TestModules(t *testing.T) {
	mods := readFiles(t, func(rel string) bool { return path.Base(rel) == "go.mod" })
	for _, rel := range inOrder(mods) {
		for _, line := range directives(mods[rel], "replace") {
			// A module of this repository may reach another by its folder.
			if _, target, _ := strings.Cut(line, "=> "); rel == "go.mod" || !strings.HasPrefix(target, "../") {
				t.Errorf("%s: replace %s: builds must not depend on a local edit", rel, line)
			}
		}
	}
	rationale, err := os.ReadFile("docs/rationale.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range directives(mods["go.mod"], "require") {
		name, rest, _ := strings.Cut(line, " ")
		if !strings.Contains(rest, "// indirect") && !bytes.Contains(rationale, []byte(name)) {
			t.Errorf("go.mod requires %s, and docs/rationale.md does not say why", name)
		}
	}
}

var (
	fence    = regexp.MustCompile("(?ms)^```.*?^```")
	code     = regexp.MustCompile("`[^`\n]+`")
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
)

func TestLinks(t *testing.T) {
	files := readFiles(t, hasExt(".md"))
	for _, rel := range inOrder(files) {
		prose := code.ReplaceAll(fence.ReplaceAll(files[rel], nil), nil)
		for _, m := range link.FindAllSubmatch(prose, -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, ":") {
				continue // a heading of the same page, or another server
			}
			if _, err := os.Stat(filepath.Join(path.Dir(rel), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", rel, m[1])
			}
		}
	}
}

// A document that says which test holds a claim must not outlive the test.
func TestNamedTestsExist(t *testing.T) {
	exists := map[string]bool{}
	for _, text := range readFiles(t, hasExt(".go")) {
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			exists[string(m[1])] = true
		}
	}
	files := readFiles(t, hasExt(".md"))
	for _, rel := range inOrder(files) {
		for _, span := range code.FindAll(fence.ReplaceAll(files[rel], nil), -1) {
			for _, name := range testName.FindAll(span, -1) {
				if !exists[string(name)] {
					t.Errorf("%s names %s, which is no test of this repository", rel, name)
				}
			}
		}
	}
}
