// SPDX-License-Identifier: Apache-2.0

package testprogs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Programs returns all runs, without paths: Build adds those.
func Programs() []Program {
	var all []Program
	for _, kind := range []string{"musl", "musl-pie"} {
		for _, p := range muslPrograms() {
			p.Name = kind + "/" + p.Name
			all = append(all, p)
		}
	}
	for _, p := range goPrograms() {
		p.Name = "go/" + p.Name
		all = append(all, p)
	}
	// What the loader does for a position-independent Go program it does for all alike.
	for _, p := range goPrograms() {
		if p.Name == "hello" || p.Name == "recover" {
			p.Name = "go-pie/" + p.Name
			all = append(all, p)
		}
	}
	return append(all, stdPrograms()...)
}

// megabytes is what cat copies: no page of it is like another.
func megabytes() []byte {
	b := make([]byte, 2<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b) // never fails
	return b
}

func muslPrograms() []Program {
	input := megabytes()
	all := []Program{
		{Name: "hello", Stdout: "hello, world\n", Linux: true},
		{Name: "args", Args: []string{"one", "", "two words", strings.Repeat("x", 5000)}, Code: 4, Linux: true,
			Stdout: "1 one\n2 \n3 two words\n4 " + strings.Repeat("x", 5000) + "\n"},
		{Name: "args:none", Linux: true},
		{Name: "echo", Stdout: "8 connections, 3939324 bytes\n", Linux: true},
		{Name: "threads", Stdout: "counter 100000, turns 1000, sum 328350, destroyed 100, once 1\n", Linux: true, Limit: 30 * time.Second},
		{Name: "cat", Stdin: input, Stdout: string(input), Linux: true},
		{Name: "cat:nothing", Linux: true},
		{Name: "udp", Stdout: "0 bytes\n1 bytes\n1472 bytes\n9000 bytes\n65507 bytes\n", Linux: true},
		{Name: "spike", Stdout: "256 MiB, and again in pieces\n", Linux: true, Limit: 30 * time.Second},
		{Name: "stress", Linux: true, Limit: 30 * time.Second,
			Stdout: "thread 0: 424323585\nthread 1: 436685087\nthread 2: 434066460\nthread 3: 450847500\nthread 4: 440441887\nthread 5: 451662680\n"},
		{Name: "signals", Stdout: signals, Linux: true},
		{Name: "clock", Stdout: "clocks\n", Linux: true},
		{Name: "fpu", Stdout: "registers kept\n", Linux: true, Limit: 30 * time.Second},
		{Name: "io", Stdout: "pipes\nwaiting\nsockets\nbad addresses\n", Linux: true},
		{Name: "refused", Stdout: fmt.Sprintf("%d calls refused\n", refusedCalls)},
	}
	for _, how := range []struct {
		name string
		code int
	}{{"abort", 134}, {"segv", 139}, {"overflow", 139}, {"term", 143}, {"kill", 137}, {"thread", 42}, {"main", 42}, {"exit", 255}} {
		all = append(all, Program{Name: "die:" + how.name, Args: []string{how.name}, Code: how.code, Stdout: how.name + "\n", Linux: true})
	}
	for i := range all {
		if all[i].Limit == 0 {
			all[i].Limit = 10 * time.Second
		}
	}
	return all
}

// refusedCalls is how many calls refused.c makes that must fail.
const refusedCalls = 71

const signals = `write to nowhere: signal 11, code 1
write to read-only memory: signal 11, code 2
jump to data: signal 11, code 2
write to no address: signal 11, code 128
privileged instruction: signal 11, code 128
invalid instruction: signal 4, code 2
division by zero: signal 8, code 1
repaired and tried again
masks
a thread that computes
cancelled
`

func goPrograms() []Program {
	all := []Program{
		{Name: "hello", Args: []string{"a", "b c"}, Stdin: megabytes()[:100_000], Code: 3, Stdout: "[\"a\" \"b c\"] linux amd64 4096\n100000 <nil>\n"},
		{Name: "http", Stdout: "http done\nhttps done\nshut down\n"},
		{Name: "parallel", Stdout: "parallel\n", Parallel: true},
		{Name: "parallel:time", Args: []string{"time"}, Stdout: "parallel\n", Parallel: true},
		{Name: "recover", Stdout: `runtime error: invalid memory address or nil pointer dereference
runtime error: integer divide by zero
runtime error: invalid memory address or nil pointer dereference
10000 faults caught
1000 frames
100000 frames
500000 frames
end
`},
		{Name: "goroutines", Stdout: "ring 10000\nsleepers 10000\nselects 10000\nlocked 20\nstopped the world\n"},
		{Name: "gc", Stdout: "0 f8f867aac8234068\n1 e5155be1458178f1\n2 c17e3ac39503f8bf\n3 b097aae354c5151f\ntrue true true\n"},
		{Name: "timers", Stdout: "slept\n0 1 2 3 4 in order\nticks\ncontext deadline exceeded\nread: true\nend\n"},
		{Name: "panic", Args: []string{"panic"}, Code: 2, Stdout: "panic\n"},
	}
	for _, how := range []string{"nil", "stack", "deadlock"} {
		all = append(all, Program{Name: "panic:" + how, Args: []string{how}, Code: 2, Stdout: how + "\n"})
	}
	all = append(all, Program{Name: "panic:exit", Args: []string{"exit"}, Code: 17, Stdout: "exit\n"})
	for i := range all {
		all[i].Linux, all[i].Limit = true, 30*time.Second
	}
	return all
}

// stdTests are packages of Go's standard library, without those of their tests that need
// what no Keep has: their source folder, other processes, raw or Unix sockets, the
// host's network interfaces, another machine. least is how many pass with Go 1.26.8.
// Of time's, TestReadFileLimit asks what is at a path; of the runtime's, TestNewOSProc0 makes a thread as only a C program's Go library does,
// without thread-local storage. Three of math/big's, TestChan of time's and TestFIPSCertAlgs of crypto/tls's only compute, for long.
var stdTests = []struct {
	name, run, skip string
	least           int
}{
	{name: "sync", skip: `TestMutexMisuse|TestIssue76126|ExampleOnceValues`, least: 49},
	{name: "time", skip: `TestLoadLocationFromTZData|TestLongAdjustTimers|TestReadFileLimit|TestChan$`, least: 173},
	{name: "runtime", run: runtimeTests, skip: `TestMincore|TestGoroutineProfile$|TestNewOSProc0`, least: 172},
	{name: "net", skip: netTests, least: 170},
	{name: "crypto_tls", skip: `TestHandshakeClient|TestHandshakeServer(RSA|RC4|AES|CHACHA|ECDHE|X25519|P256|Hello|KeyShare|ALPN|SNI$|SNIGetCertificate(NotFound)?$|Export|Ed25519)|` +
		`TestHandshakClientSCTs|TestRenegotiat(e|ionRejected)|TestFIPSServer|TestServerResumption|TestFallbackSCSV|TestClientAuth|TestClientKeyUpdate|TestFIPSCertAlgs`, least: 124},
	{name: "math_big", skip: `TestAddMulVVWW|TestAddVV|TestSubVV|TestMulAddVWW`, least: 207},
	{name: "encoding_json", least: 104},
	{name: "compress_flate", skip: `TestWriteBlock|TestWriterPersistentWriteError`, least: 36},
	{name: "strings", least: 126},
	{name: "bytes", least: 160},
	{name: "sort", least: 46},
	{name: "strconv", least: 69},
}

// runtimeTests are of what a kernel could get wrong: memory, threads, signals, time.
// Not those of cleanups: on a busy machine Go 1.26.8 takes the wait for one for a
// deadlock ("all goroutines are asleep") now and then, without a Keep too.
const runtimeTests = `^Test(Chan|Nonblock|SelfSelect|Select|MultiConsumer|ShrinkStack|Goexit|OpenAnd|NonOpen|Conditional|AbortedPanic|RecoverMatching|` +
	`GcDeepNesting|GcMap|GcArray|GcRescan|GcLastTime|HugeGCInfo|PeriodicGC|GCTest|UserForcedGC|WeakToStrong|GCInfo|LFStack|Map|Iter|Concurrent|` +
	`Memmove$|MemmoveAlias|Memclr|ReadMetrics|Finalizer(Type|Interface|Zero|OnGlobal)|PageAlloc|PageCache|PallocB|Pinner|NonblockingPipe|` +
	`NewOSProc0|SetPanicOnFault|Yield|Goroutine|BlockLocked|TimerFairness|Preemption|SchedLocal|StealOrder|LockOSThread|NetpollBreak|ProfBuf|` +
	`RWMutex|ParallelRWMutex|Sema|Append|StackGrowthCallback|StackMem|DeferPtrs|DeferLeaf|Panic|Callers|Synctest|TraceMap|` +
	`Traceback(Inlined|Elision|Args|Generic)|SignalM|ReadRandom|SideEffect|VDSO|MmapErrorSign)`

// netTests leaves out, beside the above, Multipath TCP, which Landlock cannot restrict,
// and TestRawConnControl, which sets IP_TTL.
const netTests = `TestMultiPathTCP|TestRawConnControl|Unix|TestSendfile($|With|Parts|Seeked|OnWrite)|TestSplice|TestInterface|TestFile(Error|Conn|Listener|PacketConn|FdBlocks)$|` +
	`TestLookup(Static|OrderFiles)|TestGoLookup|TestDNS(TrustAD|ConfigNoReload|ReadConfig|NameLength)|TestParse(ProcNet|NSSConf)|TestIPConn|` +
	`TestDialerControl|TestDial(ListenerAddr|Context)$|TestConnAnd|TestListenConfigControl|TestClose(Read|Write)$|Test(Conn|Listener|PacketConn)Close$|` +
	`TestPacketConn$|TestZeroByteRead|TestRotate|TestStrictErrors|TestSingleRequest|TestRetryTimeout|TestIgnoreLame|TestErrorForOriginal|` +
	`TestUpdateResolvConf|TestHostCache`

func stdPrograms() []Program {
	var all []Program
	for _, s := range stdTests {
		// The caller limits the time: a machine that is emulated needs more than Go gives.
		p := Program{Name: "std/" + s.name, Args: []string{"-test.short", "-test.v", "-test.timeout=0"}, Check: passes(s.least), Linux: true, Limit: 90 * time.Second}
		if s.run != "" {
			p.Args = append(p.Args, "-test.run="+s.run)
		}
		if s.skip != "" {
			p.Args = append(p.Args, "-test.skip="+s.skip)
		}
		all = append(all, p)
	}
	return all
}
