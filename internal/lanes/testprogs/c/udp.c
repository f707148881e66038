// SPDX-License-Identifier: Apache-2.0

// Datagrams over loopback, among them the longest that UDP over IPv4 has.

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

static unsigned char out[65507], in[70000];

int main(void)
{
	struct sockaddr_in addr[2] = {{.sin_family = AF_INET}, {.sin_family = AF_INET}}, from;
	int fd[2];
	for (int i = 0; i < 2; i++) {
		socklen_t len = sizeof addr[i];
		addr[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CHECK(fd[i] >= 0);
		CHECK(bind(fd[i], (struct sockaddr *)&addr[i], sizeof addr[i]) == 0);
		CHECK(getsockname(fd[i], (struct sockaddr *)&addr[i], &len) == 0);
	}
	static const size_t sizes[] = {0, 1, 1472, 9000, 65507};
	uint64_t seed = 9;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (size_t j = 0; j < sizes[i]; j++)
			out[j] = (unsigned char)next(&seed);
		CHECK(sendto(fd[0], out, sizes[i], 0, (struct sockaddr *)&addr[1], sizeof addr[1]) == (ssize_t)sizes[i]);
		struct pollfd p = {.fd = fd[1], .events = POLLIN};
		CHECK(poll(&p, 1, 10000) == 1 && p.revents == POLLIN);
		socklen_t len = sizeof from;
		CHECK(recvfrom(fd[1], in, sizeof in, 0, (struct sockaddr *)&from, &len) == (ssize_t)sizes[i]);
		CHECK(len == sizeof from && from.sin_port == addr[0].sin_port && from.sin_addr.s_addr == addr[0].sin_addr.s_addr);
		CHECK(memcmp(in, out, sizes[i]) == 0);
		printf("%zu bytes\n", sizes[i]);
	}
	CHECK(sendto(fd[0], in, 65508, 0, (struct sockaddr *)&addr[1], sizeof addr[1]) == -1 && errno == EMSGSIZE);
	// What does not fit is cut off, and gone.
	CHECK(connect(fd[0], (struct sockaddr *)&addr[1], sizeof addr[1]) == 0);
	CHECK(send(fd[0], "abcdef", 6, 0) == 6 && recv(fd[1], in, 3, 0) == 3 && memcmp(in, "abc", 3) == 0);
	CHECK(recv(fd[1], in, 3, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	return 0;
}
