// SPDX-License-Identifier: Apache-2.0
// Volumes sealed to the enclave: the key derives from the platform's sealing key, the volume's id and where it is mounted (else the host
// could exchange two volumes of one enclave), so no broker takes part. A volume is made at the first mount, in the host's empty file.
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "init/exchange.h"
#include "lib/encode.h"

static int derive(const struct coffer_sealing_key *s, const char *path, struct coffer_mount_key *key)
{
	static const char purpose[] = "coffer volume sealed to an enclave";
	unsigned char text[sizeof purpose + sizeof key->id + 32];
	unsigned int n = sizeof key->key;
	memcpy(text, purpose, sizeof purpose);
	memcpy(text + sizeof purpose, key->id, sizeof key->id);
	if (EVP_Digest(path, strlen(path), text + sizeof purpose + sizeof key->id, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	return HMAC(EVP_sha256(), s->key, sizeof s->key, text, sizeof text, key->key, &n) ? 0 : -EIO;
}

int sealing_mount(struct exchange *x, unsigned int index, struct fault *f)
{
	const struct settings_volume *v = &x->s->volumes[index];
	struct coffer_mount_key key = {
		.magic = COFFER_MOUNT_KEY_MAGIC, .version = COFFER_MOUNT_KEY_VERSION, .cache_mib = x->s->volume_cache_mib, .create = !*v->id};
	struct coffer_sealing_key s;
	char line[700];
	int err = x->ops->sealing_key(&s);
	if (err)
		return fault_errno(f, -err, "this platform gives no sealing key for %.200s", v->path);
	if (key.create && v->read_only)
		err = fault_set(f, -EPERM, "the volume for %.200s is empty, and mounted read-only: there is nothing in it", v->path);
	else if (key.create ? RAND_bytes(key.id, sizeof key.id) != 1 : hex_decode(key.id, sizeof key.id, v->id))
		err = fault_set(f, -EIO, "no id for the volume for %.200s", v->path);
	if (!err && derive(&s, v->path, &key))
		err = fault_set(f, -EIO, "OpenSSL cannot derive a key");
	key.source = s.simulated ? COFFER_KEY_SEALING_SIMULATED : COFFER_KEY_SEALING;
	if (!err)
		err = x->ops->mount(index, v, &key, f);
	if (!err && key.create) {
		snprintf(line, sizeof line, "a new volume was made for %.200s, sealed to this enclave%s: no other image opens it", v->path,
			 s.simulated ? " by a SIMULATED, insecure TEE" : "");
		x->ops->say(line);
	}
	explicit_bzero(&s, sizeof s);
	explicit_bzero(&key, sizeof key);
	return err;
}
