// SPDX-License-Identifier: Apache-2.0
// See cert.h. Pure over the certificates given.
#include "attest/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/digest.h"
#include "attest/link_cache.h"
#include "attest/shared_cache.h"
#include "lib/encode.h"

#define CERT_MAX_BYTES (1 << 20)

// The next byte, which stays; -1 at the end.
static int ahead(BIO *bio)
{
	uint8_t c;
	int at = BIO_tell(bio);
	return BIO_read(bio, &c, 1) == 1 && BIO_seek(bio, at) >= 0 ? c : -1;
}

static int add(struct cert_list *l, X509 *cert, struct fault *f)
{
	if (l->count == CERT_LIST_MAX) {
		X509_free(cert);
		return fault_set(f, -E2BIG, "more than %d certificates", CERT_LIST_MAX);
	}
	l->certs[l->count++] = cert;
	return 0;
}

int cert_list_add_pem(struct cert_list *l, const char *pem, size_t len, struct fault *f)
{
	BIO *bio = len <= CERT_MAX_BYTES ? BIO_new_mem_buf(pem, (int)len) : NULL;
	unsigned int before = l->count;
	int err = 0;
	X509 *cert;
	while (bio && !err && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		err = add(l, cert, f);
	BIO_free(bio);
	ERR_clear_error();
	if (!err && l->count == before)
		err = fault_set(f, -EINVAL, "no certificate in the PEM text");
	return err;
}

int cert_list_add_der(struct cert_list *l, const uint8_t *der, size_t len, struct fault *f)
{
	const uint8_t *p = der;
	X509 *cert = len <= CERT_MAX_BYTES ? d2i_X509(NULL, &p, (long)len) : NULL;
	ERR_clear_error();
	if (!cert || p != der + len) {
		X509_free(cert);
		return fault_set(f, -EINVAL, "not a certificate in DER");
	}
	return add(l, cert, f);
}

int cert_list_add(struct cert_list *l, const void *bytes, size_t len, struct fault *f)
{
	const uint8_t *p = bytes, *end = p + len;
	int err = 0;
	if (!len || *p != 0x30)
		return cert_list_add_pem(l, bytes, len, f);
	if (len > CERT_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes of certificates", len);
	while (!err && p < end) {
		X509 *cert = d2i_X509(NULL, &p, end - p);
		err = cert ? add(l, cert, f) : fault_set(f, -EINVAL, "not a certificate in DER");
	}
	ERR_clear_error();
	return err;
}

static void list_destroy(void *p)
{
	cert_list_free(p);
	free(p);
}

struct shared_entry *cert_list_shared(const void *bytes, size_t len)
{
	static struct shared_cache lists = SHARED_CACHE_INIT;
	const struct shared_part key = {bytes, len};
	struct shared_entry *e = shared_get(&lists, &key, 1);
	struct cert_list *l = e ? NULL : calloc(1, sizeof *l);
	if (e || !l)
		return e;
	if (!cert_list_add(l, bytes, len, NULL))
		e = shared_put(&lists, &key, 1, l, list_destroy);
	if (!e)
		list_destroy(l);
	return e;
}

void cert_list_leaf_first(struct cert_list *l)
{
	for (unsigned int i = 0; i < l->count; i++) {
		bool issued = false;
		for (unsigned int j = 0; j < l->count; j++)
			issued |= i != j && !X509_NAME_cmp(X509_get_issuer_name(l->certs[j]), X509_get_subject_name(l->certs[i]));
		if (!issued) {
			X509 *leaf = l->certs[i];
			memmove(l->certs + 1, l->certs, i * sizeof *l->certs);
			l->certs[0] = leaf;
			return;
		}
	}
}

void cert_list_free(struct cert_list *l)
{
	for (unsigned int i = 0; i < l->count; i++)
		X509_free(l->certs[i]);
	l->count = 0;
}

int cert_roots_add_file(struct cert_roots *r, const char *path, struct fault *f)
{
	BIO *bio = BIO_new_file(path, "r");
	unsigned int before = r->count;
	int err = bio ? 0 : fault_errno(f, errno, "cannot open %s", path);
	bool pem = bio && ahead(bio) != 0x30;
	X509 *cert;
	while (!err && (cert = pem ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : ahead(bio) >= 0 ? d2i_X509_bio(bio, NULL) : NULL)) {
		bool full = r->count == CERT_ROOTS_MAX;
		X509 **more = full ? NULL : realloc(r->certs, (r->count + 1) * sizeof *more);
		if (!more) {
			err = full ? fault_set(f, -E2BIG, "more than %d certificates", CERT_ROOTS_MAX) : fault_set(f, -ENOMEM, "out of memory");
			X509_free(cert);
			break;
		}
		r->certs = more;
		r->certs[r->count++] = cert;
	}
	// What cannot be read is not passed over: a root would be missing.
	if (!err && (r->count == before || (pem ? ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE : ahead(bio) >= 0)))
		err = fault_set(f, -EINVAL, "%s", r->count == before ? "no certificate in PEM or DER" : "one of the certificates cannot be read");
	BIO_free(bio);
	ERR_clear_error();
	return err;
}

void cert_roots_free(struct cert_roots *r)
{
	while (r->count)
		X509_free(r->certs[--r->count]);
	free(r->certs);
	r->certs = NULL;
}

X509_CRL *cert_crl_read(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	X509_CRL *crl = NULL;
	if (len > CERT_MAX_BYTES)
		return NULL;
	if (len > 10 && !memcmp(bytes, "-----BEGIN", 10)) {
		BIO *bio = BIO_new_mem_buf(bytes, (int)len);
		crl = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
		BIO_free(bio);
	} else {
		crl = d2i_X509_CRL(NULL, &p, (long)len);
		if (crl && p != (const uint8_t *)bytes + len) {
			X509_CRL_free(crl);
			crl = NULL;
		}
	}
	ERR_clear_error();
	return crl;
}

// PEM or DER, by its first byte.
static int crls_read(struct cert_crls *l, BIO *bio, struct fault *f)
{
	unsigned int before = l->count;
	bool pem = ahead(bio) != 0x30;
	int err = 0;
	while (!err && (pem || ahead(bio) >= 0)) {
		X509_CRL *crl = pem ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : d2i_X509_CRL_bio(bio, NULL);
		if (!crl) {	// the end of PEM text; else something that is none
			err = pem && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? 0 : -EINVAL;
			break;
		}
		if (l->count == CERT_CRLS_MAX)
			err = -E2BIG;
		else if (X509_CRL_digest(crl, digest_of(TPM_SHA256), l->digest[l->count], NULL) != 1)
			err = -ENOMEM;
		if (err)
			X509_CRL_free(crl);
		else
			l->crls[l->count++] = crl;
	}
	ERR_clear_error();
	if (err || l->count == before)
		return fault_set(f, err ? err : -EINVAL, err == -E2BIG ? "too many revocation lists" : "not a revocation list");
	return 0;
}

int cert_crls_add(struct cert_crls *l, const void *bytes, size_t len, struct fault *f)
{
	BIO *bio = len && len <= CERT_CRLS_BYTES ? BIO_new_mem_buf(bytes, (int)len) : NULL;
	int err = bio ? crls_read(l, bio, f) : fault_set(f, -EINVAL, "not a revocation list");
	BIO_free(bio);
	return err;
}

int cert_crls_add_file(struct cert_crls *l, const char *path, struct fault *f)
{
	struct stat st = {.st_size = 0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	FILE *file = fstat(fd, &st) ? NULL : fdopen(fd, "r");
	BIO *bio = file && S_ISREG(st.st_mode) && st.st_size <= (off_t)CERT_CRLS_BYTES ? BIO_new_fp(file, BIO_NOCLOSE) : NULL;
	int err;
	if (bio)
		err = crls_read(l, bio, f);
	else if (file && S_ISREG(st.st_mode) && st.st_size > (off_t)CERT_CRLS_BYTES)
		err = fault_set(f, -EFBIG, "%s is larger than %u MiB", path, CERT_CRLS_BYTES >> 20);
	else
		err = fault_set(f, -EINVAL, "%s is no file that can be read", path);
	BIO_free(bio);
	if (file)
		fclose(file);
	else
		close(fd);
	return err;
}

void cert_crls_free(struct cert_crls *l)
{
	for (unsigned int i = 0; i < l->count; i++)
		X509_CRL_free(l->crls[i]);
	l->count = 0;
}

char *cert_subject(X509 *cert, char *out, size_t size)
{
	out[0] = '\0';
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out, (int)size);
	for (char *p = out; *p; p++) {
		if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
			*p = '?';
	}
	return out;
}

// SHA-256 over the SHA-256 of both certificates.
static bool link_digest(X509 *cert, X509 *issuer, uint8_t link[32])
{
	uint8_t both[64];
	return X509_digest(cert, digest_of(TPM_SHA256), both, NULL) == 1 && X509_digest(issuer, digest_of(TPM_SHA256), both + 32, NULL) == 1 &&
	       EVP_Digest(both, sizeof both, link, NULL, digest_of(TPM_SHA256), NULL) == 1;
}

bool cert_signed_by(X509 *cert, X509 *issuer)
{
	uint8_t link[32];
	if (X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(issuer)))
		return false;
	bool known = link_digest(cert, issuer, link), ok = known && link_cache_has(link);
	if (!ok) {
		ok = X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
		if (ok && known)
			link_cache_put(link);
	}
	ERR_clear_error();
	return ok;
}

bool cert_is_authority(X509 *cert)
{
	return X509_check_ca(cert) == 1 && (X509_get_key_usage(cert) & KU_KEY_CERT_SIGN);
}

static bool two_digits(const uint8_t *p, int *out)
{
	*out = (p[0] - '0') * 10 + p[1] - '0';
	return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9';
}

// Only the form that RFC 5280 allows, YYMMDDHHMMSSZ or with the whole year. OpenSSL's own comparison makes a text of the other time first, which takes
// as long as a tenth of a signature for all dates of a chain.
bool cert_time_read(const ASN1_TIME *t, time_t *out)
{
	static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	const uint8_t *p = t ? ASN1_STRING_get0_data(t) : NULL;
	int len = t ? ASN1_STRING_length(t) : 0, century = 0, year, month, day, hour, minute, second;
	bool full = t && ASN1_STRING_type(t) == V_ASN1_GENERALIZEDTIME;
	if (!p || len != (full ? 15 : 13) || p[len - 1] != 'Z' || (full && !two_digits(p, &century)))
		return false;
	p += full ? 2 : 0;
	if (!two_digits(p, &year) || !two_digits(p + 2, &month) || !two_digits(p + 4, &day) || !two_digits(p + 6, &hour) || !two_digits(p + 8, &minute) ||
	    !two_digits(p + 10, &second))
		return false;
	year += full ? 100 * century : year < 50 ? 2000 : 1900;
	bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
	if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
		return false;
	if (day > (month == 12 ? 31 : before[month] - before[month - 1]) + (month == 2 && leap))
		return false;
	long last = year - 1, days = 365L * last + last / 4 - last / 100 + last / 400 - 719162;
	*out = (time_t)(days + before[month - 1] + (month > 2 && leap) + day - 1) * 86400 + hour * 3600 + minute * 60 + second;
	return true;
}

int cert_dates(X509 *cert, time_t now, struct fault *f)
{
	char name[128];
	time_t from, to;
	if (!cert_time_read(X509_get0_notBefore(cert), &from) || from > now)
		return fault_set(f, -ESTALE, "'%s' is not valid yet", cert_subject(cert, name, sizeof name));
	if (!cert_time_read(X509_get0_notAfter(cert), &to) || to <= now)
		return fault_set(f, -ESTALE, "'%s' has expired", cert_subject(cert, name, sizeof name));
	return 0;
}

static X509 *issuer_among(X509 *cert, X509 *const *list, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		if (list[i] != cert && cert_is_authority(list[i]) && cert_signed_by(cert, list[i]))
			return list[i];
	}
	return NULL;
}

int cert_order_under(const struct cert_list *l, X509 *const *roots, unsigned int root_count, X509 **ordered, unsigned int max, unsigned int *count,
		     bool *known, struct fault *f)
{
	char name[128];
	*count = 0;
	*known = false;
	if (!l->count)
		return fault_set(f, -EBADMSG, "no certificates");
	ordered[(*count)++] = l->certs[0];
	for (;;) {
		X509 *last = ordered[*count - 1], *next = NULL;
		for (unsigned int i = 0; i < root_count && *count > 1; i++)
			*known |= !X509_cmp(last, roots[i]);
		if (*known)
			return 0;
		if (*count > 1 && X509_NAME_cmp(X509_get_issuer_name(last), X509_get_subject_name(last)) == 0) {
			if (cert_signed_by(last, last))
				return 0;
			return fault_set(f, -EBADMSG, "'%s' is not a root (not signed by itself)",
					 cert_subject(last, name, sizeof name));
		}
		next = issuer_among(last, l->certs + 1, l->count - 1);
		if (!next)
			next = issuer_among(last, roots, root_count);
		if (!next)
			return fault_set(f, -EBADMSG, "no certificate that signed '%s'",
					 cert_subject(last, name, sizeof name));
		if (*count == max)
			return fault_set(f, -EBADMSG, "a chain of more than %u certificates", max);
		ordered[(*count)++] = next;
	}
}

int cert_order(const struct cert_list *l, X509 **ordered, unsigned int max, unsigned int *count, struct fault *f)
{
	bool known;
	return cert_order_under(l, NULL, 0, ordered, max, count, &known, f);
}

bool cert_has_usage(X509 *cert, const char *oid)
{
	EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	bool found = false;
	for (int i = 0; usage && i < sk_ASN1_OBJECT_num(usage); i++) {
		char text[64];
		found |= OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(usage, i), 1) > 0 && !strcmp(text, oid);
	}
	EXTENDED_KEY_USAGE_free(usage);
	ERR_clear_error();
	return found;
}

time_t cert_time(const ASN1_TIME *t)
{
	time_t time;
	return cert_time_read(t, &time) ? time : (time_t)-1;
}

int cert_crl_dates(X509_CRL *crl, X509 *issuer, time_t now, struct fault *f)
{
	char name[128];
	time_t from, to;
	if (!cert_time_read(X509_CRL_get0_lastUpdate(crl), &from) || from > now)
		return fault_set(f, -ESTALE, "the revocation list of '%s' is not valid yet", cert_subject(issuer, name, sizeof name));
	if (!cert_time_read(X509_CRL_get0_nextUpdate(crl), &to) || to <= now)
		return fault_set(f, -ESTALE, "the revocation list of '%s' has expired", cert_subject(issuer, name, sizeof name));
	return 0;
}

const ASN1_OCTET_STRING *cert_extension(X509 *cert, const uint8_t *oid, size_t len)
{
	for (int i = 0, n = X509_get_ext_count(cert); i < n; i++) {
		X509_EXTENSION *e = X509_get_ext(cert, i);
		const ASN1_OBJECT *o = X509_EXTENSION_get_object(e);
		if (OBJ_length(o) == len && !memcmp(OBJ_get0_data(o), oid, len))
			return X509_EXTENSION_get_data(e);
	}
	return NULL;
}

// As cert_signed_by, for a list, whose digest may be known (not zero): of a large one it takes longer than the signature.
static bool crl_signed_by(X509_CRL *crl, const uint8_t digest[32], X509 *issuer)
{
	static const uint8_t unknown[32];
	uint8_t both[64], link[32];
	bool known = memcmp(memcpy(both, digest, 32), unknown, 32) || X509_CRL_digest(crl, digest_of(TPM_SHA256), both, NULL) == 1;
	known = known && X509_digest(issuer, digest_of(TPM_SHA256), both + 32, NULL) == 1 &&
		EVP_Digest(both, sizeof both, link, NULL, digest_of(TPM_SHA256), NULL) == 1;
	if (known && link_cache_has(link))
		return true;
	bool ok = X509_CRL_verify(crl, X509_get0_pubkey(issuer)) == 1;
	if (ok && known)
		link_cache_put(link);
	return ok;
}

static int crl_check(X509_CRL *crl, const uint8_t digest[32], X509 *issuer, X509 *cert, time_t now, struct fault *f)
{
	char name[128];
	X509_REVOKED *entry = NULL;
	bool ours = X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) == 0 && crl_signed_by(crl, digest, issuer);
	ERR_clear_error();
	if (!ours)
		return fault_set(f, -EBADMSG, "a revocation list that '%s' did not sign", cert_subject(issuer, name, sizeof name));
	int err = cert_crl_dates(crl, issuer, now, f);
	if (err)
		return err;
	if (cert && X509_CRL_get0_by_cert(crl, &entry, cert) != 0)
		return fault_set(f, -EKEYREVOKED, "'%s' is revoked", cert_subject(cert, name, sizeof name));
	return 0;
}

int cert_crl_check(X509_CRL *crl, X509 *issuer, X509 *cert, time_t now, struct fault *f)
{
	static const uint8_t unknown[32];
	return crl_check(crl, unknown, issuer, cert, now, f);
}

static bool names_point(X509 *cert, const DIST_POINT_NAME *point)
{
	CRL_DIST_POINTS *own = X509_get_ext_d2i(cert, NID_crl_distribution_points, NULL, NULL);
	bool found = false;
	for (int i = 0; own && i < sk_DIST_POINT_num(own) && !point->type; i++) {
		const DIST_POINT_NAME *one = sk_DIST_POINT_value(own, i)->distpoint;
		for (int k = 0; one && !one->type && k < sk_GENERAL_NAME_num(one->name.fullname); k++) {
			for (int n = 0; n < sk_GENERAL_NAME_num(point->name.fullname); n++)
				found |= !GENERAL_NAME_cmp(sk_GENERAL_NAME_value(one->name.fullname, k), sk_GENERAL_NAME_value(point->name.fullname, n));
		}
	}
	CRL_DIST_POINTS_free(own);
	return found;
}

// Would the list name the certificate? Some hold what changed since another list, or a part of what their issuer revokes (RFC 5280, 5.2).
static bool is_about(X509_CRL *crl, X509 *cert)
{
	int critical = -1;
	ISSUING_DIST_POINT *part = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
	bool about = X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) < 0 && (part || critical == -1);
	for (int at = -1; (at = X509_CRL_get_ext_by_critical(crl, 1, at)) >= 0;)
		about &= OBJ_obj2nid(X509_EXTENSION_get_object(X509_CRL_get_ext(crl, at))) == NID_issuing_distribution_point;
	if (part && about) {
		bool authority = cert_is_authority(cert);
		about = !part->onlyattr && !part->indirectCRL && !part->onlysomereasons && !(part->onlyuser && authority) && !(part->onlyCA && !authority) &&
			(!part->distpoint || names_point(cert, part->distpoint));
	}
	ISSUING_DIST_POINT_free(part);
	ERR_clear_error();
	return about;
}

// That a list names the certificate is believed of each of this issuer's; beside that, one must be about it, and current.
static int link_revoked(const struct cert_revocation *r, X509 *issuer, X509 *cert, time_t now, struct fault *f)
{
	char name[128];
	struct fault why = {""};
	int result = fault_set(f, -ENOENT, "there is no revocation list of '%s'", cert_subject(issuer, name, sizeof name));
	for (unsigned int i = 0; i < r->lists.count && result != -EKEYREVOKED; i++) {
		X509_CRL *crl = r->lists.crls[i];
		const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
		time_t end = next ? cert_time(next) : -1;
		if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)))
			continue;
		int err = crl_check(crl, r->lists.digest[i], issuer, cert, end > 0 && now >= end ? end - 1 : now, &why);
		if (!err && !is_about(crl, cert))
			err = fault_set(&why, -ENOENT, "the revocation list of '%s' is about others of its certificates", cert_subject(issuer, name, sizeof name));
		if (!err && !r->accept_expired)
			err = cert_crl_dates(crl, issuer, now, &why);
		if (result || err == -EKEYREVOKED)
			result = err ? fault_set(f, err, "%s", why.text) : 0;
	}
	return result;
}

int cert_chain_revoked(const struct cert_revocation *r, X509 *const *chain, unsigned int count, time_t now, struct fault *f)
{
	int err = 0;
	for (unsigned int i = 0; r && r->lists.count && i + 1 < count && !err; i++)
		err = link_revoked(r, chain[i + 1], chain[i], now, f);
	return err;
}

bool cert_digest(X509 *cert, char hex[65])
{
	uint8_t digest[32];
	unsigned int len = 0;
	if (X509_digest(cert, digest_of(TPM_SHA256), digest, &len) != 1 || len != sizeof digest)
		return false;
	hex_encode(hex, digest, sizeof digest);
	return true;
}

bool cert_key_digest(X509 *cert, char hex[65])
{
	uint8_t digest[32], *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, digest_of(TPM_SHA256), NULL) == 1;
	OPENSSL_free(der);
	if (ok)
		hex_encode(hex, digest, sizeof digest);
	return ok;
}
