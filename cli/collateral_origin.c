// SPDX-License-Identifier: Apache-2.0
// One item from its maker's service into a store. See collateral.h. An answer that is no good never touches what the store has.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/collateral.h"
#include "lib/fetch.h"

#define TRIES 4

static const char *base_of(const struct origins *o, enum collateral_kind kind)
{
	switch (kind) {
	case COLLATERAL_TCB_INFO:
	case COLLATERAL_QE_IDENTITY:
	case COLLATERAL_PCK_CRL:
		return o->pcs ? o->pcs : ORIGIN_PCS;
	case COLLATERAL_ROOT_CRL:
		return o->pcs ? o->pcs : ORIGIN_INTEL_ROOT;
	case COLLATERAL_VCEK:
	case COLLATERAL_AMD_CHAIN:
	case COLLATERAL_AMD_CRL:
		return o->kds ? o->kds : ORIGIN_KDS;
	case COLLATERAL_HSK_CEK:
	case COLLATERAL_HRK:
		break;
	}
	return o->hygon ? o->hygon : ORIGIN_HYGON;
}

static int url_of(const struct origins *o, const struct collateral_key *k, char *url, size_t size, struct fault *f)
{
	const char *base = base_of(o, k->kind);
	size_t n = strlen(base);
	// Intel's own list of the root stands at another host; caches have it at a path of their own.
	const char *path = k->kind == COLLATERAL_ROOT_CRL && o->pcs ? "/sgx/certification/v4/rootcacrl" : k->path;
	// Caches are often named with the path that their clients are configured with.
	const char *tail = "/sgx/certification/v4";
	while (n && base[n - 1] == '/')
		n--;
	if (o->pcs == base && n > strlen(tail) && !memcmp(base + n - strlen(tail), tail, strlen(tail)))
		n -= strlen(tail);
	int len = snprintf(url, size, "%.*s%s", (int)n, base, path);
	return len < 0 || (size_t)len >= size ? fault_set(f, -EINVAL, "the URL '%.200s' is too long", base) : 0;
}

static bool worth_another_try(int err)
{
	return err == -ECONNRESET || err == -ECONNREFUSED || err == -ETIMEDOUT;
}

// GET until there is an answer, or it is no use.
static int get(const struct origins *o, const char *url, origin_waits *waits, struct fetch_answer *a, struct fault *f)
{
	const struct fetch_options options = {.ca_file = o->ca_file, .timeout_s = o->timeout_s, .max_bytes = COLLATERAL_MAX_BODY};
	unsigned int left = o->patience_s;
	struct fetch *c;
	int err = fetch_open(&c, &options, f);
	if (err)
		return err;
	for (int i = 1;; i++) {
		err = fetch_get(c, url, a, f);
		bool busy = !err && (a->status == 429 || a->status == 503 || a->status == 502 || a->status == 504);
		if (i == TRIES || (!busy && !worth_another_try(err)))
			break;
		// A service that is busy says how long; else a little longer each time.
		long pause = busy && a->retry_after ? a->retry_after : i;
		if (pause > (long)left)
			break;
		left -= (unsigned int)pause;
		if (waits)
			waits(busy ? "the service asks to come back later" : "the connection failed", (unsigned int)pause);
		if (busy)
			fetch_answer_free(a);
		sleep((unsigned int)pause);
	}
	fetch_close(c);
	return err;
}

static int check_status(const struct fetch_answer *a, const char *url, struct fault *f)
{
	if (a->status == 200) {
		if (!strncmp(a->content_type, "text/html", 9))
			return fault_set(f, -EPROTO, "%.300s: a web page came instead of an answer: is there a proxy with a login in between?", url);
		return 0;
	}
	if (a->status == 404 || a->status == 400)
		return fault_set(f, -ENOENT, "%.300s: its maker has no such thing (HTTP %d)", url, a->status);
	if ((a->status == 429 || a->status == 503) && a->retry_after)
		return fault_set(f, -EAGAIN, "%.300s: the service is busy and asks to come back in %ld seconds (HTTP %d); --patience waits longer", url,
				 a->retry_after, a->status);
	if (a->status == 429 || a->status == 503)
		return fault_set(f, -EAGAIN, "%.300s: the service is busy (HTTP %d): try again later", url, a->status);
	if (a->status == 401 || a->status == 403)
		return fault_set(f, -EACCES, "%.300s: the service refuses (HTTP %d)", url, a->status);
	return fault_set(f, -EPROTO, "%.300s: HTTP status %d", url, a->status);
}

int origin_fetch(struct collateral_store *s, const struct origins *o, const struct collateral_key *k, origin_waits *waits, struct fault *f)
{
	struct collateral_item i = {.key = *k};
	struct fetch_answer a = {.body = NULL};
	struct fault why = {""};
	char url[COLLATERAL_MAX_PATH + 256], *chain = NULL;
	size_t chain_len = 0;
	int err = url_of(o, k, url, sizeof url, f);
	if (!err)
		err = get(o, url, waits, &a, f);
	if (!err)
		err = check_status(&a, url, f);
	if (err)
		goto out;
	chain = fetch_header(&a, "-issuer-chain", &chain_len);
	err = collateral_item_set(&i, a.body, a.body_len, chain, chain_len, &why);
	if (err) {
		fault_set(f, err, "%.300s: the answer (%s) is no good: %s", url, *a.content_type ? a.content_type : "of no type", why.text);
		goto out;
	}
	snprintf(i.source, sizeof i.source, "%s", url);
	i.fetched = time(NULL);
	err = collateral_put(s, &i, &why);
	if (err)
		fault_set(f, err, err == -ESTALE ? "%.300s: not kept: %s" : "%.300s: %s", url, why.text);
	collateral_item_free(&i);
out:
	free(chain);
	fetch_answer_free(&a);
	return err;
}

static bool number(const char *text, unsigned int *out)
{
	size_t n = strlen(text);
	if (!n || n > 6 || strspn(text, "0123456789") != n)
		return false;
	*out = (unsigned int)atoi(text);
	return true;
}

bool origin_option(struct origins *o, int option, const char *value)
{
	switch (option) {
	case 0x100: o->pcs = value; return true;
	case 0x101: o->kds = value; return true;
	case 0x102: o->hygon = value; return true;
	case 0x103: o->ca_file = value; return true;
	case 0x104: return number(value, &o->timeout_s);
	case 0x105: return number(value, &o->patience_s);
	default: return false;
	}
}
