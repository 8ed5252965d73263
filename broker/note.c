// SPDX-License-Identifier: Apache-2.0
// See note.h.
#include "broker/note.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/sha.h"

#define DASH "\xe2\x80\x94 "	// em dash and a space, as the format has it

// No white space, no control characters, no '+', ASCII.
static bool name_valid(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '+')
			return false;
	}
	return len > 0 && len < NOTE_NAME;
}

static void key_id(struct note_key *k)
{
	uint8_t text[NOTE_NAME + 2 + 32], digest[32];
	size_t n = strlen(k->name);

	memcpy(text, k->name, n);
	text[n++] = '\n';
	text[n++] = k->kind;
	memcpy(text + n, k->key, sizeof k->key);
	sha_256(text, n + sizeof k->key, digest);
	memcpy(k->id, digest, sizeof k->id);
}

int note_key_parse(struct note_key *k, const char *text)
{
	const char *plus = strchr(text, '+');
	uint8_t id[4], bytes[33];
	char hex[9] = "";

	memset(k, 0, sizeof *k);
	if (!plus || !name_valid(text, (size_t)(plus - text)) || strlen(plus + 1) < 10 || plus[9] != '+')
		return -EINVAL;
	memcpy(k->name, text, (size_t)(plus - text));
	memcpy(hex, plus + 1, 8);
	if (hex_decode(id, sizeof id, hex) || strlen(plus + 10) > 60 ||
	    base64_decode(bytes, sizeof bytes, plus + 10, strlen(plus + 10), BASE64_STD) != sizeof bytes)
		return -EINVAL;
	k->kind = bytes[0];
	memcpy(k->key, bytes + 1, sizeof k->key);
	key_id(k);
	return (k->kind == NOTE_LOG || k->kind == NOTE_WITNESS) && !memcmp(id, k->id, sizeof id) ? 0 : -EINVAL;
}

void note_key_text(const struct note_key *k, char out[NOTE_KEY_TEXT])
{
	uint8_t bytes[33] = {k->kind};
	char hex[9];

	memcpy(bytes + 1, k->key, sizeof k->key);
	size_t n = (size_t)sprintf(out, "%s+%s+", k->name, hex_encode(hex, k->id, sizeof k->id));
	base64_encode(out + n, bytes, sizeof bytes, BASE64_STD);
}

int note_key_of(struct note_key *k, const char *name, enum note_kind kind, EVP_PKEY *key)
{
	size_t len = sizeof k->key;

	memset(k, 0, sizeof *k);
	if (!name_valid(name, strlen(name)) || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
	    EVP_PKEY_get_raw_public_key(key, k->key, &len) != 1 || len != sizeof k->key)
		return -EINVAL;
	strcpy(k->name, name);
	k->kind = (uint8_t)kind;
	key_id(k);
	return 0;
}

size_t note_body(const struct tree_head *h, char out[NOTE_BODY])
{
	char root[BASE64_SIZE(MERKLE_HASH)];

	base64_encode(root, h->root, sizeof h->root, BASE64_STD);
	return (size_t)snprintf(out, NOTE_BODY, "%s\n%llu\n%s\n", h->origin, (unsigned long long)h->size, root);
}

static bool read_size(const char *s, size_t len, uint64_t *out)
{
	*out = 0;
	if (len == 0 || len > 18 || (s[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(s[i] - '0');
	}
	return true;
}

// Takes one line off the text; NULL when there is none.
static const char *line(const char **text, size_t *left, size_t *len)
{
	const char *start = *text, *end = memchr(start, '\n', *left);

	if (!end)
		return NULL;
	*len = (size_t)(end - start);
	*left -= *len + 1;
	*text = end + 1;
	return start;
}

static bool read_signature(struct note_signature *s, const char *p, size_t len)
{
	uint8_t bytes[4 + 72];

	if (len < sizeof DASH - 1 || memcmp(p, DASH, sizeof DASH - 1))
		return false;
	p += sizeof DASH - 1;
	len -= sizeof DASH - 1;
	const char *space = memchr(p, ' ', len);
	if (!space || !name_valid(p, (size_t)(space - p)))
		return false;
	memset(s, 0, sizeof *s);
	memcpy(s->name, p, (size_t)(space - p));
	ssize_t n = base64_decode(bytes, sizeof bytes, space + 1, len - (size_t)(space + 1 - p), BASE64_STD);
	if (n != 4 + 64 && n != 4 + 72)
		return false;
	memcpy(s->id, bytes, 4);
	s->len = (unsigned int)n - 4;
	memcpy(s->bytes, bytes + 4, s->len);
	return true;
}

int note_parse(struct note *n, const char *text, size_t len, struct fault *f)
{
	size_t left = len, k;
	const char *p;

	memset(n, 0, sizeof *n);
	p = line(&text, &left, &k);
	if (!p || !name_valid(p, k))
		return fault_set(f, -EINVAL, "the tree head's first line is not the name of a log");
	memcpy(n->head.origin, p, k);
	p = line(&text, &left, &k);
	if (!p || !read_size(p, k, &n->head.size))
		return fault_set(f, -EINVAL, "the tree head's second line is not a number of entries");
	p = line(&text, &left, &k);
	if (!p || base64_decode(n->head.root, MERKLE_HASH, p, k, BASE64_STD) != MERKLE_HASH)
		return fault_set(f, -EINVAL, "the tree head's third line is not a root hash");
	p = line(&text, &left, &k);
	if (!p || k)
		return fault_set(f, -EINVAL, "the tree head's fourth line is not empty");
	while (left) {
		p = line(&text, &left, &k);
		if (n->count == NOTE_MAX_SIGNATURES)
			return fault_set(f, -EINVAL, "the tree head has more than %d signatures", NOTE_MAX_SIGNATURES);
		if (!p || !read_signature(&n->signature[n->count], p, k))
			return fault_set(f, -EINVAL, "the tree head's signature number %u is malformed", n->count + 1);
		n->count++;
	}
	return 0;
}

size_t note_text(const struct note *n, char out[NOTE_MAX])
{
	size_t len = note_body(&n->head, out);

	out[len++] = '\n';
	out[len] = '\0';
	for (unsigned int i = 0; i < n->count; i++) {
		const struct note_signature *s = &n->signature[i];
		uint8_t bytes[4 + 72];
		char text[BASE64_SIZE(sizeof bytes)];
		memcpy(bytes, s->id, 4);
		memcpy(bytes + 4, s->bytes, s->len);
		base64_encode(text, bytes, 4 + s->len, BASE64_STD);
		len += (size_t)sprintf(out + len, DASH "%s %s\n", s->name, text);
	}
	return len;
}

// What the key signs: a witness says also when. Its length.
static size_t message(const struct tree_head *h, const struct note_key *k, uint64_t when, char out[NOTE_BODY + 64])
{
	size_t n = 0;

	if (k->kind == NOTE_WITNESS)
		n = (size_t)sprintf(out, "cosignature/v1\ntime %llu\n", (unsigned long long)when);
	return n + note_body(h, out + n);
}

static uint64_t time_of(const uint8_t b[8])
{
	uint64_t t = 0;

	for (int i = 0; i < 8; i++)
		t = t << 8 | b[i];
	return t;
}

bool note_signed_by(const struct note *n, const struct note_key *k, uint64_t *when)
{
	unsigned int time_len = k->kind == NOTE_WITNESS ? 8 : 0;
	char text[NOTE_BODY + 64];
	bool good = false;

	if (k->kind == NOTE_LOG && strcmp(n->head.origin, k->name))
		return false;
	for (unsigned int i = 0; i < n->count && !good; i++) {
		const struct note_signature *s = &n->signature[i];
		if (s->len != 64 + time_len || memcmp(s->id, k->id, 4) || strcmp(s->name, k->name))
			continue;
		uint64_t t = time_len ? time_of(s->bytes) : 0;
		if (t >> 63)
			continue;
		size_t len = message(&n->head, k, t, text);
		EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->key, sizeof k->key);
		EVP_MD_CTX *md = EVP_MD_CTX_new();
		good = key && md && EVP_DigestVerifyInit(md, NULL, NULL, NULL, key) == 1 &&
		       EVP_DigestVerify(md, s->bytes + time_len, 64, (const uint8_t *)text, len) == 1;
		EVP_MD_CTX_free(md);
		EVP_PKEY_free(key);
		if (good && when)
			*when = t;
	}
	return good;
}

int note_sign(struct note *n, const struct note_key *k, EVP_PKEY *key, uint64_t when)
{
	struct note_signature *s = &n->signature[n->count];
	unsigned int time_len = k->kind == NOTE_WITNESS ? 8 : 0;
	char text[NOTE_BODY + 64];
	size_t sig = 64;

	if (n->count == NOTE_MAX_SIGNATURES)
		return -ENOSPC;
	memset(s, 0, sizeof *s);
	strcpy(s->name, k->name);
	memcpy(s->id, k->id, sizeof s->id);
	for (unsigned int i = 0; i < time_len; i++)
		s->bytes[i] = (uint8_t)(when >> (56 - 8 * i));
	size_t len = message(&n->head, k, when, text);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int ok = md && EVP_DigestSignInit(md, NULL, NULL, NULL, key) == 1 &&
		 EVP_DigestSign(md, s->bytes + time_len, &sig, (const uint8_t *)text, len) == 1 && sig == 64;
	EVP_MD_CTX_free(md);
	s->len = 64 + time_len;
	n->count += ok;
	return ok ? 0 : -EIO;
}
