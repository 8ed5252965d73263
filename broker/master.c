// SPDX-License-Identifier: Apache-2.0
// See master.h. master.key holds 64 hex digits, master.wrapped JSON (docs/broker-operations.md). What is wrapped is authentic with all that stands beside it: a way that somebody else
// added or changed is found by the MAC under the key itself, once any way has opened.
#include "broker/master.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/encode.h"
#include "lib/file.h"

#define VERSION 1
#define FILE_MAX (64u << 10)
#define MAX_WAYS 8
#define IV_BYTES 12
#define TAG_BYTES 16

static const struct master_provider *const providers[] = {&master_passphrase, &master_tpm, &master_pkcs11};
#define PROVIDERS (sizeof providers / sizeof *providers)

const char *const master_setting_names[] = {"master_key", "master_key_tpm", "master_key_pcrs", "master_key_module", "master_key_token",
					    "master_key_label", "master_key_pin_file", NULL};

void master_settings_init(struct master_settings *s)
{
	memset(s, 0, sizeof *s);
	strcpy(s->tpm, "device:/dev/tpmrm0");
}

static const struct master_provider *provider_of(const char *name)
{
	for (size_t i = 0; name && i < PROVIDERS; i++) {
		if (!strcmp(providers[i]->name, name))
			return providers[i];
	}
	return NULL;
}

int master_setting(struct master_settings *s, const char *name, const char *value, struct fault *f)
{
	const struct { char *out; size_t size; } places[] = {
		{s->with, sizeof s->with}, {s->tpm, sizeof s->tpm}, {s->pcrs, sizeof s->pcrs}, {s->module, sizeof s->module},
		{s->token, sizeof s->token}, {s->label, sizeof s->label}, {s->pin_file, sizeof s->pin_file}};
	for (size_t i = 0; master_setting_names[i]; i++) {
		if (strcmp(name, master_setting_names[i]))
			continue;
		if (!i && strcmp(value, "file") && !provider_of(value))
			return fault_set(f, -EINVAL, "master_key: file, passphrase, tpm or pkcs11, not '%.60s'", value);
		if (!*value || strlen(value) >= places[i].size)
			return fault_set(f, -EINVAL, "%s: empty or too long", name);
		strcpy(places[i].out, value);
		return 0;
	}
	return 1;
}

static const char *const names[MASTER_FILES] = {"master.wrapped", "master.key", "master.wrapped.next", "master.key.next"};

static char *path_of(const char *dir, enum master_file file, char out[PATH_MAX + 32])
{
	snprintf(out, PATH_MAX + 32, "%s/%s", dir, names[file]);
	return out;
}

bool master_there(const char *dir, enum master_file file)
{
	char path[PATH_MAX + 32];
	return access(path_of(dir, file, path), F_OK) == 0;
}

// ---- the file ----

int master_parse(const char *text, size_t len, json_t **out, struct fault *f)
{
	json_error_t e;
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e), *way;
	json_t *ways = json_object_get(o, "ways");
	int err = 0;
	size_t i;
	if (!json_is_object(o) || !json_is_array(ways) || !json_array_size(ways) || json_array_size(ways) > MAX_WAYS ||
	    !json_is_string(json_object_get(o, "mac")) || !json_is_string(json_object_get(o, "id")))
		err = fault_set(f, -EBADMSG, "the wrapped master key is damaged");
	else if (json_integer_value(json_object_get(o, "coffer_master_key")) != VERSION)
		err = fault_set(f, -EBADMSG, "the wrapped master key has version %lld: this coffer knows %d",
				(long long)json_integer_value(json_object_get(o, "coffer_master_key")), VERSION);
	json_array_foreach(ways, i, way) {
		if (!err && (!json_is_object(way) || !provider_of(json_string_value(json_object_get(way, "with")))))
			err = fault_set(f, -EBADMSG, "the wrapped master key is damaged: the way %zu in which it is wrapped", i + 1);
	}
	if (err)
		json_decref(o);
	else
		*out = o;
	return err;
}

static int load(const char *dir, enum master_file file, json_t **out, struct fault *f)
{
	char path[PATH_MAX + 32], *text;
	size_t len;
	int err = file_read_private(path_of(dir, file, path), FILE_MAX, &text, &len, f);
	if (err)
		return err;
	err = master_parse(text, len, out, f);
	free_wiped(text, len);
	return err;
}

// HMAC-SHA-256 under a key that is the master key's for this alone, over the text without `mac`.
static int mac_of(const json_t *o, const uint8_t key[MASTER_KEY_BYTES], char out[65])
{
	static const char purpose[] = "coffer broker wrapped master key v1";
	uint8_t sub[32], mac[32];
	size_t n = 0;
	json_t *copy = json_copy((json_t *)o);
	json_object_del(copy, "mac");
	char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(copy);
	bool done = text && EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, MASTER_KEY_BYTES, (const uint8_t *)purpose, sizeof purpose, sub, 32, &n) &&
		    EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, sub, 32, (const uint8_t *)text, strlen(text), mac, 32, &n);
	if (done)
		hex_encode(out, mac, sizeof mac);
	OPENSSL_cleanse(sub, sizeof sub);
	free(text);
	return done ? 0 : -EIO;
}

// The master key under a way's key-encrypting key, bound to everything else that the way says.
static int crypt_way(const json_t *way, const char *id, bool seal, const uint8_t kek[32], const uint8_t iv[IV_BYTES], const uint8_t *in, uint8_t *out,
		     uint8_t tag[TAG_BYTES])
{
	json_t *bound = json_deep_copy(way);
	json_object_del(bound, "iv");
	json_object_del(bound, "key");
	json_object_set_new(bound, "id", json_string(id));
	char *aad = json_dumps(bound, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(bound);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0, err = -EIO;
	if (!aad || !c || EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, kek, iv, seal) != 1 ||
	    EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) != 1 ||
	    (!seal && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) != 1) || EVP_CipherUpdate(c, out, &n, in, MASTER_KEY_BYTES) != 1)
		goto out;
	err = EVP_CipherFinal_ex(c, out + n, &last) == 1 && (!seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1) ? 0 : -EBADMSG;
out:
	EVP_CIPHER_CTX_free(c);
	free(aad);
	return err;
}

static int open_way(const struct master_settings *s, struct master_secrets *known, const json_t *file, const json_t *way,
		    uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	const struct master_provider *p = provider_of(json_string_value(json_object_get(way, "with")));
	uint8_t kek[32], iv[IV_BYTES], sealed[MASTER_KEY_BYTES + TAG_BYTES];
	char mac[65];
	int err = master_get_bytes(way, "iv", iv, sizeof iv, NULL, f);
	if (!err)
		err = master_get_bytes(way, "key", sealed, sizeof sealed, NULL, f);
	if (!err)
		err = p->open(s, known, way, kek, f);
	if (err)
		goto out;
	err = crypt_way(way, json_string_value(json_object_get(file, "id")), false, kek, iv, sealed, key, sealed + MASTER_KEY_BYTES);
	if (err && p == &master_passphrase) {	// it stays known: it may be that of the next file
		err = fault_set(f, -EACCES, "the passphrase of the broker's master key is wrong (or master.wrapped was changed)");
	} else if (err) {
		fault_set(f, err, "master.wrapped was changed: the master key does not open");
	} else if (mac_of(file, key, mac) || CRYPTO_memcmp(mac, json_string_value(json_object_get(file, "mac")), strlen(mac) + 1)) {
		err = fault_set(f, -EBADMSG, "master.wrapped was changed outside the broker: put its backup in its place");
	}
out:
	OPENSSL_cleanse(kek, sizeof kek);
	if (err)
		OPENSSL_cleanse(key, MASTER_KEY_BYTES);
	return err;
}

static int read_wrapped(const char *dir, enum master_file file, const struct master_settings *s, struct master_secrets *known,
			uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	struct fault first = {""};
	json_t *o, *way;
	size_t i;
	char have[64];
	int err = load(dir, file, &o, f), result = -ENOKEY;
	if (err)
		return err;
	json_array_foreach(json_object_get(o, "ways"), i, way) {
		struct fault why = {""};
		if (*s->with && strcmp(s->with, json_string_value(json_object_get(way, "with"))))
			continue;
		err = open_way(s, known, o, way, key, &why);
		if (!err || result == -ENOKEY) {
			result = err;
			first = why;
		}
		if (!err)
			break;
	}
	if (result == -ENOKEY && !*first.text) {
		master_describe(dir, have, sizeof have);
		result = fault_set(f, -ENOKEY, "broker.yaml or --master-key says %s, but the master key is wrapped by %s: `coffer broker rekey-master` changes that",
				   s->with, have);
	} else if (result) {
		fault_set(f, result, "%s", first.text);
	}
	json_decref(o);
	return result;
}

static int read_plain(const char *dir, enum master_file file, const struct master_settings *s, uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	char path[PATH_MAX + 32], *text;
	size_t len;
	if (*s->with && strcmp(s->with, "file"))
		return fault_set(f, -ENOKEY, "broker.yaml or --master-key says %s, but the master key lies unwrapped in master.key: `coffer broker rekey-master` "
				 "changes that", s->with);
	int err = file_read_private(path_of(dir, file, path), FILE_MAX, &text, &len, f);
	if (err)
		return err;
	text[strcspn(text, "\r\n")] = '\0';
	if (hex_decode(key, MASTER_KEY_BYTES, text))
		err = fault_set(f, -EINVAL, "%s does not hold 64 hex digits", path);
	free_wiped(text, len);
	return err;
}

int master_read(const char *dir, enum master_file file, const struct master_settings *s, struct master_secrets *known,
		uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	bool plain = file == MASTER_PLAIN || file == MASTER_PLAIN_NEXT;
	return plain ? read_plain(dir, file, s, key, f) : read_wrapped(dir, file, s, known, key, f);
}

void master_describe(const char *dir, char *out, size_t size)
{
	size_t i, n = 0;
	json_t *o, *way;
	snprintf(out, size, "%s", master_there(dir, MASTER_PLAIN) ? "file" : "");
	if (!master_there(dir, MASTER_WRAPPED) || load(dir, MASTER_WRAPPED, &o, NULL))
		return;
	*out = '\0';
	json_array_foreach(json_object_get(o, "ways"), i, way) {
		if (n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", json_string_value(json_object_get(way, "with")));
	}
	json_decref(o);
}

static void take_text(const json_t *way, const char *name, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(way, name));
	if (text && !*out)
		snprintf(out, size, "%s", text);
}

int master_same_way(const char *dir, struct master_settings *s, struct fault *f)
{
	char have[64];
	const char *pcr;
	json_t *o, *way, *value;
	master_describe(dir, have, sizeof have);
	if (strchr(have, ',') || strlen(have) >= sizeof s->with)
		return fault_set(f, -EINVAL, "the master key is kept under %s: say which of them shall open the new one (--master-key), and add the others afterwards "
				 "(--add)", have);
	strcpy(s->with, have);
	if (!master_there(dir, MASTER_WRAPPED))
		return 0;
	int err = load(dir, MASTER_WRAPPED, &o, f);
	if (err)
		return err;
	way = json_array_get(json_object_get(o, "ways"), 0);
	take_text(way, "token", s->token, sizeof s->token);
	take_text(way, "label", s->label, sizeof s->label);
	size_t n = 0;
	if (!*s->pcrs) {
		json_object_foreach(json_object_get(way, "pcrs"), pcr, value) {
			if (n < sizeof s->pcrs)
				n += (size_t)snprintf(s->pcrs + n, sizeof s->pcrs - n, "%s%s", n ? "," : "", pcr);
		}
	}
	json_decref(o);
	return n < sizeof s->pcrs ? 0 : fault_set(f, -EBADMSG, "the wrapped master key is damaged: its PCRs");
}

static int write_plain(const char *dir, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	char path[PATH_MAX + 32], hex[66];
	hex_encode(hex, key, MASTER_KEY_BYTES);
	hex[64] = '\n';
	int err = file_write(path_of(dir, MASTER_PLAIN_NEXT, path), hex, 65, 0600, false, f);
	explicit_bzero(hex, sizeof hex);
	return err;
}

// The ways that stay: all of the file that is there, but for one that the same provider is about to make.
static json_t *kept_ways(const char *dir, const char *with, bool keep)
{
	json_t *ways = json_array(), *o, *way;
	size_t i;
	if (!keep || load(dir, MASTER_WRAPPED, &o, NULL))
		return ways;
	json_array_foreach(json_object_get(o, "ways"), i, way) {
		if (strcmp(with, json_string_value(json_object_get(way, "with"))))
			json_array_append(ways, way);
	}
	json_decref(o);
	return ways;
}

int master_id(const uint8_t key[MASTER_KEY_BYTES], char out[MASTER_ID])
{
	uint8_t id[32];
	size_t n = 0;
	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, MASTER_KEY_BYTES, (const uint8_t *)"coffer broker master key id v1", 30, id, 32, &n))
		return -EIO;
	hex_encode(out, id, 8);
	return 0;
}

static int write_wrapped(const char *dir, const struct master_settings *s, struct master_secrets *known, bool keep,
			 const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	uint8_t kek[32], iv[IV_BYTES], sealed[MASTER_KEY_BYTES + TAG_BYTES];
	char id[MASTER_ID], mac[65], path[PATH_MAX + 32], *text = NULL;
	json_t *way = json_pack("{s:s}", "with", s->with), *ways = kept_ways(dir, s->with, keep), *o = NULL;
	int err = master_id(key, id);
	if (!err)
		err = provider_of(s->with)->make(s, known, way, kek, f);
	if (err)
		goto out;
	if (RAND_bytes(iv, sizeof iv) != 1 || crypt_way(way, id, true, kek, iv, key, sealed, sealed + MASTER_KEY_BYTES) ||
	    master_put_bytes(way, "iv", iv, sizeof iv) || master_put_bytes(way, "key", sealed, sizeof sealed) || json_array_append(ways, way)) {
		err = fault_set(f, -EIO, "cannot wrap the master key");
		goto out;
	}
	o = json_pack("{s:i, s:s, s:O}", "coffer_master_key", VERSION, "id", id, "ways", ways);
	if (!o || mac_of(o, key, mac) || json_object_set_new(o, "mac", json_string(mac)) || !(text = json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS))) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	err = file_write(path_of(dir, MASTER_WRAPPED_NEXT, path), text, strlen(text), 0600, false, f);
out:
	OPENSSL_cleanse(kek, sizeof kek);
	json_decref(way);
	json_decref(ways);
	json_decref(o);
	free(text);
	return err;
}

static int sync_dir(const char *dir, struct fault *f)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) < 0 ? fault_errno(f, errno, "cannot sync %s", dir) : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

int master_write_next(const char *dir, const struct master_settings *s, struct master_secrets *known, bool keep,
		      const uint8_t key[MASTER_KEY_BYTES], enum master_file *file, struct fault *f)
{
	bool plain = !*s->with || !strcmp(s->with, "file");
	int err = plain ? write_plain(dir, key, f) : write_wrapped(dir, s, known, keep, key, f);
	*file = plain ? MASTER_PLAIN_NEXT : MASTER_WRAPPED_NEXT;
	return err ? err : sync_dir(dir, f);
}

int master_settle(const char *dir, enum master_file file, struct fault *f)
{
	char from[PATH_MAX + 32], to[PATH_MAX + 32];
	if (file >= MASTER_WRAPPED_NEXT) {
		enum master_file place = file == MASTER_WRAPPED_NEXT ? MASTER_WRAPPED : MASTER_PLAIN;
		if (rename(path_of(dir, file, from), path_of(dir, place, to)))
			return fault_errno(f, errno, "cannot rename %s", from);
		int err = sync_dir(dir, f);
		if (err)
			return err;
		file = place;
	}
	for (int k = 0; k < MASTER_FILES; k++) {
		if (k != (int)file && unlink(path_of(dir, (enum master_file)k, from)) && errno != ENOENT)
			return fault_errno(f, errno, "cannot remove %s", from);
	}
	return sync_dir(dir, f);
}
