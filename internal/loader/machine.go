// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/diag"
	"enarx.dev/enarx/internal/images"
	"enarx.dev/enarx/internal/keep"
	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/loader/layout"
	"enarx.dev/enarx/internal/sallyport"
)

// machine is a program in a virtual machine.
type machine struct {
	keep *keep.Keep
	over chan struct{}
}

// startMachine starts the image in a virtual machine, above the shim.
func (s *starter) startMachine(files []*os.File) (instance, error) {
	info, err := s.image.Stat()
	if err != nil {
		return nil, err
	}
	a := access(s.Workload)
	a.Thread = true
	return newMachine(keep.Config{
		ExecSize: uint64(info.Size()), Args: []string{"enarx-exec"}, Files: files, Log: s.Log, Confine: confined(a),
	}, s.image)
}

// confined returns what every thread of a virtual machine does first: give up
// what serving a Keep does not need. Such a thread makes system calls with arguments
// of the program's choosing.
func confined(a confine.Access) func() error {
	return func() error {
		if err := confine.NoNewPrivs(); err != nil {
			return err
		}
		_, err := confine.Restrict(a)
		return err
	}
}

// newMachine starts a virtual machine with the program that file holds, and
// with all else that cfg says.
func newMachine(cfg keep.Config, file *os.File) (*machine, error) {
	shim, err := images.ShimKVM()
	if err != nil {
		return nil, err
	}
	img, err := layout.New(shim, cfg.ExecSize)
	if err != nil {
		return nil, err
	}
	var parts []keep.Part
	for _, r := range img.Regions {
		parts = append(parts, keep.Part{Offset: r.GPA, Data: r.Data})
	}
	cfg.ExecGPA = layout.ExecGPA
	cfg.Start = kvm.Start{Entry: img.Entry, CR3: img.CR3}
	cfg.Regions = []keep.Region{
		{GPA: 0, Size: layout.LowSize, Parts: parts},
		{GPA: layout.ExecGPA, Size: layout.RoundUp(cfg.ExecSize, layout.PageSize), File: file, ReadOnly: true},
	}
	if cfg.Memory, err = memoryLimit(); err != nil {
		return nil, err
	}
	if cfg.Log != nil && cfg.Log.Enabled(context.Background(), slog.LevelDebug) {
		cfg.Flags |= sallyport.FlagTrace
	}
	if steadyTSC() {
		cfg.Flags |= sallyport.FlagSteadyTSC
	}
	// A core file would put the Keep's memory on the disk. This process has
	// nothing else to do, so its own limit may go.
	if err := unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		return nil, fmt.Errorf("forbidding core files: %w", err)
	}
	// The Keep's life does not hang on a context: it ends when it is killed.
	k, err := keep.Start(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	m := &machine{keep: k, over: make(chan struct{})}
	go func() {
		_, _ = k.Wait()
		close(m.over)
	}()
	return m, nil
}

// memoryLimit is the most memory that a Keep may use: what the machine has. None
// of it is set aside; a Keep has what its program has touched.
func memoryLimit() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("asking for the machine's memory: %w", err)
	}
	total := info.Totalram * uint64(info.Unit)
	return min(max(total/sallyport.HeapChunk*sallyport.HeapChunk, sallyport.MinHeap), sallyport.MaxHeap), nil
}

// steadyTSC says whether this kernel trusts its time stamp counters so far as to use
// them for its own clock. Where it does not, KVM lets those of vCPUs drift apart.
func steadyTSC() bool {
	source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	return err == nil && strings.TrimSpace(string(source)) == "tsc"
}

// limit has nothing left to do: descriptors are handles that the Keep counts
// itself, and memory has its bound.
func (m *machine) limit(int, int) error { return nil }

func (m *machine) layers() []string { return []string{"virtual machine"} }

// terminate ends the Keep: there is nobody in it to ask.
func (m *machine) terminate() { m.kill() }
func (m *machine) kill()      { m.keep.Kill(nil) }

func (m *machine) gone() bool {
	select {
	case <-m.over:
		return true
	default:
		return false
	}
}

// wait returns the program's exit code. That the Keep was killed from this side
// is no news to who did it.
func (m *machine) wait() (int, error) {
	code, err := m.keep.Wait()
	switch {
	case errors.Is(err, keep.ErrKilled):
		return 128 + int(unix.SIGKILL), fmt.Errorf("%w: %w", ErrKilled, err)
	case err != nil:
		return code, err
	}
	return code, nil
}

// Program is a static x86-64 ELF executable to run in a Keep as it is.
type Program struct {
	Backend Backend
	File    *os.File     // its file
	Args    []string     // its arguments, the first its name
	Env     []string     // its environment
	Stdio   [3]*os.File  // its standard streams; nil means this process's
	Log     *slog.Logger // nil discards
}

// Exec starts a program in a Keep. Nothing is handed over to it but its
// arguments, environment and standard streams; it may use the network as this
// process may.
func Exec(ctx context.Context, p Program) (*Keep, error) {
	if err := Probe(p.Backend); err != nil {
		return nil, err
	}
	if p.Backend != KVM {
		return nil, fmt.Errorf("%w: backend %q runs no program but enarx-exec", ErrUnavailable, p.Backend)
	}
	info, err := p.File.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	case !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > layout.MaxExec:
		return nil, fmt.Errorf("%w: %s is not a file of 1 byte to %d MiB", ErrImage, p.File.Name(), layout.MaxExec>>20)
	}
	s := &starter{Launch: Launch{Stdio: p.Stdio}}
	m, err := newMachine(keep.Config{
		ExecSize: uint64(info.Size()), Args: p.Args, Env: p.Env, Log: p.Log,
		Files:   []*os.File{s.stdio(0), s.stdio(1), s.stdio(2)},
		Confine: confined(confine.Access{Read: confine.Resolver, AnyTCP: true, Thread: true}),
	}, p.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	k := &Keep{instance: m}
	ctx, k.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, m.kill)
	return k, nil
}

// Procs is what GOMAXPROCS should be in a process that starts a Keep of this
// backend and does little else.
func Procs(b Backend) int {
	if b != KVM {
		// It waits for a process. With one P the Go runtime starts fewer
		// threads, which the Keep's start then feels.
		return 1
	}
	return keep.Procs()
}

// noKVM says why this machine's KVM cannot hold a Keep, or returns "".
func noKVM() string {
	err := kvm.Probe(context.Background())
	if err == nil {
		return ""
	}
	if hint := diag.HintOf(err); hint != "" {
		return err.Error() + " (" + hint + ")"
	}
	return err.Error()
}
