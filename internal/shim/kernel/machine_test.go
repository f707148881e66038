// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Physical memory of a test.
const (
	testRoot  = 0x8000
	testHeap  = 0x40_0000
	testLimit = 64 << 20
	testCPUs  = 64
)

// Where a program "is", whose instructions are Go code of the test.
const (
	afterSyscall = 0x40_1002 // behind the one SYSCALL instruction
	inLoop       = 0x40_2000
	restorer     = 0x40_3000
	handlerBase  = 0x40_4000 // a handler each 16 bytes
)

// lie is how a host treats parks.
type lie int

const (
	honest  lie = iota
	early       // returns from parks at random
	late        // and long after the wake-up
	nowakes     // ignores unparks; parks end when they like
)

// machine is a Keep whose vCPUs are goroutines, with its host.
type machine struct {
	*Kernel
	t    testing.TB
	ram  []byte
	cpus [testCPUs]vcpu
	next atomic.Uint32 // index of the next vCPU to start
	lie  lie
	fuzz bool          // time passes only in parks, and the program may go astray
	tsc  atomic.Uint64 // with fuzz

	wg       sync.WaitGroup
	dead     chan struct{}
	kill     sync.Once
	exits    []uint64 // arguments of OpExit, or of OpAbort behind a 254
	logs     []string
	report   sallyport.Report
	mu       sync.Mutex // guards the three above
	input    chan byte  // what can be read from descriptor 0
	noSpawn  atomic.Bool
	noRandom atomic.Bool
	gs       sync.Map // GS base by vCPU
	calls    [32]atomic.Uint64
	fxBefore [512]byte

	entries  sync.Map // from stack pointer to the function of a thread
	handlers sync.Map // from address to handler
	nhandler atomic.Uint64
}

// vcpu is the host's and the hardware's part of one vCPU.
type vcpu struct {
	thread *Thread
	slot   []uint64
	kicked atomic.Bool
	kick   chan struct{}
	unpark chan struct{}
	cr2    uint64
	ymm    [256]byte
}

var current sync.Map // from host thread to *vcpu

func newMachine(t testing.TB) *machine {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, testHeap+testLimit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{Kernel: new(Kernel), t: t, ram: ram, dead: make(chan struct{}), input: make(chan byte, 100)}
	t.Cleanup(func() {
		m.die()
		m.wg.Wait()
		if err := unix.Munmap(ram); err != nil {
			t.Error(err)
		}
	})
	return m
}

// run boots the Keep, with main as its main thread, and returns when it has ended.
func (m *machine) run(main func(u *user)) {
	m.t.Helper()
	started := make(chan struct{})
	m.wg.Add(1)
	go m.vcpu(0, func(u *user) {
		close(started)
		main(u)
	})
	select {
	case <-m.dead:
	case <-time.After(60 * time.Second):
		buf := make([]byte, 1<<20)
		m.t.Errorf("no end in sight:\n%s", buf[:runtime.Stack(buf, true)])
		m.die()
	}
	m.wg.Wait()
}

func (m *machine) die() { m.kill.Do(func() { close(m.dead) }) }

// end returns how the Keep ended.
func (m *machine) end() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.exits)
}

func (m *machine) vcpu(index uint32, main func(u *user)) {
	defer m.wg.Done()
	runtime.LockOSThread()
	t := m.prepare(index)
	current.Store(unix.Gettid(), &m.cpus[index])
	u := &user{m: m, t: t}
	if main != nil {
		boot := &sallyport.Boot{MaxCPUs: testCPUs, Descriptors: 3, HeapLimit: testLimit, TSCKHz: 1_000_000, Wall: uint64(time.Now().UnixNano()), Flags: sallyport.FlagTrace}
		m.Start(t, boot, &Machine{Direct: unsafe.Pointer(&m.ram[0]), Root: testRoot, Heap: testHeap, HeapLen: sallyport.MinHeap, CPUs: 2}, m.hooksOf())
		t.Frame.RIP, t.Frame.RSP = inLoop, 0x7000_0000
		m.Leave(t)
		main(u)
		u.exit(0)
	} else {
		m.Enter(t)
	}
	for {
		u.resume(afterSyscall) // a signal may come before the first instruction
		fn, ok := m.entries.Load(t.Frame.RSP)
		if m.fuzz && !ok {
			fn, ok = func(u *user) {}, true
		}
		if !ok || t.Frame.RAX != 0 && main == nil && !m.fuzz {
			m.t.Errorf("thread starts with %+v", t.Frame)
			m.die()
			return
		}
		fn.(func(*user))(u)
		u.exit(0)
	}
}

// prepare is what Hooks.Map does.
func (m *machine) prepare(index uint32) *Thread {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.cpus[index]
	if c.thread == nil {
		c.slot = make([]uint64, sallyport.SlotSize/8)
		c.kick, c.unpark = make(chan struct{}, 1), make(chan struct{}, 1)
		c.thread = new(Thread)
		c.thread.Port.Init(unsafe.Pointer(&c.slot[sallyport.PageSize/8]), index, m.serve)
	}
	return c.thread
}

func (m *machine) hooksOf() *Hooks {
	start := time.Now()
	me := func() *vcpu {
		c, _ := current.Load(unix.Gettid())
		return c.(*vcpu)
	}
	return &Hooks{
		Flush: func() {},
		Pause: runtime.Gosched,
		Stop:  runtime.Goexit,
		TSC: func() uint64 {
			if m.fuzz {
				return m.tsc.Add(1)
			}
			return 1000 + uint64(time.Since(start))
		},
		Random: func() (uint64, bool) {
			return rand.Uint64(), !m.noRandom.Load() && rand.IntN(4) != 0
		},
		CR2:     func() uint64 { return me().cr2 },
		SetGS:   func(base uint64) { m.gs.Store(me().thread.Index, base) },
		GetGS:   func() uint64 { v, _ := m.gs.LoadOrStore(me().thread.Index, uint64(0)); return v.(uint64) },
		Current: func() *Thread { return me().thread },
		Map:     m.prepare,
		SaveUpper: func(x *Upper) {
			sallyport.Put64(x[:], offXBV, xstateYMM)
			copy(x[offYMM:], me().ymm[:])
		},
		RestoreUpper: func(x *Upper) {
			clear(me().ymm[:])
			if sallyport.Get64(x[:], offXBV)&xstateYMM != 0 {
				copy(me().ymm[:], x[offYMM:])
			}
		},
		Word: func(index uint32, addr uint64) (uint64, bool) {
			if addr < 0x1000 || addr > 0x1100 {
				return 0, false
			}
			return addr + 0x20, true
		},
	}
}

// serve is the host's side of an exit.
func (m *machine) serve(index uint32) {
	select {
	case <-m.dead:
		runtime.Goexit()
	default:
	}
	c := &m.cpus[index]
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&c.slot[0])), sallyport.SlotSize)
	block := bytes[sallyport.PageSize : sallyport.PageSize+sallyport.BlockSize]
	var r sallyport.Request
	if !sallyport.ReadRequest(block, &r) {
		m.t.Errorf("request %#x", r.Nr)
	}
	sallyport.Reply(block, r.Seq, m.answer(c, &r, sallyport.Data(block)))
}

func (m *machine) answer(c *vcpu, r *sallyport.Request, data []byte) int64 {
	if r.Nr >= sallyport.OpFirst {
		m.calls[r.Nr-sallyport.OpFirst].Add(1)
	}
	switch r.Nr {
	case sallyport.OpSpawn:
		if m.noSpawn.Load() {
			return -abi.EAGAIN
		}
		m.wg.Add(1)
		go m.vcpu(m.next.Add(1), nil)
	case sallyport.OpPark:
		return m.park(c, uint32(r.Args[0]), r.Args[1])
	case sallyport.OpUnpark, sallyport.OpKick:
		if r.Args[0] >= testCPUs || m.cpus[r.Args[0]].thread == nil {
			m.t.Errorf("call %#x for vCPU %d", r.Nr, r.Args[0])
			return -abi.EINVAL
		}
		o := &m.cpus[r.Args[0]]
		if r.Nr == sallyport.OpUnpark && m.lie != nowakes {
			signal(o.unpark)
		}
		if r.Nr == sallyport.OpKick {
			o.kicked.Store(true)
			signal(o.kick)
		}
	case sallyport.OpExit, sallyport.OpAbort:
		m.mu.Lock()
		if r.Nr == sallyport.OpAbort {
			m.report.Decode(data)
			r.Args[0], r.Args[1] = 254, r.Args[0]
		}
		m.exits = append(m.exits, r.Args[0], r.Args[1])
		m.mu.Unlock()
		m.die()
		runtime.Goexit()
	case sallyport.OpYield:
		runtime.Gosched()
	case sallyport.OpLog:
		m.mu.Lock()
		m.logs = append(m.logs, string(data[:r.Args[1]]))
		m.mu.Unlock()
	case abi.SYS_READ:
		return m.read(c, data)
	}
	return 0
}

func (m *machine) read(c *vcpu, data []byte) int64 {
	for !c.kicked.Load() {
		select {
		case b := <-m.input:
			data[sallyport.PayloadOffset] = b
			return 1
		case <-c.kick:
		case <-m.dead:
			runtime.Goexit()
		}
	}
	return -abi.EINTR
}

func (m *machine) park(c *vcpu, expected uint32, timeout uint64) int64 {
	word := (*atomic.Uint32)(unsafe.Pointer(&c.slot[sallyport.ParkPage*sallyport.PageSize/8]))
	end := make(<-chan time.Time)
	if timeout < 1<<62 {
		end = time.After(time.Duration(timeout))
	}
	if m.fuzz {
		return m.parkFuzz(c, word.Load() != expected, timeout)
	}
	switch {
	case m.lie == early && rand.IntN(2) == 0:
		return -abi.EINTR
	case m.lie == late:
		time.Sleep(time.Duration(rand.IntN(3_000_000)))
	case m.lie == nowakes:
		time.Sleep(time.Duration(rand.IntN(2_000_000)))
		return 12345
	}
	if word.Load() != expected {
		return -abi.EAGAIN
	}
	select {
	case <-c.unpark:
	case <-end:
		return -abi.ETIMEDOUT
	case <-m.dead:
		runtime.Goexit()
	}
	return 0
}

// parkFuzz lets time pass at once, and ends a program that seems to wait for ever.
func (m *machine) parkFuzz(c *vcpu, changed bool, timeout uint64) int64 {
	if timeout != never {
		m.tsc.Add(min(timeout, 1<<40))
		return -abi.ETIMEDOUT
	}
	if changed {
		return -abi.EAGAIN
	}
	select {
	case <-c.unpark:
		return 0
	case <-time.After(20 * time.Millisecond):
		m.die()
	case <-m.dead:
	}
	runtime.Goexit()
	return 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// user is the program on one vCPU.
type user struct {
	m *machine
	t *Thread
}

// sys executes SYSCALL.
func (u *user) sys(nr uint64, args ...uint64) int64 {
	f := &u.t.Frame
	var a [6]uint64
	copy(a[:], args)
	f.RAX, f.RDI, f.RSI, f.RDX, f.R10, f.R8, f.R9 = nr, a[0], a[1], a[2], a[3], a[4], a[5]
	f.RIP = afterSyscall - syscallSize
	u.resume(afterSyscall)
	return int64(f.RAX)
}

// want makes a call that must have this result.
func (u *user) want(want int64, nr uint64, args ...uint64) {
	u.m.t.Helper()
	if got := u.sys(nr, args...); got != want {
		u.m.t.Errorf("system call %d%#x = %d, want %d", nr, args, got, want)
	}
}

// poll is any instruction of the program: where a kick can arrive.
func (u *user) poll() {
	runtime.Gosched()
	select {
	case <-u.m.dead:
		runtime.Goexit()
	default:
	}
	if u.m.cpus[u.t.Index].kicked.CompareAndSwap(true, false) {
		u.trap(Kick, 0, 0)
	}
}

// trap is an exception or interrupt.
func (u *user) trap(vector, code, cr2 uint64) {
	f := &u.t.Frame
	u.m.cpus[u.t.Index].cr2 = cr2
	f.RIP, f.Vector, f.Error = inLoop, vector, code
	u.m.Trap(u.t)
	u.resume(inLoop)
}

// resume executes the program until it is at rip.
func (u *user) resume(rip uint64) {
	f := &u.t.Frame
	for steps := 0; f.RIP != rip; steps++ {
		if u.m.fuzz && steps > 100 {
			f.RIP = rip // the program has jumped somewhere
			return
		}
		if u.m.cpus[u.t.Index].kicked.CompareAndSwap(true, false) {
			f.Vector, f.Error = Kick, 0
			u.m.Trap(u.t)
			continue
		}
		if f.RIP == afterSyscall-syscallSize {
			f.RIP, f.RCX, f.R11, f.Vector, f.Error = afterSyscall, afterSyscall, f.RFLAGS, Syscall, 0
			u.m.Trap(u.t)
			continue
		}
		h, ok := u.m.handlers.Load(f.RIP)
		if !ok && u.m.fuzz {
			h = func(u *user, sig, info, uc uint64) { u.check() }
		} else if !ok {
			u.m.t.Errorf("the program is at %#x on its way to %#x", f.RIP, rip)
			u.m.die()
			runtime.Goexit()
		}
		sp := f.RSP
		h.(func(u *user, sig, info, uc uint64))(u, f.RDI, f.RSI, f.RDX)
		f.RSP = sp + 8
		f.RAX, f.RIP, f.RCX, f.R11, f.Vector = abi.SYS_RT_SIGRETURN, restorer, restorer, f.RFLAGS, Syscall
		u.m.Trap(u.t)
	}
}

// exit ends the thread; the vCPU may then run another.
func (u *user) exit(status uint64) {
	f := &u.t.Frame
	f.RAX, f.RDI, f.Vector, f.RIP = abi.SYS_EXIT, status, Syscall, afterSyscall
	u.m.Trap(u.t)
}

// mmap maps memory and touches it.
func (u *user) mmap(n uint64) uint64 {
	addr := u.sys(abi.SYS_MMAP, 0, n, abi.ProtRead|abi.ProtWrite, mapPrivate|mapAnonymous, ^uint64(0), 0)
	if addr < 0 {
		u.m.t.Errorf("mmap: %d", addr)
		u.m.die()
		runtime.Goexit()
	}
	for off := uint64(0); off < n; off += abi.PageSize {
		u.m.Space.Store32(u.t.Index, uint64(addr)+off, 0)
	}
	return uint64(addr)
}

// word returns the memory behind a mapped address, as the CPU would find it.
func (u *user) word(addr uint64) *atomic.Uint32 {
	table := uint64(testRoot)
	for shift := 39; shift >= 12; shift -= 9 {
		e := atomic.LoadUint64((*uint64)(unsafe.Pointer(&u.m.ram[table+addr>>shift&511*8])))
		if e&1 == 0 {
			panic(fmt.Sprintf("%#x is not mapped", addr))
		}
		table = e & 0x000f_ffff_ffff_f000
	}
	return (*atomic.Uint32)(unsafe.Pointer(&u.m.ram[table+addr&4095]))
}

// store and load copy 8-byte words.
func (u *user) store(addr uint64, words ...uint64) {
	for i, w := range words {
		if !u.m.storeWord(u.t, addr+uint64(i)*8, w) {
			u.m.t.Errorf("store to %#x", addr)
		}
	}
}

func (u *user) load(addr uint64) uint64 {
	v, ok := u.m.Space.Load64(u.t.Index, addr)
	if !ok {
		u.m.t.Errorf("load of %#x", addr)
	}
	return v
}

// spawn starts a thread as musl does and returns its number, or an error.
func (u *user) spawn(stack, ctid uint64, fn func(*user)) int64 {
	u.m.entries.Store(stack, fn)
	return u.sys(abi.SYS_CLONE, cloneMusl, stack, ctid, ctid, 0x1234_5000)
}

// join waits until the kernel has cleared ctid. It loads it as the kernel does,
// under a lock: the race detector does not see the memory of a machine.
func (u *user) join(ctid uint64) {
	for {
		v, _ := u.m.Space.Load32(u.t.Index, ctid)
		if v == 0 {
			return
		}
		if ret := u.sys(abi.SYS_FUTEX, ctid, futexWait, uint64(v), 0); ret != 0 && ret != -abi.EAGAIN {
			u.m.t.Errorf("join: %d", ret)
		}
	}
}

// handler makes fn the handler of sig.
func (u *user) handler(sig uint64, flags, mask uint64, fn func(u *user, sig, info, uc uint64)) {
	addr := handlerBase + 16*u.m.nhandler.Add(1)
	u.m.handlers.Store(addr, fn)
	act := u.mmap(4096)
	u.store(act, addr, flags|saRestorer, restorer, mask)
	u.want(0, abi.SYS_RT_SIGACTION, sig, act, 0, 8)
}

func TestMain(m *testing.M) { os.Exit(m.Run()) }
