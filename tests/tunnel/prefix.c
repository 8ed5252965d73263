// SPDX-License-Identifier: Apache-2.0
// tunnel/prefix.c and the queues of tunnel/carrier.c: networks in text, packets that claim what they are not, and what a full queue loses.
#include "tunnel/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/carrier.h"

static void test_parse(void)
{
	static const struct {
		const char *text;
		bool network, interface;	// is it one?
	} all[] = {
		{"10.0.0.0/8", true, true}, {"10.0.0.1/8", false, true}, {"10.0.0.1", true, true},
		{"0.0.0.0/0", true, true}, {"10.0.0.1/0", false, true},
		{"192.168.1.128/25", true, true}, {"192.168.1.128/24", false, true}, {"fd00::/8", true, true}, {"fd00::1/8", false, true},
		{"::/0", true, true}, {"2001:db8::1", true, true}, {"2001:db8::1/128", true, true}, {"fd00::8000/113", true, true},
		{"", false, false}, {"/8", false, false}, {"10.0.0.0/", false, false}, {"10.0.0.0/33", false, false}, {"::/129", false, false},
		{"10.0.0.0/08", false, false}, {"10.0.0.0/8x", false, false}, {"10.0.0.0/-1", false, false}, {"10.0.0.0/ 8", false, false},
		{"10.0.0", false, false}, {"10.0.0.0.0/8", false, false}, {"010.0.0.0/8", false, false}, {"fe80::1%eth0", false, false},
		{"10.0.0.0/8/8", false, false}, {"db.example/8", false, false}, {"10.0.0.0/4294967304", false, false},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb/8", false, false},
	};
	struct prefix p;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		bool network = !prefix_parse(&p, all[i].text, false), interface = !prefix_parse(&p, all[i].text, true);
		if (network != all[i].network || interface != all[i].interface) {
			ok("prefix-text", false, "'%s': %d %d", all[i].text, network, interface);
			return;
		}
	}
	ok("prefix-text", true, NULL);
}

static struct prefixes list_of(const char *a, const char *b)
{
	struct prefixes p = {0};
	if (prefix_parse(&p.list[p.count++], a, false) || (b && prefix_parse(&p.list[p.count++], b, false)))
		abort();
	return p;
}

static bool passes(const uint8_t *packet, size_t len, const struct prefixes *from, const struct prefixes *to)
{
	uint8_t *copy = malloc(len ? len : 1);	// so that the sanitizer sees what is read behind it
	if (!copy)
		abort();
	if (len)
		memcpy(copy, packet, len);
	bool may = packet_may_pass(copy, len, from, to);
	free(copy);
	return may;
}

static void test_packets(void)
{
	uint8_t four[28] = {0x45, 0, 0, 28, [9] = 17, [12] = 10, 1, 2, 3, 192, 168, 7, 9};
	uint8_t six[48] = {0x60, [5] = 8, [8] = 0xfd, [23] = 1, [24] = 0xfd, 1, [39] = 2};
	const struct prefixes ten = list_of("10.1.0.0/16", "fd00::/16"), home = list_of("192.168.7.8/30", "fd01::2");
	const struct prefixes any = list_of("0.0.0.0/0", "::/0");
	bool right = passes(four, 28, &ten, &home) && !passes(four, 28, &home, &ten) && passes(six, 48, &ten, &home) && !passes(six, 48, &home, &ten);
	right &= passes(four, 28, &any, &any) && passes(six, 48, &any, &any);
	ok("packets", right, "addresses");
	right = true;
	for (size_t n = 0; n < 48; n++)	// cut, and longer than it says
		right &= (n == 28) == passes(four, n < 28 ? n : 28, &any, &any) || n > 28;
	for (size_t n = 0; n < 48; n++)
		right &= !passes(six, n, &any, &any);
	uint8_t more[29];
	memcpy(more, four, 28);
	more[28] = 0;
	right &= !passes(more, 29, &any, &any);
	ok("packets-cut", right, "a packet of another length than it says");
	right = true;
	for (unsigned int head = 0; head < 16; head++) {
		four[0] = (uint8_t)(0x40 | head);
		right &= passes(four, 28, &any, &any) == (head >= 5 && head * 4 <= 28);
	}
	for (unsigned int version = 0; version < 16; version++) {
		four[0] = (uint8_t)(version << 4 | 5);
		right &= passes(four, 28, &any, &any) == (version == 4);
	}
	ok("packets-heads", right, "heads");
	// An IPv4 address is none of IPv6, whatever its bytes.
	four[0] = 0x45;
	const struct prefixes only_six = list_of("::/0", NULL);
	ok("packets-versions", !passes(four, 28, &only_six, &only_six), "an IPv4 packet by a rule about IPv6");
}

static void test_queue(void)
{
	struct datagram_queue q;
	static uint8_t in[65535], out[65535];
	unsigned int lost = 0;
	bool right = true;
	queue_init(&q);
	ok("queue-empty", queue_get(&q, out, sizeof out) == -EAGAIN, "something in an empty queue");
	for (unsigned int i = 0; i < 3 * CARRIER_QUEUE_COUNT; i++) {
		memcpy(in, &i, sizeof i);
		lost += queue_put(&q, in, 4 + i % 50);
	}
	for (unsigned int i = lost; i < 3 * CARRIER_QUEUE_COUNT; i++)
		right &= queue_get(&q, out, sizeof out) == 4 + (ssize_t)(i % 50) && !memcmp(out, &i, sizeof i);
	right &= lost == 2 * CARRIER_QUEUE_COUNT && queue_get(&q, out, sizeof out) == -EAGAIN && !q.bytes && !q.count;
	ok("queue-count", right, "%u lost", lost);
	lost = 0;
	for (unsigned int i = 0; i < 20; i++) {
		in[0] = (uint8_t)i;
		lost += queue_put(&q, in, sizeof in);
	}
	right = q.bytes <= CARRIER_QUEUE_BYTES && q.count == 20 - lost;
	for (unsigned int i = lost; i < 20; i++)
		right &= queue_get(&q, out, sizeof out) == sizeof out && out[0] == i;
	ok("queue-bytes", right && lost, "%u lost", lost);
	lost = queue_put(&q, in, 0);
	ok("queue-nothing", !lost && !queue_get(&q, out, sizeof out) && queue_get(&q, out, sizeof out) == -EAGAIN, "an empty datagram");
	lost = queue_put(&q, in, 10) + queue_put(&q, in, 10);
	queue_clear(&q);
	ok("queue-clear", !lost && queue_get(&q, out, sizeof out) == -EAGAIN && !q.bytes, "something is left");
}

int main(void)
{
	test_parse();
	test_packets();
	test_queue();
	return ok_failed ? 1 : 0;
}
