// SPDX-License-Identifier: Apache-2.0
// See trust.h.
#include "spdm/trust.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "attest/evidence.h"
#include "ratls/certificate.h"

int trust_measured(X509 *cert, struct measured *m, struct fault *f)
{
	struct attest_result *result = calloc(1, sizeof *result);
	struct ratls_cert r;
	struct bundle b;
	if (!result || attest_result_init(result) || bundle_init(&b)) {
		if (result)
			attest_result_free(result);
		free(result);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	int err = ratls_cert_read(cert, &r, f);
	if (!err)
		err = ratls_cert_bundle(&r, &b, f);
	if (!err) {
		const struct evidence_input in = {.bundle = &b, .now = time(NULL)};
		if (evidence_verify(&in, result) == EVIDENCE_UNKNOWN)
			err = fault_set(f, -EINVAL, "the certificate's evidence is of no known kind");
		measured_from(result->claims, m);
	}
	bundle_free(&b);
	attest_result_free(result);
	free(result);
	return err;
}

static int prove(void *ctx, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f)
{
	return self_prove(ctx, nonce, exporter, content, len, f);
}

int trust_responder(struct responder **out, struct self *self, unsigned int heartbeat_s, uint32_t transfer_size, struct fault *f)
{
	struct measured measured;
	X509 *cert = NULL;
	EVP_PKEY *key = NULL;
	if (!self_attests(self))
		return fault_set(f, -EINVAL, "a responder shows evidence: of what?");
	int err = self_certificate(self, &cert, &key, f);
	if (!err)
		err = trust_measured(cert, &measured, f);
	const struct responder_options o = {.cert = cert, .key = key, .measured = &measured, .heartbeat_s = heartbeat_s,
					    .transfer_size = transfer_size, .prove = prove, .ctx = self};
	if (!err)
		err = responder_new(out, &o, f);
	X509_free(cert);
	EVP_PKEY_free(key);
	return err;
}

static int conclude(struct verdict *v, json_t **claims, struct fault *f)
{
	int err = !v ? fault_set(f, -ENOMEM, "out of memory") : v->accepted ? 0 : fault_set(f, -EKEYREJECTED, "%s", v->reason);
	if (!err && claims && !(*claims = json_loads(v->claims, 0, NULL)))
		err = fault_set(f, -ENOMEM, "out of memory");
	verdict_release(v);
	return err;
}

static int judge_leaf(void *ctx, X509 *leaf, json_t **claims, struct fault *f)
{
	return conclude(judge_certificate(ctx, leaf), claims, f);
}

static int judge_new(void *ctx, X509 *leaf, const uint8_t *content, size_t len, const uint8_t nonce[32], const uint8_t exporter[32], struct fault *f)
{
	return conclude(judge_session(ctx, leaf, content, len, nonce, exporter), NULL, f);
}

void trust_requester(struct requester_options *o, struct judge *judge)
{
	o->judge = judge_leaf;
	o->judge_session = judge_new;
	o->ctx = judge;
}
