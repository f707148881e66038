// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/workload"
)

// launch is a Launch of the named guest half, with a module of a few bytes.
func launch(t *testing.T, args ...string) Launch {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.wasm")
	if err := os.WriteFile(path, append([]byte("\x00asm"), make([]byte, minModule)...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return Launch{Image: image(t), Module: f, Name: path, Args: args}
}

// run runs l to its end and returns what it wrote.
func run(t *testing.T, l Launch) (out string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l.Stdio[1], l.Stdio[2] = w, w
	k, err := Start(t.Context(), l)
	w.Close()
	if err != nil {
		return "", 1, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	code, err = k.Wait()
	return string(data), code, err
}

func TestExitCodes(t *testing.T) {
	for _, want := range []int{0, 1, 42, 125, 134, 255} {
		if out, code, err := run(t, launch(t, "exit", strconv.Itoa(want))); code != want || err != nil {
			t.Errorf("exit %d: got %d, %v, %s", want, code, err, out)
		}
	}
}

// TestBirth checks what a Keep's process has: the declared descriptors, no
// environment, and the layers around it.
func TestBirth(t *testing.T) {
	// A descriptor that somebody forgot to mark close-on-exec.
	fd, err := unix.FcntlInt(0, unix.F_DUPFD, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l := launch(t, "look")
	l.Name = "app\x1b[31m.wasm"
	out, code, err := run(t, l)
	if code != 0 || err != nil {
		t.Fatal(code, err, out)
	}
	for _, want := range []string{
		`args ["enarx-exec"] env [] nnp 1 core 0`,
		"passwd true hosts true",
		`name "app?[31m.wasm"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("guest does not say %q:\n%s", want, out)
		}
	}
	var fds []string
	for line := range strings.Lines(out) {
		if s, ok := strings.CutPrefix(line, "fd "); ok {
			fds = append(fds, strings.TrimSpace(s))
		}
	}
	if got := strings.Join(fds, " "); got != "0 1 2 3 4" {
		t.Errorf("descriptors %s, want 0 1 2 3 4:\n%s", got, out)
	}
}

func TestFiles(t *testing.T) {
	l := launch(t, "module")
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
		t.Errorf("got %q, %d, %v", out, code, err)
	}
}

func TestDirs(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"small": 3, "large": 3 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := launch(t, "tar")
	l.Dirs = []Dir{{Host: dir, Guest: "/data"}, {Host: t.TempDir(), Guest: "/empty"}}
	var warnings []string
	l.Warn = func(text string) { warnings = append(warnings, text) }
	out, code, err := run(t, l)
	if code != 0 || err != nil {
		t.Fatal(code, err, out)
	}
	for _, want := range []string{"/data: small 3\n", "/data: large 3145728\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("guest does not list %q:\n%s", want, out)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "fifo") {
		t.Errorf("warnings %q", warnings)
	}
	l.Dirs = []Dir{{Host: "/no/such/directory", Guest: "/data"}}
	if _, _, err := run(t, l); !errors.Is(err, ErrCopy) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestKilled(t *testing.T) {
	_, code, err := run(t, launch(t, "kill"))
	if code != 1 || !errors.Is(err, ErrKilled) || !strings.Contains(err.Error(), "SIGKILL") || diag.HintOf(err) == "" {
		t.Errorf("%d, %v, hint %q", code, err, diag.HintOf(err))
	}
	// Go programs do not die of most signals sent to them, but may of their own.
	for _, sig := range []unix.Signal{unix.SIGSYS, unix.SIGSEGV, unix.SIGXCPU} {
		code, err := exit(unix.WaitStatus(sig))
		if code != 1 || !errors.Is(err, ErrKilled) || !strings.Contains(err.Error(), unix.SignalName(sig)) {
			t.Errorf("%v: %d, %v", sig, code, err)
		}
		if hint := diag.HintOf(err); (hint == "") != (sig == unix.SIGXCPU) {
			t.Errorf("%v: hint %q", sig, hint)
		}
	}
}

// hanging starts a guest that does not end, and returns when it runs.
func hanging(t *testing.T, ctx context.Context, name string) *Keep {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := launch(t, name)
	l.Stdio[1] = w
	k, err := Start(ctx, l)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	return k
}

func TestStop(t *testing.T) {
	k := hanging(t, t.Context(), "hang")
	k.Stop(time.Hour)
	if code, err := k.Wait(); code != 128+int(unix.SIGTERM) || err != nil {
		t.Errorf("asked to stop: %d, %v", code, err)
	}
	k = hanging(t, t.Context(), "ignore")
	k.Stop(10 * time.Millisecond)
	if _, err := k.Wait(); !errors.Is(err, ErrKilled) {
		t.Errorf("made to stop: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k = hanging(t, ctx, "hang")
	cancel()
	if _, err := k.Wait(); !errors.Is(err, ErrKilled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBadImage(t *testing.T) {
	l := launch(t, "exit", "0")
	l.Image = []byte("not an ELF file")
	if _, _, err := run(t, l); !errors.Is(err, ErrStart) || !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("not an ELF file: %v", err)
	}
	l.Image = nil
	l.Backend = "kvm"
	if _, _, err := run(t, l); !errors.Is(err, ErrUnavailable) {
		t.Errorf("kvm: %v", err)
	}
}

func TestBadHandover(t *testing.T) {
	l := launch(t, "exit", "0")
	l.Env = []string{"no equals sign"}
	if _, _, err := run(t, l); !errors.Is(err, ErrHand) || errors.Is(err, ErrKilled) {
		t.Errorf("got %v", err)
	}
}

// TestOrphan kills a process that has a Keep: the Keep must go with it.
func TestOrphan(t *testing.T) {
	l := launch(t, "hang")
	exe := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(exe, l.Image, 0o700); err != nil {
		t.Fatal(err)
	}
	host := exec.Command("/proc/self/exe")
	host.Env = []string{"LOADER_TEST_ORPHAN=" + exe}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "pid")))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(line, err)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The guest holds the pipe's other end: its end is the end of the file.
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := host.Wait(); err == nil {
		t.Error("the host ended well")
	}
	t.Logf("the guest was process %d", pid)
}

// orphan is the process that TestOrphan kills.
func orphan() {
	data, err := os.ReadFile(os.Getenv("LOADER_TEST_ORPHAN"))
	if err != nil {
		panic(err)
	}
	k, err := Start(context.Background(), Launch{Image: data, Module: os.Stdin, Args: []string{"hang"}})
	if err != nil {
		panic(err)
	}
	k.Wait()
	os.Exit(0)
}

func TestAccess(t *testing.T) {
	if a := access(nil); len(a.Read)+len(a.BindTCP)+len(a.ConnectTCP) != 0 {
		t.Errorf("without a config: %+v", a)
	}
	a := access(&workload.Config{Files: []workload.File{
		{Kind: workload.KindListen, Port: 8443}, {Kind: workload.KindConnect, Host: "db", Port: 5432}}})
	if len(a.Read) != 3 || len(a.BindTCP) != 2 || len(a.ConnectTCP) != 2 {
		t.Errorf("listen and connect: %+v", a)
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name string
		tee  bool
		want Backend
		err  error
	}{
		{"", false, Nil, nil},
		{"", true, "", ErrNoTEE},
		{"nil", false, Nil, nil},
		{"nil", true, "", ErrNoTEE},
		{"kvm", false, "", ErrUnavailable},
		{"sgx", true, "", ErrUnavailable},
		{"tdx", false, "", ErrUnknownBackend},
	} {
		got, err := Choose(c.name, c.tee)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Choose(%q, %v) = %q, %v", c.name, c.tee, got, err)
		}
		if err != nil && diag.HintOf(err) == "" {
			t.Errorf("Choose(%q, %v): no hint: %v", c.name, c.tee, err)
		}
	}
}
