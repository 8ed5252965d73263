// SPDX-License-Identifier: Apache-2.0
// The name server and the tickets of `coffer tunnel exec`: questions well-formed and not, addresses that stand for names until they are needed for
// others.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/accept.h"
#include "tunnel/exec_names.h"
#include "tunnel/hook.h"
#include "tunnel/rules.h"

static struct exec_names *names;

// A question for `name` as a message; its length.
static size_t ask(uint8_t out[NAMES_MESSAGE], const char *name, unsigned int type)
{
	uint8_t *p = out + 12;
	memset(out, 0, 12);
	memcpy(out, "\x12\x34\x01", 3);
	out[5] = 1;
	while (*name) {
		size_t n = strcspn(name, ".");
		*p++ = (uint8_t)n;
		p = mempcpy(p, name, n);
		name += n + (name[n] == '.');
	}
	*p++ = 0;
	*p++ = (uint8_t)(type >> 8);
	*p++ = (uint8_t)type;
	*p++ = 0;
	*p++ = 1;
	return (size_t)(p - out);
}

// The address that a name is answered with; port 80. host NONE: none.
static struct target resolve(const char *name)
{
	uint8_t q[NAMES_MESSAGE], a[NAMES_MESSAGE];
	struct target t = {.port = 80};
	size_t n = ask(q, name, 1), len = exec_names_answer(names, q, n, a);
	if (len == n + 16 && a[7] == 1 && !memcmp(a + n, "\xc0\x0c\0\1\0\1", 6) && !memcmp(a + n + 10, "\0\4", 2)) {
		t.host = TARGET_IPV4;
		memcpy(t.address, a + n + 12, 4);
	}
	return t;
}

static void test_names(void)
{
	uint8_t q[NAMES_MESSAGE], a[NAMES_MESSAGE];
	struct target one = resolve("Example.org"), again = resolve("example.ORG"), other = resolve("example.com"), t = one;
	ok("names.made_up", one.host == TARGET_IPV4 && one.address[0] == 198 && one.address[1] == 18 && target_is_special(&one), "%d", one.host);
	ok("names.same", target_equal(&one, &again) && !target_equal(&one, &other), "not so");
	ok("names.back", exec_names_find(names, &t) == 1 && t.host == TARGET_NAME && !strcmp(t.name, "example.org") && t.port == 80, "%s", t.name);
	t = resolve("db.localhost");
	ok("names.localhost", t.address[0] == 127, "%d", t.address[0]);
	t = (struct target){.host = TARGET_IPV4, .address = {198, 19, 255, 1}, .port = 1};
	ok("names.unknown_address", exec_names_find(names, &t) == -ENOENT && t.host == TARGET_IPV4, "found");
	t = (struct target){.host = TARGET_IPV4, .address = {198, 20, 0, 1}, .port = 1};
	ok("names.other_address", !exec_names_find(names, &t), "taken for ours");
	t = resolve("127.1");
	ok("names.number", t.host == TARGET_NONE, "answered");

	size_t n = ask(q, "example.org", 28), len = exec_names_answer(names, q, n, a);
	ok("names.ipv6", len == n && !memcmp(a, "\x12\x34\x81\x80\0\1\0\0\0\0\0\0", 12), "%zu", len);
	char reverse[64];
	snprintf(reverse, sizeof reverse, "%d.%d.18.198.in-addr.arpa", one.address[3], one.address[2]);
	n = ask(q, reverse, 12);
	len = exec_names_answer(names, q, n, a);
	ok("names.reverse", len == n + 12 + 13 && !memcmp(a + n + 12, "\7example\3org", 13), "%zu of %zu", len, n);
	n = ask(q, "1.2.3.4.in-addr.arpa", 12);
	ok("names.reverse_other", exec_names_answer(names, q, n, a) == n && !a[7], "answered");

	n = ask(q, "example.org", 1);
	for (size_t cut = 0; cut < n; cut++) {
		len = exec_names_answer(names, q, cut, a);
		if (cut < 12 ? len : (len < 12 || (a[3] & 15) != 1 || a[7]))
			ok("names.cut", false, "%zu of %zu: %zu, code %d", cut, n, len, a[3] & 15);
	}
	q[2] |= 0x80;
	ok("names.answer", !exec_names_answer(names, q, n, a), "an answer is answered");
	q[2] = 0x10;
	ok("names.opcode", exec_names_answer(names, q, n, a) == 12 && (a[3] & 15) == 4, "code %d", a[3] & 15);
	q[2] = 1;
	q[5] = 2;
	ok("names.two_questions", exec_names_answer(names, q, n, a) && (a[3] & 15) == 1, "code %d", a[3] & 15);
	q[5] = 1;
	q[12] = 0xc0;	// a pointer
	ok("names.pointer", exec_names_answer(names, q, n, a) && (a[3] & 15) == 1, "code %d", a[3] & 15);
	n = ask(q, "exa mple.org", 1);
	ok("names.no_name", exec_names_answer(names, q, n, a) == n && (a[3] & 15) == 3, "code %d", a[3] & 15);
	n = ask(q, "exaXmple.org", 1);
	q[16] = '.';
	ok("names.dot_in_label", exec_names_answer(names, q, n, a) && (a[3] & 15) == 1, "code %d", a[3] & 15);

	// More names than there is room for: those in use stay.
	bool right = true;
	for (int i = 0; i < NAMES_MAX + 1000; i++) {
		char name[64];
		snprintf(name, sizeof name, "n%d.example", i);
		struct target made = resolve(name), kept = one;
		right &= made.host == TARGET_IPV4 && exec_names_find(names, &made) == 1 && !strcmp(made.name, name);
		if (i % 100 == 0)
			right &= exec_names_find(names, &kept) == 1 && !strcmp(kept.name, "example.org");
	}
	ok("names.many", right, "one was lost");
	t = other;
	ok("names.forgotten", exec_names_find(names, &t) == 1 && strcmp(t.name, "example.com"), "%s", t.name);
}

struct word {
	uint64_t id;
	int error;
	unsigned int n;
};

static void told(void *ctx, uint64_t id, int error)
{
	*(struct word *)ctx = (struct word){id, error, ((struct word *)ctx)->n + 1};
}

static void test_tickets(void)
{
	struct word word = {0};
	struct hook *h;
	struct target t = {.host = TARGET_NAME, .port = 443, .name = "example.org"};
	uint8_t ticket[HOOK_TICKET + 3] = {0}, second[HOOK_TICKET];
	size_t used;
	if (!ok("hook.new", !hook_new(&h, told, &word), "no memory"))
		return;
	const struct accept_options o = {.kind = ACCEPT_HOOK, .hook = h};
	hook_issue(h, &t, 7, ticket);
	hook_issue(h, &t, 8, second);
	struct acceptor *a = accept_new(&o), *b = accept_new(&o), *c = accept_new(&o);
	ok("hook.more", accept_begin(a, -1) == ACCEPT_MORE && accept_input(a, ticket, HOOK_TICKET - 1, &used) == ACCEPT_MORE && !used, "not so");
	ok("hook.target", accept_input(a, ticket, sizeof ticket, &used) == ACCEPT_TARGET && used == HOOK_TICKET && target_equal(accept_target(a),
	   &t), "not so");
	accept_begin(b, -1);
	ok("hook.once", accept_input(b, ticket, sizeof ticket, &used) == ACCEPT_REFUSED, "a ticket is good twice");
	accept_output(a, &used);
	ok("hook.word", accept_connected(a, 0, NULL) == ACCEPT_OPEN && word.n == 1 && word.id == 7 && !word.error, "%u", word.n);
	accept_output(a, &used);
	ok("hook.silent", !used, "%zu bytes for the program", used);
	hook_forget(h, 8);
	accept_begin(c, -1);
	ok("hook.forgotten", accept_input(c, second, sizeof second, &used) == ACCEPT_REFUSED, "taken");
	accept_free(a);
	accept_free(b);
	accept_free(c);
	ok("hook.told_once", word.n == 1, "%u", word.n);
	hook_issue(h, &t, 9, second);
	a = accept_new(&o);
	accept_begin(a, -1);
	accept_input(a, second, sizeof second, &used);
	accept_free(a);
	ok("hook.told_of_end", word.n == 2 && word.id == 9 && word.error, "%u", word.n);
	hook_issue(h, &t, 10, second);
	hook_free(h);
}

int main(void)
{
	names = exec_names_new();
	if (!names)
		return 1;
	test_names();
	test_tickets();
	exec_names_free(names);
	return ok_failed != 0;
}
