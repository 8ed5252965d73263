// SPDX-License-Identifier: Apache-2.0
// Where the destinations of an enclave's gateway are (coffer.yaml, network: connect): as the user of `coffer run` says, else as this machine's
// resolver does. Only hints: what answers there has to prove itself to the enclave.
#include "cli/places.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8

static char *destination(const struct config_shield *e)
{
	return xasprintf(strchr(e->host, ':') ? "[%s]:%u" : "%s:%u", e->host, e->port);
}

// ADDRESS:PORT with a numeric address, an IPv6 one in brackets.
static bool is_place(const char *s)
{
	const char *colon = strrchr(s, ':');
	char *host = colon ? xstrndup(s, (size_t)(colon - s)) : xstrdup(""), *end;
	size_t n = strlen(host);
	unsigned char ip[16];
	bool good = inet_pton(AF_INET, host, ip) == 1;

	if (!good && n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		good = inet_pton(AF_INET6, host + 1, ip) == 1;
	}
	unsigned long port = good ? strtoul(colon + 1, &end, 10) : 0;
	good = good && colon[1] >= '0' && colon[1] <= '9' && !*end && port >= 1 && port <= 65535;
	free(host);
	return good;
}

static const char *given_for(const struct string_list *given, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = given->count; i-- > 0;) // the last one counts
		if (!strncasecmp(given->items[i], name, n) && given->items[i][n] == '=')
			return given->items[i] + n + 1;
	return NULL;
}

static void resolve(const struct config_shield *e, struct text *t)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
	char host[64];
	int n = 0, err = getaddrinfo(e->host, NULL, &hints, &list);

	if (err && !strchr(e->host, ':'))	// an address needs no resolver
		fprintf(stderr, "coffer: %s cannot be found (%s): say where it is, --connect %s:%u=ADDRESS:PORT\n", e->host, gai_strerror(err), e->host, e->port);
	if (!err)
		for (const struct addrinfo *a = list; a && n < MOST; a = a->ai_next)
			if (!getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) && !strchr(host, '%'))
				text_printf(t, strchr(host, ':') ? "%s\"[%s]:%u\"" : "%s\"%s:%u\"", n++ ? "," : "", host, e->port);
	if (list)
		freeaddrinfo(list);
}

static void split(const char *places, struct text *t)
{
	char *copy = xstrdup(places), *save = NULL;
	int n = 0;

	for (char *part = strtok_r(copy, ",", &save); part && n < MOST; part = strtok_r(NULL, ",", &save)) {
		if (n++)
			text_puts(t, ",");
		text_json(t, part);
	}
	free(copy);
}

const char *places_check(const char *text)
{
	const char *equals = strchr(text, '=');
	char *copy = xstrdup(equals ? equals + 1 : ""), *save = NULL;
	bool good = equals && strchr(text, ':') && strchr(text, ':') < equals && *copy;

	for (char *part = strtok_r(copy, ",", &save); part && good; part = strtok_r(NULL, ",", &save))
		good = is_place(part);
	free(copy);
	return good ? NULL : "--connect takes HOST:PORT=ADDRESS:PORT[,ADDRESS:PORT...]: a destination as coffer.yaml names it, and where it is";
}

const char *places_unknown(const struct config *c, const struct string_list *given)
{
	for (size_t i = 0; i < given->count; i++) {
		bool found = false;

		for (size_t k = 0; k < c->destination_count + c->dns_count && !found; k++) {
			char *name = destination(k < c->destination_count ? &c->destinations[k] : &c->dns[k - c->destination_count]);
			size_t n = strlen(name);

			found = !strncasecmp(given->items[i], name, n) && given->items[i][n] == '=';
			free(name);
		}
		if (!found)
			return given->items[i];
	}
	return NULL;
}

void places_json(const struct config *c, const struct string_list *given, struct text *t)
{
	bool first = true;

	text_puts(t, "{");
	for (size_t k = 0; k < c->destination_count + c->dns_count; k++) {
		const struct config_shield *e = k < c->destination_count ? &c->destinations[k] : &c->dns[k - c->destination_count];
		char *name = destination(e);
		const char *places = given_for(given, name);
		struct text list = {0};

		if (places)
			split(places, &list);
		else
			resolve(e, &list);
		if (list.len) {
			text_puts(t, first ? "" : ",");
			text_json(t, name);
			text_printf(t, ":[%s]", list.data);
			first = false;
		}
		text_free(&list);
		free(name);
	}
	text_puts(t, "}");
}
