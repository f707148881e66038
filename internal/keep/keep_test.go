// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"enarx.dev/enarx/internal/kvm"
	"enarx.dev/enarx/internal/need"
	"enarx.dev/enarx/internal/sallyport"
)

// guestConfig is for a guest that plays the scripts.
func guestConfig(scripts ...[]line) Config {
	return Config{
		Start:    kvm.Start{Entry: testKernel, CR3: testPML4},
		Regions:  []Region{{GPA: testBase, Size: testEnd - testBase, Parts: []Part{{Data: guestMemory(scripts...)}}}},
		ExecGPA:  sallyport.ExecGPA,
		ExecSize: 1,
		Args:     []string{"test", "ä"},
		Env:      []string{"A=b"},
		Memory:   128 << 20,
		MaxCPUs:  testCPUs,
	}
}

type guest struct {
	*Keep
	t testing.TB
}

// start runs a guest; it is killed when the test ends.
func start(t testing.TB, cfg Config) guest {
	t.Helper()
	need.KVM(t)
	k, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Kill(nil)
		k.Wait()
	})
	return guest{k, t}
}

// word is 64 bits of guest memory, which a vCPU may be writing.
func (g guest) word(gpa uint64) uint64 {
	g.t.Helper()
	b := g.mem.bytes(gpa, 8)
	if b == nil {
		g.t.Fatalf("no memory at %#x", gpa)
	}
	return sallyport.Load64(b, 0)
}

func (g guest) set(gpa, v uint64) { sallyport.Store64(g.mem.bytes(gpa, 8), 0, v) }

// cpu returns a vCPU by order of creation, which there may not be yet.
func (g guest) cpu(id int) *cpu {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id >= len(g.cpus) {
		return new(cpu)
	}
	return g.cpus[id]
}

// until waits for something that must come soon.
func (g guest) until(happened func() bool) {
	g.t.Helper()
	for end := time.Now().Add(need.Scale(10 * time.Second)); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatal("it does not happen")
		}
		select {
		case <-g.gone:
			g.t.Fatalf("the Keep has ended: %v", g.err)
		default:
		}
	}
}

// done waits until a ticket's script has done the line with the given number,
// and returns its result.
func (g guest) done(ticket, n int) int64 {
	g.t.Helper()
	at := uint64(testScripts + ticket<<12 + n*lineSize)
	g.until(func() bool { return g.word(at) == opDone })
	return int64(g.word(at + 8))
}

func (g guest) want(ticket, n int, want int64) {
	g.t.Helper()
	if got := g.done(ticket, n); got != want {
		g.t.Errorf("vCPU %d, line %d: %d, want %d", ticket, n, got, want)
	}
}

// ends waits for the end of a Keep that must come soon.
func (g guest) ends() (int, error) {
	g.t.Helper()
	select {
	case <-g.gone:
	case <-time.After(need.Scale(10 * time.Second)):
		g.t.Fatal("the Keep does not end")
	}
	return g.Wait()
}

func slotAt(ticket uint64) uint64 { return sallyport.SharedGPA + ticket*sallyport.SlotSize }
func dataAt(ticket uint64) uint64 {
	return slotAt(ticket) + sallyport.BlockPage*sallyport.PageSize + sallyport.DataOffset
}
func parkAt(ticket uint64) uint64 { return slotAt(ticket) + sallyport.ParkPage*sallyport.PageSize }

// pipe returns a pipe whose ends block, as a program's standard streams do.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		status, signal uint64
		want           int
	}{{0, 0, 0}, {7, 0, 7}, {0x107, 0, 7}, {0, 6, 134}, {3, 9, 137}} {
		g := start(t, guestConfig([]line{{opCall, sallyport.OpExit, tt.status, tt.signal}}))
		if code, err := g.ends(); code != tt.want || err != nil {
			t.Errorf("status %d, signal %d: %d, %v, want %d", tt.status, tt.signal, code, err, tt.want)
		}
		if code, err := g.Wait(); code != tt.want || err != nil {
			t.Errorf("again: %d, %v", code, err)
		}
	}
}

func TestBootPage(t *testing.T) {
	cfg := guestConfig([]line{{opWait, testWords, 1}})
	cfg.Files = []*os.File{os.Stdin, os.Stdout}
	g := start(t, cfg)
	b, ok := sallyport.DecodeBoot(g.mem.bytes(sallyport.BootGPA, sallyport.PageSize))
	if !ok {
		t.Fatal("the shim would refuse the boot page")
	}
	if b.MaxCPUs != testCPUs || b.HeapLimit != 128<<20 || b.Descriptors != 2 || b.Argc != 2 || b.Envc != 1 {
		t.Errorf("%+v", b)
	}
	args := g.mem.bytes(sallyport.ArgsGPA, sallyport.ArgsSize)
	if want := "test\x00ä\x00A=b\x00"; !b.CheckArgs(args) || string(args[:b.ArgsLength]) != want {
		t.Errorf("%q, want %q", args[:b.ArgsLength], want)
	}
}

func TestSpawn(t *testing.T) {
	one := []line{{opAdd, testWords, 1}, {opTSC}}
	g := start(t, guestConfig(
		[]line{{opTSC}, {opCall, sallyport.OpSpawn}, {opCall, sallyport.OpSpawn}, {opWait, testWords, 2}, {opTSC}, {opCall, sallyport.OpYield}, {opCall, 0xffff}, {opCall, 0x20000}, {opWait, testWords, 3}},
		one, one))
	before, after := g.done(0, 0), g.done(0, 4)
	for ticket := 1; ticket <= 2; ticket++ {
		if tsc := g.done(ticket, 1); tsc < before || time.Duration(after-before) > need.Scale(time.Minute) {
			t.Errorf("vCPU %d took the time at %d, between %d and %d on vCPU 0", ticket, tsc, before, after)
		}
	}
	g.want(0, 1, 0)
	g.want(0, 5, 0)
	g.want(0, 6, -int64(syscall.ENOSYS))
	g.want(0, 7, -int64(syscall.ENOSYS))
}

func TestSpawnLimit(t *testing.T) {
	cfg := guestConfig([]line{{opCall, sallyport.OpSpawn}, {opCall, sallyport.OpSpawn}, {opWait, testWords, 1}})
	cfg.MaxCPUs = 2
	g := start(t, cfg)
	g.want(0, 0, 0)
	g.want(0, 1, -int64(syscall.EAGAIN))
}

func TestPark(t *testing.T) {
	ms := uint64(time.Millisecond)
	g := start(t, guestConfig(
		[]line{
			{opCall, sallyport.OpPark, 1, sallyport.Forever}, {opCall, sallyport.OpPark, 0, ms}, {opCall, sallyport.OpPark, 0, 0},
			{opCall, sallyport.OpUnpark, testCPUs}, {opCall, sallyport.OpUnpark, 3}, {opCall, sallyport.OpSpawn},
			{opWait, testWords, 1}, {opAdd, parkAt(1), 1}, {opCall, sallyport.OpUnpark, 1}, {opAdd, testWords + 16, 1}, {opWait, testWords + 8, 1},
		},
		// The second sleep waits for the first unpark to be over, which would end it too.
		[]line{{opAdd, testWords, 1}, {opCall, sallyport.OpPark, 0, sallyport.Forever}, {opWait, testWords + 16, 1}, {opCall, sallyport.OpPark, 1, ^uint64(1)}}))
	g.want(0, 0, -int64(syscall.EAGAIN))
	g.want(0, 1, -int64(syscall.ETIMEDOUT))
	g.want(0, 2, -int64(syscall.ETIMEDOUT))
	g.want(0, 3, -int64(syscall.EINVAL))
	g.want(0, 4, 0)
	if ret := g.done(1, 1); ret != 0 && ret != -int64(syscall.EAGAIN) {
		t.Errorf("unparked: %d", ret)
	}

	// A kick does not end the second sleep; unparking does, and the kick is
	// still on its way to ring 3.
	g.until(func() bool { return g.cpu(1).doing.Load() == parked })
	g.kick(1)
	time.Sleep(20 * time.Millisecond)
	if g.cpu(1).doing.Load() != parked || !g.cpu(1).kicked.Load() {
		t.Error("a kick ended the sleep of a parked vCPU, or was lost")
	}
	g.until(func() bool { g.unpark(1); return g.word(testScripts+1<<12+3*lineSize) == opDone })
	g.want(1, 3, 0)
}

func TestKick(t *testing.T) {
	// Spinning in ring 3; in the shim, to be taken in ring 3; several times.
	g := start(t, guestConfig(
		[]line{
			{opCall, sallyport.OpKick, testCPUs}, {opCall, sallyport.OpSpawn}, {opWait, testWords, 1},
			{opCall, sallyport.OpKick, 1}, {opWait, testWords, 2},
			{opCall, sallyport.OpKick, 1}, {opAdd, testWords + 8, 1}, {opWait, testWords, 3},
		},
		[]line{
			{opAdd, testWords, 1}, {opSpin}, // no exit yet: its index is not known
			{opCall, sallyport.OpYield}, {opAdd, testWords, 1},
			{opWait, testWords + 8, 1}, {opCall, sallyport.OpYield}, {opSpin}, {opAdd, testWords, 1},
		}))
	g.want(0, 0, -int64(syscall.ESRCH))
	g.done(0, 7)
	g.done(1, 7)
}

// A kick must reach a vCPU wherever it is, over and over.
func TestKickOften(t *testing.T) {
	const rounds = 55
	var spins []line
	for range rounds {
		spins = append(spins, line{opSpin})
	}
	g := start(t, guestConfig(spins))
	end := time.Now().Add(need.Scale(10 * time.Second))
	last := uint64(testScripts + (rounds-1)*lineSize)
	for n := 0; g.word(last) != opDone; n++ {
		g.kick(0)
		if n%3 == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		if time.Now().After(end) {
			t.Fatal("a kick was lost")
		}
	}
}

// A forwarded call that blocks ends when the vCPU is kicked, also when the
// kick came while the vCPU was still in the shim.
func TestKickCall(t *testing.T) {
	for _, early := range []bool{false, true} {
		r, w := pipe(t)
		cfg := guestConfig([]line{
			{opCall, sallyport.OpYield}, {opWait, testWords, 1}, {opCall, syscall.SYS_READ, 0, 1},
			{opSpin}, {opCall, syscall.SYS_READ, 0, 1}, {opWait, testWords, 2},
		})
		cfg.Files = []*os.File{r}
		g := start(t, cfg)
		g.done(0, 0)
		if early {
			g.kick(0)
			g.set(testWords, 1)
		} else {
			g.set(testWords, 1)
			g.until(func() bool { return g.cpu(0).doing.Load() == calling })
			time.Sleep(5 * time.Millisecond) // now it blocks
			g.kick(0)
		}
		g.want(0, 2, -int64(syscall.EINTR))
		g.done(0, 3)
		if _, err := w.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		g.want(0, 4, 1)
	}
}

func TestGrow(t *testing.T) {
	const first, second = sallyport.HeapGPA, sallyport.HeapGPA + sallyport.MinHeap
	grow := func(gpa, size uint64) line { return line{opCall, sallyport.OpGrow, gpa, size} }
	release := func(gpa, size uint64) line { return line{opCall, sallyport.OpRelease, gpa, size} }
	g := start(t, guestConfig([]line{
		grow(first, 32<<20), grow(second, 0), grow(second, 1<<20), grow(second+2<<20, 2<<20), grow(second, 1<<64-2<<20), grow(second, 98<<20), grow(second, 64<<20),
		{opStore, second, 42}, {opStore, second - 8, 43}, {opLoad, second}, {opLoad, second - 8},
		release(second-0x1000, 0x2000), {opLoad, second}, {opLoad, second - 8},
		release(second, 65<<20), release(first-0x1000, 0x2000), release(first+1, 0x1000), release(first, 0x800), release(first, 0), release(first, 1<<64-0x1000), release(testBase, 0x1000),
		grow(second+64<<20, 34<<20), grow(second+64<<20, 32<<20), {opWait, testWords, 1},
	}))
	const inval, nomem = -int64(syscall.EINVAL), -int64(syscall.ENOMEM)
	for i, want := range []int64{
		inval, inval, inval, inval, nomem, nomem, 0,
		second, second - 8, 42, 43,
		0, 0, 0,
		inval, inval, inval, inval, inval, inval, inval,
		nomem, 0,
	} {
		g.want(0, i, want)
	}
}

func TestFileRegion(t *testing.T) {
	name := t.TempDir() + "/image"
	if err := os.WriteFile(name, append(make([]byte, 0x1000), "in a file"...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cfg := guestConfig([]line{{opLoad, testFile}, {opLoad, testFile + 0xff8}, {opWait, testWords, 1}, {opStore, testFile, 0}})
	cfg.Regions = append(cfg.Regions, Region{GPA: testFile, Size: 0x1000, File: f, Offset: 0x1000, ReadOnly: true})
	g := start(t, cfg)
	g.want(0, 0, int64(binary.LittleEndian.Uint64([]byte("in a fil"))))
	g.want(0, 1, 0)
	g.set(testWords, 1)
	if code, err := g.ends(); code != AbortCode || !errors.Is(err, ErrRun) || !strings.Contains(err.Error(), "physical 0x100000") {
		t.Errorf("writing to it: %d, %v", code, err)
	}
	cfg.Regions[1].Size = 0x2000
	if _, err := Start(t.Context(), cfg); !errors.Is(err, ErrMemory) {
		t.Errorf("a region that is longer than its file: %v", err)
	}
}

// What a hostile shim may do to its host ends the Keep, with a reason.
func TestHostile(t *testing.T) {
	for name, tt := range map[string]struct {
		script []line
		want   error
		text   string
	}{
		"block of another":    {[]line{{opCall, sallyport.OpYield}, {opOut, 1, sallyport.ExitPort}}, ErrProtocol, "vCPU 0 uses block 1"},
		"no such block":       {[]line{{opOut, testCPUs, sallyport.ExitPort}}, ErrProtocol, "uses block 16"},
		"far block":           {[]line{{opOut, 0xffffffff, sallyport.ExitPort}}, ErrProtocol, "uses block 4294967295"},
		"other port":          {[]line{{opOut, 0, 0x80}}, ErrProtocol, "port 0x80"},
		"triple fault":        {[]line{{opCrash}}, ErrRun, "shutdown (triple fault)"},
		"no memory":           {[]line{{opLoad, sallyport.HeapGPA + sallyport.MinHeap}}, ErrRun, "does not exist"},
		"all halted":          {nil, ErrRun, "every vCPU has halted"},
		"unknown abort":       {[]line{{opCall, sallyport.OpAbort, 99}}, ErrAbort, "unknown code 0x63"},
		"unknown load error":  {[]line{{opCall, sallyport.OpAbort, sallyport.AbortLoad + 0xffff}}, ErrProgram, "cannot be started"},
		"far load error":      {[]line{{opCall, sallyport.OpAbort, ^uint64(0)}}, ErrProgram, "unknown reason"},
		"block taken already": {[]line{{opCall, sallyport.OpYield}, {opCall, sallyport.OpSpawn}, {opWait, testWords, 1}}, ErrProtocol, "vCPU 1 uses block 0"},
		"exception": {[]line{
			{opStore, dataAt(0), 13}, {opStore, dataAt(0) + 0x10, 0xffffffff80001234}, {opStore, dataAt(0) + 0x30, 0xdead}, {opStore, dataAt(0) + 0x48, 0xaaaa}, {opStore, dataAt(0) + 0x50, 0xbbbb},
			{opCall, sallyport.OpAbort, sallyport.AbortException},
		}, ErrAbort, "exception in the shim: vector 13 (general protection), error 0x0, rip 0xffffffff80001234, cr2 0xdead, rsp 0x0, rbp 0x0, cs 0x0, rflags 0x0, vCPU 0, trace 0xaaaa 0xbbbb"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, guestConfig(tt.script, []line{{opOut, 0, sallyport.ExitPort}}))
			code, err := g.ends()
			want := AbortCode
			if tt.want == ErrProgram {
				want = ProgramCode
			}
			if code != want || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%d, %v; want %v … %s", code, err, tt.want, tt.text)
			}
		})
	}
}

// Whatever the vCPUs do, the end of the context ends them.
func TestCancel(t *testing.T) {
	for name, script := range map[string][]line{
		"ring 3": {{opSpin}},
		"ring 0": {{opWait, testWords, 1}},
		"parked": {{opCall, sallyport.OpPark, 0, sallyport.Forever}},
		"call":   {{opCall, syscall.SYS_READ, 0, 1}},
		"busy":   {{opRepeat, 1 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			need.KVM(t)
			r, _ := pipe(t)
			spawn := append([]line{{opCall, sallyport.OpSpawn}, {opCall, sallyport.OpSpawn}}, script...)
			cfg := guestConfig(spawn, script, script)
			cfg.Files = []*os.File{r}
			boom := errors.New("boom")
			ctx, cancel := context.WithCancelCause(t.Context())
			k, err := Start(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Millisecond)
			begin := time.Now()
			cancel(boom)
			if code, err := (guest{k, t}).ends(); code != AbortCode || err != boom {
				t.Errorf("%d, %v", code, err)
			}
			k.Kill(nil)
			if took := time.Since(begin); took > need.Scale(time.Second) {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestKill(t *testing.T) {
	g := start(t, guestConfig([]line{{opSpin}}))
	g.Kill(nil)
	g.Kill(errors.New("too late"))
	if _, err := g.ends(); err != ErrKilled {
		t.Error(err)
	}
}

func TestConfine(t *testing.T) {
	var threads atomic.Int64
	cfg := guestConfig([]line{{opCall, sallyport.OpSpawn}, {opWait, testWords, 1}}, []line{{opAdd, testWords, 1}})
	cfg.Confine = func() error { threads.Add(1); return nil }
	g := start(t, cfg)
	g.done(0, 1)
	if threads.Load() != 2 {
		t.Errorf("%d threads were confined, want 2", threads.Load())
	}

	boom := errors.New("boom")
	cfg.Confine = func() error { return boom }
	g = start(t, cfg)
	if code, err := g.ends(); code != AbortCode || !errors.Is(err, ErrSetup) || !errors.Is(err, boom) {
		t.Errorf("%d, %v", code, err)
	}
}
