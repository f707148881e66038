// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/confine"
)

// process is a confined child process.
type process struct {
	pid      int
	confined []string // by what, for the log
	exited   chan struct{}

	mu     sync.Mutex // held while signalling, so that pid is still the child's
	over   bool       // the child has been waited for
	status unix.WaitStatus
}

// startProcess runs image with an empty environment and exactly the given
// descriptors, numbered from 0.
//
// no_new_privs and Landlock are properties of a thread that a child inherits,
// and cannot be taken off again. So the child is started by a thread that is
// locked to one goroutine and ends with it. That goroutine waits for the
// child, because the kernel also kills the child when this thread ends
// (PR_SET_PDEATHSIG), which is how a Keep goes away with a killed enarx.
func startProcess(image *os.File, files []*os.File, access confine.Access) (*process, error) {
	p := &process{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := p.confineAndFork(image, files, access); err != nil {
			started <- err
			return
		}
		started <- nil
		p.reap()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) confineAndFork(image *os.File, files []*os.File, access confine.Access) error {
	if err := closeOnExec(); err != nil {
		return err
	}
	// The child numbers its descriptors from 0 up, and its program must not be
	// overwritten by one of them before it runs.
	fd, err := unix.FcntlInt(image.Fd(), unix.F_DUPFD_CLOEXEC, 16+len(files))
	if err != nil {
		return fmt.Errorf("duplicating a descriptor: %w", err)
	}
	defer unix.Close(fd)
	if err := p.restrict(access); err != nil {
		return err
	}
	attr := &syscall.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	p.pid, err = syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(fd), []string{"enarx-exec"}, attr)
	runtime.KeepAlive(files)
	if err != nil {
		return fmt.Errorf("executing the image: %w", err)
	}
	return nil
}

func (p *process) restrict(access confine.Access) error {
	if err := confine.NoNewPrivs(); err != nil {
		return err
	}
	p.confined = append(p.confined, "no_new_privs")
	abi, err := confine.Restrict(access)
	if err != nil {
		return err
	}
	if abi > 0 {
		p.confined = append(p.confined, "Landlock ABI "+strconv.Itoa(abi))
	}
	return nil
}

// closeOnExec keeps from the child the descriptors that this process has
// inherited. Those that Go made are so marked already.
func closeOnExec() error {
	err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil || !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return fmt.Errorf("listing descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// reap waits for the child to end.
func (p *process) reap() {
	// Wait without taking the child away, so that no signal can be sent to a
	// later process of the same number.
	for errors.Is(unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.mu.Lock()
	for {
		if _, err := unix.Wait4(p.pid, &p.status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.over = true
	p.mu.Unlock()
	close(p.exited)
}

// signal sends a signal to the child, unless it has ended.
func (p *process) signal(s unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = unix.Kill(p.pid, s) // a child that has just ended is all it can miss
	}
}

func (p *process) terminate()       { p.signal(unix.SIGTERM) }
func (p *process) kill()            { p.signal(unix.SIGKILL) }
func (p *process) layers() []string { return p.confined }

func (p *process) limit(sockets, files int) error { return confine.Limits(p.pid, sockets, files) }

func (p *process) wait() (int, error) {
	<-p.exited
	return exit(p.status)
}

// gone says whether the child has ended or is about to.
func (p *process) gone() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err != nil || info.Signo != 0
}
