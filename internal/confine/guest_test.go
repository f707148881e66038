// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

const guestEnv = "CONFINE_TEST_GUEST"

// inChild runs guest in a process of its own, since nothing here can be taken
// back: the same test in a second copy of the test binary. The host half
// continues, after the child has succeeded, with what it printed.
func inChild(t *testing.T, guest func() error) string {
	t.Helper()
	if os.Getenv(guestEnv) == t.Name() {
		if err := guest(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	cmd := exec.Command(guestBinary(t), "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = []string{guestEnv + "=" + t.Name()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("guest: %v\n%s", err, out)
	}
	return string(out)
}

// guestBinary is this test binary as enarx-exec is built: without cgo, since
// the list is what Go's runtime needs, and not what the C library does.
func guestBinary(t *testing.T) string {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		return "/proc/self/exe"
	}
	path, err := staticBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binaryDir string

var staticBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "confine-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "guest")
	build := exec.Command("go", "test", "-c", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the guest: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

func needSeccomp(t *testing.T) {
	t.Helper()
	if !hasSeccomp() {
		t.Skip("skipped: this kernel has no seccomp filters")
	}
}

func expect(errs *[]error, what string, got, want error) {
	if !errors.Is(got, want) {
		*errs = append(*errs, fmt.Errorf("%s: got %v, want %v", what, got, want))
	}
}

// call makes a raw system call with small integer arguments.
func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func TestSelfRefuses(t *testing.T) {
	needSeccomp(t)
	inChild(t, func() (err error) {
		// A thread that exists already must be caught too.
		var other sync.WaitGroup
		ready, installed := make(chan bool), make(chan bool)
		var errs []error
		other.Go(func() {
			runtime.LockOSThread()
			ready <- true
			<-installed
			expect(&errs, "execve on an older thread", call(unix.SYS_EXECVE), unix.ENOSYS)
		})
		<-ready
		guard, err := Self()
		if err != nil || guard != BySeccomp {
			return fmt.Errorf("Self() = %q, %v", guard, err)
		}
		close(installed)
		other.Wait()

		expect(&errs, "execve", syscall.Exec("/bin/true", nil, nil), unix.ENOSYS)
		expect(&errs, "ptrace", call(unix.SYS_PTRACE), unix.ENOSYS)
		expect(&errs, "memfd_create", call(unix.SYS_MEMFD_CREATE), unix.ENOSYS)
		expect(&errs, "unlink", os.Remove("/tmp/confine-no-such-file"), unix.ENOSYS)
		expect(&errs, "seccomp", call(unix.SYS_SECCOMP), unix.ENOSYS)
		expect(&errs, "x32 getpid", call(unix.SYS_GETPID|x32Bit), unix.ENOSYS)
		expect(&errs, "fork", call(unix.SYS_FORK), unix.ENOSYS)
		expect(&errs, "a new process", call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)), unix.EINVAL)
		_, oerr := os.OpenFile("/tmp/confine-new-file", os.O_CREATE|os.O_WRONLY, 0o600)
		expect(&errs, "create", oerr, unix.EACCES)
		_, serr := os.Stat("/")
		expect(&errs, "stat", serr, unix.ENOENT)
		_, merr := unix.Mmap(-1, 0, 4096, prot, anon)
		expect(&errs, "mmap W+X", merr, unix.EACCES)
		mem, merr := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, anon)
		expect(&errs, "mmap", merr, nil)
		expect(&errs, "mprotect W+X", unix.Mprotect(mem, prot), unix.EACCES)
		expect(&errs, "mprotect R+X", unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC), nil)
		expect(&errs, "kill", syscall.Kill(os.Getppid(), 0), unix.ESRCH)
		expect(&errs, "kill itself", syscall.Kill(os.Getpid(), 0), nil)
		_, nerr := net.Dial("unix", "/run/no-such-socket")
		expect(&errs, "a Unix socket", nerr, unix.EAFNOSUPPORT)
		expect(&errs, "TIOCSTI", call(unix.SYS_IOCTL, 0, unix.TIOCSTI), unix.ENOTTY)
		expect(&errs, "raising a limit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), unix.EPERM)
		// A second filter is the shim's case: the answer is ENOSYS.
		if guard, err = Self(); err != nil || guard != ByShim {
			errs = append(errs, fmt.Errorf("second Self() = %q, %v", guard, err))
		}
		return errors.Join(errs...)
	})
}

// TestSelfServes is the test of truth for the list: the things enarx-exec is
// made of work under it.
func TestSelfServes(t *testing.T) {
	needSeccomp(t)
	out := inChild(t, func() error {
		guard, err := Self()
		if err != nil || guard != BySeccomp {
			return fmt.Errorf("Self() = %q, %v", guard, err)
		}
		for _, part := range []struct {
			name string
			do   func() error
		}{{"threads", threads}, {"network", network}, {"engine", engine}, {"files", files}} {
			if err := part.do(); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
		runtime.GC()
		fmt.Println("all served")
		return nil
	})
	if !strings.Contains(out, "all served") {
		t.Errorf("guest printed %q", out)
	}
}

// threads makes OS threads, sleeps on them, and lets the runtime preempt one.
func threads() error {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			runtime.LockOSThread()
			for end := time.Now().Add(15 * time.Millisecond); time.Now().Before(end); {
			}
			time.Sleep(time.Millisecond)
		})
	}
	wg.Wait()
	return nil
}

// network echoes over TCP the way a server and a client do.
func network() error {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	c, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	reply, err := io.ReadAll(c)
	if err != nil || string(reply) != "ping" {
		return fmt.Errorf("reply %q, %w", reply, err)
	}
	return nil
}

// addModule is (module (func (export "add") (param i32 i32) (result i32)
// local.get 0 local.get 1 i32.add)).
const addModule = "\x00asm\x01\x00\x00\x00" +
	"\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f" + "\x03\x02\x01\x00" +
	"\x07\x07\x01\x03add\x00\x00" + "\x0a\x09\x01\x07\x00\x20\x00\x20\x01\x6a\x0b"

// engine compiles a module to machine code and runs it.
func engine() error {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	m, err := r.Instantiate(ctx, []byte(addModule))
	if err != nil {
		return err
	}
	sum, err := m.ExportedFunction("add").Call(ctx, 40, 2)
	if err != nil || sum[0] != 42 {
		return fmt.Errorf("40 + 2 = %v, %w", sum, err)
	}
	return nil
}

// files reads one of the files a Keep has.
func files() error {
	f, err := os.Open("/etc/hosts")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.ReadAll(f)
	return err
}

func TestRestrict(t *testing.T) {
	if landlockABI() < 4 {
		t.Skip("skipped: this kernel's Landlock does not know TCP ports")
	}
	inChild(t, func() error {
		open, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		shut, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		// The thread that is restricted is never given back to the runtime.
		runtime.LockOSThread()
		if err := NoNewPrivs(); err != nil {
			return err
		}
		access := Access{Read: append([]string{"/no/such/file"}, Resolver...),
			ConnectTCP: []uint16{uint16(port(open))}}
		if _, err := Restrict(access); err != nil {
			return err
		}
		var errs []error
		_, err = os.ReadFile("/etc/hosts")
		expect(&errs, "read /etc/hosts", err, nil)
		_, err = os.ReadFile("/etc/passwd")
		expect(&errs, "read /etc/passwd", err, unix.EACCES)
		_, err = os.ReadDir("/")
		expect(&errs, "list /", err, unix.EACCES)
		expect(&errs, "write", os.WriteFile("/tmp/confine-new-file", nil, 0o600), unix.EACCES)
		// Raw calls stay on this thread, and net.Listen would use Multipath TCP.
		expect(&errs, "bind", onSocket(unix.Bind, 0), unix.EACCES)
		expect(&errs, "connect", onSocket(unix.Connect, port(open)), nil)
		expect(&errs, "connect elsewhere", onSocket(unix.Connect, port(shut)), unix.EACCES)
		if landlockABI() >= 6 {
			expect(&errs, "signal the parent", syscall.Kill(os.Getppid(), 0), unix.EPERM)
		}
		return errors.Join(errs...)
	})
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// onSocket binds or connects a new TCP socket on the calling thread.
func onSocket(do func(int, unix.Sockaddr) error, port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
}

func TestLimits(t *testing.T) {
	child := exec.Command("/proc/self/exe", "-test.run=^TestLimitsGuest$")
	child.Env = []string{guestEnv + "=wait"}
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer stdin.Close()
	if err := Limits(child.Process.Pid, 10, 4); err != nil {
		t.Fatal(err)
	}
	for resource, want := range map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0, unix.RLIMIT_NOFILE: 14 + spareFiles,
	} {
		var got unix.Rlimit
		if err := unix.Prlimit(child.Process.Pid, resource, nil, &got); err != nil {
			t.Fatal(err)
		}
		if got.Cur != want || got.Max != want {
			t.Errorf("resource %d is limited to %+v, want %d", resource, got, want)
		}
	}
}

// TestLimitsGuest is the process that TestLimits limits: it waits for its end.
func TestLimitsGuest(t *testing.T) {
	if os.Getenv(guestEnv) == "wait" {
		io.Copy(io.Discard, os.Stdin)
	}
}

func TestProbeTellsWhatIsMissing(t *testing.T) {
	for _, l := range append(Probe(), landlockLayer(0), landlockLayer(3), landlockLayer(5), landlockLayer(7), layer("x", false, "y")) {
		t.Logf("%+v", l)
		if !l.OK && l.Missing == "" {
			t.Errorf("%s is missing and says nothing", l.Name)
		}
	}
	for abi, missing := range map[int]bool{0: true, 1: true, 4: true, 6: false, 8: false} {
		if got := landlockLayer(abi).Missing != ""; got != missing {
			t.Errorf("Landlock ABI %d: something missing = %v, want %v", abi, got, missing)
		}
	}
}
