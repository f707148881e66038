// SPDX-License-Identifier: Apache-2.0

// Package clitest runs our daemons in tests as an init system would: started
// until they say that they are ready, listened to, and ended by a signal.
package clitest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A Process is a daemon that a test started.
type Process struct {
	Cmd   *exec.Cmd
	Ended chan struct{} // closed when it has ended
	Err   error         // how, then

	lines    chan string // of its standard error, not yet looked at by Said
	patience time.Duration
}

// Start runs a program in dir, with env beside the environment, until it tells
// systemd that it is ready. It waits for that, and later for whatever else must
// happen, as long as patience.
func Start(dir string, patience time.Duration, env []string, program string, args ...string) (*Process, error) {
	notify := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer os.Remove(notify)
	defer l.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "NOTIFY_SOCKET="+notify), env...)
	p, err := Run(cmd, patience)
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go func() {
		_, err := l.Read(make([]byte, 64))
		ready <- err
	}()
	select {
	case err := <-ready:
		return p, err
	case <-p.Ended:
		var said []string
		for line := range p.lines {
			said = append(said, line)
		}
		return nil, fmt.Errorf("it ended: %w: %s", p.Err, strings.Join(said, "; "))
	case <-time.After(patience):
		p.Kill()
		return nil, errors.New("it does not get ready")
	}
}

// Run starts cmd, and reads its standard error.
func Run(cmd *exec.Cmd, patience time.Duration) (*Process, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{Cmd: cmd, Ended: make(chan struct{}), lines: make(chan string, 1<<16), patience: patience}
	go p.read(stderr)
	return p, nil
}

func (p *Process) read(stderr io.Reader) {
	in := bufio.NewScanner(stderr)
	for in.Scan() {
		p.lines <- in.Text()
	}
	p.Err = p.Cmd.Wait()
	close(p.lines)
	close(p.Ended)
}

// Said waits for a line like want on its standard error, after those that
// earlier calls looked at. It returns the line, or an error with what there was
// instead.
func (p *Process) Said(want *regexp.Regexp) (string, error) {
	timeout := time.After(p.patience)
	var seen []string
	for {
		select {
		case line, ok := <-p.lines:
			if want.MatchString(line) {
				return line, nil
			}
			if seen = append(seen, line); ok {
				continue
			}
			return "", fmt.Errorf("it ended without saying %s but %q", want, seen)
		case <-timeout:
			return "", fmt.Errorf("it does not say %s but %q", want, seen)
		}
	}
}

// Stop ends it by SIGTERM, and returns how it ended.
func (p *Process) Stop() error {
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.Ended:
		return p.Err
	case <-time.After(p.patience):
		p.Kill()
		return errors.New("it does not end")
	}
}

// Kill ends it at once.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Ended
}
