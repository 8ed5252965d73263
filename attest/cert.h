// SPDX-License-Identifier: Apache-2.0
// Inside attest/: X.509 certificates and revocation lists: short lists of them, who signed whom, dates, who is revoked. Trust is the
// caller's business: nothing here knows a root. Pure over what is given; no locks.
#ifndef COFFER_ATTEST_CERT_H
#define COFFER_ATTEST_CERT_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/fault.h"

#define CERT_LIST_MAX 8
struct cert_list {
	X509 *certs[CERT_LIST_MAX];
	unsigned int count;
};

// Appends what PEM text holds (at least one) or one certificate in DER. -EINVAL, -E2BIG.
int cert_list_add_pem(struct cert_list *l, const char *pem, size_t len, struct fault *f);
int cert_list_add_der(struct cert_list *l, const uint8_t *der, size_t len, struct fault *f);
// Appends PEM text, or one certificate or more in DER, whichever it is.
int cert_list_add(struct cert_list *l, const void *bytes, size_t len, struct fault *f);
// The same as a list of its own, shared with all who read the same bytes (shared_cache.h): const struct cert_list *l = shared_object(e). NULL when
// they are malformed or memory is short. shared_release by the caller.
struct shared_entry;
struct shared_entry *cert_list_shared(const void *bytes, size_t len);
// Moves the certificate that issued none of the others to the front: for chains that begin with the root.
void cert_list_leaf_first(struct cert_list *l);
void cert_list_free(struct cert_list *l);

// Certificates that an operator names as roots: as many as there are makers.
#define CERT_ROOTS_MAX 512
struct cert_roots {
	X509 **certs;
	unsigned int count;
};
// Appends what a file holds (PEM or DER; at least one, and all of them readable). -ENOENT..., -EINVAL, -E2BIG.
int cert_roots_add_file(struct cert_roots *r, const char *path, struct fault *f);
void cert_roots_free(struct cert_roots *r);

// Revocation lists of several issuers.
#define CERT_CRLS_MAX 32
#define CERT_CRLS_BYTES (64u << 20)	// an authority that certifies people for decades has lists of some ten megabytes
struct cert_crls {
	X509_CRL *crls[CERT_CRLS_MAX];
	uint8_t digest[CERT_CRLS_MAX][32];	// SHA-256 of each; zeros: not known
	unsigned int count;
};

// Appends the lists that PEM text or DER holds, one after the other; at least one. -EINVAL, -E2BIG.
int cert_crls_add(struct cert_crls *l, const void *bytes, size_t len, struct fault *f);
// The same from a file, of which no more than one list is in memory beside what it becomes. -ENOENT..., -EFBIG beyond CERT_CRLS_BYTES.
int cert_crls_add_file(struct cert_crls *l, const char *path, struct fault *f);
void cert_crls_free(struct cert_crls *l);

// One revocation list, PEM or DER; NULL when it is neither.
X509_CRL *cert_crl_read(const void *bytes, size_t len);

// The subject's common name into out, unprintable characters as '?'; returns out.
char *cert_subject(X509 *cert, char *out, size_t size);

// The issuer's name is `issuer`'s and its key made the signature.
bool cert_signed_by(X509 *cert, X509 *issuer);
// A CA by basic constraints and key usage.
bool cert_is_authority(X509 *cert);

// -ESTALE and why when `cert` is not valid at `now`.
int cert_dates(X509 *cert, time_t now, struct fault *f);

// The chain from the list's first certificate up to one that signed itself, each signature checked; certificates that do not belong
// to it are ignored. Fills ordered[] (leaf first) and *count, at most `max`. -EBADMSG and which link is wrong.
int cert_order(const struct cert_list *l, X509 **ordered, unsigned int max, unsigned int *count, struct fault *f);

// The same up to one of `roots`, which the list need not have (TPMs bring their chains without); *known says that it ends in one.
int cert_order_under(const struct cert_list *l, X509 *const *roots, unsigned int root_count, X509 **ordered, unsigned int max, unsigned int *count,
		     bool *known, struct fault *f);

// The certificate's extended key usage names this OID (as text).
bool cert_has_usage(X509 *cert, const char *oid);

// 0 when `crl` is `issuer`'s, signed by it, current at `now` and does not name `cert`. -EBADMSG (not the issuer's), -ESTALE, or
// -EKEYREVOKED.
int cert_crl_check(X509_CRL *crl, X509 *issuer, X509 *cert, time_t now, struct fault *f);

// What an operator says about the revocation of certificates under his roots.
struct cert_revocation {
	struct cert_crls lists;		// none: nothing is checked
	bool accept_expired;		// a list that has ended counts as it was
};
// Each of the chain (leaf first, a root last) but the root is looked up in its issuer's list, which must be there. -EKEYREVOKED, -ESTALE, -ENOENT.
int cert_chain_revoked(const struct cert_revocation *r, X509 *const *chain, unsigned int count, time_t now, struct fault *f);

// Only the dates of that list; -ESTALE.
int cert_crl_dates(X509_CRL *crl, X509 *issuer, time_t now, struct fault *f);

// The content of the extension whose OID has these content bytes (DER, without tag and length); NULL when there is none.
const ASN1_OCTET_STRING *cert_extension(X509 *cert, const uint8_t *oid, size_t len);

// Seconds since 1970, which may be before it. False for another form than certificates must have.
bool cert_time_read(const ASN1_TIME *t, time_t *out);
// The same, or -1.
time_t cert_time(const ASN1_TIME *t);

// SHA-256 over the DER of the certificate, or of its public key, as hex.
bool cert_digest(X509 *cert, char hex[65]);
bool cert_key_digest(X509 *cert, char hex[65]);

#endif
