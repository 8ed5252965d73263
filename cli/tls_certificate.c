// SPDX-License-Identifier: Apache-2.0
// `coffer tls certificate`: makes an RA-TLS certificate, for programs that do not link libcoffer-ratls, or shows one.
#include <errno.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/collect.h"
#include "cli/tls.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/certificate.h"

#define DAYS 365

int tls_evidence(void *simulated, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	struct ratls_evidence e = {.bytes = NULL};
	char provider[64];
	if (!simulated)
		return collect_evidence(COLLECT_ANY, NULL, report_data, -1, out, provider, f);
	int err = tls_simulate(simulated, report_data, &e);
	if (!err && (bundle_put_bytes(out, "evidence", e.bytes, e.len) || bundle_put_text(out, "certificates", e.certificates, strlen(e.certificates))))
		err = -ENOMEM;
	free(e.bytes);
	free(e.certificates);
	return err ? fault_set(f, err, "the simulated hardware gives no evidence: %s", strerror(-err)) : 0;
}

int tls_key_file(const char *path, EVP_PKEY **key, struct fault *f)
{
	char *pem = NULL;
	size_t len = 0;
	int err = access(path, F_OK) ? -ENOENT : file_read_private(path, 64 << 10, &pem, &len, f);
	if (err && err != -ENOENT)
		return err;
	BIO *bio = err ? BIO_new(BIO_s_secmem()) : BIO_new_mem_buf(pem, (int)len);
	if (err) {
		char *text = NULL;
		*key = EVP_EC_gen("P-256");
		long n = bio && *key && PEM_write_bio_PrivateKey(bio, *key, NULL, NULL, 0, NULL, NULL) == 1 ? BIO_get_mem_data(bio, &text) : 0;
		err = n > 0 ? file_write(path, text, (size_t)n, 0600, true, f) : fault_set(f, -EIO, "OpenSSL makes no key");
	} else {
		*key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
		err = *key ? 0 : fault_set(f, -EINVAL, "%s holds no private key (PEM, without a passphrase)", path);
	}
	ERR_clear_error();
	BIO_free(bio);
	free_wiped(pem, len);
	return err;
}

static int write_certificate(X509 *cert, const char *path, struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n = bio && PEM_write_bio_X509(bio, cert) == 1 ? BIO_get_mem_data(bio, &text) : 0;
	int err = n > 0 ? file_write(path, text, (size_t)n, 0644, false, f) : fault_set(f, -ENOMEM, "out of memory");
	BIO_free(bio);
	return err;
}

int tls_certificate(int argc, char **argv)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, 'k'}, {"output", required_argument, NULL, 'o'}, {"attest", no_argument, NULL, 'a'},
		{"insecure-simulate", required_argument, NULL, 's'}, {"token", required_argument, NULL, 't'}, {"nonce", required_argument, NULL, 'n'},
		{"days", required_argument, NULL, 'd'}, {"show", required_argument, NULL, 'S'}, {0},
	};
	struct ratls_cert_request q = {.subject = "coffer", .now = time(NULL), .evidence = tls_evidence};
	const char *key_file = NULL, *output = NULL, *token_file = NULL, *show = NULL;
	uint8_t simulated[48], nonce[RATLS_MAX_NONCE];
	struct fault f = {""};
	char *token = NULL;
	X509 *cert = NULL;
	bool attest = false;
	int option, days = DAYS, err = 0;
	size_t len;

	optind = 1;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (option) {
		case 'k': key_file = optarg; break;
		case 'o': output = optarg; break;
		case 'a': attest = true; break;
		case 't': token_file = optarg; break;
		case 'd': days = atoi(optarg); break;
		case 'S': show = optarg; break;
		case 's':
			if (strlen(optarg) != 96 || hex_decode(simulated, 48, optarg))
				return cli_usage(&command_tls, "--insecure-simulate takes a measurement: 96 hexadecimal digits");
			q.ctx = simulated;
			attest = true;
			break;
		case 'n':
			q.nonce = nonce;
			q.nonce_len = strlen(optarg) / 2;
			if (!q.nonce_len || q.nonce_len > sizeof nonce || hex_decode(nonce, q.nonce_len, optarg))
				return cli_usage(&command_tls, "--nonce takes 1 to %d bytes in hex", RATLS_MAX_NONCE);
			break;
		default: return cli_usage(&command_tls, "wrong option of certificate");
		}
	}
	if (show && optind == argc)
		return command_evidence.run(3, (char *[]){"evidence", "show", (char *)show, NULL});
	if (optind != argc || !key_file || !output || attest == !!token_file || days < 1 || days > 3650)
		return cli_usage(&command_tls, "certificate takes --key FILE, --output FILE, and one of --attest, --insecure-simulate and --token");
	q.seconds = (unsigned int)days * 86400;
	if (token_file)
		err = file_read(token_file, 64 << 10, &token, &len, &f);
	if (token)
		token[strcspn(token, " \t\r\n")] = '\0';
	q.token = token;
	if (!err)
		err = tls_key_file(key_file, &q.key, &f);
	if (!err)
		err = ratls_cert_make(&q, &cert, &f);
	if (!err)
		err = write_certificate(cert, output, &f);
	X509_free(cert);
	EVP_PKEY_free(q.key);
	free(token);
	return err ? cli_fail(&f) : EXIT_OK;
}
