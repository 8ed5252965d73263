// SPDX-License-Identifier: Apache-2.0
// Who has how much: nobody more than his share, and who counts as one.
#include "tunnel/shares.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "tests/attest/ok.h"

static uint64_t of(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(2)};
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return share_of((struct sockaddr *)&in);
	inet_pton(AF_INET6, text, &in6.sin6_addr);
	return share_of((struct sockaddr *)&in6);
}

int main(void)
{
	struct shares *s;
	const struct sockaddr_un un = {.sun_family = AF_UNIX};
	const uint64_t a = of("192.0.2.1"), b = of("192.0.2.2");
	unsigned int taken = 0;
	ok("shares: who is who", a && b && a != b && a == of("::ffff:192.0.2.1") && of("2001:db8::1") == of("2001:db8::ffff:0:0:2") &&
	   of("2001:db8::1") != of("2001:db8:0:1::1") && !share_of((const struct sockaddr *)&un), "%llx", (unsigned long long)a);
	if (shares_new(&s))
		return 1;
	for (int i = 0; i < 10; i++)
		taken += shares_take(s, a, 4);
	ok("shares: no more than that", taken == 4, "%u", taken);
	ok("shares: another", shares_take(s, b, 4), "refused");
	shares_give(s, a);
	ok("shares: one given back", shares_take(s, a, 4) && !shares_take(s, a, 4), "wrong");
	for (int i = 0; i < 4; i++)
		shares_give(s, a);
	shares_give(s, a);	// more than it had
	ok("shares: all given back", shares_take(s, a, 1) && !shares_take(s, a, 1) && !shares_take(s, of("192.0.2.3"), 0), "wrong");
	taken = 0;
	for (int i = 0; i < 10; i++)
		taken += shares_take(s, 0, 1);
	ok("shares: of nobody", taken == 10, "%u", taken);
	shares_free(s);
	return ok_failed != 0;
}
