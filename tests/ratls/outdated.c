// SPDX-License-Identifier: Apache-2.0
// What becomes known about hardware while an enclave on it is connected: its firmware has fallen behind (TCB info), its certificate is revoked. It
// goes at the next check, whether proofs are made in the session or its certificate is judged again. TDX quotes under a test root.
#include <errno.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"
#include "tests/attest/make/dcap.h"
#include "tests/ratls/world.h"

static struct collateral_store *store;
static bool revoked;

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
static int quote(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
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

static void help(struct ratls_connection *c)
{
	struct ratls_work *w = ratls_work_take(c);
	if (w)
		ratls_work_run(w);
}

static void help_both(void *ctx)
{
	struct pair *p = ctx;
	help(p->client);
	help(p->server);
}

int main(void)
{
	static const struct {
		const char *name, *why;
		bool session, defer, revoke;
	} all[] = {
		{"proofs in the session, the firmware falls behind", "tcb_status", true, false, false},
		{"certificates alone, the firmware falls behind", "tcb_status", false, false, false},
		{"proofs in the session, the platform is revoked", "revocation", true, false, true},
		{"deferred, the firmware falls behind", "tcb_status", true, true, false},
		{"deferred, certificates alone, the firmware falls behind", "tcb_status", false, true, false},
	};
	char dir[128], root[128];
	if (!world_begin())
		return 1;
	snprintf(root, sizeof root, "%s/intel.pem", world);
	FILE *f = fopen(root, "w");
	if (!f || !PEM_write_X509(f, made_root()) || fclose(f))
		abort();
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct fault why = {""};
		char label[128], buf[8];
		struct pair p;
		snprintf(dir, sizeof dir, "%s/collateral%zu", world, i);
		if (collateral_open(&store, dir, true, &why))
			abort();
		revoked = false;
		publish("UpToDate", 0);
		struct ratls_options server = {.attest = true, .collect = quote, .defer = all[i].defer}, client = {.verify = true,
														   .any_measurement = true,
														   .collateral_dir = dir,
														   .insecure_simulated_root = root,
														   .no_cache = true,
														   .defer = all[i].defer};
		server.session = client.session = all[i].session ? RATLS_SESSION_REQUIRED : RATLS_SESSION_OFF;
		struct ratls_context *c = context_of(&client), *s = context_of(&server);
		pair_open(&p, c, s);
		pair_meet(&p, help_both, &p);
		snprintf(label, sizeof label, "ratls: while connected: %s", all[i].name);
		ok(label, !p.client_error && !p.server_error && says(p.client, p.server, "question"), "before: %d %s", p.client_error,
		   ratls_reason(p.client));
		// Checked again without news: nothing changes.
		ssize_t n = -EAGAIN;
		for (int again = 0; again < 2; again++) {
			ratls_attest_again(p.client);
			for (int k = 0; k < 5 && n == -EAGAIN; k++) {
				ratls_read(p.server, buf, sizeof buf, 0);
				help_both(&p);
				ratls_write(p.server, NULL, 0, 0);
				n = ratls_read(p.client, buf, sizeof buf, 0);
			}
			if (again)
				break;
			ok(label, n == -EAGAIN && says(p.server, p.client, "answer"), "unchanged: %zd %s", n, ratls_reason(p.client));
			revoked = all[i].revoke;
			if (!revoked)
				publish("OutOfDate", 3600);
		}
		ok(label, n == -EKEYREJECTED && strstr(ratls_reason(p.client), all[i].why) && ratls_write(p.client, "x", 1, 0) == -EKEYREJECTED,
		   "after: %zd %s", n, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(c);
		ratls_context_free(s);
		collateral_close(store);
	}
	return world_end();
}
