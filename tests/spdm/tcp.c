// SPDX-License-Identifier: Apache-2.0
// SPDM on real sockets: much data both ways while keys change, cuts, frames that do not end, bytes that are no SPDM.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spdm/tcp.h"
#include "tests/spdm/talk.h"

#define MUCH (3u << 20)

static struct self *self;

// The responder in a process of its own, which sends back what comes. Its exit status is 0 when all was orderly.
static pid_t responder_process(int fd, int other, int timeout_ms)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	struct responder *r;
	struct spdm_tcp *l;
	struct fault f = {""};
	bool open = false;
	int echo[2];
	close(other);
	if (pipe(echo) || trust_responder(&r, self, 60, 0, &f) || spdm_tcp_open(&l, fd, NULL, r, timeout_ms, &f))
		_exit(99);
	int err = spdm_tcp_answer(l, &open, &f);
	if (!err && open)
		err = spdm_tcp_relay(l, echo[0], echo[1], true, &f);
	spdm_tcp_close(l);
	_exit(err ? err == -ETIMEDOUT ? 2 : err == -EPROTO ? 3 : err == -ECONNRESET ? 4 : 1 : open ? 0 : 5);
}

static int ended(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool same_files(const char *a, const char *b)
{
	static char x[65536], y[65536];
	FILE *f = fopen(a, "r"), *g = fopen(b, "r");
	size_t n = 1;
	bool same = f && g;
	while (same && n) {
		n = fread(x, 1, sizeof x, f);
		same = fread(y, 1, sizeof y, g) == n && !memcmp(x, y, n);
	}
	if (f)
		fclose(f);
	if (g)
		fclose(g);
	return same;
}

static void test_much(const char *name, uint64_t records_per_key)
{
	struct requester_options o = {.records_per_key = records_per_key};
	struct ratls_options q = options_of(NULL, &good);
	char from[128], to[128];
	static char block[4096];
	struct judge *judge;
	struct requester *r;
	struct spdm_tcp *l;
	struct fault f = {""};
	int fds[2];
	snprintf(from, sizeof from, "%s/from", world);
	snprintf(to, sizeof to, "%s/to", world);
	FILE *file = fopen(from, "w");
	for (unsigned int i = 0; file && i < MUCH / sizeof block; i++) {
		memset(block, (int)i, sizeof block);
		block[0] = (char)(i >> 8);
		fwrite(block, 1, sizeof block, file);
	}
	if (!file || fclose(file) || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) || judge_open(&judge, &q, &f))
		abort();
	pid_t pid = responder_process(fds[1], fds[0], 60000);
	close(fds[1]);
	trust_requester(&o, judge);
	if (requester_new(&r, &o, &f) || spdm_tcp_open(&l, fds[0], r, NULL, 60000, &f))
		abort();
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600), err = spdm_tcp_prove(l, &f);
	if (!err)
		err = spdm_tcp_relay(l, in, out, false, &f);
	json_t *report = requester_report(r);
	json_int_t updates = json_integer_value(json_object_get(json_object_get(report, "spdm"), "key_updates"));
	json_decref(report);
	if (!err)
		err = spdm_tcp_end(l, &f);
	spdm_tcp_close(l);
	close(in);
	close(out);
	int code = ended(pid);
	ok(name, !err && !code && same_files(from, to) && (records_per_key ? updates > 3 : !updates), "%d %s, %d, %lld updates", err, f.text, code,
	   (long long)updates);
	judge_close(judge);
}

// What a client that is none sends; then it waits, or goes.
static void test_stranger(const char *name, const void *bytes, size_t len, bool goes, int wanted)
{
	int fds[2];
	char answer[64];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		abort();
	pid_t pid = responder_process(fds[1], fds[0], goes ? 60000 : 300);
	close(fds[1]);
	bool sent = write(fds[0], bytes, len) == (ssize_t)len;
	if (goes)
		shutdown(fds[0], SHUT_WR);
	while (read(fds[0], answer, sizeof answer) > 0)
		;
	close(fds[0]);
	int code = ended(pid);
	ok(name, sent && code == wanted, "%d instead of %d", code, wanted);
}

int main(void)
{
	if (!talk_begin())
		return 1;
	struct ratls_options q = options_of(&good, NULL);
	struct fault f;
	if (self_open(&self, &q, &f))
		return 1;
	test_much("much data", 0);
	test_much("much data while keys change", 8);
	test_stranger("nobody speaks", "", 0, false, 2);
	test_stranger("a head that does not end", "\6", 1, false, 2);
	test_stranger("a frame that does not end", "\6\0\1\5\x10", 5, false, 2);
	test_stranger("a question and no more", "\6\0\1\5\x10\x84\0\0", 8, false, 2);
	test_stranger("TLS", "\x16\3\1\2\0\1\0\1\xfc\3\3", 11, true, 3);
	test_stranger("a record without a session", "\6\0\1\6\0\0\0\0", 8, true, 3);
	test_stranger("who asks and goes", "\6\0\1\5\x10\x84\0\0", 8, true, 5);
	self_close(self);
	return world_end();
}
