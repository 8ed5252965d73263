// SPDX-License-Identifier: Apache-2.0
// SIMULATED, INSECURE hardware. See simtee.h. The folder holds `vcek.key` (0600), `chain.pem` (leaf, intermediate,
// root), `root.pem` and `lock`. The keys of root and intermediate sign once and are forgotten: nobody can extend the
// chain later. The lock file (flock) is held while files are made or read.
#include "attest/simtee.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "attest/simtee_sign.h"
#include "attest/snp.h"
#include "attest/snp_chain.h"
#include "lib/certext.h"
#include "lib/file.h"

#define LEAF_NAME "Coffer SIMULATED VCEK - INSECURE"
#define INTERMEDIATE_NAME "Coffer SIMULATED TEE intermediate - INSECURE"

// The simulated firmware's security version numbers: those of a Milan machine of 2022.
enum { SVN_BOOTLOADER = 3, SVN_TEE = 0, SVN_SNP = 8, SVN_MICROCODE = 115 };

int simtee_default_dir(char *out, unsigned long size)
{
	return file_data_dir(out, size, "COFFER_SIMTEE_DIR", "simulated-tee");
}

// AMD's extension `suffix` with the given DER (or raw) content.
static int add_amd_extension(X509 *cert, const char *suffix, const uint8_t *bytes, int len)
{
	char oid[64];
	snprintf(oid, sizeof oid, "1.3.6.1.4.1.3704.1.%s", suffix);
	ASN1_OBJECT *obj = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
	int ok = 0;
	if (obj && data && ASN1_OCTET_STRING_set(data, bytes, len)) {
		X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, obj, 0, data);
		ok = e && X509_add_ext(cert, e, -1) == 1;
		X509_EXTENSION_free(e);
	}
	ASN1_OCTET_STRING_free(data);
	ASN1_OBJECT_free(obj);
	return ok;
}

static int add_leaf_extensions(X509 *cert)
{
	static const uint8_t product[] = "\x16\x10" "Coffer-SIMULATED";
	static const uint8_t version[] = {0x02, 1, 0};
	static const struct { const char *suffix; uint8_t svn; } parts[] = {
		{"3.1", SVN_BOOTLOADER}, {"3.2", SVN_TEE}, {"3.3", SVN_SNP}, {"3.8", SVN_MICROCODE},
	};
	uint8_t chip[SNP_CHIP_ID_BYTES];
	int ok = RAND_bytes(chip, sizeof chip) == 1 && add_amd_extension(cert, "1", version, sizeof version) &&
		 add_amd_extension(cert, "2", product, sizeof product - 1) &&
		 add_amd_extension(cert, "4", chip, sizeof chip);
	for (size_t i = 0; ok && i < sizeof parts / sizeof *parts; i++) {
		uint8_t der[] = {0x02, 1, parts[i].svn};
		ok = add_amd_extension(cert, parts[i].suffix, der, sizeof der);
	}
	return ok;
}

// One certificate, valid for thirty years. issuer NULL: signed by itself.
static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, int leaf)
{
	X509 *cert = X509_new();
	uint64_t serial;
	if (!cert || RAND_bytes((uint8_t *)&serial, sizeof serial) != 1)
		goto fail;
	X509_NAME *subject = X509_get_subject_name(cert);
	if (!X509_set_version(cert, X509_VERSION_3) ||
	    !ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -86400) ||
	    !X509_time_adj_ex(X509_getm_notAfter(cert), 30 * 365, 0, NULL) || !X509_set_pubkey(cert, key) ||
	    !X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const uint8_t *)"Coffer simulation", -1, -1, 0) ||
	    !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0) ||
	    !X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject))
		goto fail;
	if (leaf ? !add_leaf_extensions(cert)
		 : !certext_add(cert, issuer ? issuer : cert, NID_basic_constraints, "critical,CA:TRUE") ||
		   !certext_add(cert, issuer ? issuer : cert, NID_key_usage, "critical,keyCertSign"))
		goto fail;
	if (!X509_sign(cert, issuer_key, EVP_sha384()))
		goto fail;
	return cert;
fail:
	X509_free(cert);
	return NULL;
}

static int write_bio(const char *dir, const char *file, BIO *bio, mode_t mode)
{
	char path[PATH_MAX];
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
		return -ENAMETOOLONG;
	return file_write(path, bytes, (size_t)len, mode, false, NULL);
}

static int make_identity(const char *dir)
{
	EVP_PKEY *root_key = EVP_EC_gen("P-384"), *mid_key = EVP_EC_gen("P-384"), *leaf_key = EVP_EC_gen("P-384");
	X509 *root = NULL, *mid = NULL, *leaf = NULL;
	BIO *chain = BIO_new(BIO_s_mem()), *top = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
	int err = -ENOMEM;

	if (!root_key || !mid_key || !leaf_key || !chain || !top || !key)
		goto out;
	root = make_certificate(SIMTEE_ROOT_NAME, root_key, NULL, root_key, 0);
	mid = root ? make_certificate(INTERMEDIATE_NAME, mid_key, root, root_key, 0) : NULL;
	leaf = mid ? make_certificate(LEAF_NAME, leaf_key, mid, mid_key, 1) : NULL;
	if (!leaf || !PEM_write_bio_X509(chain, leaf) || !PEM_write_bio_X509(chain, mid) ||
	    !PEM_write_bio_X509(chain, root) || !PEM_write_bio_X509(top, root) ||
	    !PEM_write_bio_PrivateKey(key, leaf_key, NULL, NULL, 0, NULL, NULL))
		goto out;
	// The chain comes last: its presence says that all is there.
	err = write_bio(dir, "vcek.key", key, 0600);
	if (!err)
		err = write_bio(dir, "root.pem", top, 0644);
	if (!err)
		err = write_bio(dir, "chain.pem", chain, 0644);
out:
	X509_free(root);
	X509_free(mid);
	X509_free(leaf);
	EVP_PKEY_free(root_key);
	EVP_PKEY_free(mid_key);
	EVP_PKEY_free(leaf_key);
	BIO_free(chain);
	BIO_free(top);
	BIO_free(key);
	ERR_clear_error();
	return err;
}

// Finds or makes the folder and its files. path[] gets the folder.
static int prepare(const char *dir, char path[PATH_MAX])
{
	char file[PATH_MAX + 16];
	int err = 0;
	if (!dir)
		err = simtee_default_dir(path, PATH_MAX);
	else if (snprintf(path, PATH_MAX, "%s", dir) >= PATH_MAX)
		err = -ENAMETOOLONG;
	if (err)
		return err;
	snprintf(file, sizeof file, "%s/chain.pem", path);
	if (access(file, R_OK) == 0)
		return 0;
	err = file_make_private_dir(path, NULL);
	if (err)
		return err;
	snprintf(file, sizeof file, "%s/lock", path);
	int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0) {
		err = -errno;
		if (lock >= 0)
			close(lock);
		return err;
	}
	snprintf(file, sizeof file, "%s/chain.pem", path);
	if (access(file, R_OK) < 0)	// another process may have made it meanwhile
		err = make_identity(path);
	close(lock);
	return err;
}

int simtee_root_path(const char *dir, char *out, unsigned long size)
{
	char path[PATH_MAX];
	int err = prepare(dir, path);
	if (err)
		return err;
	int n = snprintf(out, size, "%s/root.pem", path);
	return n < 0 || (unsigned long)n >= size ? -ENAMETOOLONG : 0;
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void put_tcb(uint8_t *p)
{
	p[0] = SVN_BOOTLOADER;
	p[1] = SVN_TEE;
	p[6] = SVN_SNP;
	p[7] = SVN_MICROCODE;
}

static int read_chain(const char *path, char **pem, struct snp_chain *chain)
{
	char file[PATH_MAX + 16];
	size_t len;
	snprintf(file, sizeof file, "%s/chain.pem", path);
	int err = file_read(file, 64 << 10, pem, &len, NULL);
	if (err)
		return err;
	err = snp_chain_add_pem(chain, *pem, len, NULL);
	if (err) {
		snp_chain_free(chain);
		free(*pem);
		return -EBADMSG;
	}
	return 0;
}

static int fill(const char *path, const uint8_t measurement[48], const uint8_t report_data[64], bool debug,
		uint8_t report[SIMTEE_REPORT_BYTES], char **chain_pem)
{
	struct snp_chain chain = {.count = 0};
	struct snp_leaf leaf;
	char *pem;
	int err = read_chain(path, &pem, &chain);
	if (err)
		return err;
	if (snp_leaf_read(chain.certs[0], &leaf, NULL) || !leaf.has_hwid) {
		err = -EBADMSG;
		goto out;
	}
	memset(report, 0, SIMTEE_REPORT_BYTES);
	put_le32(report, 2);
	put_le32(report + 0x08,
		 1 << 8 | 55 | SNP_POLICY_SMT | SNP_POLICY_RESERVED_ONE | (debug ? SNP_POLICY_DEBUG : 0));
	put_le32(report + 0x34, 1);
	put_tcb(report + 0x38);
	put_le32(report + 0x40, 1);
	memcpy(report + 0x50, report_data, 64);
	memcpy(report + 0x90, measurement, 48);
	if (RAND_bytes(report + 0x140, 32) != 1) {
		err = -EIO;
		goto out;
	}
	memset(report + 0x160, 0xff, 32);
	put_tcb(report + 0x180);
	memcpy(report + 0x1a0, leaf.hwid, 64);
	put_tcb(report + 0x1e0);
	report[0x1e9] = report[0x1ed] = 55;
	report[0x1ea] = report[0x1ee] = 1;
	put_tcb(report + 0x1f0);
	if (chain_pem) {
		*chain_pem = pem;
		pem = NULL;
	}
out:
	snp_chain_free(&chain);
	free(pem);
	return err;
}

int simtee_fill(const char *dir, const uint8_t measurement[48], const uint8_t report_data[64], bool debug,
		uint8_t report[SIMTEE_REPORT_BYTES])
{
	char path[PATH_MAX];
	int err = prepare(dir, path);
	return err ? err : fill(path, measurement, report_data, debug, report, NULL);
}

static int sign(const char *path, uint8_t report[SIMTEE_REPORT_BYTES])
{
	char file[PATH_MAX + 16], *pem;
	size_t len, der_len;
	uint8_t der[256];
	snprintf(file, sizeof file, "%s/vcek.key", path);
	int err = file_read_private(file, 16 << 10, &pem, &len, NULL);
	if (err)
		return err;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	der_len = sizeof der;
	err = -EBADMSG;
	if (key && md && EVP_DigestSignInit(md, NULL, EVP_sha384(), NULL, key) == 1 &&
	    EVP_DigestSign(md, der, &der_len, report, SNP_SIGNED_BYTES) == 1) {
		const uint8_t *p = der;
		sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	}
	memset(report + SNP_SIGNED_BYTES, 0, SIMTEE_REPORT_BYTES - SNP_SIGNED_BYTES);
	if (sig && BN_bn2lebinpad(ECDSA_SIG_get0_r(sig), report + SNP_SIGNED_BYTES, 72) == 72 &&
	    BN_bn2lebinpad(ECDSA_SIG_get0_s(sig), report + SNP_SIGNED_BYTES + 72, 72) == 72)
		err = 0;
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(md);
	EVP_PKEY_free(key);
	BIO_free(bio);
	free_wiped(pem, len);
	ERR_clear_error();
	return err;
}

int simtee_sealing_key(const char *dir, const uint8_t measurement[48], bool debug, uint8_t key[32])
{
	static const char purpose[] = "coffer SIMULATED sealing key";
	uint8_t text[sizeof purpose + 1 + 48];
	char path[PATH_MAX], file[PATH_MAX + 16], *secret;
	unsigned int n = 32;
	size_t len;
	int err = prepare(dir, path);
	if (err)
		return err;
	snprintf(file, sizeof file, "%s/vcek.key", path);
	err = file_read_private(file, 16 << 10, &secret, &len, NULL);
	if (err)
		return err;
	memcpy(text, purpose, sizeof purpose);
	text[sizeof purpose] = debug;
	memcpy(text + sizeof purpose + 1, measurement, 48);
	err = HMAC(EVP_sha256(), secret, (int)len, text, sizeof text, key, &n) ? 0 : -EIO;
	free_wiped(secret, len);
	return err;
}

int simtee_sign(const char *dir, uint8_t report[SIMTEE_REPORT_BYTES])
{
	char path[PATH_MAX];
	int err = prepare(dir, path);
	return err ? err : sign(path, report);
}

int simtee_report(const char *dir, const uint8_t measurement[48], const uint8_t report_data[64], bool debug,
		  uint8_t report[SIMTEE_REPORT_BYTES], char **cert_chain_pem)
{
	char path[PATH_MAX];
	int err = prepare(dir, path);
	if (!err)
		err = fill(path, measurement, report_data, debug, report, cert_chain_pem);
	if (err)
		return err;
	err = sign(path, report);
	if (err && cert_chain_pem) {
		free(*cert_chain_pem);
		*cert_chain_pem = NULL;
	}
	return err;
}
