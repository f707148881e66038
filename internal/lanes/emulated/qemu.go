// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const program = "qemu-system-x86_64"

// commandLine is the kernel's: say only what is wrong, and end at once when
// something is. Mitigations would only cost time. The emulated time stamp counters
// are the host's one, which the kernel cannot know.
const commandLine = "console=ttyS0 quiet loglevel=4 oops=panic panic=-1 reboot=t mitigations=off tsc=reliable"

// qemu is the emulator's process.
type qemu struct {
	cmd     *exec.Cmd
	channel *os.File // our end of the virtio port
	console *console
	ended   chan struct{} // closed when the process is gone
	once    sync.Once
}

func startQEMU(cfg Config, image []byte) (*qemu, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSetUp, err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	initrd, err := memFile(image)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer initrd.Close()
	memory, cpus := cfg.Memory, cfg.CPUs
	if memory == 0 {
		memory = 3072
	}
	if cpus == 0 {
		cpus = 2
	}
	threads := "single"
	if cfg.Parallel {
		threads = "multi"
	}
	q := &qemu{channel: ours, console: &console{also: cfg.Console}, ended: make(chan struct{})}
	q.cmd = exec.Command(path,
		"-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg,thread="+threads, "-cpu", "max,+svm",
		"-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus),
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-device", "virtio-rng-pci",
		"-chardev", "socket,id=host,fd=3",
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=host,name=enarx",
		"-kernel", filepath.Join(cfg.Root, "build", "emulated", "kernel"), "-initrd", "/proc/self/fd/4",
		"-append", commandLine+" tsc_early_khz="+strconv.Itoa(tickRate()/1000))
	q.cmd.ExtraFiles = []*os.File{theirs, initrd} // descriptors 3 and 4
	q.cmd.Stdout, q.cmd.Stderr = q.console, q.console
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := q.cmd.Start()
		started <- err
		if err == nil {
			_ = q.cmd.Wait() // the console says why
			close(q.ended)
		}
	}()
	if err := <-started; err != nil {
		ours.Close()
		return nil, err
	}
	return q, nil
}

var cyclesPerSecond = regexp.MustCompile(`(?m)^cycles/second=([0-9]+)$`)

// tickRate returns how often the host's time stamp counter, which is the emulated
// one, ticks in a second. On a busy host the kernel's own calibration is wrong by up
// to a factor of seven, and with it every clock that a Keep derives from the counter.
// Go's runtime measures it too, and says so in the head of a profile.
func tickRate() int {
	var head bytes.Buffer
	if err := pprof.Lookup("mutex").WriteTo(&head, 1); err != nil {
		return 0 // to the kernel: not known
	}
	match := cyclesPerSecond.FindSubmatch(head.Bytes())
	if match == nil {
		return 0
	}
	rate, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return 0
	}
	return rate
}

// stop ends the process and waits for that.
func (q *qemu) stop() {
	q.once.Do(func() {
		_ = q.cmd.Process.Kill() // gone is as good
		<-q.ended
		q.channel.Close()
	})
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("emulated: socketpair: %w", err)
	}
	// Non-blocking for our end only, so that closing it ends a read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "machine"), os.NewFile(uintptr(fds[1]), "host"), nil
}

// memFile makes a file without a name, so that nothing is left to delete.
func memFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("emulated: memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// buildInit compiles the machine's first program; go's cache makes that cheap.
func buildInit(ctx context.Context, root string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "emulated-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", out, "./internal/lanes/emulated/init")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("emulated: building init: %w", err), errors.New(string(text)))
	}
	return os.ReadFile(out)
}

// consoleKept is how much of the end of the console's text is kept.
const consoleKept = 32 << 10

// console keeps the end of what is written to it.
type console struct {
	also io.Writer
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	c.buf.Next(max(0, c.buf.Len()-consoleKept))
	if c.also != nil {
		_, _ = c.also.Write(p)
	}
	return len(p), nil
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}
