// SPDX-License-Identifier: Apache-2.0
// Inside the HTTP server: what the thread that holds a connection does with it (http_conn.c), and what http_server.c keeps of it.
#ifndef COFFER_LIB_HTTP_CONN_H
#define COFFER_LIB_HTTP_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/http_server.h"

enum conn_state { CONN_HANDSHAKE, CONN_READING, CONN_WRITING, CONN_LINGERING };

struct http_conn {
	struct http_conn *next, **link;	// server.lock
	struct http_server *server;
	int fd;
	char peer[64];		// numeric address and port
	uint8_t group[8];	// the address; of IPv6, its /64
	int64_t deadline_ms;	// server.lock: when it is cut off; INT64_MAX: a handler has its request
	int64_t since_ms;	// server.lock: since when it has waited
	bool cut;		// server.lock

	atomic_uint turns;	// passes what follows from one holder to the next, in the memory model's terms

	// Whoever got the connection from epoll, until it goes back there.
	SSL *ssl;		// NULL: plain
	enum conn_state state;
	char *in;		// the request being read and what followed it
	size_t in_len, in_size;
	atomic_size_t large;	// of in_size, what is beyond HTTP_SMALL_REQUEST; others read it
	size_t head_len, need;	// of that request, with its body; 0 until its head is there
	char *out;		// the answer being written
	size_t out_len, out_at;
	bool keep;		// another request may follow
};

struct http_server {
	struct http_server_options o;	// o.tls: under lock
	bool tls;
	int listener, epoll, wake_keeper, quit_workers;
	unsigned int port, worker_count;
	pthread_t keeper, *workers;
	pthread_mutex_t lock;
	pthread_cond_t freed;	// the last connection left the list
	struct http_conn *connections;
	struct http_server_counts counts;	// under lock
	atomic_size_t large;	// bytes beyond HTTP_SMALL_REQUEST
	atomic_bool stopping, accept_later;
};

// Goes on until it has to wait: for which epoll events, or 0 when it is over. `head` is the thread's, for its use.
uint32_t conn_run(struct http_conn *c, struct http_head *head);
// Says goodbye, closes it and frees it; it is in no list and no epoll set any more.
void conn_close(struct http_conn *c);

#endif
