// SPDX-License-Identifier: Apache-2.0

// Package emulated runs programs in a machine that QEMU emulates in software: an
// AMD processor with SVM under a distribution's kernel, so that what needs KVM is
// tested on machines that have none. Files are given to it under the paths that
// they have on the host. It is ten to fifty times slower than the host.
//
// It is for tests; the programs it runs are trusted.
package emulated

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"enarx.dev/enarx/internal/lanes/emulated/wire"
)

// Config says what machine is wanted.
type Config struct {
	Root   string // top folder of this module; build/emulated in it is what scripts/kernel.sh left
	Memory int    // MiB; 0: 3072
	CPUs   int    // 0: 2
	// Parallel emulates the processors on threads of their own, so that two busy
	// ones take the time of one. QEMU's emulation then loses an interrupt now and
	// then, or runs code that was patched away, and the machine hangs.
	Parallel bool
	Console  io.Writer // gets what the kernel says; nil: shown only when booting goes wrong
}

const (
	// bootLimit is several times what a boot takes on a busy machine.
	bootLimit = 90 * time.Second
	// attempts: Debian's 6.12 was seen to stop with an oops in one early boot of four.
	attempts = 2
	// grace is how long a killed command may take to be reported as ended.
	grace = 30 * time.Second
)

// The reasons why there is no machine.
var (
	ErrNotSetUp = errors.New("emulated: this machine is not set up: run `make setup`")
	ErrBoot     = errors.New("emulated: the machine does not boot")
	ErrGone     = errors.New("emulated: the machine is gone")
)

// Machine is a machine that runs. Its methods may be used by any goroutine.
type Machine struct {
	qemu   *qemu
	kernel string
	to     *wire.Sender

	mu       sync.Mutex
	next     uint32
	commands map[uint32]*pending
	gone     error // not nil once the channel is closed

	putMu sync.Mutex
	has   map[string]stamp // what Put has copied
}

type pending struct {
	stdout, stderr io.Writer
	done           chan wire.Result
}

// Start boots a machine.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	image, err := initramfs(ctx, cfg.Root)
	if err != nil {
		return nil, err
	}
	var failed error
	for range attempts {
		m, err := boot(ctx, cfg, image)
		if err == nil {
			return m, nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil || !errors.Is(err, ErrBoot) {
			break
		}
	}
	return nil, failed
}

func boot(ctx context.Context, cfg Config, image []byte) (*Machine, error) {
	q, err := startQEMU(cfg, image)
	if err != nil {
		return nil, err
	}
	m := &Machine{qemu: q, to: wire.NewSender(q.channel), commands: map[uint32]*pending{}, has: map[string]stamp{}}
	ready := make(chan error, 1)
	in := bufio.NewReaderSize(q.channel, wire.MaxData)
	go func() {
		f, err := wire.Read(in)
		if err == nil && f.Kind != wire.Ready {
			err = wire.ErrFrame
		}
		m.kernel = string(f.Data)
		ready <- err
		if err == nil {
			m.receive(in)
		}
	}()
	limit := time.NewTimer(bootLimit)
	defer limit.Stop()
	select {
	case err = <-ready:
	case <-q.ended:
		err = errors.New("QEMU ended")
	case <-limit.C:
		err = fmt.Errorf("not ready after %v", bootLimit)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		q.stop()
		return nil, fmt.Errorf("%w: %w; its console:\n%s", ErrBoot, err, q.console.tail())
	}
	return m, nil
}

// Kernel returns the release of the machine's kernel.
func (m *Machine) Kernel() string { return m.kernel }

// Console returns the end of what the kernel and init said.
func (m *Machine) Console() string { return m.qemu.console.tail() }

// Close switches the machine off.
func (m *Machine) Close() { m.qemu.stop() }

// receive hands frames to their commands until the channel closes.
func (m *Machine) receive(in io.Reader) {
	var err error
	for {
		var f wire.Frame
		if f, err = wire.Read(in); err != nil {
			break
		}
		m.mu.Lock()
		p := m.commands[f.ID]
		m.mu.Unlock()
		if p == nil {
			continue // given up
		}
		switch f.Kind {
		case wire.Stdout:
			_, _ = p.stdout.Write(f.Data) // whoever gave the writer knows of its errors
		case wire.Stderr:
			_, _ = p.stderr.Write(f.Data)
		case wire.Ended:
			var r wire.Result
			if err := json.Unmarshal(f.Data, &r); err != nil {
				r.Err = err.Error()
			}
			m.forget(f.ID)
			p.done <- r
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = fmt.Errorf("%w: %w", ErrGone, err)
	for _, p := range m.commands {
		close(p.done)
	}
	clear(m.commands)
}

func (m *Machine) forget(id uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.commands, id)
}

// Command is a program to run in the machine.
type Command struct {
	Argv           []string
	Env            map[string]string // beside PATH, HOME and TMPDIR
	Dir            string            // "": /
	Stdin          io.Reader
	Stdout, Stderr io.Writer // one goroutine writes to both
}

// Run runs a command and returns its exit code, or 128 and the number of the
// signal that ended it. When ctx is done, the command and its children are killed.
func (m *Machine) Run(ctx context.Context, c Command) (int, error) {
	if len(c.Argv) == 0 {
		return 0, errors.New("emulated: no program named")
	}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "TMPDIR": "/tmp"}
	maps.Copy(env, c.Env)
	what := wire.Command{Argv: c.Argv, Dir: c.Dir}
	for key, value := range env {
		what.Env = append(what.Env, key+"="+value)
	}
	return m.run(ctx, what, c)
}

func (m *Machine) run(ctx context.Context, what wire.Command, c Command) (int, error) {
	spec, err := json.Marshal(what)
	if err != nil {
		return 0, err
	}
	p := &pending{stdout: c.Stdout, stderr: c.Stderr, done: make(chan wire.Result, 1)}
	if p.stdout == nil {
		p.stdout = io.Discard
	}
	if p.stderr == nil {
		p.stderr = io.Discard
	}
	m.mu.Lock()
	if m.gone != nil {
		m.mu.Unlock()
		return 0, m.gone
	}
	m.next++
	id := m.next
	m.commands[id] = p
	m.mu.Unlock()
	if err := m.to.Send(wire.Start, id, spec); err != nil {
		m.forget(id)
		return 0, fmt.Errorf("%w: %w", ErrGone, err)
	}
	input := make(chan error, 1)
	go func() {
		var err error
		if c.Stdin != nil {
			_, err = io.Copy(m.to.Stream(wire.Stdin, id), c.Stdin)
		}
		input <- errors.Join(err, m.to.Send(wire.Stdin, id, nil))
	}()
	if len(what.Argv) == 0 {
		// Whatever it says after half a stream of files is not the cause.
		if err := <-input; err != nil {
			m.forget(id)
			return 0, err
		}
	}
	return m.wait(ctx, id, p)
}

func (m *Machine) wait(ctx context.Context, id uint32, p *pending) (int, error) {
	select {
	case r, ok := <-p.done:
		return m.result(r, ok)
	case <-ctx.Done():
	}
	_ = m.to.Send(wire.Kill, id, nil) // if it cannot be sent the machine is gone
	select {
	case <-p.done:
	case <-time.After(grace):
		m.forget(id)
		return 0, fmt.Errorf("%w, and the machine does not say that it was killed", ctx.Err())
	}
	return 0, ctx.Err()
}

func (m *Machine) result(r wire.Result, ok bool) (int, error) {
	if !ok {
		m.mu.Lock()
		defer m.mu.Unlock()
		return 0, fmt.Errorf("%w; its console:\n%s", m.gone, m.Console())
	}
	if r.Err != "" {
		return 0, errors.New("emulated: " + r.Err)
	}
	return r.Code, nil
}

// initramfs makes the machine's first file system: init and the modules.
func initramfs(ctx context.Context, root string) ([]byte, error) {
	dir := filepath.Join(root, "build", "emulated")
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSetUp, err)
	}
	program, err := buildInit(ctx, root)
	if err != nil {
		return nil, err
	}
	var a archive
	a.add("init", 0o755, program)
	modules, err := filepath.Glob(filepath.Join(dir, "modules", "*.ko"))
	if err != nil {
		return nil, err
	}
	for _, name := range modules {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		a.add("modules/"+filepath.Base(name), 0o644, data)
	}
	return a.bytes(), nil
}

// Gone reports whether the machine has stopped.
func (m *Machine) Gone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone != nil
}
