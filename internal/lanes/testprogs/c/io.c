// SPDX-License-Identifier: Apache-2.0

// Descriptors: pipes, eventfd, poll and epoll, non-blocking sockets, duplicates, and
// the errors of each. The numbers of descriptors are the lowest that are free.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int64_t now(void)
{
	struct timespec t;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pipes(void)
{
	int fd[2], low;
	char buf[16];
	CHECK(pipe(fd) == 0 && (low = fd[0]) >= 3 && fd[1] == fd[0] + 1);
	CHECK(write(fd[1], "abc", 3) == 3 && read(fd[0], buf, sizeof buf) == 3 && memcmp(buf, "abc", 3) == 0);
	CHECK(fcntl(fd[0], F_GETFL) == O_RDONLY && fcntl(fd[1], F_GETFL) == O_WRONLY);
	CHECK(read(fd[1], buf, 1) == -1 && errno == EBADF);
	CHECK(write(fd[0], buf, 1) == -1 && errno == EBADF);
	CHECK(fcntl(fd[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(fd[0], F_GETFL) == O_NONBLOCK);
	CHECK(read(fd[0], buf, 1) == -1 && errno == EAGAIN);
	int copy = dup(fd[1]);
	CHECK(copy == fd[1] + 1 && close(fd[1]) == 0);
	CHECK(write(copy, "d", 1) == 1 && read(fd[0], buf, 1) == 1 && buf[0] == 'd');
	CHECK(dup2(copy, 30) == 30 && dup2(copy, copy) == copy && dup3(copy, copy, 0) == -1 && errno == EINVAL);
	CHECK(fcntl(copy, F_DUPFD_CLOEXEC, 20) == 20 && fcntl(20, F_GETFD) == FD_CLOEXEC && fcntl(30, F_GETFD) == 0);
	CHECK(close(copy) == 0 && close(20) == 0);
	CHECK(read(fd[0], buf, 1) == -1 && errno == EAGAIN);
	CHECK(close(30) == 0 && read(fd[0], buf, 1) == 0); // nobody writes any more
	CHECK(lseek(fd[0], 0, SEEK_SET) == -1 && errno == ESPIPE);
	CHECK(pread(fd[0], buf, 1, 0) == -1 && errno == ESPIPE);
	struct stat st;
	CHECK(fstat(fd[0], &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK(close(fd[0]) == 0 && close(fd[0]) == -1 && errno == EBADF);
	CHECK(dup(0) == low && close(low) == 0);
	CHECK(dup(1000) == -1 && errno == EBADF);
	puts("pipes");
}

static void *later(void *arg)
{
	usleep(30000);
	CHECK(eventfd_write((int)(intptr_t)arg, 5) == 0);
	return NULL;
}

static void waiting(void)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), ep = epoll_create1(EPOLL_CLOEXEC), fd[2];
	CHECK(event >= 0 && ep >= 0 && pipe(fd) == 0);
	eventfd_t value;
	CHECK(eventfd_read(event, &value) == -1 && errno == EAGAIN);
	struct epoll_event add = {.events = EPOLLIN, .data.ptr = &add}, got[4];
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, event, &add) == 0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, event, &add) == -1 && errno == EEXIST);
	struct epoll_event in = {.events = EPOLLIN | EPOLLET, .data.u64 = 0xfedcba9876543210};
	CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], &in) == -1 && errno == ENOENT);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &in) == 0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, 999, &in) == -1 && errno == EBADF);
	CHECK(epoll_wait(ep, got, 4, 0) == 0);
	CHECK(epoll_wait(ep, got, 0, 0) == -1 && errno == EINVAL);
	int64_t start = now();
	CHECK(epoll_wait(ep, got, 4, 30) == 0 && now() - start >= 29000000);
	pthread_t t;
	CHECK(pthread_create(&t, NULL, later, (void *)(intptr_t)event) == 0);
	CHECK(epoll_wait(ep, got, 4, -1) == 1 && got[0].events == EPOLLIN && got[0].data.ptr == &add);
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(eventfd_read(event, &value) == 0 && value == 5);
	CHECK(write(fd[1], "x", 1) == 1);
	CHECK(epoll_wait(ep, got, 4, -1) == 1 && got[0].events == EPOLLIN && got[0].data.u64 == 0xfedcba9876543210);
	CHECK(epoll_wait(ep, got, 4, 0) == 0); // an edge comes once
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, event, NULL) == 0);
	CHECK(eventfd_write(event, 1) == 0 && epoll_wait(ep, got, 4, 0) == 0);
	CHECK(close(fd[1]) == 0 && epoll_wait(ep, got, 4, 1000) == 1 && got[0].events & EPOLLHUP);
	// poll sees the same, in the order in which it was asked.
	struct pollfd p[] = {{fd[0], POLLIN, 0}, {-1, POLLIN, 7}, {999, POLLIN, 0}, {event, POLLIN | POLLOUT, 0}};
	CHECK(poll(p, 4, -1) == 3);
	CHECK(p[0].revents == (POLLIN | POLLHUP) && p[1].revents == 0 && p[2].revents == POLLNVAL && p[3].revents == (POLLIN | POLLOUT));
	start = now();
	CHECK(poll(NULL, 0, 30) == 0 && now() - start >= 29000000);
	CHECK(close(ep) == 0 && close(event) == 0 && close(fd[0]) == 0);
	puts("waiting");
}

static void sockets(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), value = 1;
	CHECK(listener >= 0 && fcntl(listener, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(listener, F_GETFD) == FD_CLOEXEC);
	CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value) == 0);
	CHECK(bind(listener, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&addr, &len) == 0 && len == sizeof addr);
	CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(getpeername(fd, (struct sockaddr *)&addr, &len) == -1 && errno == ENOTCONN);
	CHECK(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 || errno == EINPROGRESS);
	struct pollfd p = {fd, POLLOUT, 0};
	CHECK(poll(&p, 1, 5000) == 1 && p.revents == POLLOUT);
	len = sizeof value;
	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) == 0 && value == 0 && len == 4);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) == 0 && value == SOCK_STREAM);
	int other = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	CHECK(other >= 0);
	char buf[64];
	CHECK(recv(other, buf, sizeof buf, 0) == -1 && errno == EAGAIN);
	CHECK(send(fd, "peek", 4, MSG_NOSIGNAL) == 4);
	p = (struct pollfd){other, POLLIN, 0};
	CHECK(poll(&p, 1, 5000) == 1);
	CHECK(recv(other, buf, sizeof buf, MSG_PEEK) == 4);
	CHECK(ioctl(other, FIONREAD, &value) == 0 && value == 4);
	CHECK(recv(other, buf, 2, 0) == 2 && recv(other, buf + 2, 9, 0) == 2 && memcmp(buf, "peek", 4) == 0);
	// As much as fits, and then no more until the other end has read.
	static char big[1 << 20];
	long sent = 0, received = 0;
	for (ssize_t n; (n = send(fd, big, sizeof big, MSG_NOSIGNAL)) > 0;)
		sent += n;
	CHECK(errno == EAGAIN && sent > 0);
	CHECK(shutdown(fd, SHUT_WR) == 0);
	while (received < sent) {
		CHECK(poll(&p, 1, 5000) == 1);
		ssize_t n = recv(other, big, sizeof big, 0);
		CHECK(n > 0);
		received += n;
	}
	CHECK(poll(&p, 1, 5000) == 1 && recv(other, buf, 1, 0) == 0);
	CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	CHECK(close(fd) == 0 && close(other) == 0 && close(listener) == 0);
	// Nobody listens there now.
	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(fd, (struct sockaddr *)&addr, sizeof addr) == -1 && errno == ECONNREFUSED);
	CHECK(listen(0, 1) == -1 && (errno == ENOTSOCK || errno == EOPNOTSUPP));
	CHECK(close(fd) == 0);
	int v6 = socket(AF_INET6, SOCK_STREAM, 0);
	if (v6 >= 0) { // a machine may have none
		struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
		len = sizeof a6;
		if (bind(v6, (struct sockaddr *)&a6, len) == 0)
			CHECK(getsockname(v6, (struct sockaddr *)&a6, &len) == 0 && len == 28 && a6.sin6_port != 0);
		CHECK(close(v6) == 0);
	}
	puts("sockets");
}

static void *reader(void *arg)
{
	char c;
	CHECK(read((int)(intptr_t)arg, &c, 1) == 1 && c == '!');
	return NULL;
}

// Bad addresses are refused, and take nothing with them.
static void faults(void)
{
	int fd[2];
	CHECK(pipe(fd) == 0);
	void *volatile bad = (void *)16;
	CHECK(write(fd[1], bad, 1) == -1 && errno == EFAULT);
	CHECK(write(fd[1], "y", 1) == 1);
	CHECK(write(fd[1], (void *)-4096L, 1) == -1 && errno == EFAULT);
	char c;
	CHECK(read(fd[0], &c, 1) == 1 && c == 'y');
	// A thread that waits in a call does not keep others from theirs.
	pthread_t t;
	CHECK(pthread_create(&t, NULL, reader, (void *)(intptr_t)fd[0]) == 0);
	usleep(10000);
	CHECK(write(fd[1], "!", 1) == 1 && pthread_join(t, NULL) == 0);
	CHECK(close(fd[0]) == 0 && close(fd[1]) == 0);
	puts("bad addresses");
}

int main(void)
{
	pipes();
	waiting();
	sockets();
	faults();
	return 0;
}
