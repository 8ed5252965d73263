// SPDX-License-Identifier: Apache-2.0
// Secrets of the broker that become files in the enclave's memory before the program starts. The bytes pass through one buffer, which is wiped.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init/exchange.h"
#include "lib/file.h"
#include "lib/jwe.h"

int secret_fetch(struct exchange *x, const struct settings_secret *s, struct fault *f)
{
	struct http_reply reply;
	char path[300], what[512];
	void *plain = NULL;
	size_t len = 0;
	if (!strncmp(s->resource, IDENTITY_PREFIX, strlen(IDENTITY_PREFIX)))
		return identity_fetch(x, s, f);
	int n = snprintf(path, sizeof path, "/kbs/v0/resource/%s", s->resource);
	if (s->version)
		snprintf(path + n, sizeof path - (size_t)n, "?version=%u", s->version);
	// What may be given only once is counted for this enclave's key before it is answered: an answer that is lost is asked for again, by the same key.
	int err = exchange_ask(x, &(struct exchange_request){"GET", path, NULL, false}, &reply, f);
	if (err)
		return err;
	if (reply.status != 200) {
		snprintf(what, sizeof what, "the secret %.200s for %.200s:", s->resource, s->path);
		err = exchange_refused(x, what, &reply, f);
		goto out;
	}
	json_t *jwe = json_loadb(reply.body, reply.body_len, JSON_REJECT_DUPLICATES, NULL);
	plain = malloc(JWE_MAX_PLAINTEXT);
	if (!plain)
		err = fault_set(f, -ENOMEM, "out of memory");
	else
		err = jwe ? jwe_decrypt(x->key, jwe, plain, JWE_MAX_PLAINTEXT, &len, f)
			  : fault_set(f, -EPROTO, "%s does not answer like a key broker", x->s->broker_url);
	json_decref(jwe);
	if (!err)
		err = x->ops->deliver(s, plain, len, f);
out:
	free_wiped(plain, plain ? JWE_MAX_PLAINTEXT : 0);
	http_reply_free(&reply);
	return err;
}
