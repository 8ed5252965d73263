// SPDX-License-Identifier: Apache-2.0
// See standing.h.
#include "tests/ratls/standing.h"

#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"
#include "tests/attest/make/dcap.h"

static struct collateral_store *store;
static atomic_bool revoked;

static void put(const char *path, const void *body, size_t len, const char *chain)
{
	struct collateral_item i = {.fetched = time(NULL), .source = "a test"};
	struct fault f = {""};
	if (collateral_key_read(path, &i.key, &f) || collateral_item_set(&i, body, len, chain, chain ? strlen(chain) : 0, &f) ||
	    collateral_put(store, &i, &f)) {
		printf("%s: %s\n", path, f.text);
		abort();
	}
	collateral_item_free(&i);
}

static struct dcap_spec of_today(void)
{
	struct dcap_spec s = made_tdx;
	s.tcb_issued = s.qe_issued = s.crl_from = time(NULL) - MADE_DAY;
	s.tcb_next = s.qe_next = s.crl_to = time(NULL) + 29 * MADE_DAY;
	return s;
}

// The enclave's hardware. Each quote comes from a platform of its own, whose maker keeps its list of revoked ones up to date.
int standing_quote(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
{
	struct dcap_spec s = of_today();
	struct made m;
	(void)ctx;
	s.has_bound = true;
	memcpy(s.bound, report_data, 64);
	made_make(&s, &m);
	put("/sgx/certification/v4/pckcrl?ca=platform", revoked ? m.revoking : m.pck_crl, revoked ? m.revoking_len : m.parts.pck_crl.len,
	    m.crl_chain);
	out->bytes = malloc(m.quote_len);
	out->len = m.quote_len;
	if (!out->bytes)
		abort();
	memcpy(out->bytes, m.quote, m.quote_len);
	made_free(&m);
	return 0;
}

static void publish(const char *status, time_t later)
{
	struct dcap_spec s = of_today();
	struct made m;
	s.levels[0].status = status;
	s.tcb_issued += later;
	made_make(&s, &m);
	put("/tdx/certification/v4/tcb?fmspc=00806F050000", m.tcb, strlen(m.tcb), m.tcb_chain);
	put("/tdx/certification/v4/qe/identity", m.qe, strlen(m.qe), m.tcb_chain);
	put("/IntelSGXRootCA.der", m.root_crl, m.parts.root_crl.len, NULL);
	made_free(&m);
}

void standing_write_root(const char *path)
{
	FILE *f = fopen(path, "w");
	if (!f || !PEM_write_X509(f, made_root()) || fclose(f))
		abort();
}

void standing_begin(const char *dir)
{
	struct fault why = {""};
	if (collateral_open(&store, dir, true, &why))
		abort();
	revoked = false;
	publish("UpToDate", 0);
}

void standing_end(void)
{
	collateral_close(store);
}

void standing_change(bool revoke)
{
	revoked = revoke;
	if (!revoke)
		publish("OutOfDate", 3600);
}
