// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"enarx.dev/enarx/internal/lanes/emulated/wire"
)

// lastWords is how long the output of a command is awaited after its end, when
// another process still holds it open.
const lastWords = time.Second

// commands are those that run. Process 1 inherits every orphan, so one goroutine
// reaps all children and tells whoever waits.
type commands struct {
	to *wire.Sender

	mu      sync.Mutex
	running map[uint32]*command
	exits   map[int]chan syscall.WaitStatus // by process
}

type command struct {
	stdin *queue
	pid   int // 0 until it runs
}

func newCommands(to *wire.Sender) *commands {
	c := &commands{to: to, running: map[uint32]*command{}, exits: map[int]chan syscall.WaitStatus{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			c.reap()
		}
	}()
	return c
}

func (c *commands) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := c.exits[pid]; ok {
			ch <- status
			delete(c.exits, pid)
		}
	}
}

func (c *commands) handle(f wire.Frame) {
	c.mu.Lock()
	cmd := c.running[f.ID]
	c.mu.Unlock()
	switch {
	case f.Kind == wire.Start && cmd == nil:
		cmd := &command{stdin: newQueue()}
		c.mu.Lock()
		c.running[f.ID] = cmd
		c.mu.Unlock()
		go func() {
			code, err := c.run(f.ID, cmd, f.Data)
			c.end(f.ID, code, err)
		}()
	case cmd == nil: // it ended meanwhile
	case f.Kind == wire.Stdin:
		cmd.stdin.add(f.Data)
	case f.Kind == wire.Kill:
		c.kill(cmd)
	}
}

func (c *commands) end(id uint32, code int, err error) {
	c.mu.Lock()
	delete(c.running, id)
	c.mu.Unlock()
	result := wire.Result{Code: code}
	if err != nil {
		result.Err = err.Error()
	}
	data, err := json.Marshal(result)
	if err == nil {
		err = c.to.Send(wire.Ended, id, data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	}
}

// kill ends the session of a command: whoever wants to outlive its command has
// to make one of its own.
func (c *commands) kill(cmd *command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd.pid != 0 {
		_ = syscall.Kill(-cmd.pid, syscall.SIGKILL) // gone is as good
	}
}

func (c *commands) run(id uint32, cmd *command, spec []byte) (int, error) {
	var what wire.Command
	if err := json.Unmarshal(spec, &what); err != nil {
		return 0, err
	}
	if len(what.Argv) == 0 {
		return 0, unpack(cmd.stdin)
	}
	path, err := lookPath(what)
	if err != nil {
		return 0, err
	}
	// What the command gets, and our ends of it.
	var theirs, ours [3]*os.File
	defer func() {
		for i := range theirs {
			theirs[i].Close()
			ours[i].Close()
		}
	}()
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		theirs[i], ours[i] = w, r
		if i == 0 {
			theirs[i], ours[i] = r, w
		}
	}
	died, err := c.start(cmd, path, what, theirs)
	if err != nil {
		return 0, err
	}
	for _, f := range theirs {
		f.Close()
	}
	go func() {
		_, _ = io.Copy(ours[0], cmd.stdin) // a program may leave its input unread
		ours[0].Close()
	}()
	var output sync.WaitGroup
	for i, kind := range map[int]wire.Kind{1: wire.Stdout, 2: wire.Stderr} {
		output.Go(func() { _, _ = io.Copy(c.to.Stream(kind, id), ours[i]) })
	}
	status := <-died
	deadline := time.Now().Add(lastWords)
	_ = ours[1].SetReadDeadline(deadline)
	_ = ours[2].SetReadDeadline(deadline)
	output.Wait()
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// start holds the lock, so that the end of the process is not reaped before
// there is somebody to tell.
func (c *commands) start(cmd *command, path string, what wire.Command, std [3]*os.File) (<-chan syscall.WaitStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, what.Argv, &syscall.ProcAttr{
		Dir:   what.Dir,
		Env:   what.Env,
		Files: []uintptr{std[0].Fd(), std[1].Fd(), std[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	cmd.pid = pid
	died := make(chan syscall.WaitStatus, 1)
	c.exits[pid] = died
	return died, nil
}

func lookPath(what wire.Command) (string, error) {
	name := what.Argv[0]
	if filepath.Base(name) == name {
		return exec.LookPath(name)
	}
	return name, nil
}

// unpack makes the files of a tar stream, with the paths that they have there.
func unpack(r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackOne(in, h); err != nil {
			return err
		}
	}
}

func unpackOne(in io.Reader, h *tar.Header) error {
	name, mode := filepath.Clean("/"+h.Name), h.FileInfo().Mode()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Chmod(name, mode.Perm()|mode&fs.ModeSticky)
	case tar.TypeSymlink:
		_ = os.Remove(name)
		return os.Symlink(h.Linkname, name)
	case tar.TypeReg:
		// A running program cannot be written to, but replaced.
		_ = os.Remove(name)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, in); err != nil {
			return err
		}
		if err := f.Chmod(mode.Perm()); err != nil {
			return err
		}
		return os.Chtimes(name, h.ModTime, h.ModTime)
	}
	return fmt.Errorf("%s: no file of a kind that machines share", name)
}
