// SPDX-License-Identifier: Apache-2.0
// Anchors in a TPM, against swtpm: a real TPM's code over a file. What a host between us and it may do: drop, change, replay and hold
// back commands and answers, use the TPM itself, and delete the index.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "host/tpm_relay.h"
#include "lib/tpm_anchor.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

static char dir[64], where[100];
static pid_t swtpm;

static bool start(void)
{
	char state[100], server[120];
	struct tpm t;
	struct fault f;
	snprintf(state, sizeof state, "dir=%s", dir);
	snprintf(where, sizeof where, "unix:%s/socket", dir);
	snprintf(server, sizeof server, "type=unixio,path=%s/socket", dir);
	swtpm = fork();
	if (swtpm == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--flags", "not-need-init,startup-clear",
		       (char *)NULL);
		_exit(127);
	}
	for (int k = 0; k < 6000; k++) {
		if (!tpm_open(&t, where, &f)) {
			tpm_close(&t);
			return true;
		}
		if (waitpid(swtpm, NULL, WNOHANG) == swtpm)
			break;
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
	swtpm = 0;
	return false;
}

static void stop(void)
{
	if (swtpm > 0) {
		kill(swtpm, SIGTERM);
		waitpid(swtpm, NULL, 0);
	}
	swtpm = 0;
}

static struct tpm_place place(uint8_t n)
{
	struct tpm_place p = {.where = where, .id = {n, 2, 3}};
	const uint8_t key[32] = {n, 9, 8, 7};
	tpm_anchor_auth(&p, key);
	return p;
}

static bool same(const struct tpm_anchor *a, const struct tpm_anchor *b) { return !memcmp(a, b, sizeof *a); }

static void test_rules(void)
{
	struct tpm_place p = place(1), q = place(2);
	struct tpm_anchor a = {.generation = 7, .digest = {1}}, now, claimed, b;
	uint8_t name[TPM_NAME_BYTES] = {0}, again[TPM_NAME_BYTES] = {0};
	uint64_t first, second;
	struct fault f = {""};
	int err = tpm_anchor_get(&p, &now, &f);
	ok("a TPM without an index is not a new volume", err == -ENOENT && strstr(f.text, "remembers nothing"), "%d %s", err, f.text);
	err = tpm_anchor_set(&p, &a, name, NULL, &f);
	ok("the owner makes the index", !err && name[1] == 0x0b, "%d %s", err, f.text);
	err = tpm_anchor_get(&p, &now, &f);
	ok("it is remembered", !err && now.generation == 7 && now.digest[0] == 1 && now.epoch, "%d %s", err, f.text);
	err = tpm_anchor_claim(&p, &now, &a, &first, &f);
	ok("a claim", !err && first && first != now.epoch, "%d %s", err, f.text);
	err = tpm_anchor_claim(&p, &now, &a, &second, &f);
	ok("a second claim of the same state", err == -EEXIST && !second, "%d %s", err, f.text);
	claimed = a;
	claimed.epoch = first;
	claimed.generation = 8;
	err = tpm_anchor_advance(&p, &claimed, &f);
	ok("a later state", !err && !tpm_anchor_get(&p, &now, &f) && same(&now, &claimed), "%d %s", err, f.text);
	ok("the same once more", !tpm_anchor_advance(&p, &claimed, &f), "%s", f.text);
	b = claimed;
	b.digest[0]++;
	ok("another state with its number", tpm_anchor_advance(&p, &b, &f) == -EEXIST, "%s", f.text);
	b.generation = 3;
	ok("an older one", tpm_anchor_advance(&p, &b, &f) == -EEXIST, "%s", f.text);
	b.generation = 30;
	b.epoch++;
	ok("another writer's", tpm_anchor_advance(&p, &b, &f) == -EEXIST && strstr(f.text, "another writer"), "%s", f.text);
	err = tpm_anchor_claim(&p, &now, &b, &second, &f);
	ok("a claim fences", !err && tpm_anchor_advance(&p, &claimed, &f) == -EEXIST, "%d %s", err, f.text);

	ok("two volumes", !tpm_anchor_set(&q, &claimed, again, NULL, &f) && !memcmp(name, again, sizeof name) && !tpm_anchor_get(&p, &now, &f) &&
	   now.generation == 30 && !tpm_anchor_get(&q, &now, &f) && now.generation == 8, "%s", f.text);
	again[20] ^= 1;
	err = tpm_anchor_set(&q, &a, again, NULL, &f);
	ok("another endorsement key than the one named", err == -EPERM && !tpm_anchor_get(&q, &now, &f) && now.generation == 8, "%d %s", err, f.text);
	const struct tpm_place wrong = {.where = where, .id = {1, 2, 3}, .auth = {4}};
	err = tpm_anchor_get(&wrong, &now, &f);
	ok("a wrong secret", err == -EACCES && tpm_anchor_claim(&wrong, &a, &b, &second, &f) == -EACCES, "%d %s", err, f.text);
	stop();
	ok("no TPM", tpm_anchor_get(&p, &now, &f) && strstr(f.text, "cannot reach"), "%s", f.text);
	if (start())
		ok("kept over a restart", !tpm_anchor_get(&p, &now, &f) && now.generation == 30, "%s", f.text);
}

// ---- a hostile way to it ----

static struct tpm wire;
static int (*honest)(struct tpm *, const uint8_t *, size_t, uint8_t *, size_t *, struct fault *);
static unsigned int seen, flip_answer, flip_command; // the message that is changed, counted from 1
static size_t flip_at, flipped_len;
static uint8_t kept[8][TPM_MAX];
static size_t kept_len[8];
static bool replay;

static int between(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f)
{
	uint8_t changed[TPM_MAX];
	unsigned int k = seen++;
	memcpy(changed, command, n);
	if (flip_command == k + 1 && flip_at < n)
		changed[flip_at] ^= 0x10;
	if (replay && k == 1) { // the session begins anew, what it is told is old
		memcpy(answer, kept[k], kept_len[k]);
		*len = kept_len[k];
		return 0;
	}
	if (flip_command == k + 1 && (flip_at >= 2 && flip_at < 6))
		return -EPROTO; // a false length would leave swtpm waiting
	int err = honest(t, changed, n, answer, len, f);
	if (!err && k < 8 && !flip_answer && !flip_command) {
		memcpy(kept[k], answer, *len);
		kept_len[k] = *len;
	}
	if (!err && flip_answer == k + 1) {
		flipped_len = *len;
		if (flip_at < *len)
			answer[flip_at] ^= 0x10;
	}
	return err;
}

// What a command left behind whose answer did not come.
static void make_room(struct tpm *t)
{
	uint8_t c[14] = {0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 2}, a[TPM_MAX];
	struct fault f;
	size_t len;
	for (c[13] = 0; c[13] < 3; c[13]++)
		honest(t, c, sizeof c, a, &len, &f);
}

static void test_wire(void)
{
	struct tpm_place p = place(1);
	uint32_t index = tpm_anchor_index(p.id);
	uint8_t good[72], got[72];
	struct fault f = {""};
	unsigned int bad = 0, tried = 0;
	if (tpm_open(&wire, where, &f))
		return (void)ok("open", false, "%s", f.text);
	honest = wire.transmit;
	wire.transmit = between;
	ok("an honest way", !tpm_nv_read(&wire, index, p.auth, good, sizeof good, &f) && !memcmp(good, "CFTPMA1", 8), "%s", f.text);
	// every byte of every message, there and back: an error or the right bytes
	for (unsigned int message = 1; message <= 2; message++)
		for (unsigned int answer = 0; answer < 2; answer++) {
			size_t n = 200;
			for (flip_at = 0; flip_at < n; flip_at++) {
				seen = 0;
				flip_answer = answer ? message : 0;
				flip_command = answer ? 0 : message;
				memset(got, 0, sizeof got);
				make_room(&wire);
				int err = tpm_nv_read(&wire, index, p.auth, got, sizeof got, &f);
				bad += !err && memcmp(got, good, sizeof good);
				bad += !err && answer && flip_at < flipped_len && message == 2;
				n = answer ? flipped_len : n;
				tried++;
			}
		}
	flip_answer = flip_command = 0;
	ok("every byte changed on the way", !bad && tried > 400, "%u of %u", bad, tried);
	seen = 0;
	replay = true;
	int err = tpm_nv_read(&wire, index, p.auth, got, sizeof got, &f);
	replay = false;
	ok("an old answer", err == -EPROTO, "%d %s", err, f.text);
	make_room(&wire);
	tpm_close(&wire);
}

static struct tpm *held;
static int what_between;

// While a writer has read and not written yet.
static int interrupted(void *ctx, uint8_t *data, struct fault *f)
{
	struct tpm_place p = place(1), q = place(2);
	uint8_t other[72];
	(void)ctx;
	data[60]++;
	if (what_between == 1) // another writer of the same volume
		return tpm_nv_read(held, tpm_anchor_index(p.id), p.auth, other, sizeof other, f) ? -EIO : 1;
	if (what_between == 2) // and one of another
		return tpm_nv_read(held, tpm_anchor_index(q.id), q.auth, other, sizeof other, f) ? -EIO : 1;
	return 1;
}

// As the kernel's resource manager does around each command: the session is put away and fetched again.
static int put_away(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f)
{
	static uint8_t session[4];
	uint8_t c[TPM_MAX], a[TPM_MAX];
	size_t k;
	int err = honest(t, command, n, answer, len, f);
	if (!err && command[9] == 0x76 && command[8] == 1)
		memcpy(session, answer + 10, 4);
	if (err || command[9] != 0x4e) // reading, in between
		return err;
	const uint8_t save[] = {0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x62, session[0], session[1], session[2], session[3]};
	if (honest(t, save, sizeof save, a, &k, f) || a[9])
		return -EIO;
	memcpy(c, "\x80\x01\0\0\0\0\0\0\x01\x61", 10);
	memcpy(c + 10, a + 10, k - 10);
	c[4] = (uint8_t)(k >> 8);
	c[5] = (uint8_t)k;
	return honest(t, c, k, a, &k, f) || a[9] ? -EIO : 0;
}

static void test_held_back(void)
{
	struct tpm_place p = place(1);
	uint32_t index = tpm_anchor_index(p.id);
	uint8_t before[72], after[72];
	struct fault f = {""};
	struct tpm t;
	if (tpm_open(&t, where, &f))
		return (void)ok("open", false, "%s", f.text);
	held = &t;
	tpm_nv_read(&t, index, p.auth, before, sizeof before, &f);
	for (what_between = 1; what_between <= 2; what_between++) {
		int err = tpm_nv_swap(&t, index, p.auth, sizeof before, interrupted, NULL, &f);
		ok(what_between == 1 ? "a write that was held back comes too late" : "another volume's in between", err == -ESTALE &&
		   !tpm_nv_read(&t, index, p.auth, after, sizeof after, &f) && !memcmp(before, after, sizeof before), "%d %s", err, f.text);
	}
	what_between = 0;
	honest = t.transmit;
	t.transmit = put_away;
	int err = tpm_nv_swap(&t, index, p.auth, sizeof before, interrupted, NULL, &f);
	t.transmit = honest;
	ok("through a resource manager", !err && !tpm_nv_read(&t, index, p.auth, after, sizeof after, &f) && after[60] == (uint8_t)(before[60] + 1),
	   "%d %s", err, f.text);
	tpm_close(&t);
}

static uint8_t late[2][TPM_MAX], saved[2][TPM_MAX]; // a command that the host keeps, and its session
static size_t late_len[2], saved_len[2];
static uint32_t keep_code, keep_session;
static int keep;

static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

// Keeps the command `keep_code` with its session instead of passing it on; the client hears that the TPM is gone.
static int keeping(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f)
{
	uint8_t save[14] = {0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x62};
	if (be32(command + 6) == 0x165 && be32(command + 10) == keep_session)
		return -EIO;
	if (be32(command + 6) != keep_code)
		return honest(t, command, n, answer, len, f);
	const uint8_t *session = command + (keep_code == 0x137 ? 22 : 27); // behind the handles, or the owner's password
	memcpy(late[keep], command, n);
	late_len[keep] = n;
	memcpy(save + 10, session, 4);
	keep_session = be32(session);
	if (honest(t, save, sizeof save, answer, len, f) || be32(answer + 6))
		abort();
	memcpy(saved[keep], answer + 10, *len - 10);
	saved_len[keep] = *len - 10;
	return -EIO;
}

static uint32_t deliver(struct tpm *t, int k)
{
	uint8_t c[TPM_MAX] = {0x80, 1, 0, 0, 0, 0, 0, 0, 1, 0x61}, a[TPM_MAX];
	struct fault f;
	size_t len;
	memcpy(c + 10, saved[k], saved_len[k]);
	c[4] = (uint8_t)((saved_len[k] + 10) >> 8);
	c[5] = (uint8_t)(saved_len[k] + 10);
	if (honest(t, c, saved_len[k] + 10, a, &len, &f) || be32(a + 6) || honest(t, late[k], late_len[k], a, &len, &f))
		return UINT32_MAX;
	return be32(a + 6);
}

// The host lets two attempts to make the index fail and keeps what it was sent; then the third succeeds, and the host plays the others.
static void test_made_late(void)
{
	static const uint8_t undefine[] = {0x80, 2, 0, 0, 0, 31, 0, 0, 1, 0x22, 0x40, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0};
	struct tpm_place p = place(3);
	uint32_t index = tpm_anchor_index(p.id);
	uint8_t name[TPM_NAME_BYTES] = {0}, data[72] = "old", got[72], c[sizeof undefine], a[TPM_MAX];
	struct fault f = {""};
	struct tpm t;
	size_t len;
	if (tpm_open(&t, where, &f))
		return (void)ok("open", false, "%s", f.text);
	honest = t.transmit;
	t.transmit = keeping;
	for (keep = 0; keep < 2; keep++) {
		keep_code = keep ? 0x12a : 0x137;
		keep_session = 0;
		ok(keep ? "an index that was not made" : "a first write that was lost", tpm_nv_create(&t, index, p.auth, data, sizeof data, name, &f), "made");
	}
	t.transmit = honest;
	memcpy(data, "new", 3);
	int err = tpm_nv_create(&t, index, p.auth, data, sizeof data, name, &f);
	ok("the third attempt", !err && !tpm_nv_read(&t, index, p.auth, got, sizeof got, &f) && !memcmp(got, data, sizeof got), "%d %s", err, f.text);
	memcpy(c, undefine, sizeof c);
	for (int k = 0; k < 4; k++)
		c[14 + k] = (uint8_t)(index >> (24 - 8 * k));
	ok("the host deletes the index", !honest(&t, c, sizeof c, a, &len, &f) && !be32(a + 6), "0x%x", be32(a + 6));
	uint32_t made = deliver(&t, 1), written = deliver(&t, 0);
	err = tpm_nv_read(&t, index, p.auth, got, sizeof got, &f);
	ok("and cannot make an older one with what it has kept", made == 0x121 && err == -ENOENT, "0x%x 0x%x %d %.3s", made, written, err, got);
	tpm_close(&t);
}

// The host has the TPM's owner: it can delete the index and make another. It cannot make one that passes.
static void test_replaced(void)
{
	struct tpm_place p = place(1);
	uint8_t name[TPM_NAME_BYTES] = {0}, old[72];
	const uint8_t theirs[TPM_AUTH_BYTES] = {1, 1, 1, 1};
	struct tpm_anchor now;
	struct fault f = {""};
	struct tpm t;
	if (tpm_open(&t, where, &f))
		return (void)ok("open", false, "%s", f.text);
	tpm_nv_read(&t, tpm_anchor_index(p.id), p.auth, old, sizeof old, &f);
	int err = tpm_nv_create(&t, tpm_anchor_index(p.id), theirs, old, sizeof old, name, &f);
	tpm_close(&t);
	ok("an index that the host made", !err && tpm_anchor_get(&p, &now, &f) == -EACCES && strstr(f.text, "does not go with"), "%d %s", err, f.text);
}

// A TPM without room: what others hold there stays theirs.
static void test_no_room(void)
{
	static const uint8_t begin[43] = {0x80, 1, 0, 0, 0, 43, 0, 0, 1, 0x76, 0x40, 0, 0, 7, 0x40, 0, 0, 7, 0, 16, [36] = 0, 0, 0, 0, 0x10, 0, 0x0b};
	uint8_t a[TPM_MAX], end[14] = {0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65}, handle[8][4];
	struct tpm_place p = place(1);
	struct tpm_anchor now;
	struct fault f = {""};
	unsigned int held = 0, there = 0;
	struct tpm t;
	size_t len;
	if (tpm_open(&t, where, &f))
		return (void)ok("open", false, "%s", f.text);
	make_room(&t);
	while (held < 8 && !t.transmit(&t, begin, sizeof begin, a, &len, &f) && !be32(a + 6))
		memcpy(handle[held++], a + 10, 4);
	tpm_close(&t);
	int err = tpm_anchor_get(&p, &now, &f);
	ok("no room for a session", held >= 3 && err == -ENOBUFS && strstr(f.text, "tpmrm0"), "%u %d %s", held, err, f.text);
	if (tpm_open(&t, where, &f))
		return (void)ok("open", false, "%s", f.text);
	for (unsigned int k = 0; k < held; k++) {
		memcpy(end + 10, handle[k], 4);
		there += !t.transmit(&t, end, sizeof end, a, &len, &f) && !be32(a + 6);
	}
	tpm_close(&t);
	ok("the sessions of others are still there", there == held, "%u of %u", there, held);
	ok("room again", tpm_anchor_get(&p, &now, &f) != -ENOBUFS, "%s", f.text);
}

static int reach(unsigned int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

// The launcher's relay: connections that say nothing are in nobody's way, other users of the host are shown the door.
static void test_relay(void)
{
	static const uint8_t random[12] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8};
	char way[200], *colon;
	struct tpm_place p = place(1);
	struct tpm_anchor direct, now;
	struct fault f = {""};
	int idle[8], err = tpm_anchor_get(&p, &direct, &f), status;
	if (tpm_relay(where, 2, way, sizeof way, &f) || !(colon = strrchr(way, ':')))
		return (void)ok("relay", false, "%s", f.text);
	unsigned int port = (unsigned int)atoi(colon + 1);
	p.where = way;
	int through = tpm_anchor_get(&p, &now, &f);
	ok("through the relay", err == through && (err || same(&now, &direct)), "%d %d %s", err, through, f.text);
	for (int k = 0; k < 8; k++)
		idle[k] = reach(port);
	through = tpm_anchor_get(&p, &now, &f);
	ok("beside eight that say nothing", err == through && (err || same(&now, &direct)), "%d %d %s", err, through, f.text);
	for (int k = 0; k < 8; k++)
		close(idle[k]);
	if (geteuid())
		return skip("another user of the host", "not root");
	pid_t other = fork();
	if (!other) {
		uint8_t a[64];
		if (setgid(65534) || setuid(65534))
			_exit(2);
		int fd = reach(port);
		if (fd < 0 || send(fd, random, sizeof random, MSG_NOSIGNAL) < 0)
			_exit(0);
		_exit(read(fd, a, sizeof a) > 0);
	}
	waitpid(other, &status, 0);
	ok("another user of the host gets no answer", WIFEXITED(status) && !WEXITSTATUS(status), "%x", status);
}

int main(void)
{
	static const char *const bad[] = {"", "tcp:", "tcp:host:1", "tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:127.0.0.1:70000", "unix:", "device:tpm0",
					  "tcp:[::1:5", "tcp:::1]:5", "mssim:host=x"};
	unsigned int wrong = 0;
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
		wrong += tpm_where_valid(bad[k]);
	ok("ways to a TPM", !wrong && tpm_where_valid("tcp:127.0.0.1:2321") && tpm_where_valid("tcp:[::1]:2321") && tpm_where_valid("unix:/x") &&
	   tpm_where_valid("device:/dev/tpmrm0"), "%u", wrong);
	if (!test_folder(dir, "tpm"))
		return 1;
	if (!start()) {
		lacks("tpm", "/usr/bin/swtpm", "it does not start");
	} else {
		test_rules();
		test_wire();
		test_held_back();
		test_made_late();
		test_no_room();
		test_relay();
		test_replaced();
	}
	stop();
	return ok_failed != 0;
}
