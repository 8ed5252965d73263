// SPDX-License-Identifier: Apache-2.0
// What the master key may be wrapped by: a passphrase (scrypt), a TPM, a key in a PKCS#11 token. Each gives a key-encrypting key of 32
// bytes and keeps in JSON what it takes to get it again; master.c does the wrapping.
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/master.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/pkcs11.h"
#include "lib/tpm_seal.h"

int master_put_bytes(json_t *o, const char *name, const void *bytes, size_t len)
{
	char *text = malloc(BASE64_SIZE(len));
	if (!text)
		return -ENOMEM;
	base64_encode(text, bytes, len, BASE64_STD);
	int err = json_object_set_new(o, name, json_string(text)) ? -ENOMEM : 0;
	free_wiped(text, strlen(text));
	return err;
}

int master_get_bytes(const json_t *o, const char *name, void *out, size_t size, size_t *len, struct fault *f)
{
	const json_t *v = json_object_get(o, name);
	ssize_t n = json_is_string(v) ? base64_decode(out, size, json_string_value(v), json_string_length(v), BASE64_STD) : -EINVAL;
	if (n < 0 || (!len && (size_t)n != size))
		return fault_set(f, -EBADMSG, "the wrapped master key is damaged: its member '%s'", name);
	if (len)
		*len = (size_t)n;
	return 0;
}

// ---- passphrase ----

#define SCRYPT_N (1 << 17) // 128 MiB for a moment: what each guess costs, too
#define SCRYPT_R 8
#define SCRYPT_P 1
#define SCRYPT_MEMORY (1ull << 30)
#define SALT_BYTES 32

int master_scrypt_new(json_t *o, struct fault *f)
{
	uint8_t salt[SALT_BYTES];
	if (RAND_bytes(salt, sizeof salt) != 1 || json_object_set_new(o, "n", json_integer(SCRYPT_N)) ||
	    json_object_set_new(o, "r", json_integer(SCRYPT_R)) || json_object_set_new(o, "p", json_integer(SCRYPT_P)) ||
	    master_put_bytes(o, "salt", salt, sizeof salt))
		return fault_set(f, -EIO, "no random numbers or memory");
	return 0;
}

int master_scrypt(const json_t *o, const char *passphrase, uint8_t kek[32], struct fault *f)
{
	uint8_t salt[SALT_BYTES];
	json_int_t n = json_integer_value(json_object_get(o, "n")), r = json_integer_value(json_object_get(o, "r")),
		   p = json_integer_value(json_object_get(o, "p"));
	int err = master_get_bytes(o, "salt", salt, sizeof salt, NULL, f);
	if (err)
		return err;
	// Not so weak that the file gives the passphrase away, not so much that reading it takes the machine down.
	if (n < 1 << 14 || n > 1 << 22 || (n & (n - 1)) || r < 8 || r > 32 || p < 1 || p > 16 || (unsigned long long)(128 * n * r) >= SCRYPT_MEMORY)
		return fault_set(f, -EBADMSG, "the passphrase's parameters of scrypt are out of bounds");
	if (EVP_PBE_scrypt(passphrase, strlen(passphrase), salt, sizeof salt, (uint64_t)n, (uint64_t)r, (uint64_t)p, SCRYPT_MEMORY, kek, 32) != 1)
		return fault_set(f, -ENOMEM, "not enough memory for scrypt (%lld MiB)", 128LL * n * r >> 20);
	return 0;
}

static int passphrase_open(const struct master_settings *s, struct master_secrets *known, const json_t *o, uint8_t kek[32], struct fault *f)
{
	int err = master_get_passphrase(s, known, false, f);
	return err ? err : master_scrypt(o, known->passphrase, kek, f);
}

static int passphrase_make(const struct master_settings *s, struct master_secrets *known, json_t *o, uint8_t kek[32], struct fault *f)
{
	int err = master_get_passphrase(s, known, true, f);
	if (!err)
		err = master_scrypt_new(o, f);
	return err ? err : master_scrypt(o, known->passphrase, kek, f);
}

const struct master_provider master_passphrase = {"passphrase", passphrase_make, passphrase_open};

// ---- TPM ----

static int parse_pcrs(const char *text, uint32_t *out, struct fault *f)
{
	char *end;
	*out = 0;
	for (const char *p = text; *p; p = *end ? end + 1 : end) {
		unsigned long k = strtoul(p, &end, 10);
		if (end == p || (*end && *end != ',') || (*end && !end[1]) || *p == '-' || *p == '+' || *p == ' ' || k >= TPM_PCRS)
			return fault_set(f, -EINVAL, "master_key_pcrs: numbers below %d with commas between, not '%.60s'", TPM_PCRS, text);
		*out |= 1u << k;
	}
	return 0;
}

static int tpm_reach(const struct master_settings *s, struct tpm *t, struct fault *f)
{
	int err = tpm_open(t, s->tpm, f);
	return err == -ENOENT ? -ENODEV : err; // no device is not "no master key"
}

static int tpm_make(const struct master_settings *s, struct master_secrets *known, json_t *o, uint8_t kek[32], struct fault *f)
{
	struct tpm_sealed sealed;
	struct tpm t;
	uint32_t pcrs;
	char name[8];
	(void)known;
	int err = parse_pcrs(s->pcrs, &pcrs, f);
	if (!err)
		err = tpm_reach(s, &t, f);
	if (err)
		return err;
	err = RAND_priv_bytes(kek, 32) == 1 ? tpm_seal(&t, pcrs, kek, &sealed, f) : fault_set(f, -EIO, "no random numbers");
	tpm_close(&t);
	if (err)
		return err;
	json_t *values = json_object();
	for (unsigned int k = 0; k < TPM_PCRS && !err; k++) {
		snprintf(name, sizeof name, "%u", k);
		if (pcrs >> k & 1)
			err = master_put_bytes(values, name, sealed.pcr[k], 32);
	}
	if (json_object_set_new(o, "pcrs", values) || err || master_put_bytes(o, "root", sealed.root, sizeof sealed.root) ||
	    master_put_bytes(o, "private", sealed.private, sealed.private_len) || master_put_bytes(o, "public", sealed.public, sealed.public_len))
		return fault_set(f, -ENOMEM, "out of memory");
	return 0;
}

static int tpm_read(const json_t *o, struct tpm_sealed *out, struct fault *f)
{
	const char *name;
	json_t *value, *values = json_object_get(o, "pcrs");
	memset(out, 0, sizeof *out);
	int err = master_get_bytes(o, "root", out->root, sizeof out->root, NULL, f);
	if (!err)
		err = master_get_bytes(o, "private", out->private, sizeof out->private, &out->private_len, f);
	if (!err)
		err = master_get_bytes(o, "public", out->public, sizeof out->public, &out->public_len, f);
	json_object_foreach(values, name, value) {
		uint32_t bit = 0;
		if (!err)
			err = parse_pcrs(name, &bit, f);
		if (!err && (!bit || (bit & (bit - 1))))
			err = fault_set(f, -EBADMSG, "the wrapped master key is damaged: its PCRs");
		if (err)
			break;
		out->pcrs |= bit;
		err = master_get_bytes(values, name, out->pcr[__builtin_ctz(bit)], 32, NULL, f);
	}
	return err;
}

static int tpm_open_it(const struct master_settings *s, struct master_secrets *known, const json_t *o, uint8_t kek[32], struct fault *f)
{
	struct tpm_sealed sealed;
	struct fault why = {""};
	struct tpm t;
	(void)known;
	int err = tpm_read(o, &sealed, f);
	if (!err)
		err = tpm_reach(s, &t, f);
	if (err)
		return err;
	err = tpm_unseal(&t, &sealed, kek, &why);
	tpm_close(&t);
	if (err == -EPERM || err == -EKEYREJECTED)
		return fault_set(f, err, "%.500s. Start the machine as it was, or open the broker by another way that its master key is wrapped in (`coffer broker "
				 "rekey-master --master-key passphrase --add` makes one beforehand), or restore a backup", why.text);
	return err ? fault_set(f, err, "%s", why.text) : 0;
}

const struct master_provider master_tpm = {"tpm", tpm_make, tpm_open_it};

// ---- PKCS#11 ----

static int get_pin(const struct master_settings *s, struct master_secrets *known, struct fault *f)
{
	if (known->have_pin)
		return 0;
	int err = master_ask("PIN of the token", s->pin_fd, "coffer-pin", s->pin_file, false, known->pin, f);
	known->have_pin = !err;
	return err;
}

static int pkcs11_make(const struct master_settings *s, struct master_secrets *known, json_t *o, uint8_t kek[32], struct fault *f)
{
	const struct pkcs11_place place = {s->module, s->token, s->label};
	struct pkcs11_wrapped w;
	if (!*s->module || !*s->token || !*s->label)
		return fault_set(f, -EINVAL, "master_key: pkcs11 needs master_key_module, master_key_token and master_key_label");
	int err = get_pin(s, known, f);
	if (!err && RAND_priv_bytes(kek, 32) != 1)
		err = fault_set(f, -EIO, "no random numbers");
	if (!err)
		err = pkcs11_wrap(&place, known->pin, kek, &w, f);
	if (!err && (json_object_set_new(o, "token", json_string(s->token)) || json_object_set_new(o, "label", json_string(s->label)) ||
		     json_object_set_new(o, "how", json_string(w.how)) || master_put_bytes(o, "wrap_iv", w.iv, sizeof w.iv) ||
		     master_put_bytes(o, "wrapped", w.bytes, w.len)))
		err = fault_set(f, -ENOMEM, "out of memory");
	return err;
}

static int pkcs11_open(const struct master_settings *s, struct master_secrets *known, const json_t *o, uint8_t kek[32], struct fault *f)
{
	const char *token = json_string_value(json_object_get(o, "token")), *label = json_string_value(json_object_get(o, "label")),
		   *how = json_string_value(json_object_get(o, "how"));
	const struct pkcs11_place place = {s->module, token, label};
	struct pkcs11_wrapped w = {.len = 0};
	if (!token || !label || !how || strlen(how) >= sizeof w.how)
		return fault_set(f, -EBADMSG, "the wrapped master key is damaged: its token");
	if (!*s->module)
		return fault_set(f, -EINVAL, "the master key is wrapped by the token '%.64s': master_key_module says by which PKCS#11 module it is reached", token);
	strcpy(w.how, how);
	int err = master_get_bytes(o, "wrap_iv", w.iv, sizeof w.iv, NULL, f);
	if (!err)
		err = master_get_bytes(o, "wrapped", w.bytes, sizeof w.bytes, &w.len, f);
	if (!err)
		err = get_pin(s, known, f);
	if (!err && !strcmp(known->pin_refused_by, token))
		return fault_set(f, -EACCES, "the PIN of the token '%.64s' is wrong: it was tried once, and not again, since wrong ones lock the token", token);
	if (!err)
		err = pkcs11_unwrap(&place, known->pin, &w, kek, f);
	if (err == -EACCES)
		snprintf(known->pin_refused_by, sizeof known->pin_refused_by, "%s", token);
	return err;
}

const struct master_provider master_pkcs11 = {"pkcs11", pkcs11_make, pkcs11_open};
