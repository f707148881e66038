// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/sallyport"
)

// programDir is where programs has put them, "" before.
var programDir string

// programs builds real executables once: name to path.
var programs = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "program-test-*")
	if err != nil {
		return nil, err
	}
	programDir = dir
	found := map[string]string{}
	goSource := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(goSource, []byte("package main\n\nvar table [70000]byte\n\nfunc main() { println(\"hello\", table[1]) }\n"), 0o600); err != nil {
		return nil, err
	}
	for name, mode := range map[string]string{"go": "exe", "go-pie": "pie"} {
		found[name] = filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-buildmode="+mode, "-o", found[name], goSource)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, &buildError{name, string(out), err}
		}
	}
	if _, err := exec.LookPath("musl-gcc"); err != nil {
		return found, nil
	}
	source := filepath.Join(dir, "hello.c")
	text := "#include <stdio.h>\nint big[9000], here = 5;\nint *there = &here;\nint main(void) { printf(\"hello %d\\n\", *there + big[1]); return 0; }\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// musl-gcc's -static-pie makes a dynamic PIE: the linker is called by hand.
	script := `set -e; cd ` + dir + `; musl-gcc -O2 -static -o musl hello.c; musl-gcc -O2 -fPIE -c -o hello.o hello.c
		for d in /usr/lib/x86_64-linux-musl /usr/lib/musl/lib /usr/local/musl/lib; do [ ! -e $d/rcrt1.o ] || lib=$d; done
		ld -static -pie --no-dynamic-linker -z text -z relro -z now -o musl-pie $lib/rcrt1.o $lib/crti.o hello.o \
			--start-group $lib/libc.a $(musl-gcc -print-libgcc-file-name) --end-group $lib/crtn.o
		musl-gcc -O2 -o musl-dynamic hello.c`
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return nil, &buildError{"musl", string(out), err}
	}
	for _, name := range []string{"musl", "musl-pie", "musl-dynamic"} {
		found[name] = filepath.Join(dir, name)
	}
	return found, nil
})

type buildError struct {
	name, output string
	err          error
}

func (e *buildError) Error() string {
	return "building " + e.name + ": " + e.err.Error() + "\n" + e.output
}

// realProgram returns the bytes of one of programs.
func realProgram(t *testing.T, name string) []byte {
	t.Helper()
	found, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	if found[name] == "" {
		need.Tool(t, "musl-gcc")
	}
	b, err := os.ReadFile(found[name])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	os.Exit(code)
}

// TestReal compares what parse says about real programs with debug/elf.
func TestReal(t *testing.T) {
	for name, relocates := range map[string]bool{"go": false, "go-pie": true, "musl": false, "musl-pie": false} {
		t.Run(name, func(t *testing.T) {
			b := realProgram(t, name)
			f, err := elf.NewFile(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			var l layout
			if err := parse(b, &l); err != sallyport.LoadOK {
				t.Fatal(err.Text())
			}
			var want []segment
			for _, p := range f.Progs {
				if p.Type == elf.PT_LOAD {
					want = append(want, segment{p.Vaddr, p.Memsz, p.Off, p.Filesz, protection(uint64(p.Flags))})
				}
			}
			if diff := cmp.Diff(want, l.segments[:l.count], cmp.AllowUnexported(segment{})); diff != "" {
				t.Error(diff)
			}
			if l.entry != f.Entry || l.moves != (f.Type == elf.ET_DYN) || l.number != uint64(len(f.Progs)) {
				t.Errorf("entry %#x, moves %v, %d headers", l.entry, l.moves, l.number)
			}
			if at, ok := l.inFile(l.headers, l.number*phentSize); !ok || at != headerSize {
				t.Errorf("the headers at %#x are at %d in the file", l.headers, at)
			}
			r, code := findRelocations(b, &l)
			if code != sallyport.LoadOK || (r.count > 0) != relocates {
				t.Errorf("%d relocations, %s", r.count, code.Text())
			}
		})
	}
	t.Run("musl-dynamic", func(t *testing.T) {
		b := realProgram(t, "musl-dynamic")
		var l layout
		if err := parse(b, &l); err != sallyport.LoadOK {
			t.Fatal(err.Text())
		}
		if _, err := findRelocations(b, &l); err != sallyport.LoadShared {
			t.Errorf("%s", err.Text())
		}
	})
}
