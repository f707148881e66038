// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/handover"
	"enarx.dev/enarx/workload"
)

// starter is what exists between the wish for a Keep and the Keep.
type starter struct {
	Launch
	doc    handover.Document
	image  *os.File
	onDisk bool       // image is a file that others may execute too
	files  []*os.File // the Keep's descriptors from 4 up
	close  []*os.File // what this process no longer needs once the Keep has it
	ours   []*os.File // this process's ends of pipes; the pumps close them
	pumps  []func(ctx context.Context, k *Keep)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// pass makes f a descriptor of the Keep and returns its number there.
func (s *starter) pass(f *os.File) int {
	s.files = append(s.files, f)
	return handover.FD + len(s.files)
}

// prepare collects everything the Keep will be given. Nothing runs yet.
func (s *starter) prepare() error {
	image, err := s.prepareImage()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	if s.onDisk {
		return s.prepareFiles()
	}
	// Copying the image and hashing the module take milliseconds each, and
	// there is more than one processor.
	var copying sync.WaitGroup
	var imageErr error
	copying.Go(func() { s.image, imageErr = memfd(image) })
	err = s.prepareFiles()
	copying.Wait()
	if imageErr != nil {
		return fmt.Errorf("%w: %w", ErrImage, imageErr)
	}
	return err
}

func (s *starter) prepareFiles() error {
	s.doc = handover.Document{LogLevel: s.LogLevel, Args: s.Args, Env: s.Env, Progress: s.Progress}
	s.doc.Package = handover.Package{Wasm: s.pass(s.Module), Name: label(s.Name)}
	if s.Config != nil {
		s.doc.Package.Conf = s.pass(s.Config)
	}
	if s.Folder != "" && NeedsFolder(s.Workload) {
		fd, err := s.tar(s.Folder)
		if err != nil {
			return err
		}
		s.doc.Package.Tree = fd
	}
	for _, d := range s.Dirs {
		fd, err := s.tar(d.Host)
		if err != nil {
			return err
		}
		s.doc.Dirs = append(s.doc.Dirs, handover.Dir{FD: fd, Guest: d.Guest})
	}
	return s.prepareCache()
}

// NeedsFolder says whether the config shows the package's files to the program.
func NeedsFolder(c *workload.Config) bool {
	if c == nil {
		return false
	}
	for _, f := range c.Files {
		if f.Kind == workload.KindDir && f.From != "" {
			return true
		}
	}
	return false
}

func (s *starter) start(ctx context.Context) (*Keep, error) {
	here, there, err := socketpair()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer here.Close()
	i, err := s.startInstance(append([]*os.File{s.stdio(0), s.stdio(1), s.stdio(2), there}, s.files...))
	there.Close()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	k := &Keep{instance: i}
	ctx, k.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, i.kill)
	closeAll(s.close) // or a pump would wait for this process's own copy of a pipe's end
	s.close = nil

	if err := s.hand(k, here); err != nil {
		k.cancel()
		_, waitErr := k.Wait()
		return nil, errors.Join(err, notKilledByUs(waitErr))
	}
	s.ours = nil
	for _, pump := range s.pumps {
		k.pumps.Go(func() { pump(ctx, k) })
	}
	return k, nil
}

// startInstance starts the image where the backend puts it.
func (s *starter) startInstance(files []*os.File) (instance, error) {
	if s.Backend == KVM {
		return s.startMachine(files)
	}
	return s.startProcess(files)
}

// startProcess starts the image, from memory where the disk that it lies on
// is mounted noexec.
func (s *starter) startProcess(files []*os.File) (*process, error) {
	a := access(s.Workload)
	if s.onDisk {
		a.Execute = s.image
	}
	p, err := startProcess(s.image, files, a)
	if !s.onDisk || !errors.Is(err, unix.EACCES) {
		return p, err
	}
	image, _, err := s.program()
	if err != nil {
		return nil, err
	}
	s.image.Close()
	if s.image, err = memfd(image); err != nil {
		return nil, err
	}
	return startProcess(s.image, files, access(s.Workload))
}

// hand limits the process, which so far has nothing, and then gives it the
// document: it starts its work when that ends.
func (s *starter) hand(k *Keep, here *os.File) error {
	sockets, files := defaultSockets, len(s.files)
	if s.Workload != nil && s.Workload.Limits.Sockets > 0 {
		sockets = s.Workload.Limits.Sockets
	}
	if err := k.limit(sockets, files); err != nil {
		return fmt.Errorf("%w: %w", ErrLimits, err)
	}
	s.doc.Sandbox = append(k.layers(), "resource limits")
	data, err := handover.Encode(&s.doc)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHand, err)
	}
	// The end of the document is the end of this direction.
	if _, err = here.Write(data); err == nil {
		err = unix.Shutdown(int(here.Fd()), unix.SHUT_WR)
	}
	if err != nil && !k.gone() {
		return fmt.Errorf("%w: %w", ErrHand, err)
	}
	return nil // a process that has ended already says more by how it did
}

// defaultSockets is how many sockets a workload without a limit may open, with
// those of its clients that have not finished their handshake.
const defaultSockets = 4096

func (s *starter) stdio(i int) *os.File {
	if s.Stdio[i] != nil {
		return s.Stdio[i]
	}
	return [3]*os.File{os.Stdin, os.Stdout, os.Stderr}[i]
}

// label makes a path fit to be printed, as the hand-over wants it.
func label(name string) string {
	clean := []rune(filepath.ToSlash(name))
	for i, r := range clean {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0xfffd {
			clean[i] = '?'
		}
	}
	for len(string(clean)) > 200 {
		clean = clean[1:]
	}
	return string(clean)
}

// access is what the config needs of the network, for Landlock.
func access(c *workload.Config) confine.Access {
	var a confine.Access
	if c == nil {
		return a
	}
	for _, f := range c.Files {
		switch f.Kind {
		case workload.KindListen:
			a.BindTCP = append(a.BindTCP, f.Port)
		case workload.KindConnect:
			a.ConnectTCP = append(a.ConnectTCP, f.Port)
		}
	}
	if len(a.ConnectTCP) > 0 {
		a.Read = confine.Resolver
		a.ConnectTCP = append(a.ConnectTCP, 53) // long DNS answers come over TCP
	}
	if len(a.BindTCP)+len(a.ConnectTCP) > 0 {
		a.BindTCP = append(a.BindTCP, 0) // see confine.Restrict
	}
	return a
}
