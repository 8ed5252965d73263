// SPDX-License-Identifier: Apache-2.0
// Destinations: how hosts are read, and what rules about them let pass. Names that resolve to private addresses are the point.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/rules.h"

static void test_target(void)
{
	static const struct { const char *text, *is; } good[] = {
		{"example.org:80", "example.org:80"}, {"EXAMPLE.org.:80", "example.org:80"}, {"192.0.2.7:65535", "192.0.2.7:65535"}, {"[::1]:1",
		 "[::1]:1"},
		{"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"}, {"[::ffff:192.0.2.7]:80", "192.0.2.7:80"}, {"_srv._tcp.example.org:80",
		 "_srv._tcp.example.org:80"},
		{"a:1", "a:1"}, {"xn--bcher-kva.example:80", "xn--bcher-kva.example:80"}, {"1password.com:443", "1password.com:443"},
		 {"0xyz.org:80", "0xyz.org:80"},
		{"dead.beef:80", "dead.beef:80"},
	};
	static const char *const bad[] = {
		"", ":80", "example.org", "example.org:", "example.org:0", "example.org:65536", "example.org:080000", "example.org:+80",
		   "example.org: 80",
		"exa mple.org:80", "example..org:80", ".example.org:80", "..:80", ".:80", "-", "::1:80", "::1", "[::1]", "[::1", "[::1]80",
		   "[example.org]:80",
		"[192.0.2.7]:80", "[fe80::1%eth0]:80", "127.1:80", "2130706433:80", "0x7f000001:80", "0x7f.0.0.1:80", "example.0x7f:80",
		   "0177.0.0.1:80",
		"1.2.3.4.5:80", "256.0.0.1:80", "example.0x:80", "a/b:80", "a@b:80", "b\303\274cher.example:80", "example.org:80:80", "*:80",
	};
	char text[TARGET_TEXT], label[80], name[300];
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct target t = {0};
		int err = target_parse(&t, good[i].text, strlen(good[i].text), 0);
		ok("target.good", !err && !strcmp(target_text(&t, text), good[i].is), "%s: %d, %s", good[i].text, err, err ? "" : text);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct target t = {.port = 7};
		int err = target_parse(&t, bad[i], strlen(bad[i]), 0);
		ok("target.bad", err == -EINVAL && t.port == 7 && t.host == TARGET_NONE, "%s: %d", bad[i], err);
	}
	struct target t;
	memset(label, 'a', 64);
	label[63] = '\0';
	ok("target.label_63", !target_set_host(&t, label, 63), "refused");
	label[63] = 'a';
	ok("target.label_64", target_set_host(&t, label, 64), "taken");
	for (size_t i = 0; i < sizeof name; i++)
		name[i] = i % 2 ? '.' : 'a';
	ok("target.name_253", !target_set_host(&t, name, 253) && strlen(t.name) == 253, "refused");
	ok("target.name_254", !target_set_host(&t, name, 254) && strlen(t.name) == 253, "the dot at the end does not count");
	ok("target.name_255", target_set_host(&t, name, 255), "taken");
	ok("target.zero", target_set_host(&t, "a\0b", 3), "taken");
	ok("target.port_given", !target_parse(&t, "example.org", 11, 80) && t.port == 80, "refused");
}

static struct target target(const char *text)
{
	struct target t = {0};
	if (target_parse(&t, text, strlen(text), 0))
		abort();
	return t;
}

// `asked` passes (and, where given, `address` of it does): as expected.
static void passes(const struct rules *r, bool expect, const char *asked, const char *address)
{
	struct target t = target(asked), a = address ? target(address) : t;
	bool got = rules_match(r, &t) && (!address || rules_address(r, &t, &a));
	ok(expect ? "rules.passes" : "rules.refused", got == expect, "%s %s", asked, address ? address : "");
}

static struct rules *rules(const char *const *texts, size_t n)
{
	struct rules *r;
	struct fault f = {""};
	if (rules_new(&r, texts, n, &f)) {
		ok("rules.read", false, "%s", f.text);
		exit(1);
	}
	return r;
}
#define RULES(...) rules((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void test_rules(void)
{
	struct rules *r;
	struct fault f = {""};
	static const char *const bad[] = {
		"", "*.", "*x.example", "a*.example", "example:0", "example:70000", "example:9-8", "example:a", "10.0.0.0/33", "10.0.0.1/8",
		   "10.0.0.0/", "::1/129",
		"10.0.0/8", "127.1:80", "a@b:80", "*@10.0.0.0/8:", "@10.0.0.0/8", "a b", "[::1]x:80", "10.0.0.0/8/8", "*.127.1",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct rules *none;
		ok("rules.bad", rules_new(&none, &bad[i], 1, &f) == -EINVAL && !none && f.text[0], "'%s' is taken", bad[i]);
	}

	r = RULES("*.example:443", "db.internal:5432", "192.0.2.0/24:80-89", "[2001:db8::/32]:*", "198.51.100.7", "2001:db9::1");
	passes(r, true, "a.example:443", NULL);
	passes(r, true, "a.b.example:443", NULL);
	passes(r, true, "A.Example:443", NULL);
	passes(r, false, "example:443", NULL);
	passes(r, false, "notexample:443", NULL);
	passes(r, false, "a.notexample:443", NULL);
	passes(r, false, "a.example:444", NULL);
	passes(r, false, "a.example.evil:443", NULL);
	passes(r, true, "db.internal:5432", NULL);
	passes(r, true, "192.0.2.255:80", NULL);
	passes(r, true, "192.0.2.255:89", NULL);
	passes(r, false, "192.0.2.255:90", NULL);
	passes(r, false, "192.0.3.0:80", NULL);
	passes(r, true, "[2001:db8:ffff::1]:1", NULL);
	passes(r, true, "[2001:db9::1]:1", NULL);
	passes(r, false, "[2001:db9::2]:1", NULL);
	passes(r, true, "198.51.100.7:9", NULL);
	passes(r, false, "198.51.100.8:9", NULL);
	// rebinding: what the name may be
	passes(r, true, "a.example:443", "203.0.113.9:443");
	passes(r, true, "a.example:443", "[2001:4860::1]:443");
	static const char *const inside[] = {
		"127.0.0.1:443", "10.1.2.3:443", "172.16.0.1:443", "172.31.255.255:443", "192.168.1.1:443", "169.254.169.254:443",
		   "100.64.0.1:443", "0.0.0.0:443",
		"224.0.0.1:443", "255.255.255.255:443", "[::1]:443", "[::]:443", "[fe80::1]:443", "[fd00::1]:443", "[ff02::1]:443",
		   "[::ffff:10.1.2.3]:443",
		"[64:ff9b::7f00:1]:443", "[2002:7f00:1::]:443", "[::10.1.2.3]:443", "[::ffff:0:127.0.0.1]:443",
	};
	struct rules *any = RULES("*"), *all = RULES("*", "0.0.0.0/0:*", "::/0"), *half = RULES("a.example", "64:ff9b::/96", "2002::/16");
	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
		passes(r, false, "a.example:443", inside[i]);
		passes(any, false, "a.example:443", inside[i]);
		passes(any, false, inside[i], NULL);
		passes(all, false, "a.example:443", inside[i]);
		passes(all, false, inside[i], NULL);
		passes(half, false, "a.example:443", inside[i]);
	}
	passes(any, true, "1.1.1.1:53", NULL);
	passes(any, true, "172.32.0.1:53", NULL);
	passes(any, true, "a.example:1", "[2606:4700::1]:1");
	passes(half, true, "[64:ff9b::808:808]:1", NULL);
	rules_free(any);
	rules_free(all);
	rules_free(half);
	rules_free(r);

	r = RULES("*.example:443", "10.1.0.0/16:443", "db.example@10.2.0.0/16:5432", "127.0.0.1:80", "fd00::/8");
	passes(r, true, "a.example:443", "10.1.2.3:443");
	passes(r, false, "a.example:443", "10.2.2.3:443");
	passes(r, true, "10.1.2.3:443", NULL);
	passes(r, false, "10.1.2.3:80", NULL);
	passes(r, true, "db.example:5432", "10.2.2.3:5432");
	passes(r, false, "db.example:5432", "10.3.2.3:5432");
	passes(r, false, "db.example:5432", "203.0.113.9:5432");
	passes(r, false, "10.2.2.3:5432", NULL);
	passes(r, true, "127.0.0.1:80", NULL);
	passes(r, false, "127.0.0.2:80", NULL);
	passes(r, true, "[fd12::1]:9", NULL);
	rules_free(r);

	passes(NULL, false, "a.example:443", NULL);
	struct target none = {.port = 80}, name = target("a.example:80"), private = target("10.0.0.1:80"), v6 = target("[::1]:80");
	r = RULES("*");
	ok("rules.no_destination", !rules_match(r, &none), "passes");
	ok("rules.select", rules_select(r, &name) && rules_select(r, &private) && !rules_select(r, &none), "not as it should be");
	rules_free(r);
	r = RULES("*.example", "0.0.0.0/0:80");
	ok("rules.select_some", rules_select(r, &name) && rules_select(r, &private) && !rules_select(r, &v6), "not as it should be");
	rules_free(r);
}

int main(void)
{
	test_target();
	test_rules();
	return ok_failed != 0;
}
