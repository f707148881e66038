// SPDX-License-Identifier: Apache-2.0

// Package loader makes a Keep out of a workload: it starts the program
// enarx-exec where a backend puts it, hands it the workload's files and the
// document of internal/handover, and waits for its end.
//
// There are two backends so far. nil is an ordinary process, confined as far as
// Linux allows (internal/confine). kvm is a virtual machine that holds that
// program and our shim (internal/keep). Both protect the host from the workload, not
// the workload from the host.
package loader

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"enarx.dev/enarx/workload"
)

// The stages of a Keep's life that can fail. Errors wrap one of them and the
// cause.
var (
	ErrImage  = errors.New("loader: preparing the Keep's program")
	ErrStart  = errors.New("loader: starting the Keep")
	ErrLimits = errors.New("loader: limiting the Keep's resources")
	ErrHand   = errors.New("loader: handing over to the Keep")
	ErrCopy   = errors.New("loader: copying files into the Keep")
	ErrKilled = errors.New("loader: the Keep was killed")
)

// Launch says what to run, and how.
type Launch struct {
	Backend Backend // KVM or Nil; "" means Nil

	// Image is the ELF file to run in the Keep; nil means the embedded
	// enarx-exec.
	Image []byte

	Module   *os.File         // the module, at its start
	Config   *os.File         // its Enarx.toml, at its start; nil when there is none
	Workload *workload.Config // what Config says; nil when there is none
	Folder   string           // package folder whose files Config names; "" when there is none
	Name     string           // what messages call the workload

	Args []string // replaces the config's args unless nil
	Env  []string // "K=V", over the config's
	Dirs []Dir    // directories to copy into the Keep

	Stdio    [3]*os.File // descriptors 0 to 2 of the Keep; nil means this process's
	LogLevel string      // error, warn, info, debug, trace; "" is exec's default
	Progress bool        // whether exec shows the progress of compilation
	Modules  *Cache      // compiled modules; nil means to compile each time
	Images   *Cache      // the embedded program as a file; nil means to start from memory

	Warn func(text string) // told what the user should know; nil discards it
	Log  *slog.Logger      // nil discards
}

// Dir is a host directory that the workload gets a copy of.
type Dir struct {
	Host  string
	Guest string // absolute and clean
}

// Keep is a running Keep.
type Keep struct {
	instance
	pumps  sync.WaitGroup
	cancel context.CancelFunc

	mu   sync.Mutex
	fail error // first thing that went wrong on this side
}

// instance is the started program of a Keep: a process or a virtual machine.
type instance interface {
	// limit bounds its resources; it has been given nothing yet. sockets and
	// files are how many descriptors the workload may hold.
	limit(sockets, files int) error
	layers() []string   // what confines it, for the log
	terminate()         // asks it to end
	kill()              // ends it
	gone() bool         // whether it has ended or is about to
	wait() (int, error) // the exit code of the program
}

// Start starts a Keep. Cancelling ctx kills it. The files in l stay the
// caller's, who closes them after Wait.
func Start(ctx context.Context, l Launch) (*Keep, error) {
	if l.Backend == "" {
		l.Backend = Nil
	}
	if err := Probe(l.Backend); err != nil {
		return nil, err
	}
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	if l.Warn == nil {
		l.Warn = func(string) {}
	}
	s := &starter{Launch: l}
	defer func() { closeAll(s.close) }()
	defer func() { closeAll(s.ours) }()
	defer func() { s.image.Close() }()
	if err := s.prepare(); err != nil {
		return nil, err
	}
	return s.start(ctx)
}

// failed records why the Keep cannot go on, and ends it.
func (k *Keep) failed(err error) {
	k.mu.Lock()
	if k.fail == nil {
		k.fail = err
	}
	k.mu.Unlock()
	k.kill()
}

// Stop asks the Keep to end and, after grace, makes it.
func (k *Keep) Stop(grace time.Duration) {
	k.terminate()
	time.AfterFunc(grace, k.kill)
}

// Wait waits for the Keep to end and returns its exit code.
func (k *Keep) Wait() (code int, err error) {
	code, err = k.wait()
	k.cancel() // a pump may still be reading a large directory for nobody
	k.pumps.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return 1, k.fail
	}
	return code, err
}
