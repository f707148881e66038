// SPDX-License-Identifier: Apache-2.0

// What a Keep refuses, and with which error: what would reach the host's files,
// processes or kernel, and memory that is writable and executable. And what it answers
// by itself because there is nothing to ask.

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "check.h"

static int failed, refused;

// want is an errno, or 0 for any.
static void refuse(const char *what, long got, int want)
{
	if (got == -1 && (want == 0 || errno == want)) {
		refused++;
		return;
	}
	fprintf(stderr, "%s: returns %ld, errno %d, want errno %d\n", what, got, errno, want);
	failed++;
}

#define REFUSE(want, ...) refuse(#__VA_ARGS__, (errno = 0, syscall(__VA_ARGS__)), want)

static char *const argv[] = {"/bin/true", NULL};
static char buf[4096];

static void processes(void)
{
	REFUSE(ENOSYS, SYS_fork);
	REFUSE(ENOSYS, SYS_vfork);
	REFUSE(ENOSYS, SYS_clone3, buf, 88);
	REFUSE(0, SYS_clone, 17 /* SIGCHLD: a fork */, 0, 0, 0, 0);
	REFUSE(0, SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0);
	REFUSE(ENOSYS, SYS_execve, argv[0], argv, argv + 1);
	REFUSE(ENOSYS, SYS_execveat, AT_FDCWD, argv[0], argv, argv + 1, 0);
	REFUSE(ECHILD, SYS_wait4, -1, 0, 0, 0);
	REFUSE(ENOSYS, SYS_ptrace, 0, 0, 0, 0);
	REFUSE(ENOSYS, SYS_unshare, CLONE_NEWNS);
	REFUSE(ENOSYS, SYS_setns, 0, 0);
	REFUSE(ENOSYS, SYS_process_vm_readv, 1, 0, 0, 0, 0, 0);
	REFUSE(ENOSYS, SYS_pidfd_open, 1, 0);
}

static void files(void)
{
	REFUSE(ENOENT, SYS_open, "/etc/passwd", O_RDONLY);
	REFUSE(ENOENT, SYS_open, "testdata", O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	REFUSE(ENOENT, SYS_open, "/", O_PATH);
	REFUSE(EACCES, SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR);
	REFUSE(EACCES, SYS_open, "/dev/null", O_WRONLY);
	REFUSE(ENOTDIR, SYS_open, "/dev/null", O_RDONLY | O_DIRECTORY);
	REFUSE(ENOENT, SYS_getcwd, buf, sizeof buf);
	REFUSE(ENOENT, SYS_readlink, "/proc/self/exe", buf, sizeof buf);
	REFUSE(ENOENT, SYS_open, "/etc/hosts/../passwd", O_RDONLY);
	REFUSE(0, SYS_open, "/etc/hosts", O_WRONLY);
	REFUSE(0, SYS_open, "/tmp/file", O_RDWR | O_CREAT, 0600);
	REFUSE(EFAULT, SYS_open, 16, O_RDONLY);
	REFUSE(ENOENT, SYS_access, "/", 0);
	REFUSE(ENOSYS, SYS_mkdir, "/tmp/dir", 0700);
	REFUSE(ENOSYS, SYS_unlink, "/no-such-file");
	REFUSE(ENOSYS, SYS_rename, "/a", "/b");
	REFUSE(ENOSYS, SYS_chmod, "/a", 0777);
	REFUSE(ENOSYS, SYS_mount, "a", "/b", "c", 0, 0);
	REFUSE(ENOSYS, SYS_chroot, "/");
	REFUSE(ENOSYS, SYS_memfd_create, "x", 0);
	REFUSE(ENOSYS, SYS_statx, AT_FDCWD, "/", 0, 0, buf);
	REFUSE(ENOSYS, SYS_inotify_init1, 0);
}

static void kernel(void)
{
	REFUSE(ENOSYS, SYS_bpf, 0, buf, 100);
	REFUSE(ENOSYS, SYS_io_uring_setup, 8, buf);
	REFUSE(ENOSYS, SYS_perf_event_open, buf, 0, -1, -1, 0);
	REFUSE(ENOSYS, SYS_userfaultfd, 0);
	REFUSE(ENOSYS, SYS_keyctl, 0, 0, 0, 0, 0);
	REFUSE(ENOSYS, SYS_init_module, buf, 10, "");
	REFUSE(ENOSYS, SYS_reboot, 0, 0, 0, 0);
	REFUSE(ENOSYS, SYS_ioperm, 0, 1024, 1);
	REFUSE(ENOSYS, SYS_iopl, 3);
	REFUSE(ENOSYS, SYS_modify_ldt, 1, buf, 16);
	REFUSE(ENOSYS, SYS_timer_create, 0, 0, buf);
	REFUSE(ENOSYS, SYS_rseq, buf, 32, 0, 0);
	REFUSE(ENOSYS, 467);
	REFUSE(ENOSYS, 100000);
	REFUSE(ENOSYS, -1);
	REFUSE(ENOSYS, SYS_futex, buf, 6 /* FUTEX_LOCK_PI */, 0, 0, 0, 0);
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	REFUSE(EPERM, SYS_prlimit64, 0, RLIMIT_NOFILE, &all, 0);
}

static void network(void)
{
	REFUSE(EAFNOSUPPORT, SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	REFUSE(EAFNOSUPPORT, SYS_socket, AF_NETLINK, SOCK_RAW, 0);
	REFUSE(EAFNOSUPPORT, SYS_socket, AF_PACKET, SOCK_RAW, 0);
	REFUSE(EAFNOSUPPORT, SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
	REFUSE(0, SYS_socket, AF_INET, SOCK_RAW, 1);
	REFUSE(0, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, buf);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0);
	REFUSE(ENOPROTOOPT, SYS_setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
	REFUSE(ENOPROTOOPT, SYS_setsockopt, fd, SOL_SOCKET, SO_MARK, buf, 4);
	REFUSE(EBADF, SYS_read, 500, buf, 1);
	REFUSE(EBADF, SYS_read, -1, buf, 1);
	CHECK(close(fd) == 0);
}

static void memory(void)
{
	int wx = PROT_READ | PROT_WRITE | PROT_EXEC;
	REFUSE(EACCES, SYS_mmap, 0, 4096, wx, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	REFUSE(EACCES, SYS_mprotect, page, 4096, wx);
	// Code is made by changing rights, never by having both.
	memcpy(page, "\xb8\x2a\x00\x00\x00\xc3", 6); // MOVL $42, AX; RET
	CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
	CHECK(((int (*)(void))(uintptr_t)page)() == 42);
	CHECK(munmap(page, 4096) == 0);
	REFUSE(0, SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, 0, 0); // a file
	REFUSE(ENOMEM, SYS_mmap, 0, 1L << 48, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REFUSE(EINVAL, SYS_mmap, 0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REFUSE(0, SYS_mmap, 0xffff800000000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	REFUSE(0, SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	REFUSE(EINVAL, SYS_munmap, page + 1, 4096);
	REFUSE(0, SYS_arch_prctl, 0x1002, 0xffff800000000000); // ARCH_SET_FS
}

static void answers(void)
{
	struct utsname u;
	CHECK(uname(&u) == 0 && strcmp(u.sysname, "Linux") == 0 && strcmp(u.machine, "x86_64") == 0);
	CHECK(getuid() == 1000 && geteuid() == 1000 && getgid() == 1000 && getegid() == 1000);
	cpu_set_t set;
	CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) >= 1);
	CHECK(getrandom(buf, 256, 0) == 256 && memcmp(buf, buf + 128, 128) != 0);
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	CHECK(fd == 3 && read(fd, buf, 100) == 100 && close(fd) == 0);
	fd = open("/dev/zero", O_RDONLY);
	CHECK(fd == 3 && read(fd, buf, 100) == 100 && buf[0] == 0 && buf[99] == 0 && close(fd) == 0);
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur == 8 << 20);
}

int main(void)
{
	answers(); // first: what follows is not for an ordinary machine
	processes();
	files();
	kernel();
	network();
	memory();
	if (failed) {
		fprintf(stderr, "%d calls were not refused as they must be\n", failed);
		return 1;
	}
	printf("%d calls refused\n", refused);
	return 0;
}
