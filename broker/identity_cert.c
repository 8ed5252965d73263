// SPDX-License-Identifier: Apache-2.0
// See identity_cert.h. Takes no lock of its own.
#include "broker/identity_cert.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/encode.h"

int certificate_keyid(X509 *cert, char keyid[IDENTITY_KEYID])
{
	uint8_t digest[32];
	unsigned int len = 0;
	if (X509_digest(cert, EVP_sha256(), digest, &len) != 1 || len != sizeof digest)
		return -EINVAL;
	strcpy(keyid, "x509:");
	hex_encode(keyid + 5, digest, sizeof digest);
	return 0;
}

// An authority vouches for names by their type: who may have some host's name has not therefore the mailbox, or the URI, of that spelling. Each
// type has the shape of its own, and so has what an admin listed.
static bool has_shape(const char *text, size_t n, int type)
{
	bool uri = memmem(text, n, "://", 3) != NULL, at = memchr(text, '@', n) != NULL;
	return type == GEN_URI ? uri : type == GEN_EMAIL ? at && !uri : !at && !uri;
}

static int find_name(struct identities *s, const ASN1_STRING *name, int type, struct identity *who, struct fault *f)
{
	char keyid[IDENTITY_KEYID];
	const char *text = (const char *)ASN1_STRING_get0_data(name);
	size_t n = (size_t)ASN1_STRING_length(name);
	if (!n || n + 6 > sizeof keyid || memchr(text, '\0', n) || !has_shape(text, n, type))
		return -ENOENT;
	memcpy(mempcpy(keyid, "name:", 5), text, n);
	keyid[5 + n] = '\0';
	return identities_find(s, keyid, who, f);
}

int certificate_find(struct identities *s, X509 *cert, struct identity *who, struct fault *f)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int err = -ENOENT, count = names ? sk_GENERAL_NAME_num(names) : 0;
	for (int i = 0; i < count && err == -ENOENT; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		if (g->type == GEN_EMAIL || g->type == GEN_DNS || g->type == GEN_URI)
			err = find_name(s, g->d.ia5, g->type, who, f);
	}
	GENERAL_NAMES_free(names);
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = count ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (err == -ENOENT && at >= 0)
		err = find_name(s, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), GEN_DNS, who, f);
	return err;
}
