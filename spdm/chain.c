// SPDX-License-Identifier: Apache-2.0
// See chain.h.
#include "spdm/chain.h"

#include <errno.h>
#include <openssl/crypto.h>

#include "attest/bytes.h"
#include "attest/cert.h"
#include "spdm/message.h"

#define CHAIN_HEAD 4

int chain_write(struct buffer *b, const struct suite *s, X509 *cert, struct fault *f)
{
	uint8_t *der = NULL, hash[SUITE_MAX_HASH];
	int len = i2d_X509(cert, &der), err = 0;
	if (len <= 0 || !suite_digest(s, der, (size_t)len, hash)) {
		err = fault_set(f, -ENOMEM, "out of memory");
	} else if ((size_t)len > SPDM_MAX_CHAIN - CHAIN_HEAD - s->hash_len) {
		err = fault_set(f, -E2BIG, "the certificate has %d bytes with its evidence; SPDM carries at most %d", len, SPDM_MAX_CHAIN);
	} else {
		buffer_number(b, (uint32_t)(CHAIN_HEAD + s->hash_len + (size_t)len), 4);
		buffer_put(b, hash, s->hash_len);
		buffer_put(b, der, (size_t)len);
		err = b->failed ? fault_set(f, -ENOMEM, "out of memory") : 0;
	}
	OPENSSL_free(der);
	return err;
}

static int check_links(struct cert_list *l, const struct suite *s, const uint8_t *root_hash, struct fault *f)
{
	uint8_t hash[SUITE_MAX_HASH], *der = NULL;
	int len = i2d_X509(l->certs[0], &der);
	bool is_root = len > 0 && suite_digest(s, der, (size_t)len, hash) && !CRYPTO_memcmp(hash, root_hash, s->hash_len);
	OPENSSL_free(der);
	// A root that is left out is nobody whom this side could know: whom it believes is said by the evidence.
	if (!is_root)
		return fault_set(f, -EBADMSG, "the chain does not begin with the certificate that it names as its root");
	for (unsigned int i = 1; i < l->count; i++) {
		if (!cert_is_authority(l->certs[i - 1]) || !cert_signed_by(l->certs[i], l->certs[i - 1]))
			return fault_set(f, -EBADMSG, "certificate %u of the chain was not issued by the one before it", i + 1);
	}
	return cert_signed_by(l->certs[0], l->certs[0]) ? 0 : fault_set(f, -EBADMSG, "the chain's root has not signed itself");
}

int chain_read(const uint8_t *bytes, size_t len, const struct suite *s, X509 **leaf, struct fault *f)
{
	struct cert_list l = {.count = 0};
	struct cursor c = cursor_of(bytes, len);
	struct fault why = {""};
	uint16_t length = cursor_le16(&c);
	cursor_take(&c, 2);
	const uint8_t *root_hash = cursor_take(&c, s->hash_len);
	*leaf = NULL;
	if (!root_hash || length != len || !c.left || *c.p != 0x30)
		return fault_set(f, -EINVAL, "the certificate chain is malformed");
	int err = cert_list_add(&l, c.p, c.left, &why);
	if (err)
		fault_set(f, err, "the certificate chain: %s", why.text);
	else
		err = check_links(&l, s, root_hash, f);
	if (!err && !suite_asym_of(X509_get0_pubkey(l.certs[l.count - 1])))
		err = fault_set(f, -EINVAL, "the leaf's key is none that signs here (ECDSA on P-256 or P-384)");
	if (!err) {
		*leaf = l.certs[l.count - 1];
		X509_up_ref(*leaf);
	}
	cert_list_free(&l);
	return err;
}
