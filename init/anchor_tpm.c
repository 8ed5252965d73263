// SPDX-License-Identifier: Apache-2.0
// Anchors in a TPM, the enclave's side. The way to it is the host's; what comes over it counts only under the index's secret, which
// derives from the volume's key.
#include <errno.h>
#include <string.h>

#include "init/exchange.h"

static struct tpm_anchor to_tpm(const struct coffer_anchor_state *s)
{
	struct tpm_anchor a = {.epoch = s->epoch, .generation = s->generation};
	memcpy(a.digest, s->digest, sizeof a.digest);
	return a;
}

int anchor_tpm_get(struct exchange *x, unsigned int index, struct coffer_mount_key *key, struct fault *f)
{
	struct tpm_place *p = &x->tpm[index];
	struct tpm_anchor a;
	p->where = x->s->tpm;
	memcpy(p->id, key->id, sizeof p->id);
	tpm_anchor_auth(p, key->key);
	int err = tpm_anchor_get(p, &a, f);
	if (err)
		return err == -ENOENT ? -EACCES : err;
	key->where = COFFER_ANCHOR_IN_TPM;
	key->anchor = COFFER_ANCHOR_KNOWN;
	key->least = (struct coffer_anchor_state){.epoch = a.epoch, .generation = a.generation};
	memcpy(key->least.digest, a.digest, sizeof a.digest);
	return 0;
}

int anchor_tpm_claim(struct exchange *x, unsigned int index, const struct coffer_anchor_state *from, struct coffer_anchor_state *to, struct fault *f)
{
	struct tpm_anchor was = to_tpm(from), found = to_tpm(to);
	uint64_t epoch;
	int err = tpm_anchor_claim(&x->tpm[index], &was, &found, &epoch, f);
	to->epoch = epoch;
	return err;
}

enum coffer_anchor_what anchor_tpm_tell(struct exchange *x, const struct coffer_anchor_record *r)
{
	struct tpm_anchor now = to_tpm(&r->state);
	struct fault f = {""};
	int err = tpm_anchor_advance(&x->tpm[r->index], &now, &f);
	return !err ? COFFER_ANCHOR_KNOWS : err == -EEXIST ? COFFER_ANCHOR_FENCED : COFFER_ANCHOR_SILENT;
}
