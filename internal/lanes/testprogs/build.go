// SPDX-License-Identifier: Apache-2.0

package testprogs

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// sources are compiled by Build. They are embedded so that their digest can tell an
// old executable from a current one.
//
//go:embed c go
var sources embed.FS

// Build compiles all programs into dir and returns the list of runs. What dir holds
// from before is used if its sources and the Go release are the same. A program whose
// tools are not installed is in the list all the same, with Missing set.
func Build(ctx context.Context, dir string) ([]Program, error) {
	_, here, _, _ := runtime.Caller(0)
	b := builder{ctx: ctx, dir: dir, root: filepath.Dir(here)}
	programs := Programs()
	for i := range programs {
		p := &programs[i]
		path, err := b.build(p.Name)
		if missing, ok := errors.AsType[missingError](err); ok {
			p.Missing = string(missing)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", p.Name, err)
		}
		p.Path = path
	}
	return programs, nil
}

// missingError names a tool that is not installed.
type missingError string

func (e missingError) Error() string { return string(e) }

type builder struct {
	ctx       context.Context
	dir, root string
}

// build makes the executable of a program's name, or finds it made.
func (b *builder) build(name string) (string, error) {
	kind, rest, _ := strings.Cut(name, "/")
	// "signals:abort" is another run of "signals".
	base, _, _ := strings.Cut(rest, ":")
	key, err := digest(kind, base)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, kind, base+"-"+key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	// A half-made file under the final name would be taken for a complete one, and
	// somebody else may be building the same.
	work, err := os.MkdirTemp(filepath.Dir(path), "building-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	fresh := filepath.Join(work, base)
	switch kind {
	case "musl":
		err = b.musl(fresh, base)
	case "musl-pie":
		err = b.muslPIE(fresh, base)
	case "go", "go-pie":
		mode := map[string]string{"go": "exe", "go-pie": "pie"}[kind]
		err = b.golang("build", "-trimpath", "-buildmode="+mode, "-ldflags=-s -w", "-o", fresh, "./go/"+base)
	case "std":
		// Time zones are in the program: a Keep has no files of them.
		err = b.golang("test", "-c", "-vet=off", "-tags=timetzdata", "-ldflags=-s -w", "-o", fresh, strings.ReplaceAll(base, "_", "/"))
	default:
		err = fmt.Errorf("bug: no way to build %q", kind)
	}
	if err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path)
}

// digest is of everything that a program is made from, as far as it may change. The
// names of tests change with the Go release.
func digest(kind, base string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, kind, base, runtime.Version(), muslFlags, muslPIEScript)
	folder := map[string]string{"musl": "c", "musl-pie": "c", "go": "go/" + base, "go-pie": "go/" + base}[kind]
	if folder == "" {
		return hex.EncodeToString(h.Sum(nil)[:6]), nil
	}
	files, err := fs.Glob(sources, folder+"/*")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		if folder == "c" && filepath.Base(file) != base+".c" && filepath.Ext(file) == ".c" {
			continue
		}
		text, err := sources.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", file, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

var muslFlags = []string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-D_GNU_SOURCE"}

// musl makes a static executable at a fixed address.
func (b *builder) musl(out, base string) error {
	args := append(slices.Clone(muslFlags), "-static", "-no-pie", "-fno-pie", "-o", out, filepath.Join(b.root, "c", base+".c"))
	return b.run(b.root, nil, "musl-gcc", args...)
}

// muslPIEScript links a static PIE. Debian's musl-gcc takes -static-pie and makes a
// dynamic executable all the same, so the linker is called by hand.
const muslPIEScript = `set -e
for d in /usr/lib/x86_64-linux-musl /usr/lib/musl/lib /usr/local/musl/lib; do [ ! -e $d/rcrt1.o ] || lib=$d; done
ld -static -pie --no-dynamic-linker -z text -z relro -z now -z noexecstack -o "$1" $lib/rcrt1.o $lib/crti.o "$2" \
	--start-group $lib/libc.a "$(musl-gcc -print-libgcc-file-name)" --end-group $lib/crtn.o`

func (b *builder) muslPIE(out, base string) error {
	object := out + ".o"
	args := append(slices.Clone(muslFlags), "-fPIE", "-c", "-o", object, filepath.Join(b.root, "c", base+".c"))
	if err := b.run(b.root, nil, "musl-gcc", args...); err != nil {
		return err
	}
	if _, err := exec.LookPath("ld"); err != nil {
		return missingError("ld is not installed: run `make setup`")
	}
	return b.run(b.root, nil, "sh", "-c", muslPIEScript, "sh", out, object)
}

func (b *builder) golang(args ...string) error {
	return b.run(b.root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS="}, "go", args...)
}

func (b *builder) run(dir string, env []string, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return missingError(name + " is not installed: run `make setup`")
	}
	cmd := exec.CommandContext(b.ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}
