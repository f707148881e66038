// SPDX-License-Identifier: Apache-2.0

// A chat relay: every line a client sends goes to all other clients. One thread,
// non-blocking sockets, poll(). A client that does not read is dropped once its
// buffer is full, so that it cannot hold up the others.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CLIENTS 64
#define MAX_LINE 512
#define MAX_PENDING (32 * 1024)

struct client {
	int fd;
	int id;
	bool dead;
	size_t in_len;
	char in[MAX_LINE];
	size_t out_len;
	char out[MAX_PENDING];
};

static struct client *clients[MAX_CLIENTS];
static int client_count;
static int next_id = 1;

// descriptor returns the number of the descriptor that Enarx.toml names: entry i
// of `files` is descriptor i, and FD_NAMES holds the names in that order.
static int descriptor(const char *name) {
	const char *at = getenv("FD_NAMES");
	size_t len = strlen(name);
	for (int fd = 0; at && *at; fd++) {
		size_t part = strcspn(at, ":");
		if (part == len && strncmp(at, name, len) == 0)
			return fd;
		at += part + (at[part] == ':');
	}
	return -1;
}

static void flush_client(struct client *c) {
	while (c->out_len > 0) {
		ssize_t n = send(c->fd, c->out, c->out_len, 0);
		if (n < 0) {
			if (errno != EAGAIN)
				c->dead = true;
			return;
		}
		memmove(c->out, c->out + n, c->out_len - (size_t)n);
		c->out_len -= (size_t)n;
	}
}

static void queue(struct client *c, const char *text, size_t len) {
	if (c->dead)
		return;
	if (len > MAX_PENDING - c->out_len) {
		c->dead = true;
		return;
	}
	memcpy(c->out + c->out_len, text, len);
	c->out_len += len;
	flush_client(c);
}

__attribute__((format(printf, 2, 3)))
static void broadcast(const struct client *from, const char *format, ...) {
	char text[MAX_LINE + 64];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (int i = 0; i < client_count; i++) {
		if (clients[i] != from)
			queue(clients[i], text, (size_t)len);
	}
}

static void accept_clients(int listener) {
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno != EAGAIN)
				perror("chat: accept");
			return;
		}
		struct client *c = client_count < MAX_CLIENTS ? calloc(1, sizeof *c) : NULL;
		if (!c) {
			close(fd);
			continue;
		}
		c->fd = fd;
		c->id = next_id++;
		broadcast(c, "* guest %d joined\n", c->id);
		clients[client_count++] = c;
		char text[64];
		int len = snprintf(text, sizeof text, "* you are guest %d\n", c->id);
		queue(c, text, (size_t)len);
	}
}

// relay_lines sends on each complete line, and an overlong one in pieces.
static void relay_lines(struct client *c) {
	for (;;) {
		char *end = memchr(c->in, '\n', c->in_len);
		if (!end && c->in_len < MAX_LINE)
			return;
		size_t len = end ? (size_t)(end - c->in) : c->in_len;
		size_t used = end ? len + 1 : len;
		if (len > 0 && c->in[len - 1] == '\r')
			len--;
		broadcast(c, "%d: %.*s\n", c->id, (int)len, c->in);
		memmove(c->in, c->in + used, c->in_len - used);
		c->in_len -= used;
	}
}

static void receive(struct client *c) {
	ssize_t n = recv(c->fd, c->in + c->in_len, MAX_LINE - c->in_len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		c->dead = true;
		return;
	}
	c->in_len += (size_t)n;
	relay_lines(c);
}

// bury removes dead clients. Telling the others can fill a buffer and kill one
// more, hence the loop.
static void bury(void) {
	for (int i = 0; i < client_count;) {
		struct client *c = clients[i];
		if (!c->dead) {
			i++;
			continue;
		}
		clients[i] = clients[--client_count];
		close(c->fd);
		broadcast(NULL, "* guest %d left\n", c->id);
		free(c);
		i = 0;
	}
}

int main(void) {
	int listener = descriptor("chat");
	if (listener < 0) {
		fputs("chat: no descriptor is named chat: see Enarx.toml\n", stderr);
		return 1;
	}
	// The Keep hands listeners out like this; other runtimes may not.
	if (fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
		perror("chat: fcntl");
		return 1;
	}
	puts("relaying on descriptor chat");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[MAX_CLIENTS + 1];
		int polled = client_count;
		fds[polled] = (struct pollfd){.fd = listener, .events = POLLIN};
		for (int i = 0; i < polled; i++) {
			short out = clients[i]->out_len > 0 ? POLLOUT : 0;
			fds[i] = (struct pollfd){.fd = clients[i]->fd, .events = (short)(POLLIN | out)};
		}
		if (poll(fds, (nfds_t)polled + 1, -1) < 0) {
			perror("chat: poll");
			return 1;
		}
		for (int i = 0; i < polled; i++) {
			if (fds[i].revents & POLLOUT)
				flush_client(clients[i]);
			if (fds[i].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))
				receive(clients[i]);
		}
		if (fds[polled].revents)
			accept_clients(listener);
		bury();
	}
}
