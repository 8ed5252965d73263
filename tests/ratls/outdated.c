// SPDX-License-Identifier: Apache-2.0
// What becomes known about hardware while an enclave on it is connected: its firmware has fallen behind (TCB info), its certificate is revoked. It
// goes at the next check, whether proofs are made in the session or its certificate is judged again. TDX quotes under a test root.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ratls/standing.h"

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
	standing_write_root(root);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		char label[128], buf[8];
		struct pair p;
		snprintf(dir, sizeof dir, "%s/collateral%zu", world, i);
		standing_begin(dir);
		struct ratls_options server = {.attest = true, .collect = standing_quote, .defer = all[i].defer}, client = {.verify = true,
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
			standing_change(all[i].revoke);
		}
		ok(label, n == -EKEYREJECTED && strstr(ratls_reason(p.client), all[i].why) && ratls_write(p.client, "x", 1, 0) == -EKEYREJECTED,
		   "after: %zd %s", n, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(c);
		ratls_context_free(s);
		standing_end();
	}
	return world_end();
}
