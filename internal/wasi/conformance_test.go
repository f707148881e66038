// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"enarx.dev/enarx/internal/memfs"
)

// suiteEnv names a checkout of github.com/WebAssembly/wasi-testsuite, branch
// prod/testsuite-base, which has the compiled programs.
const suiteEnv = "WASI_TESTSUITE"

type suiteCase struct {
	Args     []string
	Env      map[string]string
	Root     string
	Stdout   *string
	ExitCode uint32 `json:"exit_code"`
}

// TestConformance runs the preview 1 programs of the public test suite. It is
// not committed; host_test.go and its siblings hold the behaviours it checks.
func TestConformance(t *testing.T) {
	suite := os.Getenv(suiteEnv)
	if suite == "" {
		t.Skip("skipped: " + suiteEnv + " does not name a checkout of the wasi-testsuite")
	}
	programs, err := filepath.Glob(filepath.Join(suite, "tests/*/testsuite/wasm32-wasip1/*.wasm"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no programs below %s: %v", suite, err)
	}
	for _, path := range programs {
		lang, _, _ := strings.Cut(strings.TrimPrefix(path, filepath.Join(suite, "tests")+"/"), "/")
		t.Run(lang+"/"+strings.TrimSuffix(filepath.Base(path), ".wasm"), func(t *testing.T) {
			t.Parallel()
			runCase(t, path)
		})
	}
}

func runCase(t *testing.T, path string) {
	var c suiteCase
	spec, err := os.ReadFile(strings.TrimSuffix(path, ".wasm") + ".json")
	if err == nil {
		err = json.Unmarshal(spec, &c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, stderr := tempFile(t), tempFile(t)
	cfg := Config{
		Args:  append([]string{filepath.Base(path)}, c.Args...),
		Files: []File{Stdin(stdin), Stdout(stdout), Stderr(stderr)},
	}
	for k, v := range c.Env {
		cfg.Env = append(cfg.Env, k+"="+v)
	}
	slices.Sort(cfg.Env)
	if c.Root != "" {
		tree := memfs.New(0)
		copyTree(t, tree, filepath.Join(filepath.Dir(path), c.Root))
		cfg.Files = append(cfg.Files, Dir("/", tree, tree.Root(), false))
	}
	code, err := runProgram(t, path, cfg)
	if err != nil {
		t.Error(err)
	}
	if code != c.ExitCode {
		t.Errorf("exit code %d, want %d", code, c.ExitCode)
	}
	if got := contents(t, stdout); c.Stdout != nil && got != *c.Stdout {
		t.Errorf("stdout %q, want %q", got, *c.Stdout)
	}
	if t.Failed() {
		t.Logf("stderr: %s", contents(t, stderr))
	}
}

// runProgram runs a module to its end and returns its exit code.
func runProgram(t *testing.T, path string, cfg Config) (uint32, error) {
	ctx := context.Background()
	wasm, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The interpreter, because compiling costs more than these programs do.
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	h := New(cfg)
	defer h.Close()
	for _, name := range []string{Preview1, Preview0} {
		b := r.NewHostModuleBuilder(name)
		for _, f := range Functions() {
			if f.Module != name {
				continue
			}
			call := api.GoModuleFunc(func(_ context.Context, mod api.Module, stack []uint64) {
				f.Call(h, mod.Memory(), stack)
			})
			b.NewFunctionBuilder().WithGoModuleFunction(call, f.Params, f.Results).Export(f.Name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return 0, err
		}
	}
	_, err = r.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig())
	if exit, ok := errors.AsType[Exit](err); ok {
		return exit.Code, nil
	}
	return 0, err
}

// copyTree loads a directory of the host into a file system.
func copyTree(t *testing.T, to *memfs.FS, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, path)
		if err != nil || rel == "." {
			return err
		}
		if e.IsDir() {
			return to.Mkdir(to.Root(), rel)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFile(to, rel, data)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(fs *memfs.FS, path string, data []byte) error {
	n, err := fs.Open(fs.Root(), path, memfs.Open{Create: true})
	if err != nil {
		return err
	}
	defer n.Release()
	_, err = n.WriteAt(data, 0)
	return err
}

func tempFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
