// SPDX-License-Identifier: Apache-2.0

// A TCP server with a thread for each connection, and its clients, in one program.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { CLIENTS = 8, ROUNDS = 50, MOST = 20000 };

static int listener;
static struct sockaddr_in address = {.sin_family = AF_INET};
static long echoed[CLIENTS];

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static __thread char buf[4096];
	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);
		CHECK(n >= 0);
		if (n == 0)
			break;
		for (ssize_t off = 0; off < n;) {
			ssize_t w = write(fd, buf + off, n - off);
			CHECK(w > 0);
			off += w;
		}
	}
	CHECK(close(fd) == 0);
	return NULL;
}

static void *accepting(void *arg)
{
	(void)arg;
	pthread_t servers[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) {
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		int fd = accept(listener, (struct sockaddr *)&from, &len);
		CHECK(fd >= 0 && len == sizeof from && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
		CHECK(pthread_create(&servers[i], NULL, serve, (void *)(intptr_t)fd) == 0);
	}
	for (int i = 0; i < CLIENTS; i++)
		CHECK(pthread_join(servers[i], NULL) == 0);
	return NULL;
}

static void *sender(void *arg);

struct job {
	int fd;
	uint64_t seed;
	long bytes;
};

// client sends from one thread and compares in another: neither waits for the other.
static void *client(void *arg)
{
	long number = (long)(intptr_t)arg;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	CHECK(fd >= 0);
	CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
	struct sockaddr_in peer;
	socklen_t len = sizeof peer;
	CHECK(getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_port == address.sin_port);
	struct job job = {fd, number + 1, 0};
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, sender, &job) == 0);
	uint64_t seed = number + 1;
	static __thread unsigned char buf[3000];
	for (;;) {
		ssize_t n = read(fd, buf, sizeof buf);
		CHECK(n >= 0);
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			CHECK(buf[i] == (unsigned char)next(&seed));
		echoed[number] += n;
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(echoed[number] == job.bytes);
	CHECK(close(fd) == 0);
	return NULL;
}

static void *sender(void *arg)
{
	struct job *job = arg;
	uint64_t sizes = job->seed * 77;
	unsigned char *buf = malloc(MOST);
	CHECK(buf != NULL);
	for (int round = 0; round < ROUNDS; round++) {
		size_t n = 1 + next(&sizes) % MOST;
		for (size_t i = 0; i < n; i++)
			buf[i] = (unsigned char)next(&job->seed);
		for (size_t off = 0; off < n;) {
			ssize_t w = send(job->fd, buf + off, n - off, MSG_NOSIGNAL);
			CHECK(w > 0);
			off += w;
		}
		job->bytes += n;
	}
	free(buf);
	CHECK(shutdown(job->fd, SHUT_WR) == 0);
	return NULL;
}

int main(void)
{
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(listener >= 0);
	CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
	CHECK(listen(listener, CLIENTS) == 0);
	socklen_t len = sizeof address;
	CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0 && address.sin_port != 0);
	pthread_t server, clients[CLIENTS];
	CHECK(pthread_create(&server, NULL, accepting, NULL) == 0);
	for (long i = 0; i < CLIENTS; i++)
		CHECK(pthread_create(&clients[i], NULL, client, (void *)i) == 0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK(pthread_join(clients[i], NULL) == 0);
	CHECK(pthread_join(server, NULL) == 0);
	long total = 0;
	for (int i = 0; i < CLIENTS; i++)
		total += echoed[i];
	printf("%d connections, %ld bytes\n", CLIENTS, total);
	return 0;
}
