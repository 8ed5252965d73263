// SPDX-License-Identifier: Apache-2.0
// See httpsig.h. Structured fields (RFC 8941) as far as these headers need them.
#include "lib/httpsig.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/sha.h"
#include "lib/signkey.h"

#define MAX_BASE 16384

// A key: "sig1", "sha-256". Its length, 0: none here.
static size_t key_length(const char *p)
{
	if (!(*p >= 'a' && *p <= 'z') && *p != '*')
		return 0;
	return strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_-.*");
}

// A string in quotation marks; nothing that needs a backslash is taken. NULL: it is not one, or does not fit.
static const char *quoted(const char *p, char *out, size_t size)
{
	size_t n = 0;
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f || *p == '\\' || n + 1 >= size)
			return NULL;
		out[n++] = *p;
	}
	out[n] = '\0';
	return p + 1;
}

static const char *number(const char *p, int64_t *out)
{
	size_t n = strspn(p, "0123456789");
	if (!n || n > 15 || (*p == '0' && n > 1))
		return NULL;
	*out = strtoll(p, NULL, 10);
	return *out > 0 ? p + n : NULL;
}

static int parse_components(struct httpsig *s, const char **at, struct fault *f)
{
	const char *p = *at;
	if (*p++ != '(')
		return fault_set(f, -EINVAL, "Signature-Input: no list of components in parentheses");
	while (*p != ')') {
		if (s->count == HTTPSIG_COMPONENTS)
			return fault_set(f, -EINVAL, "Signature-Input: more than %d components", HTTPSIG_COMPONENTS);
		char *name = s->component[s->count];
		p = s->count && *p++ != ' ' ? NULL : quoted(p, name, sizeof s->component[0]);
		if (!p || !*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-@_") != strlen(name))
			return fault_set(f, -EINVAL, "Signature-Input: the list of components is malformed");
		if (*p == ';')
			return fault_set(f, -EINVAL, "Signature-Input: parameters of a component ('%s') are not understood here", name);
		if (httpsig_covers(s, name))
			return fault_set(f, -EINVAL, "Signature-Input: component '%s' stands there twice", name);
		s->count++;
	}
	*at = p + 1;
	return 0;
}

static int parse_parameters(struct httpsig *s, const char **at, struct fault *f)
{
	const struct { const char *name; char *text; size_t size; int64_t *number; } known[] = {
		{"created", NULL, 0, &s->created}, {"expires", NULL, 0, &s->expires}, {"nonce", s->nonce, sizeof s->nonce, NULL},
		{"keyid", s->keyid, sizeof s->keyid, NULL}, {"alg", s->algorithm, sizeof s->algorithm, NULL}, {"tag", s->tag, sizeof s->tag, NULL},
	};
	const size_t count = sizeof known / sizeof *known;
	const char *p = *at;
	bool seen[sizeof known / sizeof *known] = {false};
	while (*p == ';') {
		size_t n = key_length(++p), k = 0;
		while (k < count && (n != strlen(known[k].name) || memcmp(p, known[k].name, n)))
			k++;
		if (!n || k == count || seen[k])
			return fault_set(f, -EINVAL, "Signature-Input: a parameter is unknown or there twice");
		seen[k] = true;
		p += n;
		if (*p++ != '=')
			return fault_set(f, -EINVAL, "Signature-Input: parameter '%s' has no value", known[k].name);
		p = known[k].number ? number(p, known[k].number) : quoted(p, known[k].text, known[k].size);
		if (!p)
			return fault_set(f, -EINVAL, "Signature-Input: parameter '%s' is malformed or too long", known[k].name);
	}
	*at = p;
	return 0;
}

int httpsig_parse(struct httpsig *s, const char *input, const char *signature, struct fault *f)
{
	memset(s, 0, sizeof *s);
	size_t label = key_length(input);
	const char *p = input + label;
	if (!label || *p++ != '=')
		return fault_set(f, -EINVAL, "Signature-Input: no label");
	s->params = p;
	int err = parse_components(s, &p, f);
	if (!err)
		err = parse_parameters(s, &p, f);
	if (err)
		return err;
	s->params_len = (size_t)(p - s->params);
	if (*p)
		return fault_set(f, -EINVAL, *p == ',' ? "Signature-Input: one signature a message is looked at here" :
				 "Signature-Input: something stands behind it");
	if (strncmp(signature, input, label + 1) || signature[label + 1] != ':')
		return fault_set(f, -EINVAL, "Signature: not of the label in Signature-Input");
	p = signature + label + 2;
	size_t n = strcspn(p, ":");
	if (p[n] != ':' || p[n + 1] || n != BASE64_SIZE(sizeof s->signature) - 1 ||
	    base64_decode(s->signature, sizeof s->signature, p, n, BASE64_STD) != sizeof s->signature)
		return fault_set(f, -EINVAL, "Signature: not 64 bytes in base64 between colons");
	return 0;
}

bool httpsig_covers(const struct httpsig *s, const char *component)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (!strcmp(s->component[i], component))
			return true;
	}
	return false;
}

int httpsig_base(const struct httpsig *s, httpsig_value *value, void *ctx, char **base, size_t *len, struct fault *f)
{
	char *out = malloc(MAX_BASE);
	size_t n = 0;
	if (!out)
		return fault_set(f, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < s->count; i++) {
		const char *v = value(ctx, s->component[i]);
		if (!v || strpbrk(v, "\r\n")) {
			free(out);
			return fault_set(f, -EINVAL, "the signature covers '%s', which is not there or not looked at", s->component[i]);
		}
		if (n + strlen(v) + sizeof s->component[0] + 8 > MAX_BASE)
			goto too_long;
		n += (size_t)snprintf(out + n, MAX_BASE - n, "\"%s\": %s\n", s->component[i], v);
	}
	if (n + s->params_len + 32 > MAX_BASE)
		goto too_long;
	n += (size_t)snprintf(out + n, MAX_BASE - n, "\"@signature-params\": %.*s", (int)s->params_len, s->params);
	*base = out;
	*len = n;
	return 0;
too_long:
	free(out);
	return fault_set(f, -E2BIG, "what is signed is too long");
}

int httpsig_verify(const struct httpsig *s, EVP_PKEY *key, const char *base, size_t len, struct fault *f)
{
	const char *algorithm = signkey_algorithm(key);
	if (!algorithm || (s->algorithm[0] && strcmp(s->algorithm, algorithm)))
		return fault_set(f, -EKEYREJECTED, "the signature's algorithm is not that of its key");
	if (!signkey_verify(key, base, len, s->signature, sizeof s->signature))
		return fault_set(f, -EKEYREJECTED, "the signature does not hold: another key made it, or the request was changed");
	return 0;
}

int httpsig_sign(EVP_PKEY *key, const char *components, int64_t created, const char *nonce, const char *keyid, const char *tag, httpsig_value *value,
		 void *ctx, char **headers, struct fault *f)
{
	char input[1024], text[BASE64_SIZE(64)], *base;
	uint8_t signature[64];
	struct httpsig s;
	size_t len;
	const char *algorithm = signkey_algorithm(key);
	if (!algorithm)
		return fault_set(f, -EINVAL, "the key is neither EC P-256 nor Ed25519");
	int n = snprintf(input, sizeof input, "sig=(%s);created=%lld;nonce=\"%s\";keyid=\"%s\";alg=\"%s\";tag=\"%s\"", components, (long long)created,
			 nonce, keyid, algorithm, tag);
	if (n < 0 || (size_t)n >= sizeof input)
		return fault_set(f, -E2BIG, "what is signed is too long");
	base64_encode(text, (const uint8_t[64]){0}, 64, BASE64_STD);
	char empty[sizeof text + 8];
	snprintf(empty, sizeof empty, "sig=:%s:", text);
	int err = httpsig_parse(&s, input, empty, f);
	if (!err)
		err = httpsig_base(&s, value, ctx, &base, &len, f);
	if (err)
		return err;
	err = signkey_sign(key, base, len, signature);
	free(base);
	if (err)
		return fault_set(f, err, "cannot sign");
	base64_encode(text, signature, sizeof signature, BASE64_STD);
	return asprintf(headers, "Signature-Input: %s\r\nSignature: sig=:%s:\r\n", input, text) < 0 ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

void httpsig_digest(const void *body, size_t len, char out[HTTPSIG_DIGEST])
{
	uint8_t digest[32];
	char text[BASE64_SIZE(32)];
	sha_256(body, len, digest);
	base64_encode(text, digest, sizeof digest, BASE64_STD);
	snprintf(out, HTTPSIG_DIGEST, "sha-256=:%s:", text);
}

int httpsig_digest_check(const char *header, const void *body, size_t len, struct fault *f)
{
	bool found = false;
	for (const char *p = header; *p;) {
		uint8_t said[64], is[64];
		size_t key = key_length(p);
		const char *v = p + key;
		if (!key || v[0] != '=' || v[1] != ':')
			return fault_set(f, -EINVAL, "Content-Digest is malformed");
		size_t n = strcspn(v += 2, ":");
		unsigned int size = key == 7 && !memcmp(p, "sha-256", 7) ? 32 : key == 7 && !memcmp(p, "sha-512", 7) ? 64 : 0;
		if (v[n] != ':')
			return fault_set(f, -EINVAL, "Content-Digest is malformed");
		if (size) {
			if (base64_decode(said, sizeof said, v, n, BASE64_STD) != (ssize_t)size ||
			    EVP_Digest(body, len, is, NULL, size == 32 ? EVP_sha256() : EVP_sha512(), NULL) != 1)
				return fault_set(f, -EINVAL, "Content-Digest is malformed");
			if (CRYPTO_memcmp(said, is, size))
				return fault_set(f, -EBADMSG, "the body is not the one of Content-Digest");
			found = true;
		}
		p = v + n + 1;
		if (*p == ',') {
			p += 1 + strspn(p + 1, " \t");
			if (!*p)
				return fault_set(f, -EINVAL, "Content-Digest is malformed");
		} else if (*p) {
			return fault_set(f, -EINVAL, "Content-Digest is malformed");
		}
	}
	return found ? 0 : fault_set(f, -EINVAL, "Content-Digest has neither sha-256 nor sha-512");
}
