// SPDX-License-Identifier: Apache-2.0

package enarx_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// source is one Go file with its imports.
type source struct {
	file    string // slash path relative to the top folder
	pkg     string // its folder
	test    bool
	imports []string
}

// ownModule reports whether the folder holds a go.mod of its own, and so is
// not part of this module.
func ownModule(root, rel string) bool {
	if rel == "." {
		return false
	}
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(rel), "go.mod"))
	return err == nil
}

// walk calls visit for every file of the source tree, build outputs and
// installed npm packages left out, with its slash path relative to root.
func walk(root string, visit func(rel string) error) error {
	return fs.WalkDir(os.DirFS(root), ".", func(rel string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return visit(rel)
		}
		hidden := strings.HasPrefix(d.Name(), ".") && rel != "." && rel != ".ci"
		if hidden || d.Name() == "node_modules" || rel == "build" || rel == "bin" {
			return fs.SkipDir
		}
		return nil
	})
}

// readSources parses the imports of every Go file of the module under root,
// except those below a folder named testdata.
func readSources(root string) ([]source, error) {
	var all []source
	foreign := map[string]bool{}
	err := walk(root, func(rel string) error {
		dir := path.Dir(rel)
		if path.Ext(rel) != ".go" || slices.Contains(strings.Split(dir, "/"), "testdata") {
			return nil
		}
		for d := dir; d != "."; d = path.Dir(d) {
			if _, known := foreign[d]; !known {
				foreign[d] = ownModule(root, d)
			}
			if foreign[d] {
				return nil
			}
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, rel), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{file: rel, pkg: dir, test: strings.HasSuffix(rel, "_test.go")}
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", rel, imp.Path.Value, err)
			}
			s.imports = append(s.imports, name)
		}
		all = append(all, s)
		return nil
	})
	return all, err
}
