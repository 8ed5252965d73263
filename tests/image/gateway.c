// SPDX-License-Identifier: Apache-2.0
// From coffer.yaml to what the gateway in the enclave runs: what one writes the next takes, and the host places what is listed and nothing else.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/config.h"
#include "init/gateway.h"
#include "lib/fault.h"
#include "tests/image/unit.h"
#include "tunnel/gateway.h"

#define MEASURED "{measurements: [00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff]}"

static const char yaml[] =
	"command: [a]\nnetwork:\n"
	"  listen: [6379: attested, 443: {session: wanted, verify: " MEASURED "}]\n"
	"  connect:\n"
	"    - db.example:5432: {attest: true, verify: " MEASURED "}\n"
	"    - \"[2001:db8::1]:443\": {mux: false, session: \"off\", verify: " MEASURED "}\n"
	"    - plain.example:80\n"
	"    - \"[2001:db8::1]:80\"\n";

static struct text config;

static int read_with(struct gateway *g, const char *host, bool ipv6, struct fault *f)
{
	return gateway_read(g, config.data, config.len, host, strlen(host), ipv6, f);
}

// The engine takes what it is told.
static bool runs(const char *text, struct fault *f)
{
	char path[] = "/tmp/coffer-gateway-XXXXXX";
	int fd = mkstemp(path);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && !gateway_check(path, f);

	if (fd >= 0)
		close(fd);
	unlink(path);
	return good;
}

static void host_says(const char *name, const char *host, int want)
{
	struct gateway g;
	struct fault f = {""};
	int err = read_with(&g, host, false, &f);

	unit_check(err == want, name, err ? f.text : "accepted");
	gateway_free(&g);
}

// A question for one.example, and what comes back of an answer of so many bytes.
static void datagrams(void)
{
	static const uint8_t query[] = "\0\7\1\0\0\1\0\0\0\0\0\0\3one\7example\0\0\1\0\1";
	uint8_t edns[64] = {0}, *answer = calloc(1, 65535);
	size_t n = sizeof(query) - 1;

	memcpy(edns, query, n);
	edns[11] = 1;	// the record behind it is not looked at
	unit_check(gateway_dns_short(query, n, answer, 512) == 512 && !answer[2], "dns_fits", "512 bytes");
	unit_check(gateway_dns_short(query, n, answer, 513) == n && answer[2] == 2 && answer[5] == 1 && !memcmp(answer + 12, query + 12, n - 12), "dns_too_long",
		   "513 bytes");
	unit_check(gateway_dns_short(edns, n + 11, answer, 1232) == 1232, "dns_edns_fits", "1232 bytes");
	unit_check(gateway_dns_short(edns, n + 11, answer, 1233) == n, "dns_edns_too_long", "1233 bytes");
	unit_check(!gateway_dns_short(query, n - 1, answer, 513), "dns_cut_query", "a question that is cut");
	unit_check(!gateway_dns_short(query, 11, answer, 100) && !gateway_dns_short(query, n, answer, 11), "dns_cut_header", "a header that is cut");
	edns[12] = 0xc0;
	unit_check(!gateway_dns_short(edns, n, answer, 1233), "dns_pointer", "a question with a pointer");
	edns[5] = 2;
	unit_check(!gateway_dns_short(edns, n, answer, 1233), "dns_two_questions", "two questions");
	free(answer);
}

int main(void)
{
	static const char *const parts[] = {
		"{\"name\":\"port 443\",\"egress\":{\"listen\":\"0.0.0.0:443\",\"to\":\"127.0.0.1:443\"}", "\"listen\":\"[::]:6379\",\"to\":\"127.0.0.1:6379\"",
		"\"listen\":\"100.64.1.1:5432\",\"accept\":\"mapping\"},\"connect\":\"192.0.2.7:8443,[2001:db8::7]:8443\",\"mux\":true",
		"\"listen\":\"[2001:db8::1]:443\",\"accept\":\"mapping\"},\"connect\":\"[2001:db8::1]:443\",\"mux\":false", "\"mode\":\"off\"",
	};
	struct config c;
	struct gateway g;
	struct fault f = {""};

	unit_check(!config_parse(&c, "/tmp", "coffer.yaml", yaml, strlen(yaml), &f), "gateway_yaml", f.text);
	config_json(&c, &config);
	int err = read_with(&g, "{\"addresses\":{\"db.example:5432\":[\"192.0.2.7:8443\",\"[2001:db8::7]:8443\"],\"[2001:db8::1]:80\":[\"192.0.2.8:80\"]}}", true, &f);
	unit_check(!err && g.tunnel, "gateway_read", f.text);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts) && g.tunnel; i++) {
		char name[32];

		snprintf(name, sizeof(name), "gateway_part_%zu", i);
		unit_check(strstr(g.tunnel, parts[i]), name, g.tunnel);
	}
	unit_check(g.tunnel && runs(g.tunnel, &f), "gateway_engine_takes_it", f.text);
	unit_check(g.plain_count == 2 && !strcmp(g.plain[0].host, "2001:db8::1") && g.plain[0].place_count == 1 && !strcmp(g.plain[1].address, "100.64.1.2") &&
			   g.plain[1].port == 80 && !g.plain[1].place_count, "gateway_plain", "");
	gateway_free(&g);
	unit_check(!read_with(&g, "{}", false, &f) && g.tunnel && !strstr(g.tunnel, "[::]") && strstr(g.tunnel, "\"connect\":\"db.example:5432\""), "gateway_alone",
		   f.text);
	gateway_free(&g);
	host_says("gateway_unlisted", "{\"addresses\":{\"evil.example:5432\":[\"192.0.2.7:1\"]}}", -EPERM);
	host_says("gateway_unlisted_port", "{\"addresses\":{\"db.example:5433\":[\"192.0.2.7:1\"]}}", -EPERM);
	host_says("gateway_nowhere", "{\"addresses\":{\"db.example:5432\":[]}}", -EPERM);
	host_says("gateway_no_list", "{\"addresses\":{\"db.example:5432\":\"192.0.2.7:1\"}}", -EPERM);
	host_says("gateway_no_text", "{\"addresses\":{\"db.example:5432\":[7]}}", -EPERM);
	host_says("gateway_plain_no_text", "{\"addresses\":{\"plain.example:80\":[7]}}", -EPERM);
	host_says("gateway_two_in_one", "{\"addresses\":{\"db.example:5432\":[\"192.0.2.7:1,192.0.2.8:1\"]}}", -EPERM);
	host_says("gateway_many", "{\"addresses\":{\"db.example:5432\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}}", -EPERM);
	// Whoever says where the world is does not lead the gateway back to the enclave's programs.
	host_says("gateway_into_program", "{\"addresses\":{\"plain.example:80\":[\"127.0.0.1:6379\"]}}", -EPERM);
	host_says("gateway_into_program_any", "{\"addresses\":{\"plain.example:80\":[\"192.0.2.7:80\",\"0.0.0.0:443\"]}}", -EPERM);
	host_says("gateway_into_program_ipv6", "{\"addresses\":{\"plain.example:80\":[\"[::1]:6379\"]}}", -EPERM);
	host_says("gateway_into_program_mapped", "{\"addresses\":{\"db.example:5432\":[\"[::ffff:7f00:9]:6379\"]}}", -EPERM);
	host_says("gateway_into_itself", "{\"addresses\":{\"plain.example:80\":[\"100.64.1.1:5432\"]}}", -EPERM);
	host_says("gateway_hosts_loopback", "{\"addresses\":{\"plain.example:80\":[\"127.0.0.1:6380\"],\"db.example:5432\":[\"[::1]:8080\"]}}", 0);
	host_says("gateway_no_json", "{", -EPERM);
	unit_check(gateway_read(&g, "{}", 2, "{}", 2, false, &f) == -EINVAL, "gateway_no_config", "accepted");
	gateway_free(&g);
	config_free(&c);
	text_free(&config);
	datagrams();
	return unit_failed;
}
