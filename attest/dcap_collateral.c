// SPDX-License-Identifier: Apache-2.0
// See dcap_collateral.h. The fuzz target fuzz_dcap_json drives it.
#include "attest/dcap_collateral.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "attest/ecdsa.h"
#include "attest/slice.h"
#include "lib/encode.h"

// The signed bytes and the signature, from a whole answer or from two parts.
static int split(const struct collateral_text *text, const struct collateral_text *apart, const char *member,
		 struct collateral_text *signed_part, uint8_t signature[64], struct fault *f)
{
	char hex[129];
	struct collateral_text s = *apart;
	*signed_part = *text;
	if (!s.bytes) {
		int err = slice_member(text->bytes, text->len, member, &signed_part->bytes, &signed_part->len, f);
		if (!err)
			err = slice_member(text->bytes, text->len, "signature", &s.bytes, &s.len, f);
		if (err)
			return err;
		if (s.len >= 2 && s.bytes[0] == '"') {
			s.bytes++;
			s.len -= 2;
		}
	}
	if (s.len != 128)
		return fault_set(f, -EINVAL, "a signature of %zu hex digits, not 128", s.len);
	memcpy(hex, s.bytes, 128);
	hex[128] = '\0';
	return hex_decode(signature, 64, hex) ? fault_set(f, -EINVAL, "a signature that is not hex") : 0;
}

static int check_signed(struct collateral_signed *s, const struct collateral_text *text, const struct collateral_text *apart,
			const struct collateral_text *chain, const char *member, struct collateral_text *body)
{
	uint8_t signature[64];
	int err = split(text, apart, member, body, signature, &s->why);
	if (err)
		return err;
	if (!chain->bytes)
		return fault_set(&s->why, -EBADMSG, "its issuer's certificates were not given");
	err = cert_list_add(&s->certs, chain->bytes, chain->len, &s->why);
	cert_list_leaf_first(&s->certs);
	if (!err)
		err = cert_order(&s->certs, s->chain, 4, &s->count, &s->why);
	if (err)
		return err;
	if (!ecdsa_ok(X509_get0_pubkey(s->chain[0]), signature, 32, body->bytes, body->len))
		return fault_set(&s->why, -EBADMSG, "a signature that does not match: it was changed or signed by another key");
	return 0;
}

static void open_crls(struct dcap_collateral *c, const struct dcap_collateral_parts *p)
{
	X509 *chain[3];
	unsigned int count = 0;
	if (p->root_crl.bytes)
		c->root_crl = cert_crl_read(p->root_crl.bytes, p->root_crl.len);
	if (p->pck_crl.bytes)
		c->pck_crl = cert_crl_read(p->pck_crl.bytes, p->pck_crl.len);
	if (p->pck_crl_chain.bytes)
		cert_list_add(&c->crl_certs, p->pck_crl_chain.bytes, p->pck_crl_chain.len, NULL);
	cert_list_leaf_first(&c->crl_certs);
	if (c->pck_crl && !cert_order(&c->crl_certs, chain, 3, &count, NULL) &&
	    X509_CRL_verify(c->pck_crl, X509_get0_pubkey(chain[0])) == 1) {
		c->pck_crl_issuer = chain[0];
		c->pck_root = chain[count - 1];
	}
	X509 *root = c->tcb_signed.good ? c->tcb_signed.chain[c->tcb_signed.count - 1] : c->pck_root;
	if (root && c->root_crl && X509_CRL_verify(c->root_crl, X509_get0_pubkey(root)) == 1)
		c->root_crl_issuer = root;
	ERR_clear_error();
}

int dcap_collateral_open(const struct dcap_collateral_parts *p, struct dcap_collateral **out)
{
	struct dcap_collateral *c = calloc(1, sizeof *c);
	struct collateral_text body;
	if (!c)
		return -ENOMEM;
	struct collateral_signed *t = &c->tcb_signed, *q = &c->qe_signed;
	t->given = p->tcb_info.bytes != NULL;
	if (t->given && !check_signed(t, &p->tcb_info, &p->tcb_info_signature, &p->tcb_info_chain, "tcbInfo", &body))
		t->good = tcb_info_read(body.bytes, body.len, &c->tcb, &t->why) == 0;
	q->given = p->qe_identity.bytes != NULL;
	if (q->given && !check_signed(q, &p->qe_identity, &p->qe_identity_signature, &p->qe_identity_chain, "enclaveIdentity", &body))
		q->good = qe_identity_read(body.bytes, body.len, &c->qe, &q->why) == 0;
	open_crls(c, p);
	if (p->pck_chain.bytes)
		c->pck = pck_chain_of(p->pck_chain.bytes, p->pck_chain.len);
	*out = c;
	return 0;
}

void dcap_collateral_free(struct dcap_collateral *c)
{
	if (!c)
		return;
	tcb_info_free(&c->tcb);
	qe_identity_free(&c->qe);
	cert_list_free(&c->tcb_signed.certs);
	cert_list_free(&c->qe_signed.certs);
	cert_list_free(&c->crl_certs);
	shared_release(c->pck);
	X509_CRL_free(c->root_crl);
	X509_CRL_free(c->pck_crl);
	free(c);
}

static void earlier(time_t *best, const char **part, time_t t, const char *name)
{
	if (t >= 0 && (*best < 0 || t < *best)) {
		*best = t;
		*part = name;
	}
}

time_t dcap_collateral_expires(const struct dcap_collateral *c, const char **part)
{
	time_t best = -1;
	*part = "";
	if (c->tcb_signed.good)
		earlier(&best, part, c->tcb.next, "TCB info");
	if (c->qe_signed.good)
		earlier(&best, part, c->qe.next, "QE identity");
	if (c->root_crl)
		earlier(&best, part, cert_time(X509_CRL_get0_nextUpdate(c->root_crl)), "root CRL");
	if (c->pck_crl)
		earlier(&best, part, cert_time(X509_CRL_get0_nextUpdate(c->pck_crl)), "PCK CRL");
	for (unsigned int i = 0; i < c->tcb_signed.count; i++)
		earlier(&best, part, cert_time(X509_get0_notAfter(c->tcb_signed.chain[i])), "TCB signing certificate");
	for (unsigned int i = 0; i < c->qe_signed.count; i++)
		earlier(&best, part, cert_time(X509_get0_notAfter(c->qe_signed.chain[i])), "QE identity's signing certificate");
	return best;
}
