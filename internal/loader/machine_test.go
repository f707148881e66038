// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/keep"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/workload"
)

// kvmLaunch is launch in a virtual machine. The guest half is this test binary,
// above the real shim.
func kvmLaunch(t *testing.T, args ...string) Launch {
	t.Helper()
	need.KVM(t)
	l := launch(t, args...)
	l.Backend = KVM
	return l
}

func TestKVMExitCodes(t *testing.T) {
	for _, want := range []int{0, 1, 42, 134, 255} {
		if out, code, err := run(t, kvmLaunch(t, "exit", strconv.Itoa(want))); code != want || err != nil {
			t.Errorf("exit %d: got %d, %v, %s", want, code, err, out)
		}
	}
}

// TestKVMFiles hands a module, a config and directories over to a machine.
func TestKVMFiles(t *testing.T) {
	l := kvmLaunch(t, "module")
	conf := filepath.Join(t.TempDir(), "Enarx.toml")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l.Config = f
	l.Folder = t.TempDir()
	l.Workload = &workload.Config{Files: []workload.File{{Kind: workload.KindDir, Path: "/data", From: "data"}}}
	out, code, err := run(t, l)
	if want := "\"\\x00asm\" 4100 <nil> conf 5 tree true\n"; out != want || code != 0 || err != nil {
		t.Errorf("got %q, %d, %v; want %q", out, code, err, want)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l = kvmLaunch(t, "tar")
	l.Dirs = []Dir{{Host: dir, Guest: "/d"}}
	out, code, err = run(t, l)
	if want := "/d: big 3145728\n"; !strings.HasSuffix(out, want) || code != 0 || err != nil {
		t.Errorf("got %q, %d, %v; want %q", out, code, err, want)
	}
}

// TestKVMCancel ends machines from this side, by their context and by Stop.
func TestKVMCancel(t *testing.T) {
	for name, end := range map[string]func(*Keep, context.CancelFunc){
		"context": func(_ *Keep, cancel context.CancelFunc) { cancel() },
		"stop":    func(k *Keep, _ context.CancelFunc) { k.Stop(time.Hour) },
	} {
		l := kvmLaunch(t, "hang")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		l.Stdio[1] = w
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		k, err := Start(ctx, l)
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		end(k, cancel)
		code, err := k.Wait()
		if code != 137 || !errors.Is(err, ErrKilled) || !errors.Is(err, keep.ErrKilled) {
			t.Errorf("%s: %d, %v", name, code, err)
		}
	}
}

// exitELF is a program of three instructions: exit_group(7).
func exitELF(t *testing.T) *os.File {
	t.Helper()
	const base, code = 0x40_0000, 0x78
	var b bytes.Buffer
	for _, v := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, uint16(2), uint16(62), uint32(1), uint64(base + code), uint64(64), uint64(0),
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), uint64(code + 12), uint64(code + 12), uint64(0x1000),
		[12]byte{0xb8, 231, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05}, // mov $231,%eax; mov $7,%edi; syscall
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "exit")
	if err := os.WriteFile(path, b.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// traces is what a Keep could leave behind in this process and in the kernel.
type traces struct {
	descriptors, threads int
	machines             string
}

func state(t *testing.T) traces {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	return traces{count("/proc/self/fd"), count("/proc/self/task"), machines(t)}
}

// more says whether now shows more than before. The Go runtime itself may have
// a thread or two more, or fewer.
func (before traces) more(now traces) bool {
	return now.descriptors > before.descriptors || now.threads > before.threads+2 || now.machines != before.machines
}

// machines is how many users the kernel's KVM module has.
func machines(t *testing.T) string {
	t.Helper()
	for _, module := range []string{"kvm_amd", "kvm_intel"} {
		if data, err := os.ReadFile("/sys/module/" + module + "/refcnt"); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	return "unknown" // KVM is built in
}

// resident is the anonymous memory of this process, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "RssAnon:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestKVMLeavesNothing starts 200 Keeps one after another.
func TestKVMLeavesNothing(t *testing.T) {
	need.KVM(t)
	program := exitELF(t)
	once := func() {
		k, err := Exec(t.Context(), Program{Backend: KVM, File: program, Args: []string{"exit"}})
		if err != nil {
			t.Fatal(err)
		}
		if code, err := k.Wait(); code != 7 || err != nil {
			t.Fatal(code, err)
		}
	}
	for range 10 { // so that the Go runtime has the threads and the heap that it wants
		once()
	}
	runtime.GC()
	before, memory := state(t), resident(t)
	for range 200 {
		once()
	}
	runtime.GC()
	for range 50 { // a thread is gone a moment after its goroutine
		if !before.more(state(t)) {
			break
		}
		time.Sleep(need.Scale(20 * time.Millisecond))
	}
	if after := state(t); before.more(after) {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
	if grown := resident(t) - memory; grown > 16<<20 {
		t.Errorf("200 Keeps left %d bytes of memory behind", grown)
	}
}

// TestKVMKilled kills the whole process that holds a Keep, at any moment.
func TestKVMKilled(t *testing.T) {
	need.KVM(t)
	enarx := need.Enarx(t)
	hello := filepath.Join(need.Root(t), "build/examples/hello-wat/main.wasm")
	if _, err := os.Stat(hello); err != nil {
		need.Missing(t, hello+" is not built: run `make examples`")
	}
	before := machines(t)
	for range 20 {
		cmd := exec.Command(enarx, "run", "--backend", "kvm", hello)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = io.Discard, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(need.Scale(100 * time.Millisecond)))
		if err := cmd.Process.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
			t.Fatalf("%v\n%s", err, stderr.Bytes())
		}
	}
	for range 100 {
		if machines(t) == before {
			return
		}
		time.Sleep(need.Scale(10 * time.Millisecond))
	}
	t.Errorf("virtual machines: %s before, %s after", before, machines(t))
}

func TestExecRefuses(t *testing.T) {
	f := exitELF(t)
	if _, err := Exec(t.Context(), Program{Backend: Nil, File: f, Args: []string{"x"}}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nil: %v", err)
	}
	if _, err := Exec(t.Context(), Program{Backend: SGX, File: f, Args: []string{"x"}}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("sgx: %v", err)
	}
	need.KVM(t)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	empty, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	for _, f := range []*os.File{dir, empty} {
		if _, err := Exec(t.Context(), Program{Backend: KVM, File: f, Args: []string{"x"}}); !errors.Is(err, ErrImage) {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script, err := os.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	k, err := Exec(t.Context(), Program{Backend: KVM, File: script, Args: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := k.Wait(); code != keep.ProgramCode || !errors.Is(err, keep.ErrProgram) || !strings.Contains(err.Error(), "it is not an ELF file") {
		t.Errorf("a script: %d, %v", code, err)
	}
}
