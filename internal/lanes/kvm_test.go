// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/lanes/emulated"
	"enarx.dev/enarx/internal/need"
)

// slowdown is what limits are multiplied with in the emulated machine. Most programs
// are less slow there, but it is not the only thing that runs.
const slowdown = 10

// A place is where tests of the KVM backend run: here, or in an emulated machine.
type place struct {
	name    string // of its log in build/
	cfg     emulated.Config
	machine *emulated.Machine // nil: here, or not booted yet
	here    bool
	env     map[string]string
}

// TestKVM runs everything that needs KVM: the tests of packages that ask need.KVM
// for it, and every session, example and foreign program that the nil backend runs,
// with the kvm backend. It runs on this machine's own KVM if that passes the probe.
//
// An emulated machine keeps one processor busy, so there are two where there are
// processors for them.
func TestKVM(t *testing.T) {
	start := time.Now()
	places := findPlaces(t)
	all, alone := jobs(t)
	queue := make(chan job, len(all))
	for _, j := range all {
		queue <- j
	}
	close(queue)
	var total tally
	var workers sync.WaitGroup
	for _, p := range places {
		workers.Go(func() {
			for j := range queue {
				total.add(j.in(t, p))
			}
		})
	}
	workers.Wait()
	for _, j := range alone {
		total.add(j.in(t, places[0]))
	}
	line := fmt.Sprintf("kvm: %d passed, %d failed, %.0f s\n", total.passed, total.failed, time.Since(start).Seconds())
	// make test-kvm prints this last, after what go test has to say.
	if err := os.WriteFile(filepath.Join(need.Root(t), "build", "kvm.txt"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
}

// in runs a job in a place and says how it went.
func (j job) in(t *testing.T, p *place) (count tally) {
	began := time.Now()
	ran := false
	ok := t.Run(j.name, func(t *testing.T) {
		ran = true
		p.ready(t)
		j.run(t, p, &count)
	})
	if !ran {
		return tally{} // not among those that -run names
	}
	if !ok && count.failed == 0 {
		count.failed = 1 // it ended in a way that shows in no test of its own
	}
	fmt.Printf("kvm: %-24s %4d passed, %d failed, %.0f s\n", j.name, count.passed, count.failed, time.Since(began).Seconds())
	return count
}

// A tally is how many tests passed and failed. The total is added to by all places.
type tally struct{ passed, failed int }

var totalMu sync.Mutex

func (t *tally) add(u tally) {
	totalMu.Lock()
	defer totalMu.Unlock()
	t.passed += u.passed
	t.failed += u.failed
}

// findPlaces decides where to run, says so, and boots the machines if it takes any.
func findPlaces(t *testing.T) []*place {
	t.Helper()
	env := map[string]string{"ENARX_TEST_KVM": "1", "ENARX_TEST_BACKEND": "kvm", "ENARX_BACKEND": "kvm"}
	cfg := emulated.Config{Root: need.Root(t)}
	unusable := kvm.Probe(t.Context())
	if unusable == nil {
		fmt.Println("kvm: directly on this machine's KVM")
		return []*place{{name: "kvm", cfg: cfg, env: env, here: true}}
	}
	need.Tool(t, "qemu-system-x86_64")
	env["ENARX_TEST_SLOW"] = strconv.Itoa(slowdown)
	var places []*place
	t.Cleanup(func() {
		for _, p := range places {
			if p.machine != nil {
				p.machine.Close()
			}
		}
	})
	began := time.Now()
	for i := range min(runtime.NumCPU(), 2) {
		p := &place{name: fmt.Sprintf("kvm%d", i), cfg: cfg, env: env}
		places = append(places, p)
		p.ready(t)
	}
	fmt.Printf("kvm: in emulated machines (%d, QEMU TCG, kernel %s, booted in %.1f s), for this machine's KVM is no use: %.80v\n",
		len(places), places[0].machine.Kernel(), time.Since(began).Seconds(), unusable)
	return places
}

// ready boots a machine if there is none, or if the last job brought it down.
func (p *place) ready(t *testing.T) {
	t.Helper()
	if p.here || p.machine != nil && !p.machine.Gone() {
		return
	}
	if p.machine != nil {
		p.machine.Close()
	}
	var err error
	if p.machine, err = emulated.Start(t.Context(), p.cfg); err != nil {
		t.Fatal(err)
	}
}

// parallel returns a place where two processors do work at the same time.
func (p *place) parallel(t *testing.T) *place {
	t.Helper()
	if p.here {
		return p
	}
	q := &place{name: p.name, cfg: p.cfg, env: p.env}
	q.cfg.Parallel = true
	q.ready(t)
	t.Cleanup(func() { q.machine.Close() })
	return q
}

// put makes files and folders of this machine available.
func (p *place) put(t *testing.T, paths ...string) {
	t.Helper()
	if p.here {
		return
	}
	if err := p.machine.Put(t.Context(), paths...); err != nil {
		t.Fatal(err)
	}
}

// program is one command to run in a place.
type program struct {
	argv  []string
	dir   string
	env   map[string]string
	stdin string
	limit time.Duration
}

// scale is [need.Scale] for the place.
func (p *place) scale(d time.Duration) time.Duration {
	if p.here {
		return d
	}
	return d * slowdown
}

// run returns what the program did. It fails the test if it does not end by itself.
func (p *place) run(t *testing.T, what program) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), what.limit)
	defer cancel()
	env := maps.Clone(p.env)
	maps.Copy(env, what.env)
	var stdout, stderr bytes.Buffer
	// For whoever wonders what takes so long.
	log, err := os.Create(filepath.Join(need.Root(t), "build", p.name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := emulated.Command{
		Argv: what.argv, Dir: what.dir, Env: env, Stdin: strings.NewReader(what.stdin),
		Stdout: io.MultiWriter(&stdout, log), Stderr: io.MultiWriter(&stderr, log),
	}
	var code int
	if p.here {
		code, err = runHere(ctx, c)
	} else {
		code, err = p.machine.Run(ctx, c)
	}
	if err != nil {
		t.Fatalf("%s: %v\nstdout:\n%s\nstderr:\n%s", what.argv[0], err, tail(stdout.String()), tail(stderr.String()))
	}
	return ended{code, stdout.String(), stderr.String()}
}

// runHere does on this machine what [emulated.Machine.Run] does in that one.
func runHere(ctx context.Context, c emulated.Command) (int, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Stdin, c.Stdout, c.Stderr
	cmd.Env = os.Environ()
	for key, value := range c.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// build runs a compiler, which no place but this machine has.
func build(t *testing.T, dir string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, tail(out.String()))
	}
}

func (p *place) mkdir(t *testing.T, dir string) {
	t.Helper()
	if p.here {
		return
	}
	if err := p.machine.Mkdir(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}
