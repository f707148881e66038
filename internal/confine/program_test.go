// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

const testPID = 4242

var calls = Calls()

// data is struct seccomp_data in its own byte order.
func data(arch, nr uint32, args [6]uint64) []byte {
	d := make([]byte, 0, 64)
	d = binary.LittleEndian.AppendUint32(d, nr)
	d = binary.LittleEndian.AppendUint32(d, arch)
	d = binary.LittleEndian.AppendUint64(d, 0)
	for _, a := range args {
		d = binary.LittleEndian.AppendUint64(d, a)
	}
	return d
}

// run evaluates a filter as linux/Documentation/networking/filter.rst says,
// and fails on what the kernel's checker would refuse.
func run(t *testing.T, program []unix.SockFilter, d []byte) uint32 {
	t.Helper()
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		branch := func(taken bool) {
			if taken {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if in.K%4 != 0 || int(in.K)+4 > len(d) {
				t.Fatalf("instruction %d loads offset %d", pc, in.K)
			}
			acc = binary.LittleEndian.Uint32(d[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			branch(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			branch(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program ran off its end")
	return 0
}

// want evaluates the list itself, which is what the program must agree with.
func want(nr uint32, args [6]uint64) uint32 {
	i := slices.IndexFunc(calls, func(c Call) bool { return c.Nr == nr })
	if i < 0 {
		return errnoRet(unix.ENOSYS)
	}
	for _, r := range calls[i].Rules {
		if !slices.ContainsFunc(r.If, func(c Cond) bool {
			value := c.Value
			if c.OwnPID {
				value = testPID
			}
			return args[c.Arg]&c.Mask != value
		}) {
			return r.Then.ret()
		}
	}
	return calls[i].Else.ret()
}

func TestCallsAreWellFormed(t *testing.T) {
	for i, c := range calls {
		if i > 0 && calls[i-1].Nr >= c.Nr {
			t.Errorf("%s (%d) is out of order", c.Name, c.Nr)
		}
		for _, r := range c.Rules {
			for _, cond := range r.If {
				if cond.Arg < 0 || cond.Arg > 5 {
					t.Errorf("%s looks at argument %d", c.Name, cond.Arg)
				}
				if cond.Value&^cond.Mask != 0 {
					t.Errorf("%s: a condition that can never hold: %+v", c.Name, cond)
				}
			}
		}
	}
}

// TestProgramAgreesWithList runs every number, listed or not, with arguments
// taken from each rule and from around it.
func TestProgramAgreesWithList(t *testing.T) {
	program := Program(testPID)
	if len(program) > 4096 { // BPF_MAXINSNS
		t.Fatalf("%d instructions", len(program))
	}
	t.Logf("%d instructions for %d calls", len(program), len(calls))
	check := func(nr uint32, args [6]uint64) {
		t.Helper()
		if got := run(t, program, data(unix.AUDIT_ARCH_X86_64, nr, args)); got != want(nr, args) {
			t.Errorf("call %d with %#x: program answers %#x, list %#x", nr, args, got, want(nr, args))
		}
	}
	for nr := range uint32(700) {
		check(nr, [6]uint64{})
		check(nr, [6]uint64{all, all, all, all, all, all})
	}
	for _, c := range calls {
		for _, r := range c.Rules {
			var args [6]uint64
			for _, cond := range r.If {
				args[cond.Arg] |= cond.Value
				if cond.OwnPID {
					args[cond.Arg] = testPID
				}
			}
			check(c.Nr, args)
			for arg := range args {
				for bit := range 64 {
					changed := args
					changed[arg] ^= 1 << bit
					check(c.Nr, changed)
				}
			}
		}
	}
}

func TestProgramRefusesOtherEntries(t *testing.T) {
	program := Program(testPID)
	const archI386 = 0x40000003
	for _, nr := range []uint32{unix.SYS_READ, unix.SYS_EXIT_GROUP, 11} {
		if got := run(t, program, data(archI386, nr, [6]uint64{})); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("i386 call %d answers %#x", nr, got)
		}
		if got := run(t, program, data(unix.AUDIT_ARCH_X86_64, nr|x32Bit, [6]uint64{})); got != errnoRet(unix.ENOSYS) {
			t.Errorf("x32 call %d answers %#x", nr, got)
		}
	}
}

// TestForbidden names what must never be on the list, whatever else changes.
func TestForbidden(t *testing.T) {
	program := Program(testPID)
	for name, c := range map[string]struct {
		nr   uint32
		args [6]uint64
	}{
		"execve":           {unix.SYS_EXECVE, [6]uint64{}},
		"execveat":         {unix.SYS_EXECVEAT, [6]uint64{}},
		"fork":             {unix.SYS_FORK, [6]uint64{}},
		"vfork":            {unix.SYS_VFORK, [6]uint64{}},
		"clone3":           {unix.SYS_CLONE3, [6]uint64{}},
		"clone process":    {unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}},
		"clone user ns":    {unix.SYS_CLONE, [6]uint64{cloneGo | unix.CLONE_NEWUSER}},
		"ptrace":           {unix.SYS_PTRACE, [6]uint64{}},
		"process_vm_readv": {unix.SYS_PROCESS_VM_READV, [6]uint64{}},
		"memfd_create":     {unix.SYS_MEMFD_CREATE, [6]uint64{}},
		"unlink":           {unix.SYS_UNLINK, [6]uint64{}},
		"renameat2":        {unix.SYS_RENAMEAT2, [6]uint64{}},
		"io_uring_setup":   {unix.SYS_IO_URING_SETUP, [6]uint64{}},
		"bpf":              {unix.SYS_BPF, [6]uint64{}},
		"keyctl":           {unix.SYS_KEYCTL, [6]uint64{}},
		"unshare":          {unix.SYS_UNSHARE, [6]uint64{}},
		"sendmsg":          {unix.SYS_SENDMSG, [6]uint64{}},
		"recvmsg":          {unix.SYS_RECVMSG, [6]uint64{}},
		"personality":      {unix.SYS_PERSONALITY, [6]uint64{}},
		"mmap W+X":         {unix.SYS_MMAP, [6]uint64{0, 4096, prot, anon}},
		"mmap shared":      {unix.SYS_MMAP, [6]uint64{0, 4096, unix.PROT_READ, unix.MAP_SHARED | unix.MAP_ANONYMOUS}},
		"mmap a file":      {unix.SYS_MMAP, [6]uint64{0, 4096, unix.PROT_READ, unix.MAP_PRIVATE}},
		"mprotect W+X":     {unix.SYS_MPROTECT, [6]uint64{0, 4096, wx}},
		"open for writing": {unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_RDWR}},
		"create":           {unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CREAT}},
		"open a handle":    {unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_PATH}},
		"TIOCSTI":          {unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}},
		"F_SETOWN":         {unix.SYS_FCNTL, [6]uint64{0, unix.F_SETOWN}},
		"kill another":     {unix.SYS_KILL, [6]uint64{1, 9}},
		"kill all":         {unix.SYS_KILL, [6]uint64{^uint64(0), 9}},
		"tgkill another":   {unix.SYS_TGKILL, [6]uint64{1, 1, 9}},
		"socket AF_UNIX":   {unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}},
		"socket netlink":   {unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}},
		"socket raw":       {unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_RAW}},
		"raise a limit":    {unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_NOFILE, 0x1000}},
		"SO_ATTACH_FILTER": {unix.SYS_SETSOCKOPT, [6]uint64{3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}},
		"futex PI":         {unix.SYS_FUTEX, [6]uint64{0, 6}},
	} {
		if got := run(t, program, data(unix.AUDIT_ARCH_X86_64, c.nr, c.args)); got&unix.SECCOMP_RET_ACTION_FULL != unix.SECCOMP_RET_ERRNO || got&unix.SECCOMP_RET_DATA == 0 {
			t.Errorf("%s: the program answers %#x, want an errno", name, got)
		}
	}
}
